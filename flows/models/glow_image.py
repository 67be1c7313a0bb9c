"""Glow on images (Kingma and Dhariwal 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from flows.core.seeds import Generators
from flows.networks.architecture import ImageArchitecture, coupling

if TYPE_CHECKING:
    from flows.bijections import Bijection
    from flows.bijections.coupling import Conditioner


class GlowImage(ImageArchitecture):
    """Steps of ActNorm, a mixing of the channels and a coupling, at every scale.

    The published model has affine couplings, and its mixing is learned.

    Args:
        levels: number of values of a pixel: whole numbers from 0 to levels - 1; at least 2.
        steps: couplings at each scale, from fine to coarse; one number gives a flow of one scale.
        hidden: channels of both hidden layers of the network of each coupling.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline, 2 to 100; ignored by an affine coupling.
        dropout: share of a network's hidden channels that are switched off at a visit in training.
        input_dropout: share of a network's inputs that are hidden from it at a visit in training.
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
        from flows.bijections import ActNorm, Permutation, PLULinear

        mixing = PLULinear if self.mixing == "learned" else Permutation
        bijections: list[Bijection] = []
        for _ in range(steps):
            bijections.append(ActNorm(channels, len(generators)))
            bijections.append(mixing(channels, generators))
            bijections.append(coupling(self, channels, generators, conditioner=conditioner))
        return bijections
