"""Glow in vector form (Kingma and Dhariwal 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.networks.architecture import CouplingArchitecture, coupling

if TYPE_CHECKING:
    from flows.bijections import Bijection


class Glow(CouplingArchitecture):
    """Glow (Kingma and Dhariwal 2018) on vectors: steps of ActNorm, a linear mixing and a coupling.

    The mixing is learned. The couplings do not swap the halves of the features, because the mixing
    already exchanges features. Vectors have no scales to split off, so only ActNorm and the mixing
    distinguish this architecture from ``RealNVP``. The points must be vectors of at least 2
    features.

    Args:
        couplings: number of steps, each with one coupling; at least 2.
        hidden: width of both hidden layers of the network of each coupling.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline, 2 to 100; ignored by an affine coupling.

    Examples:
        >>> import flows
        >>> flows.build(flows.Glow(couplings=4), (3,), members=5).members
        5
    """

    label: ClassVar[str] = "Glow"
    color: ClassVar[str] = "#D55E00"

    def chain(self, event_shape: Shape, generators: Generators) -> list[Bijection]:
        from flows.bijections import ActNorm, PLULinear

        (dim,) = event_shape
        bijections: list[Bijection] = []
        for _ in range(self.couplings):
            bijections.append(ActNorm(dim, len(generators)))
            bijections.append(PLULinear(dim, generators))
            bijections.append(coupling(self, dim, generators))
        return bijections
