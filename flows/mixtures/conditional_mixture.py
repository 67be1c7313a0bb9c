"""The conditional of a mixture of Gaussians given some coordinates: a mixture in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from flows.core.arrays import Array, Mask, Whole, choose
from flows.mixtures.mixture import Mixture


def patterns(rows: Array, most: int) -> Iterator[tuple[Mask, Whole]]:
    """Group ``rows`` ``(n, D)`` by the coordinates that are ``NaN``.

    Yield pairs of a mask ``(D,)``, true where a coordinate is ``NaN``, and the positions of at most
    ``most`` rows with this mask.
    """
    found, which = np.unique(np.isnan(rows), axis=0, return_inverse=True)
    for k, unknown in enumerate(found):
        places = np.flatnonzero(which.ravel() == k)
        for start in range(0, len(places), most):
            yield unknown, places[start : start + most]


class ConditionalMixture(NamedTuple):
    """The density of the unknown coordinates u of n points, given the known coordinates o::

        p(u | o) = sum_k w_k(o) N(u; m_k(o), L_k L_k^T)

        log w_k(o) = log w_k + log N(o; mu_k,o, Sigma_k,oo) - log p(o)
        m_k(o)     = mu_k,u + Sigma_k,uo Sigma_k,oo^-1 (o - mu_k,o)
        L_k L_k^T  = Sigma_k,uu - Sigma_k,uo Sigma_k,oo^-1 Sigma_k,ou

    Source: Bishop 2006, equations 2.81 and 2.82.

    Args:
        log_weights: log w_k(o), ``(n, K)``.
        means: m_k(o), ``(n, K, U)``.
        factors: the Cholesky factors L_k, ``(K, U, U)``.
        log_evidence: log p(o), ``(n,)``.
    """

    log_weights: Array
    means: Array
    factors: Array
    log_evidence: Array

    @classmethod
    def of(cls, mixture: Mixture, points: Array, is_unknown: Mask) -> ConditionalMixture:
        """Return the conditional of ``mixture`` given the known coordinates of ``points``.

        The mask ``is_unknown`` ``(D,)`` holds for all of the points ``(n, D)``.
        """
        u, o = np.flatnonzero(is_unknown), np.flatnonzero(~is_unknown)
        covariances = mixture.covariances
        known = covariances[:, o[:, None], o]
        regression = np.linalg.solve(known, covariances[:, o[:, None], u])  # (K, O, U)
        rest = covariances[:, u[:, None], u] - covariances[:, u[:, None], o] @ regression
        difference = points[:, o] - mixture.means[:, None, o]  # (K, n, O)
        means = mixture.means[:, None, u] + difference @ regression
        marginal = Mixture(mixture.weights, mixture.means[:, o], known)
        log_joint = marginal.log_terms(points[:, o])
        log_evidence = logsumexp(log_joint, axis=0)
        log_weights = (log_joint - log_evidence).T
        factors = np.linalg.cholesky((rest + rest.transpose(0, 2, 1)) / 2).astype(np.float64)
        return cls(log_weights, means.transpose(1, 0, 2), factors, log_evidence)

    def sample(self, level: Array, noise: Array) -> Array:
        """Draw the unknown coordinates of every point, ``(n, U)``.

        ``level`` ``(n,)`` are uniform numbers from 0 to 1, which select the components. ``noise``
        ``(n, U)`` are standard normal numbers, which determine the values.
        """
        component = choose(np.exp(self.log_weights), level)
        means = self.means[np.arange(len(level)), component]
        return means + np.einsum("nuv,nv->nu", self.factors[component], noise)

    def log_prob(self, values: Array) -> Array:
        """Return the log-densities in nats, ``(n,)``, of ``values`` ``(n, U)``, one per point."""
        difference = (values[:, None] - self.means).transpose(1, 2, 0)  # (K, U, n)
        white = np.linalg.inv(self.factors) @ difference
        log_norm = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        terms = -0.5 * np.einsum("kun,kun->nk", white, white) - log_norm
        constant = 0.5 * values.shape[1] * np.log(2 * np.pi)
        return logsumexp(self.log_weights + terms, axis=1) - constant

    def mixture_of(self, point: int) -> Mixture:
        """Return the conditional of one of the points, as a mixture of the U coordinates."""
        weights = np.exp(self.log_weights[point])
        kept = weights > np.finfo(float).tiny
        covariances = self.factors[kept] @ self.factors[kept].transpose(0, 2, 1)
        return Mixture(weights[kept] / weights[kept].sum(), self.means[point, kept], covariances)

    def moments(self) -> tuple[Array, Array]:
        """Return the means and standard deviations of the unknown coordinates, ``(n, U)`` each."""
        weights = softmax(self.log_weights, axis=1)
        mean = np.einsum("nk,nku->nu", weights, self.means)
        within = np.einsum("kuv,kuv->ku", self.factors, self.factors)
        second = np.einsum("nk,nku->nu", weights, (self.means - mean[:, None]) ** 2 + within)
        return mean, np.sqrt(second)
