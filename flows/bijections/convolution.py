"""The network inside the couplings of images: one small convolutional network per member, all evaluated together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class Dropout(nn.Module):
    """Switches hidden channels off at random, in all pixels: ``h m / (1 - rate)``, where m is 0 with the probability ``rate`` (in 256ths), else 1.

    One for all networks of a flow. It does nothing but while ``generators``, one a member, are set, which only training does.
    Sources: Srivastava et al. 2014; Tompson et al. 2015, section 3.2, who switch off whole channels.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.off = round(256 * rate)  # of 256: random bytes cost a tenth of random floats
        self.generators: Sequence[np.random.Generator] = ()

    def forward(self, h: Tensor) -> Tensor:
        if not self.generators or not self.off:
            return h
        drawn = np.stack([g.integers(0, 256, (h.shape[1], 1, 1, h.shape[-1]), dtype=np.uint8) for g in self.generators])
        return h * torch.from_numpy(drawn).to(h.device).ge(self.off).to(h.dtype).mul_(256 / (256 - self.off))


class Convolution(nn.Module):
    """M independent networks, inputs -> hidden -> hidden -> outputs, with ReLU and dropout between, of which only the first looks around::

        h_1 = d(relu(K * x + p))     h_2 = d(relu(W_2 h_1 + b_2))     y = W_3 h_2 + b_3

    K is 5 x 5, with zeros around the image. The others work on every pixel alone, so the biases p, one a place, tell all of them where they are.
    The last layer starts at 0, so that it gives 0. Shapes: ``(M, inputs, H, W, N)`` to ``(M, outputs, H, W, N)``.
    Kingma and Dhariwal 2018 (Glow), appendix B, look around in the last layer too: on images of few pixels that costs most and gains nothing.
    """

    SIDE = 5

    def __init__(
        self, inputs: int, outputs: int, hidden: int, generators: Sequence[np.random.Generator], *, pixels: tuple[int, int], dropout: Dropout
    ) -> None:
        super().__init__()
        self.dropout = dropout

        def uniform(fan_in: int, *shape: int) -> nn.Parameter:
            drawn = np.stack([g.uniform(-1, 1, shape) for g in generators]) / math.sqrt(fan_in)
            return nn.Parameter(torch.from_numpy(drawn).to(torch.get_default_dtype()))

        area = self.SIDE**2
        self.kernel, place = uniform(inputs * area, hidden, inputs, self.SIDE, self.SIDE), uniform(inputs * area, hidden, 1, 1, 1)
        self.place = nn.Parameter(place.data.repeat(1, 1, *pixels, 1))  # the same everywhere at first: what is alike in all places is learnt faster
        self.middle, self.middle_bias = uniform(hidden, hidden, hidden), uniform(hidden, hidden, 1)
        self.last, self.last_bias = (nn.Parameter(torch.zeros(len(generators), outputs, columns)) for columns in (hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout((convolve(x, self.kernel) + self.place).relu_())
        h = torch.baddbmm(self.middle_bias, self.middle, h.flatten(2)).relu_().view_as(h)
        return torch.baddbmm(self.last_bias, self.last, self.dropout(h).flatten(2)).unflatten(2, x.shape[2:])


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolutions of ``x`` ``(M, C, H, W, N)`` with ``kernel`` ``(M, outputs, C, side, side)``: a group a member, and all points in one picture.

    Points come last, so the pixel to the right is N numbers further: a dilation.
    """
    members, channels, height, width, points = x.shape
    reach = kernel.shape[-1] // 2
    picture = x.reshape(1, members * channels, height, width * points)
    out = conv2d(picture, kernel.flatten(0, 1), padding=(reach, reach * points), dilation=(1, points), groups=members)
    return out.view(members, -1, height, width, points)
