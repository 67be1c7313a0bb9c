"""Models by name: the files of ``flows/models``.

Each holds one subclass of ``Model``, named like the file but for its case and underscores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from numbers import Integral
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from flows.core.checkpoint import CheckpointError, read, write
from flows.core.errors import one_line
from flows.core.seeds import numpy_generators
from flows.core.settings import explain
from flows.networks.architecture import FlowModel, Model
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.network import Network
from flows.networks.population import Population
from flows.networks.record import ROW_ARRAYS, TrainingRecord
from flows.tables.columns import Column

MODELS = Path(__file__).parent.parent / "models"


def names() -> list[str]:
    """Return the names of all models in alphabetical order; none is imported."""
    return sorted(module.name for module in iter_modules([str(MODELS)]))


def find(name: str) -> type[Model]:
    """Return the class of the model ``name``.

    ``"realnvp"`` gives ``RealNVP`` of ``flows/models/realnvp.py``. Raises ``LookupError`` where
    there is no such file, or no subclass of ``Model`` of that name in it.
    """
    if name not in names():
        raise LookupError(
            f"no model {name!r}: there is no file flows/models/{name}.py; "
            f"the models are: {', '.join(names())}"
        )
    for value in vars(import_module(f"flows.models.{name}")).values():
        if (
            isinstance(value, type)
            and issubclass(value, Model)
            and value.__name__.lower() == name.replace("_", "")
        ):
            return value
    raise LookupError(
        f"flows/models/{name}.py: holds no subclass of Model that is called like the file"
    )


def is_vector_flow(name: str) -> bool:
    """Return whether the model is a flow over vectors, which the automatic recipe can train."""
    return issubclass(find(name), FlowModel)


def build(
    name: str,
    event_shape: Sequence[int],
    settings: Mapping[str, Any] | None = None,
    *,
    members: int | range = 1,
    seed: int = 0,
    columns: Sequence[Column] = (),
) -> Network:
    """Return an untrained population of the model ``name`` over points of ``event_shape``.

    ``settings`` are those of the model's class in ``flows/models``; what is not named has its
    default. ``members`` is a number, or a range: members 3 to 5 of a larger population start and
    train as they do there. ``seed`` is of the initial weights. ``columns`` are those of a table.
    Raises ``LookupError`` for an unknown name and ``ValueError`` for settings that are not the
    model's.
    """
    span = range(members) if isinstance(members, Integral) else members
    if not isinstance(span, range) or not span or span.step != 1 or span.start < 0:
        must = "a whole number of at least 1"
        if isinstance(members, range):
            must = "a range of step 1 from 0 or above, with a member in it"
        raise ValueError(f"members = {members!r}: must be {must}")
    return build_described(
        {
            "model": name,
            "event_shape": list(event_shape),
            "settings": dict(settings or {}),
            "members": [span.start, span.stop],
            "seed": seed,
            "columns": [column.to_dict() for column in columns],
        }
    )


def build_described(description: Mapping[str, Any]) -> Network:
    """Return the untrained network of a ``description``. Raises as ``build`` does."""
    name, columns = description["model"], description.get("columns", ())
    event_shape = tuple(description["event_shape"])
    kind = find(name)
    try:
        model = kind.model_validate(description["settings"])
    except ValidationError as error:
        raise ValueError(explain(error, kind, prefix=name)) from None
    if columns and event_shape != (len(columns),):
        raise ValueError(f"{len(columns)} columns for points of shape {event_shape}")
    generators = numpy_generators(description["seed"], "initialize", range(*description["members"]))
    whole = {**description, "settings": model.model_dump()}
    return model.build(event_shape, generators, whole)


def restored(description: Mapping[str, Any], state: Mapping[str, Tensor]) -> Network:
    """Return the network of a ``description`` and a ``state``, in the precision of the state."""
    model = build_described(description)
    model.load_state_dict(state, assign=True)
    return model


def save(network: Population, path: str | Path, *, rows: bool = True) -> None:
    """Write a population to ``path``, whole or not at all.

    Without ``rows``, the record is written without values of single training rows. The same
    population gives the same bytes. Raises ``OSError`` if the file cannot be written, and
    ``ValueError`` for a population whose ``description`` does not say how to build it.
    """
    if "model" not in network.description:
        raise ValueError(
            f"a {type(network).__name__} that was put together by hand cannot be saved; "
            "a network of flows.build can"
        )
    description, arrays, record = network.description, network.history, network.record
    if record is not None:
        record = record if rows else record.without_rows()
        description = {**description, "training": record.to_json()}
        arrays = arrays | record.arrays()
    write(Path(path), description, network.state_dict(), arrays)


def load(path: str | Path) -> Population:
    """Return the population or reference in ``path``, in evaluation mode.

    Raises ``CheckpointError``, which names the file.
    """
    try:
        description, state, arrays = read(Path(path))
        if description["model"] == "unknown":
            raise CheckpointError("holds no model: the truth of a table is not known")
        columns = [Column.from_dict(column) for column in description.get("columns", ())]
        if description["model"] == "mixture":
            return GaussianMixture.load(columns, state).eval()
        training = description.pop("training", None)
        model = restored(description, state)
        if training is not None:
            model.record = TrainingRecord.from_json(training, arrays)
        model.history = {name: each for name, each in arrays.items() if name not in ROW_ARRAYS}
        return model.eval()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:
        # Whatever is wrong inside a foreign file, the user needs its name and one line
        reason = one_line(error)[:200]
        raise CheckpointError(
            f"{path}: its metadata and tensors do not describe a model of this version ({reason})"
        ) from None
