"""A fixed map per pixel that makes every margin of whole-number pixels uniform: tried before flows over digits."""

from __future__ import annotations

import torch
from flows.bijections import Bijection
from torch import Tensor


class PixelMap(Bijection):
    """Of every pixel the distribution function F of its grey levels, straight within a level; B is the bound of the box, L the number of levels::

        forward:  z = B (2 F(x) - 1)        log_det = sum_d log(L p_d)        p = (count + 1/2) / (n + L/2)
        inverse:  x = F^-1((z / B + 1) / 2) log_det = minus that

    p is how often training has the level that x is in, half an image added to each (Krichevsky and Trofimov 1981). The identity until
    ``initialize``. Shapes: ``(M, *event, N)``.
    """

    knots: Tensor

    def __init__(
        self, members: int, event_shape: tuple[int, ...], levels: int, bound: float
    ) -> None:
        super().__init__()
        self.bound = bound
        self.register_buffer(
            "knots", torch.linspace(-bound, bound, levels + 1).repeat(members, *event_shape, 1)
        )

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        levels = self.knots.shape[-1] - 1
        level = ((x / self.bound + 1) * levels / 2).floor().clamp(0, levels - 1)
        counts = torch.stack([(level == k).sum(-1) for k in range(levels)], dim=-1) + 0.5
        share = (counts / counts.sum(-1, keepdim=True)).cumsum(-1)
        self.knots[..., 1:] = self.bound * (2 * share / share[..., -1:] - 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        line = torch.linspace(
            -self.bound, self.bound, self.knots.shape[-1], dtype=x.dtype, device=x.device
        ).expand_as(self.knots)
        return self._straight(x, line, self.knots)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        line = torch.linspace(
            -self.bound, self.bound, self.knots.shape[-1], dtype=z.dtype, device=z.device
        ).expand_as(self.knots)
        return self._straight(z, self.knots, line)

    def _straight(self, value: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """From the knots ``before`` to those ``after``, straight between two of them."""
        before, after = before.to(value.dtype).contiguous(), after.to(value.dtype).contiguous()
        low = torch.searchsorted(before[..., 1:-1].contiguous(), value.contiguous(), right=True)
        slope = (after.gather(-1, low + 1) - after.gather(-1, low)) / (
            before.gather(-1, low + 1) - before.gather(-1, low)
        )
        return after.gather(-1, low) + slope * (
            value - before.gather(-1, low)
        ), slope.log().flatten(1, -2).sum(1)
