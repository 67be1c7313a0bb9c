"""RealNVP on images (Dinh et al. 2017).

Couplings that take turns, masked as a checkerboard, then channel by channel; at several scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from flows.networks.architecture import ImageModel

if TYPE_CHECKING:
    import numpy as np

    from flows.bijections import Bijection
    from flows.bijections.coupling import Conditioner


class RealNVPImage(ImageModel):
    """Couplings that take turns at every scale.

    Half of them keep and change the two colours of a checkerboard in turn, the others the left and
    the right columns of all blocks. What leaves a scale leaves as it is.

    No batch normalisation, as in ``RealNVP``.
    """

    label: ClassVar[str] = "RealNVP (images)"
    color: ClassVar[str] = "#332288"
    prior: ClassVar[bool] = False

    def layers(
        self,
        channels: int,
        steps: int,
        generators: Sequence[np.random.Generator],
        conditioner: Conditioner,
    ) -> list[Bijection]:
        from flows.bijections import Permutation

        couplings: list[Bijection] = [
            self.coupling(channels, generators, conditioner, swap=k % 2 == 1) for k in range(steps)
        ]
        # The channels of one place in the blocks: first those of the main diagonal, then the others
        quarter = channels // 4
        # Bottom left, top left, bottom right, top right
        columns = [(c - quarter) % channels for c in range(channels)]
        middle = (steps + 1) // 2
        return [
            *couplings[:middle],
            Permutation(channels, generators, columns),
            *couplings[middle:],
        ]
