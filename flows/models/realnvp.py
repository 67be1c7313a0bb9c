"""RealNVP on vectors (Dinh et al. 2017): alternating couplings."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.networks.architecture import CouplingArchitecture, coupling, with_permutations

if TYPE_CHECKING:
    from flows.bijections import Bijection


class RealNVP(CouplingArchitecture):
    """RealNVP (Dinh et al. 2017) on vectors: alternating couplings.

    Even couplings, counted from 0, change the second half of the features, and odd couplings the
    first half. There is no batch normalisation: on a small table, it would only make the points of
    a batch depend on each other. The points must be vectors of at least 2 features.

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
    takes_context: ClassVar[bool] = True

    def chain(self, event_shape: Shape, generators: Generators) -> list[Bijection]:
        (dim,) = event_shape
        return [coupling(self, dim, generators, swap=k % 2 == 1) for k in range(self.couplings)]

    def conditional_chain(
        self, event_shape: Shape, context: int, generators: Generators
    ) -> list[Bijection]:
        (dim,) = event_shape
        couplings = [
            coupling(self, context + dim, generators, kept=context + dim // 2)
            for _ in range(self.couplings)
        ]
        return with_permutations(couplings, dim, context, generators)
