"""A fixed map that makes every pixel's marginal distribution uniform: for ``networks.vector``."""

from __future__ import annotations

import torch
from torch import Tensor

from flows.bijections import Bijection


class PixelMap(Bijection):
    """A map of every pixel by the distribution function F of its levels, linear within each.

    B is the bound of the box, L the number of levels, n the number of training images::

        forward:  z = B (2 F(x) - 1)            log_det = sum_d log(L p_d)
        inverse:  x = F^-1((z / B + 1) / 2)     log_det = minus that
                  p = (count + 1/2) / (n + L/2)

    p_d is the probability of the level that pixel d is in: its count in training plus half an image
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
        """Return evenly spaced knots, those of the grey levels, of the type of ``like``."""
        count, bound = self.knots.shape[-1], self.bound
        even = torch.linspace(-bound, bound, count, dtype=like.dtype, device=like.device)
        return even.expand_as(self.knots)

    def _interpolate(self, value: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate linearly the map that takes the knots ``before`` to those ``after``."""
        before, after = before.to(value.dtype).contiguous(), after.to(value.dtype).contiguous()
        low = torch.searchsorted(before[..., 1:-1].contiguous(), value.contiguous(), right=True)
        x_low, x_high = before.gather(-1, low), before.gather(-1, low + 1)
        y_low, y_high = after.gather(-1, low), after.gather(-1, low + 1)
        slope = (y_high - y_low) / (x_high - x_low)
        return y_low + slope * (value - x_low), slope.log().flatten(1, -2).sum(1)
