"""Which coupling a setting's word means."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from flows.bijections.coupling import AffineCoupling, Coupling
from flows.bijections.spline import SplineCoupling


def make_coupling(dim: int, hidden: int, generators: Sequence[torch.Generator], *, swap: bool, transform: str, bins: int) -> Coupling:
    """The coupling that ``transform`` names: ``"affine"`` or ``"spline"``. Raises ``ValueError`` for another word, or for D < 2."""
    if dim < 2:
        raise ValueError(f"a coupling needs at least 2 features, one to keep and one to change; got dim={dim}")
    if transform == "affine":
        return AffineCoupling(dim, hidden, generators, swap=swap)
    if transform == "spline":
        return SplineCoupling(dim, hidden, generators, swap=swap, bins=bins)
    raise ValueError(f"transform={transform!r} is not known; it must be 'affine' or 'spline'")
