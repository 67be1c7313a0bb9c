"""Two half circles that reach into each other, with noise: a truth that is no mixture of Gaussians.

The arcs are those of scikit-learn's ``make_moons``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flows.core.arrays import Array
from flows.mixtures.mixture import Mixture

NODES = 128  # of the quadrature, on each arc


@dataclass(frozen=True)
class TwoMoons:
    """A point on one of two arcs, at a uniform angle, and noise of the same ``noise`` everywhere::

        x = c(theta) + noise e,    theta ~ U(0, pi),    e ~ N(0, I)
        c = (cos theta, sin theta)  or  (1 - cos theta, 1/2 - sin theta),  each with probability 1/2

        p(x) = 1/2 sum_c 1/pi int_0^pi N(x; c(theta), noise^2 I) dtheta

    The integral is Gauss and Legendre's sum of ``NODES`` terms. Where a point is at most 3 from the
    arcs' centres, and the noise at least 0.1, the log-density is within 1e-6 of the integral's.

    Raises ``ValueError`` for noise for which the nodes are too far apart.
    """

    noise: float = 0.1

    def __post_init__(self) -> None:
        if not 0.1 <= self.noise < np.inf:
            raise ValueError(f"noise = {self.noise}: must be at least 0.1")

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n independent points, ``(n, 2)``."""
        lower = rng.integers(2, size=n).astype(bool)
        points = arc(rng.uniform(0, np.pi, n), lower)
        return points + self.noise * rng.standard_normal((n, 2))

    def log_prob(self, x: Array) -> Array:
        """Return the log-densities in nats, ``(n,)``, of points ``(n, 2)``."""
        return self._quadrature.log_prob(x)

    @cached_property
    def _quadrature(self) -> Mixture:
        """The terms of the sum, as a mixture with a component at every node."""
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        angles = np.pi * (nodes + 1) / 2
        means = np.concatenate([arc(angles, np.full(NODES, lower)) for lower in (False, True)])
        covariances = np.tile(self.noise**2 * np.eye(2), (2 * NODES, 1, 1))
        return Mixture(np.tile(weights / 4, 2), means, covariances)


def arc(angles: Array, lower: Array) -> Array:
    """Return the points ``(n, 2)`` at ``angles`` ``(n,)`` of the upper arc or the ``lower`` one."""
    x, y = np.cos(angles), np.sin(angles)
    return np.stack([np.where(lower, 1 - x, x), np.where(lower, 0.5 - y, y)], axis=1)


def make(noise: float = 0.1) -> TwoMoons:
    """Return the two moons."""
    return TwoMoons(noise)
