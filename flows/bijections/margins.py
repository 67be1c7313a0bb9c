"""A fixed map that makes the margin of every column normal, so a flow learns only dependence."""

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.bijections.spline import bins_at, rational_quadratic, rational_quadratic_root
from flows.core.arrays import Array, rounded, subsample

COUNTS = (4, 6, 10, 16, 25, 40, 63)  # candidate numbers of kernels per column
FOLDS = 5
TRACE = 0.001  # the weight of the wide distribution
ROWS = 4_000  # largest number of rows on which the number of kernels is chosen
SCORES = np.linspace(-8, 8, 321)  # approximate places of the knots
DIGITS = 7  # of the scores and slopes at knots, so that they are the same on every machine


class Margins(Bijection):
    """A monotone map of every column to the normal scores of a smooth distribution function F.

    The map is a rational-quadratic spline S::

        forward:  z = S(x)          log_det = sum_d log S'(x_d)
        inverse:  x = S^-1(z)       log_det = -sum_d log S'(x_d)

        at the knots              S(x_k) = Phi^-1(F(x_k)),    S'(x_k) = F'(x_k) / phi(S(x_k))
        beyond the outer knots    linear
        F(x) = (1 - e) / m  sum_j T((x - q_j) / b_j) + e T((x - q) / s),    e = 0.001

    ``T`` is the distribution function of Student's t with 4 degrees of freedom, ``q_j`` are m
    quantiles of the column, ``b_j`` the spacing of the quantiles, ``q`` their mean, and ``s`` the
    standard deviation of the column. The last term gives outliers a density above 0. Its variance
    is finite, so the variance of samples is finite too. The number m has the best likelihood in
    cross-validation with five folds. The log-determinant is computed from the spline, not from F,
    so densities are exact even if the spline follows F only roughly.

    ``initialize`` fits the map to each member's own rows, in double precision. Until then it is the
    identity. Sources: normal scores, as in a Gaussian copula (Liu et al. 2009, the nonparanormal);
    the spline, Gregory and Delbourgo 1982.

    Args:
        dim: the number of columns D.
        members: the number of members M.
        context: the number of first columns whose slopes do not count in the log-determinant.
        kept: the number of first columns that do not change, at most ``context``.
    """

    knots: Tensor

    def __init__(self, dim: int, members: int, context: int = 0, kept: int = 0) -> None:
        super().__init__()
        self.context, self.kept = context, kept
        line = torch.from_numpy(SCORES)
        # (M, D - kept, 3, K): x, z and slope of each knot
        each = torch.stack([line, line, torch.ones_like(line)])
        self.register_buffer("knots", each.repeat(members, dim - kept, 1, 1))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the map from points ``x`` ``(M, D, N)``."""
        for member, rows in enumerate(x[:, self.kept :].double().numpy()):
            self.knots[member] = torch.from_numpy(np.stack([*map(normal_scores, rows)]))

    def _bins(self, value: Tensor, *, by_score: bool) -> tuple[Tensor, ...]:
        """Locate ``value`` ``(M, D, N)``, an x or, with ``by_score``, a z, among the knots.

        Return the distance of the value beyond the outer knots, and the slope there; the value
        clamped to the outer knots; and x_k, z_k, w, h and both slopes of its bin. All are
        ``(M, D, N)``.
        """
        along = self.knots[:, :, 1 if by_score else 0]
        inside = torch.minimum(torch.maximum(value, along[..., :1]), along[..., -1:])
        index = torch.searchsorted(
            along[..., 1:-1].contiguous(), inside.contiguous(), right=True
        ).unsqueeze(2)
        knots = self.knots.unsqueeze(-1).expand(-1, -1, -1, -1, value.shape[-1])
        *corner_and_size, low, high = bins_at(index, *knots.unbind(2))
        straight = torch.where(value < inside, low, high)
        return value - inside, straight, inside, *corner_and_size, low, high

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, x = x[:, : self.kept], x[:, self.kept :]
        beyond, straight, inside, x_k, z_k, *bin_ = self._bins(x, by_score=False)
        z, log_slope = rational_quadratic((inside - x_k) / bin_[0], *bin_)
        log_slope = torch.where(beyond == 0, log_slope, straight.log())
        z = z_k + z + beyond * straight
        return torch.cat([kept, z], dim=1), log_slope[:, self.context - self.kept :].sum(1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept, z = z[:, : self.kept], z[:, self.kept :]
        beyond, straight, inside, x_k, z_k, *bin_ = self._bins(z, by_score=True)
        u = rational_quadratic_root(inside - z_k, *bin_)
        _, log_slope = rational_quadratic(u, *bin_)
        log_slope = torch.where(beyond == 0, log_slope, straight.log())
        x = x_k + u * bin_[0] + beyond / straight
        return torch.cat([kept, x], dim=1), -log_slope[:, self.context - self.kept :].sum(1)


def normal_scores(column: Array) -> Array:
    """Return the knots for one column ``(n,)``: x, z and slope, ``(3, K)``."""
    kernels = _kernels(column, _best_count(column))
    centers, widths, scale = kernels
    reach = scale * np.geomspace(0.01, 1e12, 100)
    near = (centers[:, None] + widths[:, None] * [-1, -0.5, -0.2, 0, 0.2, 0.5, 1]).ravel()
    grid = np.unique(np.concatenate([centers[0] - reach, near, centers[-1] + reach]))
    scores = _score(grid, kernels)
    rising = np.flatnonzero(np.diff(np.maximum.accumulate(scores), prepend=-np.inf) > 1e-9)
    # The knots may miss these scores a little, because F is evaluated at the knots themselves
    x = _on_grid(np.interp(SCORES, scores[rising], grid[rising]))
    z = _score(x, kernels)
    slope = _density(x, kernels) * np.sqrt(2 * np.pi) * np.exp(z**2 / 2)
    return np.stack([x, rounded(z, DIGITS), rounded(slope, DIGITS)])


def _on_grid(x: Array) -> Array:
    """Return ascending numbers ``(K,)``, each rounded to at most a 2048th of its smaller gap."""
    gaps = np.minimum(np.diff(x, prepend=-np.inf), np.diff(x, append=np.inf))
    steps = np.ldexp(1.0, np.frexp(gaps)[1] - 12)
    return np.round(x / steps) * steps


def _best_count(column: Array) -> int:
    """Return the number of kernels with the best cross-validated likelihood."""
    rows = subsample(column, ROWS)
    parts = [(np.delete(rows, np.s_[fold::FOLDS]), rows[fold::FOLDS]) for fold in range(FOLDS)]
    fitting = [count for count in COUNTS if 2 * count <= len(parts[0][0])] or COUNTS[:1]

    def log_likelihood(count: int) -> float:
        return sum(np.log(_density(x, _kernels(train, count))).sum() for train, x in parts)

    return max(fitting, key=log_likelihood)


def _kernels(column: Array, count: int) -> tuple[Array, Array, float]:
    """Return the centres and the widths of the kernels, and the column's standard deviation."""
    centers = np.quantile(column, (np.arange(count) + 0.5) / count)
    scale = float(column.std())
    return centers, np.maximum(np.gradient(centers), 1e-6 * scale), scale


