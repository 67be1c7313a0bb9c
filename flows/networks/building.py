"""Build populations of networks from architectures and descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from torch import Tensor

from flows.core.checkpoint import CheckpointError
from flows.core.plurals import counted
from flows.core.seeds import numpy_generators
from flows.networks import registry
from flows.networks.architecture import Architecture, FlowArchitecture
from flows.networks.base_distribution import Base
from flows.networks.densities import Description
from flows.networks.encoding import CODES, Encoding
from flows.networks.network_population import NetworkPopulation
from flows.networks.to_real import ToReal


def build(
    architecture: Architecture,
    event_shape: Sequence[int],
    *,
    members: int | range = 1,
    seed: int = 0,
    to_real: ToReal | None = None,
    context: int = 0,
    base: type[Base] | None = None,
) -> NetworkPopulation:
    """Return an untrained population of networks.

    Args:
        architecture: the architecture, such as ``flows.NSF(couplings=4)``.
        event_shape: the shape of a point: ``(D,)`` for vectors, ``(C, H, W)`` for images.
        members: the number M of networks, called members. A range gives members of a larger
            population: ``range(3, 6)`` has the same initial weights and random streams as members 3
            to 5 there.
        seed: the seed of the initial weights.
        to_real: the map from the user's units to the real line, such as
            ``flows.tables.columns.column_maps.ColumnMaps(fields)`` for the columns of a table, the
            context first; by default the identity.
        context: the number of features d that the density is given: the population then learns
            p(y | x), for points y of ``event_shape`` ``(D,)`` and contexts x ``(d,)``.
        base: the class of the base distribution of a flow over vectors, such as
            ``flows.StandardNormal`` or a subclass of your own, which takes ``members`` and
            ``event_shape``; by default ``TailedNormal``. A file holds the name of the class.

    Raises ``ValueError`` for an event shape or a context that the architecture does not support,
    ``NotImplementedError`` for a context that the map does not support, ``TypeError`` for anything
    but an architecture and a map, and ``LookupError`` for an architecture that is
    not in a file of ``flows/models``, where a checkpoint looks for it.

    Examples:
        >>> import flows
        >>> population = flows.build(flows.RealNVP(couplings=4, hidden=16), (2,), members=3)
        >>> population.sample((5,)).shape
        torch.Size([5, 3, 2])
    """
    if not isinstance(architecture, Architecture):
        raise TypeError(
            f"build takes an architecture, such as flows.NSF(couplings=4); got {architecture!r}"
        )
    to_real = ToReal() if to_real is None else to_real
    if not isinstance(to_real, ToReal):
        raise TypeError(f"to_real = {to_real!r}: must be a map, such as ColumnMaps(fields)")
    if not isinstance(event_shape, Sequence) or not all(isinstance(n, int) for n in event_shape):
        raise TypeError(
            f"event_shape = {event_shape!r}: must be the shape of a point, such as (2,) for two "
            "numbers"
        )
    own = member_range(members)
    description = {
        "model": registry.name_of(architecture),
        "event_shape": list(event_shape),
        "members": [own.start, own.stop],
        "seed": seed,
        **to_real.description,
    }
    if context:
        description["context"] = context
    if base is not None:
        if not (isinstance(base, type) and issubclass(base, Base)):
            raise TypeError(f"base = {base!r}: must be a class, such as flows.StandardNormal")
        if not isinstance(architecture, FlowArchitecture):
            raise ValueError(f"base: {type(architecture).__name__} is not a flow over vectors")
        description["base"] = base.__name__
    return _build(architecture, description, to_real)


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


def build_described(
    description: Mapping[str, Any], to_real: ToReal | None = None
) -> NetworkPopulation:
    """Return the untrained population of a ``description``.

    ``to_real`` is the map to the real line, by default the map of the description. Raises
    ``LookupError`` for an unknown architecture, ``ValueError`` for settings or an event shape that
    the architecture does not support, and ``CheckpointError`` for a map without a class.
    """
    architecture = registry.architecture(description["model"], description["settings"])
    return _build(architecture, description, to_real or ToReal.of(description))


def _build(
    architecture: Architecture, description: Mapping[str, Any], to_real: ToReal
) -> NetworkPopulation:
    """Return the untrained population; its description gets the settings of the architecture."""
    event_shape = tuple(description["event_shape"])
    context = description.get("context", 0)
    if context < 0 or (context and not architecture.takes_context):
        limit = "at least 0" if architecture.takes_context else "0 for this architecture"
        raise ValueError(f"context = {context!r}: must be {limit}")
    generators = numpy_generators(description["seed"], "initialize", range(*description["members"]))
    whole: Description = {**description, "settings": architecture.model_dump()}
    if added := Encoding.of(to_real, context, len(generators)).added:
        whole["inputs"] = context + added
    population = architecture.build(event_shape, generators, whole)
    population.preprocessing.set_map(to_real.with_context(context) if context else to_real)
    names = to_real.names
    if names and population.row_shape != (len(names),):
        raise ValueError(
            f"{counted(len(names), 'column')} for points of shape {event_shape} and a context of "
            f"{context}; vectors need a column per number, with the context first, and images none"
        )
    return population


def state_of_members(population: NetworkPopulation, members: Sequence[int]) -> dict[str, Tensor]:
    """Return the tensors of some members of a population by name; numbers are shared.

    Args:
        population: the population.
        members: the indices of the members.
    """
    state = population.state_dict()  # the first axis of a tensor is that of the members
    return {name: each[list(members)] if each.ndim else each for name, each in state.items()}


def of_members(population: NetworkPopulation, members: Sequence[int]) -> NetworkPopulation:
    """Return a population of some members of a population of ``build``, with their weights.

    Args:
        population: the population.
        members: the indices of the members, in rising order.
    """
    state = state_of_members(population, members)
    state["weights"] = state["weights"] / state["weights"].sum()
    return restored({**population.description, "members": [0, len(members)]}, state)


def restored(description: Mapping[str, Any], state: Mapping[str, Tensor]) -> NetworkPopulation:
    """Return the population of a ``description`` in a ``state``, in the precision of the state."""
    given = ToReal.of(description).label_counts[: description.get("context", 0)]
    if any(given) and "preprocessing.encoding.shares" not in state:
        raise CheckpointError(CODES)
    population = build_described(description)
    population.load_state_dict(state, assign=True)
    return population.eval()
