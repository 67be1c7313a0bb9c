"""A flow that does not use the arrangement of pixels, with a density that may jump at their ends.

To allow jumps at black and white, the flow is on a box [-B, B]: a fixed map takes every pixel into
the box, splines over all pixels map the box to itself, and the base distribution is uniform on it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from flows.bijections import Bijection, Coupling, Permutation, SplineCoupling
from flows.conditioners import Convolution, Dropout
from flows.core.seeds import Generators, numpy_generators
from flows.networks.base_distribution import Base
from flows.networks.image_flow import ImageFlow
from studies.digits.digits import LEVELS, PIXELS


class PixelMap(Bijection):
    """A map of every pixel by the distribution function F of its levels, linear within a level.

    B is the bound of the box, L the number of levels, n the number of training images::

        forward:  z = B (2 F(x) - 1)            log_det = sum_d log(L p_d)
        inverse:  x = F^-1((z / B + 1) / 2)     log_det = -sum_d log(L p_d)
                  p = (count + 1/2) / (n + L/2)

    p_d is the probability p of the level of pixel d, from its count in training plus half an image
    (Krichevsky and Trofimov 1981). The map is the identity until ``initialize``.
    Shapes: ``(M, *event, N)``.
    """

    knots: Tensor

    def __init__(
        self, members: int, event_shape: tuple[int, ...], levels: int, bound: float
    ) -> None:
        super().__init__()
        self.bound = bound
        even = torch.linspace(-bound, bound, levels + 1)
        self.register_buffer("knots", even.repeat(members, *event_shape, 1))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        levels = self.knots.shape[-1] - 1
        level = ((x / self.bound + 1) * levels / 2).floor().clamp(0, levels - 1)
        counts = torch.stack([(level == k).sum(-1) for k in range(levels)], dim=-1) + 0.5
        share = (counts / counts.sum(-1, keepdim=True)).cumsum(-1)
        self.knots[..., 1:] = self.bound * (2 * share / share[..., -1:] - 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._interpolate(x, self._even(x), self.knots)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._interpolate(z, self.knots, self._even(z))

    def _even(self, like: Tensor) -> Tensor:
        """Return the evenly spaced knots of the grey levels, with the dtype of ``like``."""
        count, bound = self.knots.shape[-1], self.bound
        even = torch.linspace(-bound, bound, count, dtype=like.dtype, device=like.device)
        return even.expand_as(self.knots)

    def _interpolate(self, value: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the piecewise linear map from the knots ``before`` to the knots ``after``."""
        before, after = before.to(value.dtype).contiguous(), after.to(value.dtype).contiguous()
        low = torch.searchsorted(before[..., 1:-1].contiguous(), value.contiguous(), right=True)
        x_low, x_high = before.gather(-1, low), before.gather(-1, low + 1)
        y_low, y_high = after.gather(-1, low), after.gather(-1, low + 1)
        slope = (y_high - y_low) / (x_high - x_low)
        return y_low + slope * (value - x_low), slope.log().flatten(1, -2).sum(1)


class BoxSplineCoupling(SplineCoupling):
    """A spline coupling that also learns the slopes at the ends of the box.

    Outside the box it is the identity, so it has a kink at the ends.
    """

    def __init__(
        self, dim: int, hidden: int, generators: Generators, *, bins: int, **others: Any
    ) -> None:
        # SplineCoupling.__init__ has two slopes fewer
        Coupling.__init__(self, dim, 3 * bins + 1, hidden, generators, **others)
        self.bins = bins

    def slopes(self, raw: Tensor) -> Tensor:
        return self.MIN_SLOPE + softplus(raw + self.SLOPE_SHIFT)


class Uniform(Base):
    """The uniform distribution on the box: ``log p(z) = -D log 2 B``, and minus infinity outside.

    A point that rounding moves outside by at most ``EDGE`` counts as inside.
    """

    EDGE = 1e-4

    def __init__(self, members: int, event_shape: tuple[int, ...], bound: float) -> None:
        super().__init__(members, event_shape)
        self.bound = bound

    def log_prob(self, z: Tensor) -> Tensor:
        z = z.flatten(1, -2)
        log_p = z.new_full((len(z), z.shape[-1]), -z.shape[1] * math.log(2 * self.bound))
        return log_p.masked_fill(z.abs().amax(1) > self.bound + self.EDGE, -math.inf)

    def sample(self, n: int, generator: np.random.Generator, dtype: torch.dtype) -> Tensor:
        shape = (n, self.members, *self.event_shape)
        z = torch.from_numpy(generator.uniform(-self.bound, self.bound, shape))
        return z.to(dtype).movedim(0, -1).contiguous()


class Pointwise(Convolution):
    """A convolution of width 1: on images of one pixel, a perceptron with dropout."""

    SIDE = 1


def vector(
    shape: tuple[int, ...], settings: dict[str, Any], *, members: range, seed: int
) -> ImageFlow:
    """Return a flow that does not use the arrangement of pixels.

    It has a fixed map per pixel, spline couplings over all pixels in random order, and uniform
    noise on the box.
    """
    generators = numpy_generators(seed, "initialize", members)
    dropout, bound = Dropout(settings["dropout"], 0.0), BoxSplineCoupling.BOUND
    conditioner = partial(Pointwise, pixels=(1, 1), dropout=dropout)
    options: dict[str, Any] = {"swap": False, "conditioner": conditioner, "bins": 8}
    chain: list[Bijection] = [PixelMap(len(members), shape, LEVELS, bound)]
    for _ in range(settings["couplings"]):
        chain.append(Permutation(PIXELS, generators))
        chain.append(BoxSplineCoupling(PIXELS, settings["hidden"], generators, **options))
    base = Uniform(len(members), shape, bound)
    description = {"members": [members.start, members.stop]}
    return ImageFlow(base, chain, description, levels=LEVELS, bound=bound, dropout=dropout)
