"""Posteriors: the distribution of a row's unknown values, and when the drawing of values ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.networks.population import ensemble_log_prob

FIRST = 256  # draws per row in the first round
ENOUGH = 100  # effective draws
MOST = 8_192  # draws of a row, at most
# Standard error of the log-probability of conditions at which draws end; for a ratio of two, 2%
ERROR = 0.014
BATCHES = 8  # parts of the draws: the deviation of their answers is the noise of the draws


class NoDrawsError(UserError):
    """No draw of the unknown values of a row meets the constraints and the conditions."""

    def __init__(self) -> None:
        super().__init__("no draw of the unknown values meets the constraints and the conditions")


def member_shares(log_q: Array, weights: Array) -> Array:
    """Return the shares of the members in the densities of the ensemble, ``(n, M)``.

    Args:
        log_q: the members' log-densities, ``(n, M)``; a row without a density has the shares 0.
        weights: the weights of the members in the ensemble, ``(M,)``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = log_q + np.log(weights)
        return np.nan_to_num(np.exp(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True)))


def mass_error(shares: Array, log_mass_se: Array | float) -> Array:
    """Return the error of a log-density of the ensemble that probabilities of constraints make.

    The log-probabilities P_m(A) of the members have independent errors e_m with the deviations
    ``log_mass_se``. The members of a target have fixed weights w; those of a joint density have
    fixed weights u before draws are accepted or rejected::

        q = sum_m w_m q_m / P_m                 d log q = -sum_m s_m e_m,   s_m = w_m q_m / P_m / q
        q = sum_m u_m q_m / sum_m u_m P_m       d log q = -sum_m s_m e_m,   s_m = u_m P_m / sum

    Args:
        shares: the shares s of the members, ``(..., M)``; for the difference of two log-densities,
            the difference of their shares.
        log_mass_se: the standard errors, ``(..., M)`` or a number.

    Returns errors in nats, ``(...)``.
    """
    errors = np.where(shares == 0, 0.0, log_mass_se)  # a member without a share may have no error
    return np.asarray(np.sqrt(np.square(shares * errors).sum(axis=-1)))


class Evidence(NamedTuple):
    """The members' log-densities of the known values of n rows, and what makes their errors.

    Args:
        log_q: the log-densities in nats, ``(n, M)``.
        draw_error: the standard errors of the ensemble's log-densities that draws make, ``(n,)``.
        log_mass_se: the standard errors of the members' log-probabilities of the constraints,
            ``(n, M)``.
        mass_shares: the shares with which these errors enter the ensemble's log-densities,
            ``(n, M)`` (``mass_error``).
        effective: the effective numbers of draws, ``(n,)``; infinite for rows without draws.
        draws: the numbers of draws, ``(n,)``.
        batches: the log-densities from each of B parts of the draws, ``(B, n, M)``; those of
            ``log_q`` for rows without draws.
    """

    log_q: Array
    draw_error: Array
    log_mass_se: Array
    mass_shares: Array
    effective: Array
    draws: Array
    batches: Array

    @classmethod
    def exact(cls, log_q: Array, log_mass_se: Array, mass_shares: Array) -> Evidence:
        """Return the evidence of rows without draws, from arrays ``(n, M)``."""
        nothing, batches = (
            np.zeros((2, len(log_q))),
            np.broadcast_to(log_q, (BATCHES, *log_q.shape)),
        )
        effective = np.full(len(log_q), np.inf)
        return cls(log_q, nothing[0], log_mass_se, mass_shares, effective, nothing[1], batches)

    @classmethod
    def empty(cls, n: int, members: int) -> Evidence:
        """Return the evidence of ``n`` rows that have probability 1."""
        found = cls.exact(*np.zeros((3, n, members)))
        return found._replace(batches=found.batches.copy())  # to be set by ``put``

    def put(self, k: int, posterior: Posterior) -> None:
        """Set the evidence of row k to that of a posterior."""
        self.log_q[k], self.draw_error[k] = posterior.log_evidence, posterior.draw_error
        self.log_mass_se[k], self.mass_shares[k] = posterior.log_mass_se, posterior.shares
        self.effective[k], self.batches[:, k] = posterior.effective, self.log_q[k]
        if not posterior.is_exact:
            self.draws[k] = len(posterior.values)
            self.batches[:, k] = posterior.evidence_of_batches()

    def put_exact(self, places: Whole, log_q: Array) -> None:
        """Set the log-densities of rows without draws, ``(m, M)``."""
        self.log_q[places], self.batches[:, places] = log_q, log_q

    @property
    def parts(self) -> Array:
        """The log-densities from all draws, and those from each part of them, ``(1 + B, n, M)``."""
        return np.concatenate([self.log_q[None], self.batches])

    def error(self, given: Evidence | None = None) -> Array:
        """Return the standard errors of the ensemble's log-densities in nats, ``(n,)``.

        Args:
            given: the evidence of conditions, for log-densities given these.
        """
        shares, log_mass_se, draw_error = self.mass_shares, self.log_mass_se, self.draw_error
        if given is not None:
            # Both terms are divided by the same probabilities of constraints
            shares = shares - given.mass_shares
            log_mass_se = np.maximum(log_mass_se, given.log_mass_se)
            draw_error = np.hypot(draw_error, given.draw_error)
        return np.asarray(np.hypot(draw_error, mass_error(shares, log_mass_se)))


