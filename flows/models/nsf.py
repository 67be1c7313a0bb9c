"""The neural spline flow (Durkan et al. 2019): few couplings, each a spline of many bins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.core.settings import Count
from flows.networks.architecture import FlowArchitecture, features, with_permutations

if TYPE_CHECKING:
    from flows.bijections import Bijection


class NSF(FlowArchitecture):
    """The neural spline flow (Durkan et al. 2019): spline couplings with permutations between them.

    Even couplings, counted from 0, change the second half of the features, and odd couplings the
    first half. Two features are not permuted, because the couplings already alternate between them.
    The points must be vectors.

    Args:
        couplings: number of couplings, at least 2.
        hidden: width of both hidden layers of the network of each coupling.
        bins: bins of a spline, 2 to 100.

    Examples:
        >>> import flows
        >>> flows.build(flows.NSF(couplings=4), (2,), members=5).members
        5
    """

    label: ClassVar[str] = "NSF"
    color: ClassVar[str] = "#882255"
    takes_context: ClassVar[bool] = True

    couplings: Annotated[int, Field(ge=2)] = 8
    hidden: Count = 32
    bins: Annotated[int, Field(ge=2, le=100)] = 8

    def chain(self, event_shape: Shape, generators: Generators) -> list[Bijection]:
        from flows.bijections import Permutation, SplineCoupling

        dim = features("NSF", event_shape)
        bijections: list[Bijection] = []
        for k in range(self.couplings):
            if k and dim > 2:
                bijections.append(Permutation(dim, generators))
            bijections.append(
                SplineCoupling(dim, self.hidden, generators, swap=k % 2 == 1, bins=self.bins)
            )
        return bijections

    def conditional_chain(
        self, event_shape: Shape, context: int, generators: Generators
    ) -> list[Bijection]:
        from flows.bijections import SplineCoupling

        dim = features("NSF", event_shape)
        couplings = [
            SplineCoupling(
                context + dim, self.hidden, generators, kept=context + dim // 2, bins=self.bins
            )
            for _ in range(self.couplings)
        ]
        return with_permutations(couplings, dim, context, generators)
