"""RealNVP on vectors (Dinh et al. 2017): couplings, and nothing else."""

from typing import ClassVar

from flows.bijections import Bijection
from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.networks.architecture import CouplingModel, coupling


class RealNVP(CouplingModel):
    """Couplings that take turns.

    Even ones change the second half of the features, odd ones the first. There is no batch
    normalisation: on one small table it only ties the points of a batch together.
    """

    label: ClassVar[str] = "RealNVP"
    color: ClassVar[str] = "#0072B2"

    def chain(self, event_shape: Shape, generators: Generators) -> list[Bijection]:
        (dim,) = event_shape
        return [coupling(self, dim, generators, swap=k % 2 == 1) for k in range(self.couplings)]
