"""Squeeze: blocks of 2 x 2 pixels become channels, which couplings can split."""

import torch
from torch import Tensor

from flows.bijections.chain import Chain
from flows.core.arrays import Shape

# Row and column in a block: both pixels of one colour of a checkerboard, then both of the other
CORNERS = ((0, 0), (1, 1), (0, 1), (1, 0))


class Squeeze(Chain):
    """A chain ``f`` on ``(4 C, H / 2, W / 2)``, applied to images ``(C, H, W)``.

    The squeeze ``s`` turns the four pixels of a 2 x 2 block into channels of one pixel::

        s(x)[k C + c, i, j] = x[c, 2 i + row_k, 2 j + column_k],    k = 0, 1, 2, 3
        (row_k, column_k) = (0, 0), (1, 1), (0, 1), (1, 0)

        forward:  z = s^-1(f(s(x)))          log_det = log |det df|
        inverse:  x = s^-1(f^-1(s(z)))       log_det = log |det df^-1|

    The diagonal comes first, so the first half of the channels is one colour of a checkerboard: a
    coupling inside has a checkerboard mask, and its network sees only the kept pixels. The noise of
    a pixel is at the place of the pixel. Raises ``ValueError`` for an odd height or width. Source:
    Dinh et al. 2017 (RealNVP), section 3.6 and figure 3, who squeeze in another order and mask at
    full size.
    """

    def enter(self, x: Tensor) -> Tensor:
        squeezed(x.shape[1:-1])
        return torch.cat([x[:, :, row::2, column::2] for row, column in CORNERS], dim=1)

    def leave(self, x: Tensor, z: Tensor) -> Tensor:
        out = torch.empty_like(x)
        for (row, column), part in zip(CORNERS, z.chunk(4, dim=1), strict=True):
            out[:, :, row::2, column::2] = part
        return out


def squeezed(event_shape: Shape) -> tuple[int, int, int]:
    """Return the shape of squeezed images ``(C, H, W)``.

    Raises ``ValueError`` if blocks of 2 x 2 pixels do not cover the images.
    """
    if len(event_shape) != 3 or min(event_shape) < 1 or event_shape[1] % 2 or event_shape[2] % 2:
        raise ValueError(
            "blocks of 2 x 2 pixels need images (C, H, W) of even height and width at every "
            f"scale; got {tuple(event_shape)}"
        )
    channels, height, width = event_shape
    return 4 * channels, height // 2, width // 2
