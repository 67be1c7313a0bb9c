"""The bijections that have a compiled version, and how they are described to C.

The bijections do not depend on this file.
"""

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor

from flows.bijections import (
    ActNorm,
    AffineCoupling,
    Bijection,
    Coupling,
    LinearShift,
    Permutation,
    PLULinear,
    SplineCoupling,
)
from flows.conditioners.perceptron import Perceptron
from flows.kernels.interface import KINDS

# The fields of a `Layer` of chain.h: its kind, its parameters in order and its buffers, which are
# (M, ...), and its numbers
Fields = dict[str, Tensor | float]


def _coupling(coupling: Coupling, **numbers: float) -> Fields | None:
    if type(coupling.conditioner) is not Perceptron:
        return None
    kept, hidden, _, outputs = coupling.conditioner.sizes
    sizes = {"kept": kept, "hidden": hidden, "outputs": outputs}
    return {"theta": coupling.conditioner.theta, **sizes, **_places(coupling), **numbers}


def _places(coupling: Coupling) -> Fields:
    return {"kept_at": coupling.kept[0], "changed_at": coupling.changed[0]}


def _shift(shift: LinearShift) -> Fields:
    theta = cast(Tensor, shift.conditioner.theta)
    _, outputs, kept = theta.shape
    return {"theta": theta, "kept": kept, "outputs": outputs, **_places(shift)}


def _spline(coupling: SplineCoupling) -> Fields | None:
    limits = {
        "least_bin": coupling.MIN_BIN,
        "least_slope": coupling.MIN_SLOPE,
        "slope_shift": coupling.SLOPE_SHIFT,
    }
    return _coupling(coupling, bound=coupling.BOUND, bins=coupling.bins, **limits)


def _affine(coupling: AffineCoupling) -> Fields | None:
    return _coupling(coupling, bound=coupling.LOG_SCALE_BOUND)


def _attributes(*names: str) -> Callable[[Bijection], Fields]:
    return lambda bijection: {name: getattr(bijection, name) for name in names}


KNOWN: dict[type[Bijection], tuple[str, Callable[[Any], Fields | None]]] = {
    ActNorm: ("ACTNORM", _attributes("shift", "log_scale")),
    AffineCoupling: ("AFFINE", _affine),
    LinearShift: ("SHIFT", _shift),
    Permutation: ("PERMUTE", _attributes("order")),
    PLULinear: ("PLU", _attributes("lower", "upper", "log_diagonal", "permutation", "sign")),
    SplineCoupling: ("SPLINE", _spline),
}


def describe(bijection: Bijection) -> Fields | None:
    """Return the fields of the ``Layer`` of ``bijection``, or ``None`` if C does not compute it.

    A subclass may compute something else, so it is not treated like its parent.
    """
    kind, fields_of = KNOWN.get(type(bijection), ("", lambda _: None))
    fields = fields_of(bijection)
    return None if fields is None else {"kind": KINDS.index(kind), **fields}
