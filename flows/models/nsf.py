"""The neural spline flow (Durkan et al. 2019): few couplings, each with many bends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from flows.core.settings import Count
from flows.networks.architecture import FlowModel

if TYPE_CHECKING:
    import numpy as np

    from flows.bijections import Bijection


class NSF(FlowModel):
    """Spline couplings that take turns.

    An even one transforms the second half of the features, an odd one the first.

    Where there are more than two, they are shuffled between couplings, so that no two always stand
    in the same half.

    Args:
        couplings: how many.
        hidden: width of both hidden layers of every coupling's network.
        bins: pieces of a spline.
    """

    label: ClassVar[str] = "NSF"
    color: ClassVar[str] = "#882255"

    couplings: Annotated[int, Field(ge=2)] = 8
    hidden: Count = 32
    bins: Annotated[int, Field(ge=2, le=100)] = 8

    def chain(
        self, event_shape: tuple[int, ...], generators: Sequence[np.random.Generator]
    ) -> list[Bijection]:
        from flows.bijections import Permutation, SplineCoupling

        (dim,) = event_shape
        bijections: list[Bijection] = []
        for k in range(self.couplings):
            if k and dim > 2:
                bijections.append(Permutation(dim, generators))
            bijections.append(
                SplineCoupling(dim, self.hidden, generators, swap=k % 2 == 1, bins=self.bins)
            )
        return bijections