def log_evidence_error(effective: float, draws: int) -> float:
    """Return the standard error of the ensemble's log-evidence in nats, by the delta method::

        error^2 = 1 / (effective - 1) - 1 / draws

    One is subtracted because the mean weight is estimated, too. With one effective draw, the
    error is unknown; with n draws of the same weight, it is 1 / n, the share of the weight that
    another draw might have had.

    Args:
        effective: the effective number of the draws; with at most 1, the error is infinite, and
            with infinity, 0.
        draws: the number of draws.
    """
    if np.isinf(effective):
        return 0.0
    if effective <= 1:
        return np.inf
    return float(np.sqrt(max(1 / (effective - 1) - 1 / draws, 0.0)))


@dataclass(frozen=True)
class Goal:
    """When drawing ends.

    Args:
        effective: the effective number of draws, at least.
        error: the standard error of the log-evidence, at most.
        most: the number of draws after which drawing ends in any case.
    """

    effective: float = ENOUGH
    error: float = np.inf
    most: int = MOST

    @property
    def first(self) -> int:
        """The number of the members' first draws, which most goals need."""
        return min(self.most, max(FIRST, math.ceil(1 / self.error**2)))

    def is_met(self, effective: float, draws: int) -> bool:
        """Return whether draws reach the goal before their number does.

        Args:
            effective: their effective number.
            draws: their number.
        """
        if not effective or effective < self.effective:
            return False
        return log_evidence_error(effective, draws) <= self.error


