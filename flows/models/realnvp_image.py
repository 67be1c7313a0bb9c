"""RealNVP on images (Dinh et al. 2017)."""

from typing import ClassVar

from flows.bijections import Bijection, Permutation
from flows.bijections.coupling import Conditioner
from flows.core.seeds import Generators
from flows.networks.architecture import ImageModel, coupling


class RealNVPImage(ImageModel):
    """Couplings that take turns at every scale.

    The first half of them changes one colour of a checkerboard and the other in turn, the second
    half the left and the right columns of all blocks. What leaves a scale leaves as it is. There is
    no batch normalisation, as in ``RealNVP``.
    """

    label: ClassVar[str] = "RealNVP (images)"
    color: ClassVar[str] = "#332288"
    prior: ClassVar[bool] = False

    def layers(
        self, channels: int, steps: int, generators: Generators, conditioner: Conditioner
    ) -> list[Bijection]:
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
