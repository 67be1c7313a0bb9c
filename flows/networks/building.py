"""Build networks from architectures and descriptions, and save and load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from flows.core.checkpoint import CheckpointError, read, write
from flows.core.errors import one_line
from flows.core.seeds import numpy_generators
from flows.networks import registry
from flows.networks.architecture import Architecture
from flows.networks.composite import Composite
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.network import Network
from flows.networks.population import Description, Population
from flows.networks.record import ROW_ARRAYS, TrainingRecord
from flows.networks.target_population import TargetPopulation
from flows.tables.field import Field

if TYPE_CHECKING:
    from flows.networks.flow import Flow


def build(
    architecture: Architecture,
    event_shape: Sequence[int],
    *,
    members: int | range = 1,
    seed: int = 0,
    columns: Sequence[Field] = (),
    context: int = 0,
) -> Network:
    """Return an untrained population of networks.

    Args:
        architecture: the architecture, such as ``flows.NSF(couplings=4)``.
        event_shape: the shape of a point: ``(D,)`` for vectors, ``(C, H, W)`` for images.
        members: the number M of networks, called members. A range gives members of a larger
            population: ``range(3, 6)`` has the same initial weights and random streams as members 3
            to 5 there.
        seed: the seed of the initial weights.
        columns: the columns of a table, one per feature, after one per feature of the context;
            empty if the points are not a table.
        context: the number of features d that the density is given: the network then learns p(y |
            x), for points y of ``event_shape`` ``(D,)`` and contexts x ``(d,)``.

    Raises ``ValueError`` for an event shape or a context that the architecture does not support,
    ``TypeError`` for anything but an architecture, and ``LookupError`` for an architecture that is
    not in a file of ``flows/models``, where a checkpoint looks for it.

    Examples:
        >>> import flows
        >>> network = flows.build(flows.RealNVP(couplings=4, hidden=16), (2,), members=3)
        >>> network.sample((5,)).shape
        torch.Size([5, 3, 2])
    """
    if not isinstance(architecture, Architecture):
        raise TypeError(
            f"build takes an architecture, such as flows.NSF(couplings=4); got {architecture!r}"
        )
    own = member_range(members)
    description = {
        "model": registry.name_of(architecture),
        "event_shape": list(event_shape),
        "members": [own.start, own.stop],
        "seed": seed,
        "columns": [column.to_json() for column in columns],
    }
    if context:
        description["context"] = context
    return _build(architecture, description)


def member_range(members: Any) -> range:
    """Return the members that an argument ``members`` means: the first ones, or those of a range.

    Raises ``ValueError`` for anything but a whole number of at least 1, or a range of members.
    """
    found = range(members) if isinstance(members, Integral) else members
    if not isinstance(found, range) or not found or found.step != 1 or found.start < 0:
        must = "a whole number of at least 1"
        if isinstance(members, range):
            must = "a non-empty range with step 1 that starts at 0 or above"
        raise ValueError(f"members = {members!r}: must be {must}")
    return found


def build_described(description: Mapping[str, Any]) -> Network:
    """Return the untrained network of a ``description``.

    Raises ``LookupError`` for an unknown architecture, and ``ValueError`` for settings or an event
    shape that the architecture does not support.
    """
    architecture = registry.architecture(description["model"], description["settings"])
    return _build(architecture, description)


def _build(architecture: Architecture, description: Mapping[str, Any]) -> Network:
    """Return the untrained network; its description also has the settings of the architecture."""
    event_shape, columns = tuple(description["event_shape"]), description.get("columns", ())
    context = description.get("context", 0)
    if context < 0 or (context and not architecture.takes_context):
        limit = "at least 0" if architecture.takes_context else "0 for this architecture"
        raise ValueError(f"context = {context!r}: must be {limit}")
    if columns and (context + event_shape[0], *event_shape[1:]) != (len(columns),):
        raise ValueError(
            f"{len(columns)} columns for points of shape {event_shape} and a context of {context}; "
            "vectors need a column per number, with the context first, and images none"
        )
    generators = numpy_generators(description["seed"], "initialize", range(*description["members"]))
    whole: Description = {**description, "settings": architecture.model_dump()}
    return architecture.build(event_shape, generators, whole)


def restored(description: Mapping[str, Any], state: Mapping[str, Tensor]) -> Network:
    """Return the network with a ``description`` and a ``state``, in the precision of the state."""
    network = build_described(description)
    network.load_state_dict(state, assign=True)
    return network


def save(network: Population, path: str | Path, *, record: bool = True) -> None:
    """Write a population to ``path``; after an error, no incomplete file is left.

    With ``record=False``, the out-of-fold scores of the training rows are replaced by counts in
    bins; the rest of the record is written. Equal populations give equal bytes. Raises
    ``OSError`` if the file cannot be written, and ``ValueError`` for a population whose
    ``description`` does not say how to build it.
    """
    if "model" not in network.description:
        raise ValueError(
            f"a {type(network).__name__} that was assembled by hand cannot be saved, because its "
            "description does not say how to build it; use a network of flows.build"
        )
    description, arrays, training = network.description, network.history, network.record
    if training is not None:
        training = training if record else training.without_rows()
        description = {**description, "training": training.to_json()}
        arrays = arrays | training.arrays()
    write(Path(path), description, network.state_dict(), arrays)


def load(path: str | Path) -> Population:
    """Return the population in ``path``, in evaluation mode.

    Raises ``CheckpointError``, which names the file, for a file that cannot be read.
    """
    try:
        description, state, arrays = read(Path(path))
        if description["model"] == "unknown":
            raise CheckpointError("holds no model: the true density of a table is unknown")
        if description["model"] in ("truth", "target"):  # "target" until release 0.3
            name = description["name"]
            raise CheckpointError(f"holds no model, but the name of a truth: {name}")
        columns = [Field.from_json(column) for column in description.get("columns", ())]
        if description["model"] == "mixture":
            return GaussianMixture.load(columns, state).eval()
        training, mixtures, targets = (
            description.pop(key, None) for key in ("training", "mixtures", "targets")
        )
        network: Population
        if targets:
            flow = cast("Flow", build_described(description))
            network = TargetPopulation.load(flow, columns, state)
        elif mixtures:
            network = Composite.load(build_described(description), columns, state, mixtures)
        else:
            network = restored(description, state)
        if training is not None:
            network.record = TrainingRecord.from_json(training, arrays)
        network.history = {name: each for name, each in arrays.items() if name not in ROW_ARRAYS}
        return network.eval()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:
        # Any error in a foreign file becomes one line with the name of the file
        reason = one_line(error)[:200]
        raise CheckpointError(
            f"{path}: its metadata and tensors do not describe a model of this version ({reason})"
        ) from None
