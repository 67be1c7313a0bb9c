"""A spline coupling and a base distribution on the box [-B, B], for ``networks.vector``.

They suit densities that jump at the edge of the box, as those of pixels do at black and white.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from flows.bijections import Coupling, SplineCoupling
from flows.core.seeds import Generators
from flows.networks.base_distribution import Base


class BoxSplineCoupling(SplineCoupling):
    """A spline coupling whose slopes at the ends of the box are learnt too.

    It has a kink at the edge, beyond which it is the identity.
    """

    def __init__(
        self, dim: int, hidden: int, generators: Generators, *, bins: int, **others: Any
    ) -> None:
        # SplineCoupling.__init__ would count two slopes fewer
        Coupling.__init__(self, dim, 3 * bins + 1, hidden, generators, **others)
        self.bins = bins

    def slopes(self, raw: Tensor) -> Tensor:
        return self.MIN_SLOPE + softplus(raw + self.SLOPE_SHIFT)


class Uniform(Base):
    """The uniform distribution on the box: ``log p(z) = -D log 2 B``, and minus infinity outside.

    A point that rounding puts outside, by at most ``EDGE``, counts as inside.
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
