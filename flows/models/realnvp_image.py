"""RealNVP on images (Dinh et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flows.core.seeds import Generators
from flows.networks.architecture import ImageArchitecture, coupling

if TYPE_CHECKING:
    from flows.bijections import Bijection
    from flows.bijections.coupling import Conditioner


class RealNVPImage(ImageArchitecture):
    """RealNVP (Dinh et al. 2017) on images of whole-number pixels, at several scales.

    At each scale, the first half of the couplings alternates between the two colours of a
    checkerboard, the second half between the left and the right columns of all 2 x 2 blocks.
    Factored-out channels are not transformed further. Like ``RealNVP``, this flow has no batch
    normalisation.

    Args:
        levels: number of values of a pixel: whole numbers from 0 to levels - 1; at least 2.
        steps: couplings at each scale, from fine to coarse; ``(12,)`` gives a flow of one scale.
        hidden: channels of both hidden layers of the network of each coupling.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline, 2 to 100; ignored by an affine coupling.
        dropout: share of the hidden channels that are set to 0 at each visit in training.
        input_dropout: share of the inputs of a network that are set to 0 at each visit in training.

    Examples:
        >>> import flows
        >>> small = flows.RealNVPImage(levels=4, steps=(2, 1), hidden=4)
        >>> population = flows.build(small, (1, 4, 4))
        >>> population.sample((5,)).shape  # 5 images from one member
        torch.Size([5, 1, 1, 4, 4])
    """

    label: ClassVar[str] = "RealNVP (images)"
    color: ClassVar[str] = "#332288"
    prior: ClassVar[bool] = False

    def layers(
        self, channels: int, steps: int, generators: Generators, conditioner: Conditioner
    ) -> list[Bijection]:
        from flows.bijections import Permutation

        couplings: list[Bijection] = [
            coupling(self, channels, generators, conditioner=conditioner, swap=k % 2 == 1)
            for k in range(steps)
        ]
        # A squeeze orders the pixels of a block: top left, bottom right, top right, bottom left.
        # This permutation orders them by column: bottom left, top left, bottom right, top right.
        quarter = channels // 4
        columns = [(c - quarter) % channels for c in range(channels)]
        middle = (steps + 1) // 2
        turn = Permutation(channels, generators, columns)
        return [*couplings[:middle], turn, *couplings[middle:]]
