"""Adaptive multiple importance sampling: a round of draws learns from those before where to look.

The draws of a row come from several proposals r_t, N_t from each. They are weighed by the mixture
that they come from altogether (Owen and Zhou 2000, deterministic mixture weights)::

    w_i = q(z_i) / sum_t (N_t / N) r_t(z_i),        N = sum_t N_t

The first proposal is given. Each later one is Student's t with the mean and the covariance of the
weighted draws so far (Cornuet, Marin, Mira and Robert 2012). A few heavy draws have no covariance;
so weights are tempered for it, w^a, with the largest a up to 1 that leaves enough effective draws.
"""

from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_t

from flows.core.arrays import Array
from flows.networks.population import ensemble_log_prob

SUPPORT = 200  # effective draws that a covariance is computed of; half of the draws at most
FREEDOM = 8  # degrees of freedom of a proposal


class Draws:
    """The weighted draws of one row.

    ``z`` ``(N, U)`` are the coordinates that are drawn, ``log_q`` ``(N, M)`` the members'
    log-densities of them, ``log_first`` ``(N,)`` that of the first proposal, and ``values``
    ``(N, D)`` the whole rows.
    """

    def __init__(self, generator: np.random.Generator, member_weights: Array) -> None:
        self.generator, self.member_weights = generator, member_weights
        self.counts: list[int] = []  # of the draws from each proposal
        self.adapted: list[Any] = []  # the proposals after the first
        self.drawn: list[Array] = []

    def add(self, *new: Array) -> None:
        """Add the draws of a round: ``z``, ``log_first``, ``log_q`` and ``values``."""
        old = self.drawn or [each[:0] for each in new]
        self.drawn = [np.concatenate(pair) for pair in zip(old, new, strict=True)]
        self.z, self.log_first, self.log_q, self.values = self.drawn
        self.counts.append(len(new[0]))
        self.log_weights = self.log_q - self.log_proposal(self.z, self.log_first)[:, None]

    def log_proposal(self, z: Array, log_first: Array) -> Array:
        """Return the log-density ``(n,)`` of all proposals together at ``z`` ``(n, U)``.

        ``log_first`` ``(n,)`` is that of the first.
        """
        parts = [log_first, *(each.logpdf(z).reshape(len(z)) for each in self.adapted)]
        log_shares = np.log(np.array(self.counts) / sum(self.counts))
        return logsumexp(np.stack(parts, axis=1) + log_shares, axis=1)

    @property
    def log_ensemble_weights(self) -> Array:
        return ensemble_log_prob(self.log_weights, self.member_weights)

    def propose(self, count: int) -> Array:
        """Return ``count`` draws from a new proposal, ``(count, U)``."""
        weights = _tempered(self.log_ensemble_weights)
        mean = weights @ self.z
        difference = self.z - mean
        covariance = difference.T @ (weights[:, None] * difference)
        covariance += 1e-9 * np.trace(covariance) * np.eye(len(mean))
        shape = (FREEDOM - 2) / FREEDOM * covariance
        self.adapted.append(multivariate_t(mean, shape, FREEDOM))
        drawn = self.adapted[-1].rvs(count, random_state=self.generator)
        return drawn.reshape(count, len(mean))


def effective(log_weights: Array) -> float:
    """Return the effective number of draws ``(N,)``: (sum w)^2 / sum w^2 (Kong 1992)."""
    return float(np.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights)))


def _tempered(log_weights: Array) -> Array:
    """Return weights w^a that sum to 1, with enough effective draws."""
    wanted = min(SUPPORT, len(log_weights) / 2)
    log_weights = np.maximum(log_weights, log_weights.max() - 700)  # finite, so that a may be 0
    power = 1.0
    if effective(log_weights) < wanted:
        power = brentq(lambda a: effective(a * log_weights) - wanted, 0, 1, xtol=1e-3)
    return softmax(power * log_weights)
