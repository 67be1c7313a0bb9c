"""The network inside the couplings of images: one small convolutional network per member, all evaluated together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class Dropout(nn.Module):
    """Switches hidden channels off at random, whole: ``h m / (1 - rate)``, where m is 0 with the probability ``rate``, else 1.

    One for all networks of a flow. It does nothing but while ``generators``, one a member, are set, which only training does.
    Sources: Srivastava et al. 2014; Tompson et al. 2015, section 3.2, who switch off whole channels.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.generators: Sequence[torch.Generator] = ()

    def forward(self, h: Tensor) -> Tensor:
        if not self.generators or self.rate == 0:
            return h
        shape = (h.shape[1], 1, 1, h.shape[-1])
        keep = torch.stack([torch.empty(shape, dtype=h.dtype, device=h.device).bernoulli_(1 - self.rate, generator=g) for g in self.generators])
        return h * keep.div_(1 - self.rate)


class Convolution(nn.Module):
    """M independent networks of three convolutions, inputs -> hidden -> hidden -> outputs, with ReLU and dropout between::

        h_1 = d(relu(K_1 * x + b_1))     h_2 = d(relu(K_2 h_1 + b_2))     y = K_3 * h_2 + b_3

    K_1 and K_3 are 3 x 3, K_2 is 1 x 1, and zeros stand around the image. The last layer starts at 0, so that it gives 0.
    Shapes: ``(M, inputs, H, W, N)`` to ``(M, outputs, H, W, N)``. Source: Kingma and Dhariwal 2018 (Glow), appendix B.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, generators: Sequence[np.random.Generator], *, dropout: Dropout) -> None:
        super().__init__()
        self.dropout = dropout
        self.kernels, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out, side in ((inputs, hidden, 3), (hidden, hidden, 1), (hidden, outputs, 3)):
            reach = 0.0 if fan_out is outputs else 1 / math.sqrt(fan_in * side**2)
            drawn = np.stack([g.uniform(-reach, reach, (fan_out, fan_in * side**2 + 1)) for g in generators])
            rows = torch.from_numpy(drawn).to(torch.get_default_dtype())
            self.kernels.append(rows[:, :, 1:].unflatten(2, (fan_in, side, side)).contiguous())
            self.biases.append(rows[:, :, 0].contiguous())

    def forward(self, x: Tensor) -> Tensor:
        (first, middle, last), (first_bias, middle_bias, last_bias) = self.kernels, self.biases
        h = self.dropout(convolve(x, first, first_bias).relu_())
        h = torch.baddbmm(middle_bias[:, :, None], middle.flatten(2), h.flatten(2)).relu_().view_as(h)
        return convolve(self.dropout(h), last, last_bias)


def convolve(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Convolutions of ``x`` ``(M, C, H, W, N)`` with ``kernel`` ``(M, outputs, C, 3, 3)``: a group a member, and all points in one picture.

    Points come last, so the pixel to the right is N numbers further: a dilation.
    """
    members, channels, height, width, points = x.shape
    picture = x.reshape(1, members * channels, height, width * points)
    out = conv2d(picture, kernel.flatten(0, 1), bias.flatten(), padding=(1, points), dilation=(1, points), groups=members)
    return out.view(members, -1, height, width, points)