@dataclass(frozen=True)
class Posterior:
    """The distribution of a row's unknown columns given its known columns.

    Args:
        values: complete rows in the user's units, ``(N, D)``, not rounded, with codes for labels.
        log_weights: the logarithms of the members' weights, ``(N, M)``. The weights of a member sum
            to the member's density of the known columns.
        weights: the weights in the ensemble, ``(N,)``, which sum to 1; ``NaN`` if no value has a
            weight above 0.
        member_weights: the weights of the members in the ensemble, ``(M,)``.
        is_exact: whether the weights are those of quadrature or of labels, and not of importance
            sampling.
        along: the column that quadrature integrated over, if there is one.
        curve: returns the distribution function of this column for weights of the members
            ``(M,)``: values, and their levels from 0 to 1, ``(E,)`` each. ``None`` stands for the
            distribution function of the ``values``.
        log_own: minus the log-density of the proposal at the true values of the row; ``NaN`` if
            they are unknown. The log-weight of the true values, counted as one more draw, is their
            log-density plus ``log_own``.
        completions: the number of random completions of x that the values are an average over; 0
            for none.
        log_mass_se: the standard errors of the members' log-probabilities of the constraints, by
            which their weights are divided, ``(M,)`` or a number.
        mass_shares: the shares with which these errors enter the ensemble's log-evidence, ``(M,)``;
            ``None`` for the shares of the members in the evidence.
    """

    values: Array
    log_weights: Array
    weights: Array
    member_weights: Array
    is_exact: bool = False
    along: int | None = None
    curve: Callable[[Array], tuple[Array, Array]] | None = None
    log_own: float = np.nan
    completions: int = 0
    log_mass_se: Array | float = 0.0
    mass_shares: Array | None = None

    @classmethod
    def of(cls, values: Array, log_weights: Array, member_weights: Array, **kind: Any) -> Posterior:
        """Return the posterior of draws with the members' log-weights ``(N, M)``.

        Args:
            values: complete rows, ``(N, D)``.
            log_weights: the logarithms of the members' weights, ``(N, M)``.
            member_weights: the weights of the members in the ensemble, ``(M,)``.
            kind: other fields.
        """
        weights = _normalised(log_weights, member_weights)
        return cls(values, log_weights, weights, member_weights, **kind)

    def weights_in(self, views: Array) -> Array:
        """Return the weights of the values under V weights of the members, ``(V, N)``.

        Args:
            views: the weights of the members, ``(V, M)``: first those in the ensemble.
        """
        if len(views) == 1:
            return self.weights[None]
        most = self.log_weights.max(axis=0, initial=-np.inf)
        with np.errstate(invalid="ignore", divide="ignore"):
            members = np.exp(self.log_weights - np.where(np.isfinite(most), most, 0.0))
            log_share = np.log(views[1:]) + most
            shares = np.exp(log_share - log_share.max(axis=1, keepdims=True))
            weights = shares @ members.T
            weights /= weights.sum(axis=1, keepdims=True)
        return np.concatenate([self.weights[None], weights])

    def batches(self) -> list[Posterior]:
        """Return the posteriors of ``BATCHES`` parts of the draws; none without draws."""
        if self.is_exact:
            return []
        found, count = list[Posterior](), len(self.values)
        for b in range(BATCHES):
            log_weights = self.log_weights[b::BATCHES]
            log_weights = log_weights + np.log(count / max(1, len(log_weights)))
            weights = _normalised(log_weights, self.member_weights)
            values = self.values[b::BATCHES]
            found.append(replace(self, values=values, log_weights=log_weights, weights=weights))
        return found

    def evidence_of_batches(self) -> Array:
        """Return the members' log-densities of the known columns from each part, ``(B, M)``."""
        most = self.log_weights.max(axis=0, initial=-np.inf)
        with np.errstate(divide="ignore"):
            weights = np.exp(self.log_weights - np.where(np.isfinite(most), most, 0.0))
            parts = [weights[b::BATCHES].mean(axis=0) for b in range(BATCHES)]
            return np.asarray(np.log(parts) + most + np.log(len(weights)))

    @classmethod
    def doubled(
        cls,
        draw: Callable[[int], tuple[Array, Array]],
        member_weights: Array,
        goal: Goal,
    ) -> Posterior:
        """Draw until the ``goal``, with twice as many draws each time.

        Args:
            draw: returns a number of complete rows ``(N, D)``, and their log importance weights
                ``(N, M)``.
            member_weights: the weights of the members in the ensemble, ``(M,)``.
            goal: when drawing ends.
        """
        most = goal.most
        values, log_weights, count, total = list[Array](), list[Array](), FIRST, 0
        while True:
            drawn, log_w = draw(count)
            values.append(drawn)
            log_weights.append(log_w)
            total += count
            each = np.concatenate(log_weights)
            # Without a draw of positive weight there is no posterior yet
            if np.isfinite(each).any() or total >= most:
                found = cls.of(np.concatenate(values), each - np.log(total), member_weights)
                if total >= most or goal.is_met(found.effective, total):
                    return found
            count = min(total, most - total)

    @property
    def log_evidence(self) -> Array:
        """The members' log-densities of the known columns, ``(M,)``."""
        return logsumexp(self.log_weights, axis=0)

    @property
    def effective(self) -> float:
        """The effective number of draws.

        It is infinite if nothing was drawn, the number of ``completions`` of x if there are any,
        and 0 if no draw has a weight above 0.
        """
        if self.completions:
            return self.completions
        if self.is_exact:
            return np.inf
        return float(np.nan_to_num(1 / np.square(self.weights).sum()))

    @property
    def draw_error(self) -> float:
        """The standard error of the ensemble's log-evidence in nats that the draws make.

        It is infinite if no draw has a weight above 0 (``log_evidence_error``).
        """
        return log_evidence_error(self.effective, len(self.weights))

    @property
    def shares(self) -> Array:
        """The shares with which errors of members enter the ensemble's log-evidence, ``(M,)``."""
        if self.mass_shares is not None:
            return self.mass_shares
        return member_shares(self.log_evidence[None], self.member_weights)[0]

    def quantiles(self, d: int, levels: Array) -> Array:
        """Return the quantiles of column ``d`` at ``levels`` from 0 to 1."""
        return self.quantiles_in(self.member_weights[None], d, levels)[0]

    def quantiles_in(self, views: Array, d: int, levels: Array) -> Array:
        """Return the quantiles of column ``d`` at L levels, ``(V, L)``.

        Args:
            views: the weights of the members, as for ``weights_in``.
            d: the index of the column.
            levels: the levels, from 0 to 1.
        """
        if self.curve is not None and d == self.along:
            curves = [self.curve(view) for view in views]
            return np.array([np.interp(levels, own, values) for values, own in curves])
        order = np.argsort(self.values[:, d], kind="stable")
        values, weights = self.values[order, d], self.weights_in(views)[:, order]
        middles = weights.cumsum(axis=1) - weights / 2
        return np.array([np.interp(levels, own, values) for own in middles])

    def pick(
        self, count: int, generator: np.random.Generator, met: Callable[[Array], Mask] | None = None
    ) -> Array:
        """Resample ``count`` complete rows, ``(count, D)``.

        A row with weight w occurs ``count`` w times, rounded up or down (systematic resampling,
        Kitagawa 1996). Values between the nodes of a quadrature are interpolated, unless the result
        breaks a constraint.

        Args:
            count: the number of rows.
            generator: the source of random numbers.
            met: tells which rows ``(n, D)`` meet the constraints; ``None`` without constraints.

        Raises ``NoDrawsError`` if no value has a weight above 0 and meets the constraints.
        """
        weights = self.possible(met)
        levels = (np.arange(count) + generator.random()) / count
        generator.shuffle(levels)
        indices = np.searchsorted(weights.cumsum(), levels * weights.sum())
        rows = self.values[np.minimum(indices, len(self.weights) - 1)]
        if self.along is not None:
            nodes = rows.copy()
            rows[:, self.along] = self.quantiles(self.along, levels)
            if met is not None:
                rows = np.where(met(rows)[:, None], rows, nodes)
        return rows

    def possible(self, met: Callable[[Array], Mask] | None = None) -> Array:
        """Return the weights of the values that meet the constraints, ``(N,)``; 0 for others.

        Args:
            met: tells which rows ``(n, D)`` meet the constraints; ``None`` without constraints.

        Raises ``NoDrawsError`` if all weights are 0.
        """
        weights = self.weights if met is None else np.where(met(self.values), self.weights, 0.0)
        if not weights.sum() > 0:  # also if the weights are NaN
            raise NoDrawsError
        return weights

    def nearest(self, row: Array, columns: Sequence[int], met: Callable[[Array], Mask]) -> Array:
        """Return the value that is nearest to a row and meets the constraints, ``(D,)``.

        Distances are in standard deviations of the columns.

        Args:
            row: the row ``(D,)``.
            columns: the indices of the columns in which distances are measured.
            met: tells which rows ``(n, D)`` meet the constraints.

        Raises ``NoDrawsError`` as ``pick``.
        """
        values = self.values[self.possible(met) > 0]
        deviation = values[:, columns].std(axis=0)
        apart = (values[:, columns] - row[columns]) / np.where(deviation > 0, deviation, 1.0)
        return np.asarray(values[np.square(apart).sum(axis=1).argmin()])


def _normalised(log_weights: Array, member_weights: Array) -> Array:
    """Return weights of the ensemble that sum to 1, ``(N,)``; ``NaN`` if all are 0.

    Args:
        log_weights: the logarithms of the members' weights, ``(N, M)``.
        member_weights: the weights of the members, ``(M,)``.
    """
    log_w = ensemble_log_prob(log_weights, member_weights)
    with np.errstate(invalid="ignore"):
        weights = np.exp(log_w - log_w.max(initial=-np.inf))
        return np.asarray(weights / weights.sum())
