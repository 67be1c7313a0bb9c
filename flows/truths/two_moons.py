"""Two interlocking half circles with noise: a true density that is not a mixture of Gaussians.

The arcs are those of scikit-learn's ``make_moons``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flows.core.arrays import Array
from flows.mixtures.mixture import Mixture

NODES = 128  # of the quadrature, per arc


@dataclass(frozen=True)
class TwoMoons:
    """The density of uniform points on two arcs, plus normal noise of deviation ``noise``::

        x = c(theta) + noise e,    theta ~ U(0, pi),    e ~ N(0, I)
        c = (cos theta, sin theta)  or  (1 - cos theta, 1/2 - sin theta),  each with probability 1/2

        p(x) = 1/2 sum_c 1/pi int_0^pi N(x; c(theta), noise^2 I) dtheta

    The integral is computed by Gauss-Legendre quadrature with ``NODES`` nodes. For points at most 3
    from the centres of the arcs, and noise of at least 0.1, the error of the log-density is below
    1e-6 nat.

    Raises ``ValueError`` if the noise is below 0.1, where the nodes are too far apart, or infinite.
    """

    noise: float = 0.1

    def __post_init__(self) -> None:
        if not 0.1 <= self.noise < np.inf:
            raise ValueError(f"noise = {self.noise}: must be at least 0.1, and finite")

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
        """The quadrature as a mixture with one component per node."""
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        angles = np.pi * (nodes + 1) / 2
        means = np.concatenate([arc(angles, np.full(NODES, lower)) for lower in (False, True)])
        covariances = np.tile(self.noise**2 * np.eye(2), (2 * NODES, 1, 1))
        return Mixture(np.tile(weights / 4, 2), means, covariances)


def arc(angles: Array, lower: Array) -> Array:
    """Return points ``(n, 2)`` at ``angles`` ``(n,)`` on the upper arc, or the ``lower`` one."""
    x, y = np.cos(angles), np.sin(angles)
    return np.stack([np.where(lower, 1 - x, x), np.where(lower, 0.5 - y, y)], axis=1)


def make(noise: float = 0.1) -> TwoMoons:
    """Return the two moons with noise of deviation ``noise``, at least 0.1."""
    return TwoMoons(noise)
