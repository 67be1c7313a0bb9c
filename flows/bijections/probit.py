"""The probit: a map from a box onto all of R^D that turns uniform noise into normal noise."""

import math

import torch
from torch import Tensor

from flows.bijections.bijection import Bijection


class Probit(Bijection):
    """A fixed map of every coordinate from the interval [-B, B] onto R::

        forward:  z = Phi^-1((x + B) / (2 B))
                  log_det = sum_d [ z_d^2 / 2 + log(2 pi) / 2 - log(2 B) ]
        inverse:  x = 2 B Phi(z) - B
                  log_det = minus the log_det of forward at x

    B is ``bound``, and Phi is the distribution function of the standard normal. The inverse maps
    all of R into the box, so every density of z has all of its mass inside the box, and a standard
    normal z gives a uniform x. Dinh et al. 2017 (RealNVP), section 4.1, take the logit of a
    narrowed box, which leaves some mass outside. A number that rounding puts on the edge is moved
    inside.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        most = 1 - torch.finfo(x.dtype).eps
        z = math.sqrt(2) * torch.erfinv((x / self.bound).clamp(-most, most))
        return z, self._log_slope(z)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.bound * torch.erf(z / math.sqrt(2)), -self._log_slope(z)

    def _log_slope(self, z: Tensor) -> Tensor:
        log_slope = 0.5 * z.square() + 0.5 * math.log(2 * math.pi) - math.log(2 * self.bound)
        return log_slope.flatten(1, -2).sum(1)
