"""Which bijections the compiled chain knows, and what it has to be told of each. The bijections know nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from flows.bijections import ActNorm, AffineCoupling, Bijection, Coupling, Permutation, PLULinear, SplineCoupling
from flows.bijections.perceptron import Perceptron


@dataclass(frozen=True)
class Description:
    """A layer in the words of ``chain.h``: its kind, its parameters in their order, and its buffers (all ``(M, ...)``) and numbers."""

    kind: str
    parameters: dict[str, Tensor]
    others: dict[str, Tensor | float] = field(default_factory=dict)


def _coupling(kind: str, coupling: Coupling, **numbers: float) -> Description | None:
    if type(coupling.conditioner) is not Perceptron:
        return None
    kept, hidden, _, outputs = coupling.conditioner.sizes
    kept_at, changed_at = (coupling.sizes[0], 0) if coupling.swap else (0, coupling.sizes[0])
    sizes = {"kept": kept, "hidden": hidden, "outputs": outputs, "kept_at": kept_at, "changed_at": changed_at}
    return Description(kind, {"theta": coupling.conditioner.theta}, {**sizes, **numbers})


def _spline(coupling: SplineCoupling) -> Description | None:
    floors = {"least_bin": coupling.MIN_BIN, "least_slope": coupling.MIN_SLOPE, "slope_shift": coupling.SLOPE_SHIFT}
    return _coupling("SPLINE", coupling, bound=coupling.BOUND, bins=coupling.bins, **floors)


def _plu(linear: PLULinear) -> Description:
    parameters: dict[str, Tensor] = {"lower": linear.lower, "upper": linear.upper, "log_diagonal": linear.log_diagonal}
    return Description("PLU", parameters, {"permutation": linear.permutation, "sign": linear.sign})


KNOWN: dict[type[Bijection], Callable[[Any], Description | None]] = {
    ActNorm: lambda norm: Description("ACTNORM", {"shift": norm.shift, "log_scale": norm.log_scale}),
    AffineCoupling: lambda coupling: _coupling("AFFINE", coupling, bound=coupling.LOG_SCALE_BOUND),
    Permutation: lambda permutation: Description("PERMUTE", {}, {"order": permutation.order}),
    PLULinear: _plu,
    SplineCoupling: _spline,
}


def describe(bijection: Bijection) -> Description | None:
    """``bijection`` as the chain knows it, or ``None``. A subclass may compute something else, so it is not known by its parent's name."""
    known = KNOWN.get(type(bijection))
    return None if known is None else known(bijection)
