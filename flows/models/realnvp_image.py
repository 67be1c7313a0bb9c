"""RealNVP on images (Dinh et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flows.core.seeds import Generators
from flows.networks.architecture import ImageArchitecture, coupling

if TYPE_CHECKING:
    from flows.bijections import Bijection
    from flows.bijections.coupling import Conditioner


class RealNVPImage(ImageArchitecture):
    """Couplings that take turns at every scale.

    The first half of them changes one colour of a checkerboard and the other in turn, the second
    half the left and the right columns of all blocks. What leaves a scale leaves as it is. There is
    no batch normalisation, as in ``RealNVP``.

    Args:
        levels: number of values of a pixel: whole numbers from 0 to levels - 1; at least 2.
        steps: couplings at each scale, from fine to coarse; one number gives a flow of one scale.
        hidden: channels of both hidden layers of the network of each coupling.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline, 2 to 100; ignored by an affine coupling.
        dropout: share of a network's hidden channels that are switched off at a visit in training.
        input_dropout: share of a network's inputs that are hidden from it at a visit in training.
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
        # A squeeze puts the diagonal of the blocks first: (top left, bottom right), (top right,
        # bottom left). This makes it bottom left, top left, bottom right, top right: the columns.
        quarter = channels // 4
        columns = [(c - quarter) % channels for c in range(channels)]
        middle = (steps + 1) // 2
        turn = Permutation(channels, generators, columns)
        return [*couplings[:middle], turn, *couplings[middle:]]
