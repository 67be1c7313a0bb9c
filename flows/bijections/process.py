"""A Gaussian process as a fixed map: the mean and the scale of a feature given other features."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.core.arrays import subsample

STEPS = 40  # of Adam, for the scales of a process
RATE = 0.15
LEARNING_ROWS = 200  # rows from which the scales are learned, at most
SMALLEST = 0.05  # smallest amplitude of a feature alone, in standardised units
# Digits after the point, so that numbers are the same on every machine: of the scales, and of the
# weights, which belong to standardised values
DIGITS, DECIMALS = 3, 5
LEAST, MOST = -7.0, 3.0  # limits of the scales, which are logarithms
JITTER = 1e-3  # of the mean variance of the process, for the covariance of the inducing points
# The logarithm of a squared normal number has this mean and variance
LOG_SQUARE = (-1.2703628454614782, math.pi**2 / 2)
LEAST_LOG_SQUARE = 8.0  # below the median; a residual may be 0


class Process(Bijection):
    """The standardisation of a feature y by the features x before it::

        forward:  z = (y - m(x)) / s(x)      log_det = -log s(x)
        inverse:  y = m(x) + s(x) z          log_det = +log s(x)

        m(x) = k(x, U) b_1       2 log s(x) = c + k(x, U) b_2
        k(x, u) = sum_d a_d^2 exp(-(x_d - u_d)^2 / (2 l_d^2))
                  + a^2 exp(-sum_d (x_d - u_d)^2 / (2 r_d^2))

    The mean m and the logarithm of s are posterior means of Gaussian processes, each with its own
    amplitudes a and lengths l and r. They are linear in the covariances k(x, U) with K *inducing
    points* U, so the map keeps no training row (the subset of regressors of Quinonero-Candela and
    Rasmussen 2005, section 4). With K_UU = L L^T, f(x) = phi(x)^T w and n rows y_i = f(x_i) + e_i,
    e_i ~ N(0, sigma^2)::

        phi(x) = L^-1 k(U, x)     A = sum_i phi_i phi_i^T + sigma^2 I     w = A^-1 sum_i phi_i y_i

    Training rows lie nearer to m than new rows. Networks must learn from residuals like those of
    new rows, so training row i is mapped by the processes without row i, in closed form::

        w_-i = w - A^-1 phi_i e_i / (1 - h_i)     e_i = y_i - phi_i^T w     h_i = phi_i^T A^-1 phi_i

    The second process learns the logarithms of the squared residuals without row i, whose noise has
    the variance pi^2 / 2 for normal residuals. The scales are learned by the marginal likelihood of
    at most ``LEARNING_ROWS`` rows with standardised features, with a penalty on amplitudes.

    Only y changes, and m and s read only the features before y. Until ``fit``, the map is the
    identity. The scales and the constant c are learned from all rows, also from row i. Sources:
    Rasmussen and Williams 2006, sections 2.2 and 5.4.

    Args:
        feature: the index of y; the features before y are x.
        members: the number of members M.
        points: the number of inducing points K.

    Attributes:
        points: the inducing points U, ``(M, d, K)``.
        scales: for both processes, the logarithms of a_1 to a_d, l_1 to l_d, r_1 to r_d and a,
            ``(M, 2, 3 d + 1)``.
        weights: b_1 and b_2, ``(M, 2, K)``.
        level: the constant c, ``(M,)``.
    """

    points: Tensor
    scales: Tensor
    weights: Tensor
    level: Tensor

    def __init__(self, feature: int, members: int, points: int) -> None:
        super().__init__()
        self.feature = feature
        shapes = {
            "points": (feature, points),
            "scales": (2, 3 * feature + 1),
            "weights": (2, points),
            "level": (),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros((members, *shape), dtype=torch.float64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self.moments(x[:, : self.feature])
        return self._with(x, (x[:, self.feature] - mean) * torch.exp(-log_scale)), -log_scale

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self.moments(z[:, : self.feature])
        return self._with(z, mean + torch.exp(log_scale) * z[:, self.feature]), log_scale

    def _with(self, x: Tensor, changed: Tensor) -> Tensor:
        at = self.feature
        return torch.cat([x[:, :at], changed[:, None], x[:, at + 1 :]], dim=1)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return m(x) and log s(x), ``(M, N)`` each, of features ``x`` ``(M, d, N)``."""
        count = x.shape[-1]
        x = x[..., : _period(x)]
        mean, log_scale = [], []
        for m, own in enumerate(x):
            found = [self.level.new_zeros(own.shape[-1])] * 2
            if self.weights[m].any():  # otherwise the map of this member is the identity
                pairs = zip(self.scales[m], self.weights[m], strict=True)
                found = [covariance(own, self.points[m], a) @ b for a, b in pairs]
            mean.append(found[0])
            log_scale.append((self.level[m] + found[1]) / 2)
        repeats = count // x.shape[-1] if count else 1
        return torch.stack(mean).repeat(1, repeats), torch.stack(log_scale).repeat(1, repeats)

    @torch.no_grad()
    def fit(self, x: Tensor, points: Tensor, owner: Tensor, all_x: Tensor) -> Tensor:
        """Fit the map of the only member, and map rows, each without a training row.

        Args:
            x: the training rows, each once, features first, ``(D, n)``.
            points: the inducing points, ``(d, K)``.
            owner: for each row to map, the index of the training row to leave out, ``(N,)``.
            all_x: the rows to map, ``(D, N)``.

        Returns the mapped rows ``(D, N)``.
        """
        at = self.feature
        given, y, asked = x[:at], x[at], all_x[:at]
        mean = Regression.fit(given, y, points)
        squares = torch.log(mean.left_out**2)
        squares = squares.clamp(min=float(squares.median()) - LEAST_LOG_SQUARE) - LOG_SQUARE[0]
        level = squares.mean()
        scale = Regression.fit(given, squares - level, points, LOG_SQUARE[1])
        # Left-out residuals have the deviation 1 after the map
        fitted = level + (squares - level - scale.left_out)
        level = level + 2 * torch.log((mean.left_out * torch.exp(-fitted / 2)).std())
        self.points.copy_(points[None])
        self.scales.copy_(torch.stack([mean.scales, scale.scales])[None])
        self.weights.copy_(
            torch.stack([mean.weights, scale.weights])[None].round(decimals=DECIMALS)
        )
        self.level.copy_(level[None].round(decimals=DECIMALS))
        log_scale = (level + scale.without(owner, asked)) / 2
        residual = (all_x[at] - mean.without(owner, asked)) * torch.exp(-log_scale)
        return self._with(all_x[None], residual[None])[0]


