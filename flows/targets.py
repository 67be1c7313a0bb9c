"""The truths to learn: Gaussian mixtures whose density is known exactly. NumPy alone, so that making data needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """A mixture of K Gaussians in D dimensions: ``p(x) = sum_k w_k N(x; mu_k, Sigma_k)``.

    ``weights`` ``(K,)`` sum to 1, ``means`` ``(K, D)``, ``covariances`` ``(K, D, D)``. Raises ``ValueError`` where they don't
    describe a mixture.
    """

    weights: Array
    means: Array
    covariances: Array

    def __post_init__(self) -> None:
        count, dim = self.means.shape
        if self.weights.shape != (count,) or self.covariances.shape != (count, dim, dim):
            raise ValueError(f"{count} means of {dim} numbers need {count} weights and {count} covariances of {dim} x {dim}")
        if not np.isfinite(self.means).all():
            raise ValueError(f"the means must be finite; they are {self.means.tolist()}")
        if not (self.weights > 0).all() or not np.isclose(self.weights.sum(), 1):
            raise ValueError(f"the weights must be above 0 and sum to 1; they are {self.weights.tolist()}")
        for k, covariance in enumerate(self.covariances):
            if not np.allclose(covariance, covariance.T) or not (np.linalg.eigvalsh(covariance) > 0).all():
                raise ValueError(f"the covariance of component {k} must be symmetric and positive definite; it is {covariance.tolist()}")

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """n independent draws, ``(n, D)``."""
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        factors = np.linalg.cholesky(self.covariances)
        return self.means[component] + np.einsum("nij,nj->ni", factors[component], noise)

    def log_prob(self, x: Array) -> Array:
        """Log-density in nats, ``(n,)``, of ``(n, D)``."""
        factors = np.linalg.cholesky(self.covariances)
        log_norm = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1) + 0.5 * x.shape[1] * np.log(2 * np.pi)
        white = np.linalg.solve(factors, (x - self.means[:, None]).transpose(0, 2, 1))  # (K, D, n)
        log_terms = (np.log(self.weights) - log_norm)[:, None] - 0.5 * np.square(white).sum(1)
        return np.logaddexp.reduce(log_terms, axis=0)

    def entropy(self, n: int, rng: np.random.Generator) -> tuple[float, float]:
        """Monte Carlo estimate of ``-E log p`` in nats from n draws, and its standard error."""
        surprise = -self.log_prob(self.sample(n, rng))
        return float(surprise.mean()), float(surprise.std(ddof=1) / np.sqrt(n))

    def box(self, deviations: float = 4.0) -> tuple[Array, Array]:
        """Corners ``(D,)`` of the box that reaches so many standard deviations beyond every component: it holds the mass."""
        spread = deviations * np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))
        return (self.means - spread).min(axis=0), (self.means + spread).max(axis=0)


def ring() -> Target:
    """Eight equal modes of standard deviation 0.5 on a circle of radius 4."""
    angle = 2 * np.pi * np.arange(8) / 8
    return _equal_isotropic(4 * np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.5)


def grid() -> Target:
    """Twenty-five equal modes of standard deviation 0.25 on a 5 x 5 grid with spacing 2."""
    axis = 2.0 * np.arange(-2, 3)
    return _equal_isotropic(np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2), 0.25)


def custom(weights: Sequence[float], means: Sequence[Sequence[float]], covariances: Sequence[Sequence[Sequence[float]]]) -> Target:
    """Any mixture. The weights need not sum to 1: they are divided by their sum."""
    given = np.asarray(weights, dtype=np.float64)
    if not (given > 0).all():
        raise ValueError(f"the weights must be above 0; they are {given.tolist()}")
    return Target(given / given.sum(), np.asarray(means, dtype=np.float64), np.asarray(covariances, dtype=np.float64))


def _equal_isotropic(means: Array, deviation: float) -> Target:
    count, dim = means.shape
    return Target(np.full(count, 1 / count), means, np.broadcast_to(deviation**2 * np.eye(dim), (count, dim, dim)).copy())
