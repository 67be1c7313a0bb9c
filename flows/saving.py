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
from flows.networks.densities import Densities, Description, Restore
from flows.networks.to_real import ToReal
from flows.recipe.ensemble import Ensemble
from flows.recipe.record import ROW_ARRAYS, Record

OLD = "is a file of release 0.3; fit the table again: flows fit TABLE -o FILE"

# How populations of other populations are restored, by a key of their description. The last
# argument restores the others
RESTORERS: dict[str, Callable[[Description, Mapping[str, Tensor], Restore], Densities]] = {
    "parts": Ensemble.restored,
}


class Saved(NamedTuple):
    """The content of a file.

    Args:
        population: the population.
        record: how the population was trained; ``None`` if it was not.
        table: the schema of its table as JSON; ``None`` if it is not the density of a table.
    """

    population: Densities
    record: Record | None
    table: dict[str, Any] | None


def save(
    population: Densities,
    path: str | Path,
    record: Record | None = None,
    table: Mapping[str, Any] | None = None,
) -> None:
    """Write a population to ``path``; after an error, no incomplete file is left.

    Args:
        population: the population.
        path: the file.
        record: how the population was trained.
        table: the schema of its table as JSON.

    Equal arguments give equal bytes. Raises ``OSError`` if the file cannot be written, and
    ``ValueError`` for a population whose ``description`` does not say how to build it.
    """
    if "model" not in population.description:
        raise ValueError(
            f"the {type(population).__name__} cannot be saved, because its description, or that of "
            "a part, does not say how to build it; populations of flows.build and mixtures say so"
        )
    description, arrays = population.description, population.history
    if table is not None:
        description = {**description, "table": table}
    if record is not None:
        description = {**description, "training": record.to_json()}
        arrays = arrays | record.arrays()
    write(Path(path), description, population.state_dict(), arrays)


def load(path: str | Path) -> Saved:
    """Return the population in ``path``, its record and the schema of its table.

    The classes of the file must be imported; ``flows.load`` imports those of tables. Raises
    ``CheckpointError``, which names the file, for a file that cannot be read.
    """
    try:
        description, state, arrays = read(Path(path))
        if "columns" in description:  # which are a part of the map to the real line since 0.4
            raise CheckpointError(OLD)
        if description["model"] == "unknown":
            raise CheckpointError("holds no model: the true density of a table is unknown")
        if description["model"] == "truth":
            name = description["name"]
            raise CheckpointError(f"holds no model, but the name of a truth: {name}")
        table, training = description.pop("table", None), description.pop("training", None)
        if training and training["recipe"] == "fixed" and (fit := training.get("fit")):
            raise CheckpointError(_lacking(fit["model"]))
        population = _restored(description, state)
        record = None if training is None else Record.from_json(training, arrays)
        population.history = {key: each for key, each in arrays.items() if key not in ROW_ARRAYS}
        return Saved(population, record, table)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:
        # Any error in a foreign file becomes one line with the name of the file
        reason = one_line(error)[:200]
        raise CheckpointError(
            f"{path}: its metadata and tensors do not describe a model of this version ({reason})"
        ) from None


def _restored(description: Description, state: Mapping[str, Tensor]) -> Densities:
    for key, restored in RESTORERS.items():
        if key in description:
            return restored(description, state, _restored)
    if description["model"] == "mixture":
        return GaussianMixture.with_state(ToReal.of(description), state)
    return building.restored(description, state)


def _lacking(model: str) -> str:
    """Return a line on a fit of a table by release 0.4 that fits of this release do not have.

    Args:
        model: the name of the model, which the fixed recipe trained.
    """
    again = "fit the table again: flows fit TABLE -o FILE"
    if model in ("flow_matching", "vae"):
        return f"was fitted with model={model}, which is no longer a model of tables; {again}"
    return (
        f"was fitted with recipe=fixed, which fits of tables no longer have; {again} --recipe quick"
    )