def covariance(x: Tensor, u: Tensor, scales: Tensor) -> Tensor:
    """Return the covariances k(x, u) of a process, ``(n, K)``.

    Args:
        x: points ``(d, n)``.
        u: points ``(d, K)``.
        scales: the logarithms of the amplitudes a_1 to a_d, of the lengths l and r, and of a,
            ``(3 d + 1,)``.
    """
    amplitude, length, reach, joint = scales.split([*[len(x)] * 3, 1])
    scaled, by = x * torch.exp(-reach)[:, None], u * torch.exp(-reach)[:, None]
    distance = scaled.square().sum(0)[:, None] + by.square().sum(0) - 2 * scaled.T @ by
    total = torch.exp(2 * joint - distance / 2)
    for a, b, log_a, log_l in zip(x, u, amplitude, length, strict=True):
        if torch.isneginf(log_a):
            continue
        distance = (a[:, None] - b).square() * torch.exp(-2 * log_l)
        total = total + torch.exp(2 * log_a - distance / 2)
    return total


def learned_scales(x: Tensor, y: Tensor, noise: float | None) -> tuple[Tensor, float]:
    """Return the rounded scales of a process and the variance of its noise.

    The scales minimise the negative log marginal likelihood, plus the amplitudes, and half the
    squares of the logarithms of the lengths, the joint ones in units of e. Amplitudes of single
    features below ``SMALLEST`` then become 0, which saves time.

    Args:
        x: features ``(d, n)``.
        y: values ``(n,)``.
        noise: the variance of the noise; ``None`` if unknown.
    """
    dim, identity = len(x), torch.eye(len(y), dtype=x.dtype)
    start = [*[math.log(0.3)] * dim, *[0.0] * dim, *[1.0] * dim, math.log(0.5), math.log(0.7)]
    theta = torch.tensor(start, dtype=x.dtype)
    first, second = torch.zeros_like(theta), torch.zeros_like(theta)
    for step in range(1, STEPS + 1):
        with torch.enable_grad():
            own = theta.clone().requires_grad_()
            variance = torch.exp(2 * own[-1]) if noise is None else noise
            factor = torch.linalg.cholesky(
                covariance(x, x, own[:-1]) + (variance + 1e-8) * identity
            )
            white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
            amplitudes = torch.exp(torch.cat([own[:dim], own[3 * dim : 3 * dim + 1]]))
            lengths = torch.cat([own[dim : 2 * dim], own[2 * dim : 3 * dim] - 1])
            penalty = amplitudes.sum() + lengths.square().sum() / 2
            loss = white.square().sum() / 2 + torch.diagonal(factor).log().sum() + penalty
            (gradient,) = torch.autograd.grad(loss, own)
        first, second = 0.8 * first + 0.2 * gradient, 0.95 * second + 0.05 * gradient**2
        move = first / (1 - 0.8**step) / (torch.sqrt(second / (1 - 0.95**step)) + 1e-8)
        rate = RATE * min(1.0, 2 * (1 - step / (STEPS + 1)))
        theta = (theta - rate * move).clamp(LEAST, MOST)
    theta = theta.round(decimals=DIGITS)
    alone = theta[:dim]
    alone[alone < math.log(SMALLEST)] = -math.inf
    return theta[:-1], math.exp(2 * theta[-1]) if noise is None else noise


