"""Glow on images (Kingma and Dhariwal 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from flows.core.seeds import Generators
from flows.networks.architecture import ImageArchitecture, coupling

if TYPE_CHECKING:
    from flows.bijections import Bijection
    from flows.bijections.coupling import Conditioner


class GlowImage(ImageArchitecture):
    """Glow (Kingma and Dhariwal 2018) on images of whole-number pixels, at several scales.

    Each scale has steps of ActNorm, a mixing of the channels and a coupling. The published model
    has affine couplings and a learned mixing.

    Args:
        levels: number of values of a pixel: whole numbers from 0 to levels - 1; at least 2.
        steps: couplings at each scale, from fine to coarse; ``(12,)`` gives a flow of one scale.
        hidden: channels of both hidden layers of the network of each coupling.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline, 2 to 100; ignored by an affine coupling.
        dropout: share of the hidden channels that are set to 0 at each visit in training.
        input_dropout: share of the inputs of a network that are set to 0 at each visit in training.
        mixing: ``"learned"``, an invertible 1x1 convolution; or ``"permutation"``, a random order
            of the channels that is not trained.

    Examples:
        >>> import flows
        >>> population = flows.build(flows.GlowImage(levels=4, steps=(2, 1), hidden=4), (1, 4, 4))
        >>> population.sample((5,)).shape  # 5 images from one member
        torch.Size([5, 1, 1, 4, 4])
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
