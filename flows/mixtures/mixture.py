"""The mixture of Gaussians.

Only NumPy is needed, so that drawing data does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flows.core.arrays import Array, Mask, Whole

PAIRS = 100_000  # of a point and a component, per chunk


@dataclass(frozen=True)
class Mixture:
    """A mixture of K Gaussians in D dimensions::

        p(x) = sum_k w_k N(x; mu_k, Sigma_k)
        log N(x; mu, Sigma) = -|L^-1 (x - mu)|^2 / 2 - sum_d log L_dd - D log(2 pi) / 2
        Sigma = L L^T

    Args:
        weights: the weights ``(K,)``, above 0 and with the sum 1.
        means: the means ``(K, D)``.
        covariances: the covariances ``(K, D, D)``, symmetric and positive definite.

    Raises ``ValueError`` if the arguments do not describe a mixture.

    Examples:
        >>> import flows
        >>> import numpy as np
        >>> means = np.array([[-1.0, 0.0], [1.0, 0.0]])
        >>> mixture = flows.Mixture(np.array([0.5, 0.5]), means, np.stack([np.eye(2)] * 2))
        >>> mixture.log_prob(np.zeros((1, 2))).round(3)
        array([-2.338])
    """

    weights: Array
    means: Array
    covariances: Array

    def __post_init__(self) -> None:
        if self.means.ndim != 2:
            raise ValueError(f"the means must have the shape (K, D); got {self.means.shape}")
        count, dim = self.means.shape
        if self.weights.shape != (count,) or self.covariances.shape != (count, dim, dim):
            raise ValueError(
                f"{count} means of {dim} numbers need {count} weights and {count} covariances of "
                f"{dim} x {dim}; got arrays of shape {self.weights.shape} and "
                f"{self.covariances.shape}"
            )
        if not np.isfinite(self.means).all():
            raise ValueError(f"the means must be finite; they are {self.means.tolist()}")
        if not (self.weights > 0).all() or not np.isclose(self.weights.sum(), 1):
            weights = self.weights.tolist()
            raise ValueError(f"the weights must be above 0 and sum to 1; they are {weights}")
        # Without a loop: this runs for every batch of conditionals, and with one kernel per row
        mirrored = self.covariances.transpose(0, 2, 1)
        is_near = np.isclose(self.covariances, mirrored)
        is_valid: Mask = np.logical_and.reduce(is_near, axis=(1, 2))
        is_valid[is_valid] = (np.linalg.eigvalsh(self.covariances[is_valid]) > 0).all(axis=1)
        for k in np.flatnonzero(~is_valid)[:1].tolist():
            raise ValueError(
                f"the covariance of component {k} must be symmetric and positive definite; "
                f"it is {self.covariances[k].tolist()}"
            )

    @classmethod
    def isotropic(cls, means: Array, deviation: float) -> Mixture:
        """Return the mixture of ``N(mu_k, deviation^2 I)`` with equal weights.

        Args:
            means: the means mu_k ``(K, D)``.
            deviation: the standard deviation of a component in every direction.
        """
        count, dim = means.shape
        covariances = np.tile(deviation**2 * np.eye(dim), (count, 1, 1))
        return cls(np.full(count, 1 / count), means, covariances)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n independent points, ``(n, D)``.

        Args:
            n: the number of points.
            rng: the generator.

        Examples:
            >>> import flows
            >>> import numpy as np
            >>> mixture = flows.Mixture.isotropic(np.array([[-1.0, 0.0], [1.0, 0.0]]), 0.1)
            >>> mixture.sample(5, np.random.default_rng(0)).shape
            (5, 2)
        """
        return self.sample_components(rng.choice(len(self.weights), size=n, p=self.weights), rng)

    def sample_components(self, component: Whole, rng: np.random.Generator) -> Array:
        """Draw a point from each of several components, ``(n, D)``.

        Args:
            component: the indices of the components, ``(n,)``.
            rng: the generator.
        """
        noise = rng.standard_normal((len(component), self.means.shape[1]))
        factors = np.linalg.cholesky(self.covariances)
        return self.means[component] + np.einsum("nij,nj->ni", factors[component], noise)

    def log_prob(self, x: Array) -> Array:
        """Return the log-densities in nats, ``(n,)``, of points ``(n, D)``.

        Args:
            x: points ``(n, D)``.

        Examples:
            >>> import flows
            >>> import numpy as np
            >>> mixture = flows.Mixture.isotropic(np.array([[0.0]]), deviation=1.0)
            >>> mixture.log_prob(np.array([[0.0], [1.0]])).round(3)
            array([-0.919, -1.419])
        """
        parts = [np.empty(0)]
        # The intermediate arrays of a chunk stay in the cache
        for chunk in np.array_split(x, -(-len(x) * len(self.weights) // PAIRS)) if len(x) else ():
            terms = self.log_terms(chunk)
            highest = terms.max(axis=0)
            terms -= highest
            parts.append(highest + np.log(np.exp(terms, out=terms).sum(axis=0)))
        return np.concatenate(parts)

    def log_terms(self, x: Array) -> Array:
        """Return ``log w_k + log N(x; mu_k, Sigma_k)``, ``(K, n)``.

        Args:
            x: points ``(n, D)``.
        """
        whitening, log_scale = self._components
        white = whitening @ (x - self.means[:, None]).transpose(0, 2, 1)  # (K, D, n)
        return log_scale - 0.5 * np.einsum("kdn,kdn->kn", white, white)

    @cached_property
    def _components(self) -> tuple[Array, Array]:
        """The inverses of the factors L, ``(K, D, D)``, and the constants of the terms, (K, 1)."""
        factors = np.linalg.cholesky(self.covariances)
        constant = 0.5 * self.means.shape[1] * np.log(2 * np.pi)
        log_norm = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1) + constant
        # Inverting is safe, because D is small and the factors are triangular. A chunk then takes
        # one product.
        return np.linalg.inv(factors), (np.log(self.weights) - log_norm)[:, None]

    def marginal(self, columns: int) -> Mixture:
        """Return the mixture of the first coordinates, the others integrated out.

        Args:
            columns: the number of first coordinates.
        """
        first = self.covariances[:, :columns, :columns]
        return Mixture(self.weights, self.means[:, :columns], first)

    def box(self, deviations: float = 4.0) -> tuple[Array, Array]:
        """Return the corners, ``(D,)`` each, of a box that holds nearly all of the mass.

        Args:
            deviations: how far the box reaches beyond the mean of every component, in standard
                deviations of the component.
        """
        spread = deviations * np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))
        return (self.means - spread).min(axis=0), (self.means + spread).max(axis=0)
