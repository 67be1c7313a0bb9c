"""The density of a table on arrays: log-densities, samples and conditional distributions.

Rows are numbers ``(n, D)`` in the user's units, with codes for labels and ``NaN`` for unknown
values. This module does not use pandas and prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from flows.conditionals.distillation import SAMPLES, Distilled
from flows.conditionals.region import ENOUGH, MOST, Goal, Region
from flows.conditionals.unknowns import Posterior, Unknowns
from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.core.seeds import numpy_generator
from flows.networks.population import Population, chunked_log_prob, ensemble_log_prob
from flows.recipe.record import Record
from flows.tables.column_maps import ColumnMaps
from flows.tables.field import Field
from flows.tables.kinds import Real
from flows.tables.parsing import default_names
from flows.tables.rows import refused, round_rows
from flows.tables.schema import Schema

ROWS_PER_DRAW = 50_000  # rows that are drawn at a time: limits the memory
PER_SAMPLE = 8  # weighted draws for each draw that is kept
GRID, REACH = 200, 3.5  # a curve has 200 points, from -3.5 to 3.5 in normal scores
ERROR = 0.014  # standard error at which the draws for a probability end; for a ratio of two, 2%
MOST_OF_AN_EVENT = 200_000  # draws for a probability, at most
COMPLETIONS = 16  # draws of a row's other unknown values, over which a curve is averaged


OLD_LABELS = (
    "this population learned labels as numbers, as the pipeline and release 0.3 do, and has no "
    "probabilities of labels; fit the table again with flows.fit or `flows fit`"
)


def fields_of(population: Population) -> Sequence[Field]:
    """Return the columns of a population: those of its map to the real line, or real numbers.

    A population of images has none.
    """
    if isinstance(population.to_real, ColumnMaps):
        return population.to_real.fields
    if len(population.event_shape) != 1:
        return ()
    return [Real(name) for name in default_names(population.event_shape[0])]


class Estimate(NamedTuple):
    """Log-densities of rows.

    Args:
        log_q: the members' log-densities in nats, ``(n, M)``.
        log_ensemble: the log-densities of the ensemble in nats, ``(n,)``. Given some columns, the
            density of the ensemble is q(x) / q(given columns), and not the mean of the members'
            densities given these columns.
        error: the standard errors of the ensemble's log-densities in nats, ``(n,)``; 0 for a row
            whose log-density is computed without random draws.
        effective: the effective numbers of draws, ``(n,)``; infinite for a row without draws.
    """

    log_q: Array
    log_ensemble: Array
    error: Array
    effective: Array


class Probability(NamedTuple):
    """The probability of an event.

    Args:
        probability: the estimate, from 0 to 1.
        error: the standard error of the estimate.
        draws: the number of draws behind the estimate.
    """

    probability: float
    error: float
    draws: int


class ArrayDensity:
    """The density of a table on arrays: the ensemble of the members of a population.

    ``row_numbers`` ``(n,)`` in the methods are the numbers of the rows in their table, from 0. They
    select the random streams, so the results for a row do not depend on the other rows.

    Args:
        population: a population of models of vectors, or of images, which have no columns.
        schema: the schema of the table; by default all columns are learned, and have the fields of
            the population's map to the real line, or are real numbers.
        record: how the population was trained; ``None`` if it was not.

    Examples:
        >>> import numpy as np
        >>> import flows
        >>> from flows.density.array_density import ArrayDensity
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> quick = {"recipe": "fixed", "epochs": 2}
        >>> fitted = flows.fit(rows, flows.NSF(couplings=2, hidden=4), members=3, settings=quick)
        >>> density = ArrayDensity(fitted.population)
        >>> density.log_prob(rows, np.arange(60)).log_q.shape
        (60, 3)
        >>> values, densities = density.curve(rows[0], 1, 0)  # the second column given the first
        >>> values.shape, densities.shape
        ((200,), (200,))
    """

    def __init__(
        self, population: Population, schema: Schema | None = None, record: Record | None = None
    ) -> None:
        self.population, self.record = population, record
        self.targets: list[str] = []  # names, if the density is p(y | x)
        self.schema = schema or Schema.of(fields_of(population))
        self.columns = list(self.schema.fields)
        if any(field.labels for field in self.columns) and not population.scores_labels:
            raise UserError(OLD_LABELS)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return self.schema.learned

    # Log-densities

    def log_prob(self, rows: Array, row_numbers: Whole, is_given: Mask | None = None) -> Estimate:
        """Return the log-densities of the known values of each row.

        A label has a probability. Other values have these results:

        - A missing value (``NaN``) is integrated out. If the density has a target, a missing value
          of the context is averaged over, and a row that lacks a target has the result ``NaN``.
        - A value that its column does not allow gives minus infinity. In the context of a target,
          such a value counts as missing.

        Args:
            rows: the rows, ``(n, D)``.
            row_numbers: the numbers of the rows, ``(n,)``.
            is_given: a mask of the columns to condition on, ``(D,)``; at least one column must be
                ``False``.
        """
        is_given = np.zeros(len(self.columns), bool) if is_given is None else is_given
        log_q = np.full((len(rows), self.population.members), -np.inf)
        impossible, no_draws = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
        found = Estimate(log_q, impossible, np.zeros(len(rows)), no_draws)
        rows, is_left_out = self._scorable(rows)
        direct = ~is_left_out & ~np.isnan(rows).any(axis=1) & (not is_given.any())
        if direct.any():
            found.log_q[direct] = self._log_density(rows[direct])
            found.log_ensemble[direct] = self.ensemble(found.log_q[direct])
        places = np.flatnonzero(~is_left_out & ~direct)
        if len(places):
            asked = rows[places], row_numbers[places]
            if is_given.any():
                own = self._log_conditional(*asked, is_given)
            else:
                own = self._log_marginal(*asked)
            for part, new in zip(found, own, strict=True):
                part[places] = new
        return found

    def _scorable(self, rows: Array) -> tuple[Array, Mask]:
        """Return the rows to score, and a mask ``(n,)`` of the rows that are not scored."""
        return rows, np.logical_or.reduce(self.disallowed(rows), axis=1)

    def deviation(self, log_q: Array) -> Array:
        """Return the standard deviation over the members' log-densities, ``(n,)``.

        It is 0 if a row is impossible for all members, or if there is one member.

        Args:
            log_q: the log-densities of all members, ``(n, M)``.
        """
        finite = np.where(np.isneginf(log_q), 0.0, log_q)
        return finite.std(axis=1, ddof=min(1, log_q.shape[1] - 1))

    def ensemble(self, log_q: Array, members: Mask | None = None) -> Array:
        """Return the log-density of the ensemble, ``(n,)``.

        Args:
            log_q: the log-densities of all members, ``(n, M)``.
            members: a mask of the members of the ensemble, ``(M,)``; by default all.
        """
        weights = self.population.member_weights
        if members is not None:
            log_q, weights = log_q[:, members], weights[members]
        return ensemble_log_prob(log_q, weights / weights.sum())

    def disallowed(self, rows: Array) -> Mask:
        """Return a mask ``(n, D)`` of the values that the kinds of their columns do not allow."""
        return refused(self.columns, rows)

    def tail_probability(self, log_q: Array) -> Array:
        """Return the probability that a row of the table has at most this density, ``(n,)``.

        This is a cross-conformal p-value of the members' log-densities ``log_q`` ``(n, M)``::

            p(x) = (1 + sum_f #{i in fold f: log q_f(x_i) <= log q_f(x)}) / (1 + n)

        ``q_f`` is the ensemble of the members that were trained without fold f of the n training
        rows. The result is ``NaN`` if no complete row was held out. If the record holds only
        counts of the scores in bins, the counts are interpolated. Source: Vovk 2015
        (Cross-conformal predictors).
        """
        record, count, total = self.record, np.zeros(len(log_q)), 0
        if record is None or not (folds := record.fold_scores()):
            return np.full(len(log_q), np.nan)
        for fold in folds:
            count += fold.at_most(self.ensemble(log_q, record.out_of_fold_members(fold.fold)))
            total += fold.total
        return (1 + count) / (1 + total)

    # Samples

    def sample(
        self, n: int, seed: int = 0, given: Region | None = None
    ) -> Iterator[tuple[Array, float]]:
        """Yield ``n`` rows in pieces ``(m, D)``, each with its effective number of draws per row.

        With a number below 1, some rows of the piece repeat the same draw. Without ``given``, the
        number is infinite.

        Args:
            n: the number of rows.
            seed: the seed of the random streams.
            given: the conditions that all rows meet.
        """
        if given is None:
            rng = numpy_generator(seed, "sample")
            for start in range(0, max(n, 1), ROWS_PER_DRAW):
                drawn = self.population.ensemble_sample(min(ROWS_PER_DRAW, n - start), rng)
                yield drawn.double().numpy(), np.inf
            return
        size = MOST // PER_SAMPLE
        for number, start in enumerate(range(0, n, size)):
            kept = min(size, n - start)
            posterior = self._posterior(given.numbered(number), Goal(np.inf), seed)
            picked = posterior.pick(kept, numpy_generator(seed, "unknown", number, 1))
            known = given.rows[0]
            rows = np.where(np.isnan(known), round_rows(self.columns, picked), known)
            yield rows, posterior.effective / kept

    def complete(
        self, rows: Array, row_numbers: Whole, count: int, seed: int
    ) -> tuple[Array, Array]:
        """Return ``count`` versions of the rows with unknown values drawn, ``(count, n, D)``.

        Also return the effective numbers of draws, ``(n,)``; infinite for a complete row.
        """
        found, effective = np.repeat(rows[None], count, axis=0), np.full(len(rows), np.inf)
        places = np.flatnonzero(np.isnan(rows).any(axis=1))
        goal = Goal(max(ENOUGH, 2 * count))  # so that few versions are equal
        region = Region(rows[places], row_numbers[places])
        for place, posterior in self.unknowns.posteriors(region, seed, goal):
            k = places[place]
            rng = numpy_generator(seed, "unknown", int(row_numbers[k]), 1)
            found[:, k] = posterior.pick(count, rng)
            effective[k] = posterior.effective
        drawn = round_rows(self.columns, found.reshape(-1, rows.shape[1])).reshape(found.shape)
        return np.where(np.isnan(rows), drawn, rows), effective

    # Conditionals

    def fill(self, rows: Array, row_numbers: Whole) -> tuple[Array, Array]:
        """Return the rows with unknown values replaced by conditional medians, ``(n, D)``.

        An unknown category gets its most probable label. Also return the effective numbers of
        draws, ``(n,)``; infinite for a row without draws.
        """
        filled, effective = rows.copy(), np.full(len(rows), np.inf)
        places = np.flatnonzero(np.isnan(rows).any(axis=1))
        region = Region(rows[places], row_numbers[places])
        for place, posterior in self.unknowns.posteriors(region):
            k = places[place]
            effective[k] = posterior.effective
            for d in np.flatnonzero(np.isnan(rows[k])).tolist():
                if self.columns[d].labels:
                    filled[k, d] = self._probabilities(posterior, d).argmax()
                else:
                    filled[k, d] = posterior.quantiles(d, np.array(0.5))
        return np.where(np.isnan(rows), round_rows(self.columns, filled), rows), effective

    def predict(self, region: Region, d: int, levels: Sequence[float]) -> tuple[Array, Array]:
        """Return the distribution of column ``d`` given the known values and the intervals.

        The first result has the mean, the standard deviation and the quantiles at the L ``levels``
        in the column's unit, ``(n, 2 + L)``; for a category, the probabilities of its K labels,
        ``(n, K)``. The second result has the effective numbers of draws, ``(n,)``.

        The mean and the standard deviation leave out values that lie more than one range of the
        column beyond either end of its range, because a positive column may have no mean
        otherwise. Raises ``UserError`` for levels that are not between 0 and 1, or are equal.

        Args:
            region: the rows, whose values of column ``d`` are ignored, and the intervals.
            d: the column.
            levels: the levels of the quantiles.
        """
        _check_levels(levels)
        n = len(region.rows)
        found = np.empty((n, len(self.columns[d].labels) or 2 + len(levels)))
        effective = np.empty(n)
        goal = Goal(error=ERROR) if region.intervals else Goal()
        for k, posterior in self.unknowns.posteriors(region.hiding([d]), goal=goal):
            effective[k], found[k] = posterior.effective, self._summary(posterior, d, levels)
        return found, effective

    def probability(self, event: Region, given: Region, seed: int = 0) -> Probability:
        """Return the probability of an event under conditions, with its standard error::

            P(E | C) = P(E and C) / P(C)

        Both are estimated by importance sampling, until the standard error is below 2% of the
        probability, or with ``MOST_OF_AN_EVENT`` draws. If no draw has a weight above 0, the
        standard error is infinite; if no draw for C has, the probability is ``NaN``.

        Args:
            event: the event E, intervals only.
            given: the conditions C; known values have a density in place of a probability.
            seed: the seed of the random streams.
        """
        both = given.also(event)
        if both is None:
            return Probability(0.0, 0.0, 0)
        goal, log_p, error, draws = Goal(0.0, ERROR, MOST_OF_AN_EVENT), 0.0, 0.0, 0
        for number, (region, sign) in enumerate(((both, 1), (given, -1))):
            if region.is_everything:  # its probability is 1
                continue
            posterior = self._posterior(region.numbered(number), goal, seed)
            with np.errstate(invalid="ignore"):
                log_p += sign * logsumexp(posterior.log_evidence, b=self._weights)
            error = float(np.hypot(error, posterior.error))
            draws += 0 if posterior.is_exact else len(posterior.values)
        p = float(np.minimum(1.0, np.exp(log_p)))
        return Probability(p, p * error if np.isfinite(error) else error, draws)

    def _posterior(self, region: Region, goal: Goal, seed: int) -> Posterior:
        """Return the posterior of a region of one row."""
        [(_, posterior)] = self.unknowns.posteriors(region, seed, goal)
        return posterior

    @property
    def _weights(self) -> Array:
        return self.population.member_weights.numpy()

    def _summary(self, posterior: Posterior, d: int, levels: Sequence[float]) -> Array:
        """Return the moments and quantiles of column ``d``, or the probabilities of its labels."""
        if self.columns[d].labels:
            return self._probabilities(posterior, d)
        quantiles = self._round_column(d, posterior.quantiles(d, np.array(levels)))
        return np.concatenate([self._moments(posterior, d), quantiles])

    def surprise(self, rows: Array, row_numbers: Whole) -> tuple[Array, Array]:
        """Return the surprise of each value, given the other values of its row, ``(n, D)``::

            s_j = log m(x_j) - log q(x_j | rest),   m = (margin_j + uniform_j) / 2

        The surprise is in nats and does not depend on the units of the columns. It is ``NaN`` for
        an unknown value. ``margin_j`` is the density of column j alone. ``uniform_j`` is the
        uniform density 1 / (3 ranges of the column), or 1 / K for one of K labels. If m were the
        margin alone, a value far outside of the table would have a low surprise, because its margin
        is low, too.

        Also return the smallest effective number of draws of each row, ``(n,)``.
        """
        joint = self._log_marginal(rows, row_numbers)
        found, effective = np.full(rows.shape, np.nan), joint.effective
        log_joint = joint.log_ensemble
        for d in range(len(self.columns)):
            known = np.flatnonzero(~np.isnan(rows[:, d]))
            rest = rows[known]
            rest[:, d] = np.nan
            of_rest = self._log_marginal(rest, row_numbers[known])
            log_conditional = log_joint[known] - of_rest.log_ensemble
            found[known, d] = self._log_margin(d, rows[known, d]) - log_conditional
            effective[known] = np.minimum(effective[known], of_rest.effective)
        return found, effective

    def _log_margin(self, d: int, x: Array) -> Array:
        """Return log m of values ``x`` ``(n,)`` of column ``d``, in the formula of ``surprise``."""
        distilled, labels = self.unknowns.distilled, self.columns[d].labels
        width = len(labels) or 3 * (distilled.high[d] - distilled.low[d])
        return np.logaddexp(distilled.log_margin(d, x), -np.log(width)) - np.log(2)

    def curve(self, row: Array, d: int, row_number: int) -> tuple[Array, Array]:
        """Return G values of column ``d`` and their densities given the rest of ``row`` ``(D,)``.

        Both are ``(G,)``. For a category, the densities are the probabilities of its labels. If
        other values of the row are unknown, they are drawn, and the curves are averaged::

            q(x_d | x_o) = E [ q(x_d | x_o, x_u) ],      x_u ~ q(x_u | x_o)

        Each value stands for an interval. The densities times the widths of the intervals sum to 1.
        """
        rest = np.where(np.arange(len(row)) == d, np.nan, row)[None]
        if np.isnan(rest).sum() > 1:
            rest = self.complete(rest, np.array([row_number]), COMPLETIONS, 0)[0][:, 0]
        x = self._grid(row, d)
        rows = rest.repeat(len(x), axis=0)
        rows[:, d] = np.tile(x, len(rest))
        log_q = self._log_density(rows)
        log_q = self.ensemble(log_q).reshape(len(rest), -1) + np.log(np.gradient(x))
        share = np.exp(log_q - np.logaddexp.reduce(log_q, axis=1, keepdims=True)).mean(axis=0)
        return x, share / np.gradient(x)

    @cached_property
    def unknowns(self) -> Unknowns:
        """The conditional distributions, set up from samples of the density at the first use.

        Raises ``UserError`` for a model of images, and for a table of more columns than the density
        is quick enough for.
        """
        if not self.columns:
            raise UserError("a model of images has no columns to ask about")
        most, name = self.population.most_conditional, self.population.description.get("model")
        if most is not None and len(self.columns) > most:
            raise UserError(
                f"a table of {len(self.columns)} columns: the density of {name} is too expensive "
                f"for unknown values of more than {most} columns; fit nsf for these"
            )
        samples = np.concatenate([rows for rows, _ in self.sample(SAMPLES)])
        return Unknowns(self._log_density, Distilled(self.columns, samples), self._weights)

    def _log_density(self, rows: Array) -> Array:
        return chunked_log_prob(self.population, rows)

    def _log_marginal(self, rows: Array, row_numbers: Whole) -> Estimate:
        """Return the log-density of the known values of each row."""
        found = self._empty(len(rows))
        for k, posterior in self.unknowns.posteriors(Region(rows, row_numbers)):
            found.log_q[k] = posterior.log_evidence
            found.error[k], found.effective[k] = posterior.error, posterior.effective
        empty = np.isnan(rows).all(axis=1)  # a row without known values has probability 1
        found.log_q[empty], found.error[empty] = 0.0, 0.0
        return found._replace(log_ensemble=self.ensemble(found.log_q))

    def _log_conditional(self, rows: Array, row_numbers: Whole, given: Mask) -> Estimate:
        """Return the log-density of the known values of each row, given the columns ``given``.

        The values x_u of a complete row are one more draw, with their own weight::

            log q(x_u | x_o) ~ log q(x) - log [ (w(x_u) + sum_i w_i) / (N + 1) ]

        Without this draw, the estimate is too high in expectation if few draws are effective.
        """
        joint, found = self._log_marginal(rows, row_numbers), self._empty(len(rows))
        known = Region(np.where(given, rows, np.nan), row_numbers)
        for k, posterior in self.unknowns.posteriors(known, own=rows):
            log_evidence = posterior.log_evidence
            if not np.isnan(posterior.log_own):
                count, log_own = len(posterior.values), joint.log_q[k] + posterior.log_own
                log_sum = np.logaddexp(log_evidence + np.log(count), log_own)
                log_evidence = log_sum - np.log(count + 1)
            found.log_q[k] = joint.log_q[k] - log_evidence
            found.log_ensemble[k] = joint.log_ensemble[k] - self.ensemble(log_evidence[None])[0]
            found.error[k] = np.hypot(posterior.error, joint.error[k])
            found.effective[k] = min(posterior.effective, joint.effective[k])
        return found

    def _empty(self, n: int) -> Estimate:
        numbers = (np.empty(n) for _ in range(3))
        return Estimate(np.empty((n, self.population.members)), *numbers)

    def _round_column(self, d: int, values: Array) -> Array:
        """Round values ``(n,)`` of column ``d`` if the column is whole."""
        return round_rows([self.columns[d]], values[:, None])[:, 0]

    def _probabilities(self, posterior: Posterior, d: int) -> Array:
        """Return the probabilities of the labels of column ``d``, ``(K,)``."""
        codes = self._round_column(d, posterior.values[:, d]).astype(np.int64)
        count = len(self.columns[d].labels)
        return np.bincount(codes, posterior.weights, count).astype(np.float64)

    def _moments(self, posterior: Posterior, d: int) -> tuple[float, float]:
        """Return the mean and the standard deviation of column ``d`` that ``predict`` defines."""
        low, high = (
            each[d] for each in (self.unknowns.distilled.low, self.unknowns.distilled.high)
        )
        x, reach = posterior.values[:, d], high - low
        inside = (low - reach <= x) & (x <= high + reach)
        # Far values have weight 0, and are set to 0 because their squares may overflow
        x, weights = np.where(inside, x, 0.0), np.where(inside, posterior.weights, 0.0)
        with np.errstate(invalid="ignore"):  # if all values are far, there are no moments
            weights /= weights.sum()
        mean = weights @ x
        return float(mean), float(np.sqrt(weights @ (x - mean) ** 2))

    def _grid(self, row: Array, d: int) -> Array:
        """Return the values of ``curve``, equally spaced in normal scores, ``(G,)``."""
        column, distilled = self.columns[d], self.unknowns.distilled
        if column.labels:
            return np.arange(len(column.labels), dtype=np.float64)
        own = 0.0 if np.isnan(row[d]) else distilled.scores(d, row[d : d + 1])[0].item()
        low, high = min(-REACH, own - 1), max(REACH, own + 1)
        x = distilled.values(d, np.linspace(low, high, GRID))[0]
        return np.unique(column.round(x)) if column.is_discrete else x


def _check_levels(levels: Sequence[float]) -> None:
    """Raise ``UserError`` for levels that are not between 0 and 1, or are equal."""
    for level in levels:
        if not 0 < level < 1:
            raise UserError(f"quantile {level:g}: must be between 0 and 1")
    if len({f"{level:g}" for level in levels}) < len(levels):
        raise UserError(f"quantiles {', '.join(map(str, levels))}: two are the same to six digits")
