"""Glow in vector form (Kingma and Dhariwal 2018).

ActNorm, a learned linear mixing, a coupling; repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from flows.networks.architecture import CouplingModel

if TYPE_CHECKING:
    import numpy as np

    from flows.bijections import Bijection


class Glow(CouplingModel):
    """Steps of ActNorm, PLU linear and coupling.

    The couplings never swap: the learned mixing takes that part.

    In vector form there are no scales to split off, so what sets this apart from ``RealNVP`` is the
    mixing and the ActNorm.
    """

    label: ClassVar[str] = "Glow"
    color: ClassVar[str] = "#D55E00"

    def chain(
        self, event_shape: tuple[int, ...], generators: Sequence[np.random.Generator]
    ) -> list[Bijection]:
        from flows.bijections import ActNorm, PLULinear

        bijections: list[Bijection] = []
        for _ in range(self.couplings):
            bijections += [
                ActNorm(event_shape[0], len(generators)),
                PLULinear(event_shape[0], generators),
            ]
            bijections.append(self.coupling(event_shape, generators))
        return bijections
