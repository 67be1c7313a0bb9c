"""Glow in vector form (Kingma and Dhariwal 2018)."""

from typing import ClassVar

from flows.bijections import ActNorm, Bijection, PLULinear
from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.networks.architecture import CouplingModel, coupling


class Glow(CouplingModel):
    """Steps of ActNorm, a learned linear mixing and a coupling.

    No coupling swaps the halves, as the mixing exchanges features already. Vectors have no scales
    to split off, so only ActNorm and the mixing distinguish this model from ``RealNVP``.
    """

    label: ClassVar[str] = "Glow"
    color: ClassVar[str] = "#D55E00"

    def chain(self, event_shape: Shape, generators: Generators) -> list[Bijection]:
        (dim,) = event_shape
        bijections: list[Bijection] = []
        for _ in range(self.couplings):
            bijections.append(ActNorm(dim, len(generators)))
            bijections.append(PLULinear(dim, generators))
            bijections.append(coupling(self, dim, generators))
        return bijections
