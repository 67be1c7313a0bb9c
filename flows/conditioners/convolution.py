"""The network inside couplings of images: a small convolutional network per member."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from flows.core.arrays import Shape
from flows.core.seeds import Generators


class Dropout(nn.Module):
    """Dropout of ``h``: ``h m / (1 - rate)``. m is 0 with probability ``rate``, and otherwise 1.

    ``forward`` drops hidden channels, in all pixels at once, at the rate ``hidden``.
    ``drop_inputs`` drops single values of the image, at the rate ``inputs``. Rates are rounded to
    256ths. All networks of a flow share one ``Dropout``. It is the identity unless ``generators``,
    one per member, are set; only training sets them. Sources: Srivastava et al. 2014; Tompson et
    al. 2015, section 3.2, for whole channels.

    Args:
        hidden: the rate of hidden channels.
        inputs: the rate of inputs.
    """

    def __init__(self, hidden: float, inputs: float) -> None:
        super().__init__()
        self.hidden, self.inputs = hidden, inputs
        self.generators: Generators = ()

    def forward(self, h: Tensor) -> Tensor:
        """Return the activations ``h`` ``(M, C, H, W, N)`` without the dropped channels."""
        return self._drop(h, self.hidden, (h.shape[1], 1, 1, h.shape[-1]))

    def drop_inputs(self, x: Tensor) -> Tensor:
        """Return the image ``x`` ``(M, C, H, W, N)`` without the dropped values."""
        return self._drop(x, self.inputs, x.shape[1:])

    def _drop(self, h: Tensor, rate: float, shape: Shape) -> Tensor:
        off = round(256 * rate)  # random bytes cost a tenth of random floats
        if not self.generators or not off:
            return h
        drawn = np.stack([g.integers(0, 256, shape, dtype=np.uint8) for g in self.generators])
        return h * torch.from_numpy(drawn).to(h.device).ge(off).to(h.dtype).mul_(256 / (256 - off))


class Convolution(nn.Module):
    """M independent convolutional networks, inputs -> hidden -> hidden -> outputs::

        h_1 = d(relu(K * b(x) + p))     h_2 = d(relu(W_2 h_1 + b_2))     y = W_3 h_2 + b_3

    d and b are dropout of channels and of inputs. K is a 5 x 5 convolution with zero padding. The
    other layers act on each pixel alone; the biases p, one per pixel, tell them its position. The
    last layer starts at 0, so that the output is 0. Shapes: ``(M, inputs, H, W, N)`` to
    ``(M, outputs, H, W, N)``. In Kingma and Dhariwal 2018 (Glow), appendix B, the last layer is
    also 3 x 3; on images of few pixels, such a layer costs the most and gains nothing.
    """

    SIDE = 5

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int,
        generators: Generators,
        *,
        pixels: tuple[int, int],
        dropout: Dropout,
    ) -> None:
        super().__init__()
        self.dropout = dropout

        def uniform(fan_in: int, *shape: int) -> nn.Parameter:
            drawn = np.stack([g.uniform(-1, 1, shape) for g in generators]) / math.sqrt(fan_in)
            return nn.Parameter(torch.from_numpy(drawn).to(torch.get_default_dtype()))

        area = self.SIDE**2
        self.kernel = uniform(inputs * area, hidden, inputs, self.SIDE, self.SIDE)
        place = uniform(inputs * area, hidden, 1, 1, 1)
        # Equal at all pixels at first, so that features common to all pixels are learned faster
        self.place = nn.Parameter(place.data.repeat(1, 1, *pixels, 1))
        self.middle = uniform(hidden, hidden, hidden)
        self.middle_bias = uniform(hidden, hidden, 1)
        self.last = nn.Parameter(torch.zeros(len(generators), outputs, hidden))
        self.last_bias = nn.Parameter(torch.zeros(len(generators), outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return y, ``(M, outputs, H, W, N)``, for ``x`` ``(M, inputs, H, W, N)``."""
        h = self.dropout((convolve(self.dropout.drop_inputs(x), self.kernel) + self.place).relu_())
        h = torch.baddbmm(self.middle_bias, self.middle, h.flatten(2)).relu_().view_as(h)
        y = torch.baddbmm(self.last_bias, self.last, self.dropout(h).flatten(2))
        return y.unflatten(2, x.shape[2:])


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Return ``x`` ``(M, C, H, W, N)`` convolved with ``kernel`` ``(M, outputs, C, side, side)``.

    The result is ``(M, outputs, H, W, N)``, with zero padding. It is computed as one convolution
    with one group per member, on a single picture of all points. Points are the last axis, so the
    next pixel to the right is N numbers away, and the dilation is N.
    """
    members, channels, height, width, points = x.shape
    reach = kernel.shape[-1] // 2
    picture = x.reshape(1, members * channels, height, width * points)
    far: Any = {"padding": (reach, reach * points), "dilation": (1, points)}
    out = conv2d(picture, kernel.flatten(0, 1), groups=members, **far)
    return out.view(members, -1, height, width, points)
