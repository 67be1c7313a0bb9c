"""Posteriors: the distribution of a row's unknown values given its known values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array, Mask
from flows.core.errors import UserError
from flows.networks.population import ensemble_log_prob
from flows.posterior.goal import Goal, log_evidence_error

FIRST = 256  # draws per row in the first round


class NoDrawsError(UserError):
    """No draw of the unknown values of a row meets the constraints and the conditions."""

    def __init__(self) -> None:
        super().__init__("no draw of the unknown values meets the constraints and the conditions")


@dataclass(frozen=True)
class Posterior:
    """The distribution of a row's unknown columns given its known columns.

    Args:
        values: complete rows in the user's units, ``(N, D)``, not rounded, with codes for labels.
        log_weights: the logarithms of the members' weights, ``(N, M)``. The weights of a member sum
            to the member's density of the known columns.
        weights: the weights in the ensemble, ``(N,)``, which sum to 1; ``NaN`` if no value has a
            weight above 0.
        is_exact: whether the weights are those of quadrature or of labels, and not of importance
            sampling.
        along: the column that quadrature integrated over, if there is one.
        log_own: minus the log-density of the proposal at the true values of the row; ``NaN`` if
            they are unknown. The log-weight of the true values, counted as one more draw, is their
            log-density plus ``log_own``.
        completions: the number of random completions of x that the values are an average over; 0
            for none.
    """

    values: Array
    log_weights: Array
    weights: Array
    is_exact: bool = False
    along: int | None = None
    log_own: float = np.nan
    completions: int = 0

    @classmethod
    def of(cls, values: Array, log_weights: Array, member_weights: Array, **kind: Any) -> Posterior:
        """Return the posterior of draws with the members' log-weights ``(N, M)``.

        Args:
            values: complete rows, ``(N, D)``.
            log_weights: the logarithms of the members' weights, ``(N, M)``.
            member_weights: the weights of the members in the ensemble, ``(M,)``.
            kind: other fields.
        """
        log_w = ensemble_log_prob(log_weights, member_weights)
        with np.errstate(invalid="ignore"):
            weights = np.exp(log_w - log_w.max())
        return cls(values, log_weights, weights / weights.sum(), **kind)

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
    def error(self) -> float:
        """The standard error of the ensemble's log-evidence in nats (``log_evidence_error``).

        It is infinite if no draw has a weight above 0.
        """
        return log_evidence_error(self.effective, len(self.weights))

    def quantiles(self, d: int, levels: Array) -> Array:
        """Return the quantiles of column ``d`` at ``levels`` from 0 to 1."""
        order = np.argsort(self.values[:, d], kind="stable")
        weights = self.weights[order]
        return np.interp(levels, weights.cumsum() - weights / 2, self.values[order, d])

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
