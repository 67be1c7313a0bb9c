"""Save and load populations: networks, mixtures, and ensembles of both.

A file holds a description as JSON, tensors and arrays (``core/checkpoint.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from flows.core.checkpoint import CheckpointError, read, write
from flows.core.errors import one_line
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.networks import building
from flows.networks.population import Description, Population
from flows.training.automatic.composite import Composite
from flows.training.record import ROW_ARRAYS, TrainingRecord

Restore = Callable[[Description, Mapping[str, Tensor]], Population]
# How populations that contain networks are restored, by a key of their description
RESTORERS: dict[str, Restore] = {"mixtures": Composite.restored}


class Saved(NamedTuple):
    """The content of a file: a population in evaluation mode, and the schema of its table as JSON.

    ``table`` is ``None`` for a population that is not the density of a table.
    """

    population: Population
    table: dict[str, Any] | None


def save(
    population: Population,
    path: str | Path,
    *,
    record: bool = True,
    table: Mapping[str, Any] | None = None,
) -> None:
    """Write a population to ``path``; after an error, no incomplete file is left.

    With ``record=False``, the out-of-fold scores of the training rows are replaced by counts in
    bins; the rest of the record is written. ``table`` is the schema of the table as JSON. Equal
    populations give equal bytes. Raises ``OSError`` if the file cannot be written, and
    ``ValueError`` for a population whose ``description`` does not say how to build it.
    """
    if "model" not in population.description:
        raise ValueError(
            f"a {type(population).__name__} that was assembled by hand cannot be saved, because "
            "its description does not say how to build it; use a population of flows.build"
        )
    description, arrays = population.description, population.history
    if table is not None:
        description = {**description, "table": table}
    if (training := population.record) is not None:
        training = training if record else training.without_rows()
        description = {**description, "training": training.to_json()}
        arrays = arrays | training.arrays()
    write(Path(path), description, population.state_dict(), arrays)


def load(path: str | Path) -> Saved:
    """Return the population in ``path``, and the schema of its table.

    The classes of the file must be imported; ``flows.load`` imports those of tables. Raises
    ``CheckpointError``, which names the file, for a file that cannot be read.
    """
    try:
        description, state, arrays = read(Path(path))
        if description["model"] == "unknown":
            raise CheckpointError("holds no model: the true density of a table is unknown")
        if description["model"] in ("truth", "target"):  # "target" until release 0.3
            name = description["name"]
            raise CheckpointError(f"holds no model, but the name of a truth: {name}")
        table, training = description.pop("table", None), description.pop("training", None)
        if columns := description.pop("columns", None):  # until release 0.3
            description["to_real"] = {"name": "columns", "columns": columns}
        population = _restored(description, state)
        if training is not None:
            population.record = TrainingRecord.from_json(training, arrays)
        population.history = {key: each for key, each in arrays.items() if key not in ROW_ARRAYS}
        return Saved(population.eval(), table)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:
        # Any error in a foreign file becomes one line with the name of the file
        reason = one_line(error)[:200]
        raise CheckpointError(
            f"{path}: its metadata and tensors do not describe a model of this version ({reason})"
        ) from None


def _restored(description: Description, state: Mapping[str, Tensor]) -> Population:
    if description["model"] == "mixture":
        return GaussianMixture.restored(description, state)
    for key, restore in RESTORERS.items():
        if key in description:
            return restore(description, state)
    return building.restored(description, state)
