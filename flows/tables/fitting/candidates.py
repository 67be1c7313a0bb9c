"""The candidates of a request: the networks and mixtures that learn the columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from flows.models.conditional import Conditional
from flows.networks import building, registry
from flows.networks.architecture import Architecture
from flows.recipe.candidate import Candidate
from flows.recipe.mixture_candidate import MixtureCandidate
from flows.recipe.network_candidate import Family, NetworkCandidate
from flows.recipe.regularisation import (
    COLUMN_REGULARISATIONS,
    LABEL_REGULARISATIONS,
    LINEAR_REGULARISATIONS,
    Regularisation,
)
from flows.tables.fitting.fit_request import FitRequest
from flows.tables.fitting.learned_columns import LearnedColumns


def with_linear(request: FitRequest, columns: LearnedColumns) -> FitRequest:
    """Return the request with the architecture for these columns.

    Without the caller's ``linear``, a target of labels has no linear shift, because the shift was
    compared for targets of numbers only.
    """
    own = request.architecture
    is_open = isinstance(own, Conditional) and "linear" not in own.model_fields_set
    if is_open and any(field.labels for field in columns.learned):
        changed = own.model_copy(update={"linear": False})
        return request.model_copy(update={"architecture": changed})
    return request


def candidates_of(request: FitRequest, columns: LearnedColumns) -> list[Candidate]:
    """Return the candidates of the recipe: networks, if there are numbers to learn, and mixtures.

    Raises ``ValueError`` if the architecture does not learn numbers given labels.
    """
    found: list[Candidate] = []
    if columns.learned:
        families = _families(request, columns)
        found.append(NetworkCandidate(families, request.kept, request.training, name=request.model))
    # The mixtures know the labels
    if columns.labels or (request.mixtures and not columns.is_context):
        found.append(MixtureCandidate(request.mixtures if columns.learned else 1))
    return found


def _families(request: FitRequest, columns: LearnedColumns) -> list[Family]:
    """Return the architectures that race each other.

    In a table with labels, networks are given the codes of the labels. Two architectures race: the
    architecture of the fit, and a ``Conditional``, which learns column by column.
    """
    how: Any = {
        "seed": request.seed,
        "to_real": columns.to_real,
        "context": columns.given,
    }

    def family(architecture: Architecture, **more: Any) -> Family:
        build: Any = partial(building.build, architecture, (len(columns.learned),), **how)
        return Family(build, **more)

    if not columns.labels:
        return [family(request.architecture)]
    if not request.architecture.takes_context:
        classes = {name: registry.find(name) for name in registry.names()}
        own = [n for n, cls in classes.items() if cls.takes_context and not cls.needs_context]
        raise ValueError(
            f"model = {request.model!r}: does not learn numbers given labels; a table with labels "
            f"needs one of {', '.join(own)}"
        )
    separate, linear = (
        registry.architecture("conditional", {"linear": each}) for each in (False, True)
    )
    racing: Sequence[tuple[Architecture, Sequence[Regularisation], Mapping[str, Any]]] = (
        (request.architecture, LABEL_REGULARISATIONS, {}),
        (separate, COLUMN_REGULARISATIONS, {}),
        (linear, LINEAR_REGULARISATIONS, {"linear": True}),
    )
    return [
        family(each, regularisations=own, settings={"model": registry.name_of(each), **more})
        for each, own, more in racing
    ]
