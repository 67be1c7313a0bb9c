"""The density of a table on arrays: log-densities, draws, and posteriors of unknown values.

Rows are numbers ``(n, D)`` in the user's units, with codes for labels and ``NaN`` for unknown
values. ``asking.py`` asks questions about rows. This module does not use pandas and prints nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.core.rows import digests
from flows.core.seeds import numpy_generator
from flows.networks.densities import Along, Densities
from flows.networks.population import Population, ensemble_log_prob
from flows.recipe.ensemble import Ensemble
from flows.recipe.mass import log_mass, share_possible
from flows.recipe.record import EVERY, Record
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.constraint import Constraints
from flows.tables.columns.field import Field
from flows.tables.columns.kinds import Real
from flows.tables.columns.parsing import default_names
from flows.tables.columns.schema import Schema
from flows.tables.posterior.distillation import SAMPLES, Distilled
from flows.tables.posterior.given_labels import GivenLabels
from flows.tables.posterior.joint import JointPosteriors
from flows.tables.posterior.peaks import Peaks
from flows.tables.posterior.posterior import Evidence, Goal, Posterior
from flows.tables.posterior.region import Region

ROWS_PER_DRAW = 50_000  # rows that are drawn at a time: limits the memory

# Nats below the smallest out-of-fold score. There, a deviation over members tells nothing: on small
# tables it is hundreds of nats, and millions 10 to 20 nats further down.
FAR_BELOW = 10.0

WITHOUT_LABELS = (
    "this population learned labels as numbers, as the pipeline does, and has no "
    "probabilities of labels; fit the table again with flows.fit or `flows fit`"
)


def fields_of(population: Densities) -> Sequence[Field]:
    """Return the columns of a population: those of its map to the real line, or real numbers.

    A population of images has none.
    """
    if isinstance(population.to_real, ColumnMaps):
        return population.to_real.fields
    if len(population.event_shape) != 1:
        return ()
    return [Real(name) for name in default_names(population.event_shape[0])]


class ArrayDensity:
    """The joint density of the columns of a table: the ensemble of the members of a population.

    Args:
        population: a population of models of vectors, or of images, which have no columns.
        schema: the schema of the table; by default all columns are learned, and have the fields of
            the population's map to the real line, or are real numbers.
        record: how the population was trained; ``None`` if it was not.

    Examples:
        >>> import numpy as np
        >>> import flows
        >>> from flows.tables.posterior.array_density import ArrayDensity
        >>> from flows.tables.posterior.region import Region
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> quick = {"recipe": "quick"}
        >>> fitted = flows.fit(rows, flows.NSF(couplings=2, hidden=4), members=3, settings=quick)
        >>> density = ArrayDensity(fitted.population)
        >>> density.log_density(rows).shape  # of three networks and six mixtures
        (60, 9)
        >>> rows[:, 1] = np.nan  # unknown
        >>> posteriors = dict(density.posteriors(Region.of_rows(rows)))
        >>> posteriors[7].log_evidence.shape  # the log-densities of the known value
        (9,)
    """

    def __init__(
        self, population: Densities, schema: Schema | None = None, record: Record | None = None
    ) -> None:
        self.population, self.record = population, record
        self.schema = schema or Schema.of(fields_of(population))
        self.constraints = Constraints.of(self.schema)
        self.columns = list(self.schema.fields)
        self.targets: list[str] = []  # names, if the density is p(y | x)
        if any(field.labels for field in self.columns) and not population.scores_labels:
            raise UserError(WITHOUT_LABELS)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return self.schema.learned

    @cached_property
    def inputs(self) -> Mask:
        """Which columns are given only, and have no density, ``(D,)``."""
        return np.zeros(len(self.columns), bool)

    @cached_property
    def peaks(self) -> Peaks:
        """The cells of values that many rows hold."""
        return Peaks(self.columns)

    @cached_property
    def log_mass(self) -> Array:
        """The members' log-probabilities of the constraints, ``(M,)``; 0 without constraints.

        A fit stores them in its record.
        """
        return self._mass[0]

    @cached_property
    def _mass(self) -> tuple[Array, Array]:
        """The members' log-probabilities of the constraints, and the standard errors, ``(M,)``."""
        if not self.constraints:
            return np.zeros(self.population.members), np.zeros(self.population.members)
        record = self.record
        if record and record.log_mass and tuple(record.require) == self.schema.require:
            return np.array(record.log_mass), np.array(record.log_mass_se)
        return log_mass(self.population, self.constraints.met, 0)

    @cached_property
    def member_weights(self) -> Array:
        """The weights of the members in the ensemble, ``(M,)``.

        With constraints, they are the weights of the members given the constraints. The weights of
        the population are those of the members from which draws are accepted or rejected.
        """
        weights = self.population.member_weights.numpy()
        if not self.constraints:
            return weights
        weights = weights * np.exp(self.log_mass)
        return weights / weights.sum()

    # Log-densities

    def log_density(self, rows: Array, known: Array | None = None) -> Array:
        """Return the members' log-densities of complete rows in nats, ``(n, M)``.

        A label has a probability, and a value that many rows hold the mean density of its cell
        (``flows/tables/posterior/peaks.py``). A row that breaks a constraint has minus infinity.

        Args:
            rows: the rows, ``(n, D)``, with values that their columns allow.
            known: the values that are written already, as for ``Constraints.met``.
        """
        return self.evidence(rows, known).log_q

    def evidence(self, rows: Array, known: Array | None = None) -> Evidence:
        """Return the log-densities of complete rows, as ``log_density``, with their errors.

        Args:
            rows: the rows ``(n, D)``.
            known: the values that are written already.
        """
        log_q = self.peaks.mean(self._log_possible, rows, self.peaks.at(rows))
        if self.constraints:
            log_q = np.where(self.constraints.met(rows, known)[:, None], log_q, -np.inf)
        se, shares = (np.broadcast_to(x, log_q.shape) for x in (self._mass[1], self.member_weights))
        return Evidence.exact(log_q, se, shares)

    def _log_possible(self, rows: Array) -> Array:
        """Return the members' log-densities of rows that meet the constraints, ``(n, M)``."""
        return self.population.score(rows) - self.log_mass

    def _along(self, rows: Array, columns: Whole) -> Along:
        """Return the log-densities of rows that lack one number, as ``_log_possible``.

        Args:
            rows: the rows ``(n, D)``.
            columns: the column that each row lacks, ``(n,)``.
        """
        along = self.population.along(rows, columns)
        return lambda own, x: along(own, x) - self.log_mass

    def deviation(self, log_q: Array, log_density: Array | None = None) -> Array:
        """Return the standard deviation over the members' log-densities in nats, ``(n,)``.

        It is 0 if a row is impossible for all members, or if there is one member. It is ``NaN`` if
        the log-density of the row is more than ``FAR_BELOW``, 10 nats, below the smallest
        out-of-fold score of the record, and not minus infinity. Without such scores it is a number.

        Args:
            log_q: the log-densities of all members, ``(n, M)``.
            log_density: the log-densities of the rows, ``(n,)``; ``NaN`` for a row that is not
                compared with the scores, such as one of fewer values. By default no row is.
        """
        finite = np.where(np.isneginf(log_q), 0.0, log_q)
        found = finite.std(axis=1, ddof=min(1, log_q.shape[1] - 1))
        if log_density is None or self.record is None:
            return found
        is_far = np.isfinite(log_density) & (log_density < self.record.least_score - FAR_BELOW)
        return np.where(is_far, np.nan, found)

    def ensemble(self, log_q: Array, members: Mask | None = None) -> Array:
        """Return the log-density of the ensemble, ``(n,)``.

        Args:
            log_q: the log-densities of all members, ``(n, M)``.
            members: a mask of the members of the ensemble, ``(M,)``; by default all.
        """
        weights = self.member_weights
        if members is not None:
            log_q, weights = log_q[:, members], weights[members]
        return ensemble_log_prob(log_q, weights / weights.sum())

    @cached_property
    def views(self) -> Array:
        """The weights of the members in the ensemble, then in each fold, ``(1 + F, M)``.

        The members of a fold did not learn from the rows of the fold. There is no fold if the
        record tells fewer than two.
        """
        folds = sorted({member.fold for member in self.record.members}) if self.record else []
        weights, found = self.member_weights, [self.member_weights]
        for fold in folds if len(folds) > 1 else ():
            assert self.record is not None
            own = np.where(self.record.out_of_fold_members(fold), weights, 0.0)
            found.append(own / own.sum())
        return np.stack(found)

    def in_views(self, log_q: Array) -> Array:
        """Return the log-densities of the ensemble and of each fold, ``(1 + F, ...)``.

        Args:
            log_q: the log-densities of all members, ``(..., M)``.
        """
        return np.stack([ensemble_log_prob(log_q, weights) for weights in self.views])

    def fills_context(self, region: Region) -> Mask:
        """Return for which rows a model of the context of targets fills gaps or ranges, ``(n,)``.

        All rows were used to fit this model, so these rows have no answers of folds.

        Args:
            region: the rows and the conditions.
        """
        return np.zeros(len(region), bool)

    def held_out_in(self, rows: Array) -> Whole:
        """Return the fold in which each training row among ``rows`` was held out, ``(n,)``.

        It is ``EVERY`` for a new row, and for all rows if the file does not tell training rows.

        Args:
            rows: the rows, ``(n, D)``.
        """
        scores = None if self.record is None else self.record.row_scores
        found = np.full(len(rows), EVERY)
        if scores is None or scores.digest is None:
            return found
        own, order = digests(rows), np.argsort(scores.digest, kind="stable")
        places = order[np.minimum(np.searchsorted(scores.digest[order], own), len(order) - 1)]
        is_known = (scores.digest[places] == own) & (scores.held_out_in[places] >= 0)
        return np.where(is_known, scores.held_out_in[places], found)

    def out_of_fold(self, log_q: Array, fold: Whole) -> Array:
        """Return the log-density of each row under members that did not learn from it, ``(n,)``.

        Args:
            log_q: the log-densities of all members, ``(n, M)``.
            fold: the fold in which each row was held out, ``(n,)``; ``EVERY`` for a new row, which
                no member learned from.
        """
        found = self.ensemble(log_q)
        for f in np.unique(fold[fold != EVERY]).tolist():
            assert self.record is not None
            own = fold == f
            found[own] = self.ensemble(log_q[own], self.record.out_of_fold_members(f))
        return found

    def tail_probability(self, log_q: Array, fold: Whole) -> Array:
        """Return the probability that a row of the table has at most this density, ``(n,)``.

        This is a cross-conformal p-value of the members' log-densities::

            p(x) = (1 + sum_f #{i in fold f: log q_f(x_i) <= log q_f(x)}) / (1 + n)

        ``q_f`` is the ensemble of the members that were trained without fold f of the n training
        rows. For a training row, its own fold takes the place of f in q_f(x), because the members
        of the other folds learned from the row. The result is ``NaN`` if no complete row was held
        out. If the record holds only counts of the scores in bins, the counts are interpolated.
        Source: Vovk 2015 (Cross-conformal predictors).

        Args:
            log_q: the log-densities of all members, ``(n, M)``.
            fold: the fold in which each row was held out, as ``held_out_in`` returns it, ``(n,)``.
        """
        record, count, total = self.record, np.zeros(len(log_q)), 0
        if record is None or not (folds := record.fold_scores()):
            return np.full(len(log_q), np.nan)
        own = self.out_of_fold(log_q, fold)
        for each in folds:
            of_new = self.ensemble(log_q, record.out_of_fold_members(each.fold))
            count += each.at_most(np.where(fold == EVERY, of_new, own))
            total += each.total
        return (1 + count) / (1 + total)

    # Draws and posteriors

    def draw(self, n: int, seed: int = 0) -> Iterator[Array]:
        """Yield ``n`` rows of the ensemble in pieces ``(m, D)``.

        Draws that break a constraint are rejected.

        Args:
            n: the number of rows.
            seed: the seed of the random stream.
        """
        if not n:
            yield np.empty((0, len(self.columns)))
            return
        rng, share = numpy_generator(seed, "sample"), 1.0
        if self.constraints:
            share = share_possible(self.population, self.log_mass)
        for start in range(0, n, ROWS_PER_DRAW):
            wanted = min(ROWS_PER_DRAW, n - start)
            found = self._accepted(wanted, rng, share)
            while len(found) < wanted:
                more = self._accepted(wanted - len(found), rng, share)
                found = np.concatenate([found, more])
            yield found[:wanted]

    def _accepted(self, wanted: int, rng: np.random.Generator, share: float) -> Array:
        """Return draws that meet the constraints, about as many as ``wanted``.

        Args:
            wanted: the number of rows.
            rng: the source of the draws.
            share: the share of the draws that meet the constraints.
        """
        tried = min(2 * ROWS_PER_DRAW, math.ceil(wanted / share))
        drawn = self.population.draw_ensemble(tried, rng)
        return drawn[self.constraints.met(drawn)] if self.constraints else drawn

    def posteriors(
        self, region: Region, seed: int = 0, goal: Goal | None = None, own: Array | None = None
    ) -> Iterator[tuple[int, Posterior]]:
        """Yield the index and the posterior of each row of a region, in any order.

        The posterior of a row does not depend on the other rows.

        Args:
            region: the rows and the conditions.
            seed: the seed of the random streams.
            goal: when drawing ends; by default, with ``ENOUGH`` effective draws.
            own: the rows with their true values, ``(n, D)``, for ``Posterior.log_own``.
        """
        return self._joint.of(region, seed, goal, own)

    def log_given(self, region: Region) -> tuple[Array, Array]:
        """Return the log-density of each value, given the other known values of its row.

        The result is ``(n, D)``, with ``NaN`` for unknown values. Also return the smallest
        effective number of draws of each row, ``(n,)``.

        Args:
            region: the rows.
        """
        rows, found = region.rows, np.full(region.rows.shape, np.nan)
        whole = self.log_known(region)
        log_row, effective = self.ensemble(whole.log_q), whole.effective
        for d in range(rows.shape[1]):
            known = np.flatnonzero(~np.isnan(rows[:, d]))
            rest = self.log_known(region.take(known).hiding([d]))
            log_rest = self.ensemble(rest.log_q)
            with np.errstate(invalid="ignore"):  # of values that break a constraint
                found[known, d] = log_row[known] - log_rest
            effective[known] = np.minimum(effective[known], rest.effective)
        return found, effective

    def log_known(self, region: Region, seed: int = 0, goal: Goal | None = None) -> Evidence:
        """Return the log-densities of the known values of rows, with their errors.

        The log-densities include the probabilities of the intervals of unknown values.

        Args:
            region: the rows and the conditions.
            seed: the seed of the random streams.
            goal: when drawing ends, as in ``posteriors``.
        """
        found, others = self.known_exactly(region)
        for place, posterior in self.posteriors(region.take(others), seed, goal):
            found.put(int(others[place]), posterior)
        return found

    def known_exactly(self, region: Region) -> tuple[Evidence, Whole]:
        """Return the log-densities of known values as far as these need no draws.

        A row without known values has probability 1; ``closed_form`` has other rows.

        Args:
            region: the rows and the conditions.

        Returns the evidence, and the indices of the rows that are not in it yet, ``(m,)``.
        """
        found = Evidence.empty(len(region), self.population.members)
        is_open = np.asarray(region.uses.any(axis=1))
        closed, log_p = self.closed_form(region)
        found.put_exact(closed, log_p)
        is_open[closed] = False
        return found, np.flatnonzero(is_open)

    def closed_form(self, region: Region) -> tuple[Whole, Array]:
        """Return the log-densities of known values that have a closed form.

        They are the log-probabilities of labels, if labels alone are known or restricted.

        Args:
            region: the rows and the conditions.

        Returns the indices of these rows ``(m,)``, and the members' log-densities, ``(m, M)``.
        """
        given = self._given_labels
        places = np.flatnonzero(self._is_of_labels(region) & region.uses.any(axis=1))
        return places, given.log_prob(region.rows[places], given.sets(region.intervals))

    def closed_label_probabilities(self, region: Region, d: int) -> tuple[Whole, Array]:
        """Return the probabilities of labels of rows of which labels alone are known or restricted.

        Args:
            region: the rows, which lack column ``d``.
            d: the index of a column of labels.

        Returns the indices of these rows ``(n,)``, none if the probabilities have no closed form,
        and the probabilities of the K labels of the column in each of the ``views``, ``(V, n, K)``.
        """
        given, count = self._given_labels, len(self.columns[d].labels)
        places = np.flatnonzero(self._is_of_labels(region))
        rows = region.rows[places].repeat(count, axis=0)
        rows[:, d] = np.tile(np.arange(count), len(places))
        shape = len(self.views), len(places), count
        log_p = self.in_views(given.log_prob(rows, given.sets(region.intervals))).reshape(shape)
        return places, np.exp(log_p - np.logaddexp.reduce(log_p, axis=2, keepdims=True))

    def _is_of_labels(self, region: Region) -> Mask:
        """Return the rows ``(n,)`` whose labels have probabilities in closed form.

        Labels alone are known or restricted. Constraints, and a part of the rare labels of a pool,
        have no closed form.
        """
        numbers = [d for d, column in enumerate(self.columns) if not column.labels]
        is_free = not self.constraints and not region.rare
        return np.asarray(~region.uses[:, numbers].any(axis=1) & is_free)

    def of_fold(self, fold: int) -> ArrayDensity:
        """Return the density of the members that did not learn from the rows of a fold.

        The densities of folds share the proposals of unknown values.

        Args:
            fold: the fold; ``EVERY`` for the rows that no member learned from.
        """
        if fold == EVERY:
            return self
        assert self.record is not None
        members = np.flatnonzero(self.record.out_of_fold_members(fold)).tolist()
        own: dict[str, Any] = {"members": [self.record.members[m] for m in members]}
        for name in ("log_mass", "log_mass_se") if self.record.log_mass else ():
            own[name] = [getattr(self.record, name)[m] for m in members]
        record = replace(self.record, **own)
        found = type(self)(self.population.take(members), self.schema, record)
        if not self.targets:  # which have other proposals
            found.distilled = self.distilled
        return found

    @cached_property
    def distilled(self) -> Distilled:
        """The approximation of the density, from samples, which proposes unknown values."""
        return Distilled(self.columns, np.concatenate([*self.draw(SAMPLES)]))

    @cached_property
    def _joint(self) -> JointPosteriors:
        how = self.distilled, self.peaks, self.member_weights, self.constraints, self._mass[1]
        return JointPosteriors(self._log_possible, self._along, *how, self._given_labels)

    @cached_property
    def _given_labels(self) -> GivenLabels:
        """The members given labels."""
        members = self.population
        if not isinstance(members, Ensemble):
            assert isinstance(members, Population)
            members = Ensemble([members], members.member_weights)
        return GivenLabels(members, self.log_mass)
