"""RealNVP on vectors (Dinh et al. 2017): couplings, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from flows.networks.architecture import CouplingModel

if TYPE_CHECKING:
    import numpy as np

    from flows.bijections import Bijection


class RealNVP(CouplingModel):
    """Couplings that take turns.

    An even one transforms the second half of the features, an odd one the first.

    No batch normalisation: on one small table it only ties the points of a batch together.
    """

    label: ClassVar[str] = "RealNVP"
    color: ClassVar[str] = "#0072B2"

    def chain(
        self, event_shape: tuple[int, ...], generators: Sequence[np.random.Generator]
    ) -> list[Bijection]:
        return [
            self.coupling(event_shape, generators, swap=k % 2 == 1) for k in range(self.couplings)
        ]
