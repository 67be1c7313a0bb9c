"""RealNVP on vectors (Dinh et al. 2017): couplings, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.networks.architecture import CouplingArchitecture, coupling

if TYPE_CHECKING:
    from flows.bijections import Bijection


class RealNVP(CouplingArchitecture):
    """Couplings that take turns.

    Even ones change the second half of the features, odd ones the first. There is no batch
    normalisation: on one small table it only ties the points of a batch together.

    Args:
        couplings: number of couplings, at least 2.
        hidden: width of both hidden layers of the network of each coupling.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline, 2 to 100; ignored by an affine coupling.

    Examples:
        >>> import flows
        >>> flows.build(flows.RealNVP(couplings=4, transform="spline"), (2,), members=5).members
        5
    """

    label: ClassVar[str] = "RealNVP"
    color: ClassVar[str] = "#0072B2"

    def chain(self, event_shape: Shape, generators: Generators) -> list[Bijection]:
        (dim,) = event_shape
        return [coupling(self, dim, generators, swap=k % 2 == 1) for k in range(self.couplings)]
