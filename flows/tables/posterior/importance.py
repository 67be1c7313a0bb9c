"""Adaptive multiple importance sampling: a round of draws may adapt the proposal of the next.

Round t draws the unknown values z of a row N_t times from the proposal r_t. The importance weights
of all draws use the mixture of all proposals (deterministic mixture weights, Owen and Zhou 2000)::

    w_i = q(z_i) / sum_t (N_t / N) r_t(z_i),        N = sum_t N_t

Two proposals are the caller's: the members of the ensemble themselves, which may draw rows of which
no number is known, and *the first proposal*. If the members make the share a of the draws, the
weights of the ensemble are at most P / a, where P is the probability of the known labels and sets,
divided by that of the constraints. A poor first proposal then makes an error that the effective
number of draws shows (defensive importance sampling, Hesterberg 1995).

The first proposal is kept while at least ``GOOD`` of all draws are effective. Any other proposal is
Student's t distribution with the weighted mean and covariance of all earlier draws (Cornuet, Marin,
Mira and Robert 2012). If a few draws have most of the weight, the weights for this mean and
covariance are tempered to w^a, where a is the largest power up to 1 with enough effective draws.
"""

from typing import Any

import numpy as np
import scipy
from scipy.special import logsumexp, softmax

from flows.core.arrays import Array
from flows.networks.population import ensemble_log_prob
from flows.tables.posterior.posterior import Goal

GOOD = 0.4  # share of the draws that are effective, above which a proposal is not adapted
SUPPORT = 200  # effective draws for a covariance, but at most half of the draws
FREEDOM = 8  # degrees of freedom of a proposal


class Draws:
    """The weighted draws of one row.

    ``z`` ``(N, U)`` are the drawn numbers, ``log_own`` and ``log_first`` ``(N,)`` the log-densities
    of the members' own draws and of the first proposal, ``log_q`` ``(N, M)`` the log-densities of
    the members, and ``values`` ``(N, D)`` the complete rows. ``log_weights`` ``(N, M)`` are the log
    importance weights.

    Args:
        generator: the source of random numbers.
        member_weights: the weights of the members in the ensemble, ``(M,)``.
    """

    def __init__(self, generator: np.random.Generator, member_weights: Array) -> None:
        self.generator, self.member_weights = generator, member_weights
        self.counts = [0, 0]  # the number of draws from each proposal: first the members'
        self.adapted: list[Any] = []  # the proposals after the first
        self.drawn: list[Array] = []

    def add(self, *new: Array) -> None:
        """Add ``new`` draws: ``z``, ``log_members``, ``log_first``, ``log_q`` and ``values``."""
        old = self.drawn or [each[:0] for each in new]
        self.drawn = [np.concatenate(pair) for pair in zip(old, new, strict=True)]
        self.z, self.log_members, self.log_first, self.log_q, self.values = self.drawn
        log_r = self.log_proposal(self.z, self.log_members, self.log_first)[:, None]
        with np.errstate(invalid="ignore"):  # of impossible draws
            self.log_weights = np.where(np.isneginf(self.log_q), -np.inf, self.log_q - log_r)

    def add_of_members(self, *new: Array) -> None:
        """Add ``new`` draws of the members, as ``add``."""
        self.counts[0] += len(new[0])
        self.add(*new)

    def rescore(self, z: Array, log_first: Array, change: Array) -> None:
        """Set what depends on the first proposal, of all draws.

        Args:
            z: the drawn numbers, ``(N, U)``.
            log_first: the log-densities of the first proposal, ``(N,)``.
            change: what to add to the other log-densities, ``(N,)``.
        """
        log_q = self.log_q + change[:, None]
        self.drawn = []
        self.add(z, self.log_members + change, log_first, log_q, self.values)

    def __len__(self) -> int:
        """Return the number of draws."""
        return sum(self.counts)

    @property
    def effective(self) -> float:
        """The effective number of draws."""
        return effective(self.log_ensemble_weights)

    def log_proposal(self, z: Array, log_members: Array, log_first: Array) -> Array:
        """Return the log-density ``(n,)`` of the mixture of all proposals at ``z`` ``(n, U)``.

        ``log_members`` and ``log_first`` ``(n,)`` are the log-densities of the members' draws and
        of the first proposal.
        """
        adapted = [each.logpdf(z).reshape(len(z)) for each in self.adapted]
        parts = [log_members, log_first, *adapted]
        with np.errstate(divide="ignore"):  # of proposals without draws
            log_shares = np.log(np.array(self.counts) / sum(self.counts))
        return logsumexp(np.stack(parts, axis=1) + log_shares, axis=1)

    @property
    def log_ensemble_weights(self) -> Array:
        """The log importance weights of the ensemble, ``(N,)``."""
        return ensemble_log_prob(self.log_weights, self.member_weights)

    def reach(self, goal: Goal) -> bool:
        """Return whether the draws reach a goal.

        Args:
            goal: the goal.
        """
        return goal.is_met(self.effective, len(self))

    def propose(self, count: int) -> Array | None:
        """Return ``count`` draws from a proposal that is adapted to all draws, ``(count, U)``.

        Return ``None`` if the draws so far are good, or if too few of them are possible. The
        caller then takes ``count`` draws from the first proposal, which are counted here.

        Args:
            count: the number of draws.
        """
        log_w = self.log_ensemble_weights if self.drawn else np.empty(0)
        is_good = effective(log_w) >= GOOD * len(log_w)
        # A covariance needs some different draws
        if is_good or np.isfinite(log_w).sum() < 2 * (self.z.shape[1] + 1) or not self.z.shape[1]:
            self.counts[1] += count
            return None
        weights = _tempered(log_w)
        mean = weights @ self.z
        difference = self.z - mean
        covariance = difference.T @ (weights[:, None] * difference)
        covariance += 1e-9 * np.trace(covariance) * np.eye(len(mean))
        shape = (FREEDOM - 2) / FREEDOM * covariance
        self.adapted.append(scipy.stats.multivariate_t(mean, shape, FREEDOM))
        self.counts.append(count)
        drawn = self.adapted[-1].rvs(count, random_state=self.generator)
        return drawn.reshape(count, len(mean))


def effective(log_weights: Array) -> float:
    """Return the effective number of draws with log-weights ``(N,)``; 0 without a weight above 0.

    The number is (sum w)^2 / sum w^2 (Kong 1992).
    """
    most = log_weights.max(initial=-np.inf)
    if np.isneginf(most):
        return 0.0
    weights = np.exp(log_weights - most)
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _tempered(log_weights: Array) -> Array:
    """Return weights w^a that sum to 1, with the largest a that leaves enough effective draws."""
    possible = np.isfinite(log_weights)
    weights, log_weights = np.zeros(len(log_weights)), log_weights[possible]
    wanted = min(SUPPORT, len(log_weights) / 2)
    log_weights = np.maximum(log_weights, log_weights.max() - 700)  # finite, so that a may be 0
    power = 1.0
    if effective(log_weights) < wanted:
        power = scipy.optimize.brentq(
            lambda a: effective(a * log_weights) - wanted, 0, 1, xtol=1e-3
        )
    weights[possible] = softmax(power * log_weights)
    return weights