def _density(x: Array, kernels: tuple[Array, Array, float]) -> Array:
    """Return ``F'(x)``, ``(n,)``."""
    centers, widths, scale = kernels
    bulk = (_student((x[:, None] - centers) / widths) / widths).mean(axis=1)
    return (1 - TRACE) * bulk + TRACE * _student((x - centers.mean()) / scale) / scale


def _score(x: Array, kernels: tuple[Array, Array, float]) -> Array:
    """Return ``Phi^-1(F(x))``, from the smaller of F and 1 - F, for accuracy in the upper tail."""
    centers, widths, scale = kernels
    narrow = (x[:, None] - centers) / widths
    wide = (x - centers.mean()) / scale

    def above(narrow: Array, wide: Array) -> Array:
        return (1 - TRACE) * _student_tail(narrow).mean(axis=1) + TRACE * _student_tail(wide)

    lower, upper = above(-narrow, -wide), above(narrow, wide)
    return np.where(lower < upper, ndtri(lower), -ndtri(upper))


def _student(t: Array) -> Array:
    """Return the density of Student's t with 4 degrees of freedom."""
    return (3 / 8) * (1 + t**2 / 4) ** -2.5


def _student_tail(t: Array) -> Array:
    """Return ``P(T > t)`` for Student's t with 4 degrees of freedom.

    It is ``(1 - s)^2 (2 + s) / 4`` with ``s = t / sqrt(4 + t^2)``, where 1 - s is computed without
    cancellation.
    """
    root = np.sqrt(4 + t**2)
    rest = np.where(t > 0, 4 / (root * (root + np.abs(t))), 1 - t / root)
    return rest**2 * (3 - rest) / 4
