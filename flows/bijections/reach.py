"""A fixed map that keeps far points within the reach of networks in single precision."""

import torch
from torch import Tensor

from flows.bijections.bijection import Bijection

REACH = 1e15  # squares of mapped numbers do not overflow in single precision
LARGEST = 1e300  # larger numbers count as this one, so that no inverse overflows


class Reach(Bijection):
    """The identity up to ``R = 1e15``, and a logarithm beyond, for each feature::

        forward:  z = x                                 if |x| <= R
                      +-R (1 + log(|x| / R))            otherwise
                  log_det = -sum_d log max(1, |x_d| / R)
        inverse:  x = +-R e^(|z| / R - 1)               if |z| > R
                  log_det = sum_d max(0, |z_d| / R - 1)

    Numbers beyond 1e300 are mapped as 1e300, to 657 R, so a network in single precision maps every
    number to a number. A smaller R would change the densities of rows that networks can score.

    Args:
        context: the number of first features whose slopes do not count in the log-determinant.
    """

    def __init__(self, context: int = 0) -> None:
        super().__init__()
        self.context = context

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        largest = min(LARGEST, torch.finfo(x.dtype).max)
        x = x.clamp(-largest, largest)
        log_ratio = (x.abs() / REACH).clamp(min=1.0).log()
        z = torch.where(log_ratio > 0, x.sign() * REACH * (1 + log_ratio), x)
        return z, -self._total(log_ratio)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_ratio = (z.abs() / REACH - 1).clamp(min=0.0)
        x = torch.where(log_ratio > 0, z.sign() * REACH * log_ratio.exp(), z)
        return x, self._total(log_ratio)

    def _total(self, log_ratio: Tensor) -> Tensor:
        return log_ratio[:, self.context :].flatten(1, -2).sum(1)