class Regression(NamedTuple):
    """A process that was fitted to n rows, as a function of the covariances with K points.

    Attributes:
        points: the inducing points, ``(d, K)``.
        scales: the scales, ``(3 d + 1,)``.
        weights: the weights b of the covariances, ``(K,)``.
        changes: what each row adds to b, ``(n, K)``.
        left_out: the residual of each row from the process without the row, ``(n,)``.
    """

    points: Tensor
    scales: Tensor
    weights: Tensor
    changes: Tensor
    left_out: Tensor

    @classmethod
    def fit(cls, x: Tensor, y: Tensor, points: Tensor, noise: float | None = None) -> Regression:
        """Fit a process to values ``y`` ``(n,)`` at ``x`` ``(d, n)``; see ``learned_scales``."""
        some = torch.from_numpy(subsample(np.arange(len(y)), LEARNING_ROWS))
        scales, noise = learned_scales(x[:, some], y[some], noise)
        own = covariance(points, points, scales)
        identity = torch.eye(len(own), dtype=own.dtype)
        factor = torch.linalg.cholesky(own + JITTER * torch.diagonal(own).mean() * identity)
        phi = torch.linalg.solve_triangular(factor, covariance(points, x, scales), upper=False)
        square = torch.linalg.cholesky(phi @ phi.T + noise * identity)
        reduced = torch.cholesky_solve(phi, square)  # A^-1 phi_i in its columns
        weights = reduced @ y
        left_out = (y - phi.T @ weights) / (1 - (phi * reduced).sum(0))
        both = torch.column_stack([weights, reduced * left_out])
        back = torch.linalg.solve_triangular(factor.T, both, upper=True)
        return cls(points, scales, back[:, 0], back[:, 1:].T.contiguous(), left_out)

    def without(self, owner: Tensor, x: Tensor) -> Tensor:
        """Return the process at ``x`` ``(d, N)``, each without the row ``owner`` ``(N,)``."""
        k = covariance(x, self.points, self.scales)
        return k @ self.weights - (k * self.changes[owner]).sum(1)


def _period(x: Tensor) -> int:
    """Return the number of points after which ``x`` ``(M, d, N)`` repeats; N if it does not.

    A density of a target is computed at many values in each context.
    """
    same = (x == x[..., :1]).flatten(0, 1).all(0).nonzero()[1:2]
    period = int(same) if len(same) else x.shape[-1]
    whole = period and x.shape[-1] % period == 0
    if whole and (x.unflatten(-1, (-1, period)) == x[..., None, :period]).all():
        return period
    return x.shape[-1]
