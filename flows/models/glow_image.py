"""Glow on images (Kingma and Dhariwal 2018)."""

from typing import ClassVar, Literal

from flows.bijections import ActNorm, Bijection, Permutation, PLULinear
from flows.bijections.coupling import Conditioner
from flows.core.seeds import Generators
from flows.networks.architecture import ImageModel, coupling


class GlowImage(ImageModel):
    """Steps of ActNorm, a mixing of the channels and a coupling, at every scale.

    The published model has affine couplings, and its mixing is learned.

    Args:
        mixing: ``"learned"``, an invertible 1x1 convolution; or ``"permutation"``, an order of the
            channels that is drawn once.
    """

    label: ClassVar[str] = "Glow (images)"
    color: ClassVar[str] = "#AA4499"
    prior: ClassVar[bool] = True

    mixing: Literal["learned", "permutation"] = "permutation"

    def layers(
        self, channels: int, steps: int, generators: Generators, conditioner: Conditioner
    ) -> list[Bijection]:
        mixing = PLULinear if self.mixing == "learned" else Permutation
        bijections: list[Bijection] = []
        for _ in range(steps):
            bijections.append(ActNorm(channels, len(generators)))
            bijections.append(mixing(channels, generators))
            bijections.append(coupling(self, channels, generators, conditioner=conditioner))
        return bijections
