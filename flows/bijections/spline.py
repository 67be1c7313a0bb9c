"""The spline coupling: an element-wise map of many bins, with an inverse in closed form."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, softmax, softplus

from flows.bijections.coupling import Coupling
from flows.core.seeds import Generators


class SplineCoupling(Coupling):
    """A coupling whose element-wise map g is a monotone rational-quadratic spline.

    The spline is on [-B, B], and g is the identity outside. With knots ``(x_k, y_k)`` and slopes
    ``d_k`` there, bin widths ``w``, heights ``h``, mean slope ``s = h / w`` and ``u = (x - x_k) /
    w`` in the bin that holds x::

        forward:  z = y_k + h (s u^2 + d_k u (1 - u)) / q
                  log_det = sum_d log[ s^2 (d_{k+1} u^2 + 2 s u (1 - u) + d_k (1 - u)^2) / q^2 ]
                  q = s + (d_{k+1} + d_k - 2 s) u (1 - u)

        inverse:  u is the root in [0, 1] of a u^2 + b u + c = 0,  x = x_k + u w,  with v = z - y_k,
                  a = h (s - d_k) + v (d_{k+1} + d_k - 2 s)
                  b = h d_k - v (d_{k+1} + d_k - 2 s)
                  c = -s v
                  log_det = minus the log_det of forward at x

    Slopes are 1 at both ends, so g is continuously differentiable. Widths, heights and slopes are
    bounded from below, which keeps the log-determinant finite. Source: Durkan et al. 2019,
    equations 4 to 8, and appendix A.1 for the stable root. ``bins`` is the number of bins K; the
    other arguments are the arguments of ``Coupling``, without ``per_feature``.

    Examples:
        >>> import torch
        >>> from flows.bijections import SplineCoupling
        >>> from flows.core.seeds import numpy_generators
        >>> generators = numpy_generators(0, "initialize", range(1))
        >>> coupling = SplineCoupling(dim=2, hidden=8, generators=generators, bins=4)
        >>> x = torch.linspace(-6, 6, 10).view(1, 2, 5)
        >>> torch.allclose(coupling.inverse(coupling(x)[0])[0], x, atol=1e-4)
        True
    """

    BOUND = 5.0
    MIN_BIN = 0.001
    MIN_SLOPE = 0.001
    # Gives slope 1 for a raw slope of 0; log(expm1) is the inverse of softplus
    SLOPE_SHIFT = math.log(math.expm1(1 - MIN_SLOPE))

    def __init__(
        self, dim: int, hidden: int, generators: Generators, *, bins: int, **others: Any
    ) -> None:
        super().__init__(dim, 3 * bins - 1, hidden, generators, **others)
        self.bins = bins

    def _knots(self, raw: Tensor) -> Tensor:
        """Return knots ``(M, d, K + 1, N)`` from -B to B for raw bin sizes ``(M, d, K, N)``.

        d is the number of changed features.
        """
        size = self.MIN_BIN + (1 - self.MIN_BIN * self.bins) * softmax(raw, dim=2)
        inner = 2 * self.BOUND * size.cumsum(2)[:, :, :-1] - self.BOUND
        left = torch.full_like(size[:, :, :1], -self.BOUND)
        return torch.cat([left, inner, -left], dim=2)

    def slopes(self, raw: Tensor) -> Tensor:
        """Return slopes ``(M, d, K + 1, N)`` for raw inner slopes ``(M, d, K - 1, N)``."""
        inner = self.MIN_SLOPE + softplus(raw + self.SLOPE_SHIFT)
        return pad(inner, (0, 0, 1, 1), value=1.0)

    def _bins(self, value: Tensor, parameters: Tensor, *, by_height: bool) -> tuple[Tensor, ...]:
        """Return x_k, y_k, w, h, d_k and d_{k+1} of the bin that holds ``value``.

        All are ``(M, d, N)``. ``value`` is an x or, with ``by_height``, a z.
        """
        members, changed, points = value.shape
        raw = parameters.view(members, changed, self.per_feature, points)
        raw_widths, raw_heights, raw_slopes = raw.tensor_split([self.bins, 2 * self.bins], dim=2)
        x = self._knots(raw_widths)
        y = self._knots(raw_heights)
        slopes = self.slopes(raw_slopes)
        edges = y if by_height else x
        index = (value.unsqueeze(2) >= edges[:, :, 1:-1]).sum(2, keepdim=True)
        return bins_at(index, x, y, slopes)

    def element_forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.abs() < self.BOUND
        # A harmless value, so that no NaN reaches the gradient from the unused branch
        x_inside = torch.where(inside, x, 0.0)
        x_k, y_k, *bin_ = self._bins(x_inside, parameters, by_height=False)
        z, log_derivative = rational_quadratic((x_inside - x_k) / bin_[0], *bin_)
        return torch.where(inside, y_k + z, x), torch.where(inside, log_derivative, 0.0)

    def element_inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        inside = z.abs() < self.BOUND
        z_inside = torch.where(inside, z, 0.0)
        x_k, y_k, *bin_ = self._bins(z_inside, parameters, by_height=True)
        u = rational_quadratic_root(z_inside - y_k, *bin_)
        _, log_derivative = rational_quadratic(u, *bin_)
        return torch.where(inside, x_k + u * bin_[0], z), torch.where(inside, -log_derivative, 0.0)


def bins_at(index: Tensor, x: Tensor, y: Tensor, slopes: Tensor) -> tuple[Tensor, ...]:
    """Return x_k, y_k, w, h, d_k and d_{k+1} of the bins k = ``index``, each ``(M, d, N)``.

    ``index`` is ``(M, d, 1, N)``; the knots and the slopes there are ``(M, d, K + 1, N)``.
    """
    x_low, x_high, y_low, y_high, low, high = (
        t.gather(2, i).squeeze(2) for t in (x, y, slopes) for i in (index, index + 1)
    )
    return x_low, y_low, x_high - x_low, y_high - y_low, low, high


def rational_quadratic(
    u: Tensor, width: Tensor, height: Tensor, slope_low: Tensor, slope_high: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the height of z above the lower corner of its bin, and log dz/dx.

    ``u`` is the position in the bin, from 0 to 1. All shapes are ``(M, d, N)``.
    """
    mean_slope = height / width
    v = u * (1 - u)
    q = mean_slope + (slope_low + slope_high - 2 * mean_slope) * v
    z = height * (mean_slope * u.square() + slope_low * v) / q
    numerator = slope_high * u.square() + 2 * mean_slope * v + slope_low * (1 - u).square()
    return z, 2 * mean_slope.log() + numerator.log() - 2 * q.log()


def rational_quadratic_root(
    v: Tensor, width: Tensor, height: Tensor, slope_low: Tensor, slope_high: Tensor
) -> Tensor:
    """Return the position ``u`` at which z is ``v`` above the lower corner of its bin.

    This is the inverse of ``rational_quadratic``. All shapes are ``(M, d, N)``.
    """
    mean_slope = height / width
    curvature = slope_low + slope_high - 2 * mean_slope
    a = height * (mean_slope - slope_low) + v * curvature
    b = height * slope_low - v * curvature
    c = -mean_slope * v
    return 2 * c / (-b - (b.square() - 4 * a * c).clamp_min(0).sqrt())
