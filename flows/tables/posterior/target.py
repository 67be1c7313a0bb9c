"""The conditional distributions of a density with a target: p(y | x), where x may have gaps.

A flow gives p(y | x) for a complete context x. A mixture approximates the distribution r of x, with
its labels. Missing values are drawn from it given the known values x_o, and p(y | x) is averaged::

    p(y | x_o) ~ 1/K sum_k p(y | x_o, x_k),    x_k ~ r( . | x_o)

- *One target* has nodes at equally spaced noise, with the weights of a trapezoidal rule in the
  noise; under constraints, nodes of the Gauss-Legendre rule in each allowed interval. Quantiles and
  draws follow the distribution function of the ensemble, which is exact at the nodes, and at
  further values beside a value that many rows hold. A category has its labels, with their
  probabilities. The draws x_k have equal weights, so all of them are effective. Each has few nodes:
  its own values of the noise, from intervals of equal probability.
- *Several targets* are drawn from the members, one after another, each given its own x_k.
- *Constraints* A cut p(y | x) of each member for each x::

      p(y | x, A) = sum_m w_m p_m(y | x) 1_A(y) / P_m(A | x)

  Targets are drawn inside the intervals R_j that constraints and conditions allow given x and the
  targets before them, and the draws y_i have the weights of each member's own density::

      r_m(y) = prod_j p_m(y_j | x, y_<j) / P_m(R_j | x, y_<j),        r(y) = sum_m v_m r_m(y)
      weight of member m = p_m(y_i | x) / P_m(A | x) / r(y_i),        y_i ~ r

  For one target, ``P_m(A | x)`` is the probability of intervals of the noise. For several targets,
  it is the mean of ``prod_j P_m(R_j | x, y_<j)`` over draws of all targets but the last, which is
  integrated exactly. Source: Genz 1992, as in ``mixtures/truncated_mixture.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri, softmax
from scipy.stats.qmc import Sobol

from flows.core.arrays import Array, as_points, as_rows, choose
from flows.core.intervals import in_intervals, log_interval
from flows.core.seeds import numpy_generator
from flows.mixtures.truncated_mixture import BoxProposal, restriction
from flows.tables.columns.constraint import Constraints
from flows.tables.posterior.goal import Goal
from flows.tables.posterior.posterior import Posterior
from flows.tables.posterior.quadrature import Line
from flows.tables.posterior.region import Intervals, Region
from flows.tables.posterior.target_population import TargetPopulation

# Draws of a context with gaps, at least and at most, if one target is unknown. The values of the
# target, per member, are as many as the largest number of draws.
COMPLETIONS, MOST_COMPLETIONS = 256, 1_024
DRAWS = 1_000  # of several targets, at least
ROWS = 200  # complete rows whose nodes are computed at a time
NODES, OUTER = 101, 5.0  # nodes of a target, and the noise of the outer nodes
BETWEEN = 8  # values of the noise between two values at which the density jumps
WIDTH = 2.0  # scale of the line on which nodes inside intervals lie, in standard deviations
# Draws of all targets but the last for the probability of constraints, at first and at most, in a
# number of independent sets, and the standard error in nats at which there are enough
MASS_DRAWS, MOST_MASS_DRAWS, MASS_SETS, MASS_ERROR = 64, 4_096, 8, 0.01


@dataclass(frozen=True)
class TargetPosteriors:
    """The posteriors of a density with a target.

    Args:
        population: the flow and the distribution of its context.
        constraints: the constraints that rows meet.
    """

    population: TargetPopulation
    constraints: Constraints

    def log_density(self, rows: Array, known: Array | None) -> tuple[Array, Array]:
        """Return log p(y | x) of complete rows under the constraints, ``(n, M)``.

        Also return the standard errors of the members' log P(A | x), ``(n, M)``.

        Args:
            rows: the rows ``(n, d + D)``.
            known: the values that are written already, as for ``Constraints.met``.
        """
        log_q = self.population.log_factors(rows).sum(axis=2)
        log_mass, error = self._log_mass(rows[:, : self.population.flow.context])
        return self._cut(rows, known, log_q, log_mass), error

    def of(
        self, region: Region, seed: int = 0, goal: Goal | None = None
    ) -> Iterator[tuple[int, Posterior]]:
        """Yield the index and the posterior of each row of a region, in any order.

        Args:
            region: the rows ``(n, d + D)`` and the intervals of unknown values. Either all targets
                or no target of a row are unknown.
            seed: the seed of the random streams.
            goal: when drawing ends. There are at least ``COMPLETIONS`` of a context with gaps, and
                ``DRAWS`` of several targets.
        """
        context, goal = self.population.flow.context, goal or Goal()
        gaps, is_one = region.gaps, self.population.target_count == 1 and not region.intervals
        lacks_context, lacks_target = gaps[:, :context].any(axis=1), gaps[:, context:].all(axis=1)
        complete = np.flatnonzero(~gaps.any(axis=1))
        rows = region.rows[complete]
        for k, own, error in zip(complete.tolist(), *self.log_density(rows, rows), strict=True):
            part: Any = {"is_exact": True, "log_mass_se": error}
            yield k, Posterior.of(region.rows[k : k + 1], own[None], self._weights, **part)
        plain = np.flatnonzero(~lacks_context & lacks_target) if is_one else complete[:0]
        for start in range(0, len(plain), ROWS):
            some = plain[start : start + ROWS]
            yield from zip(some.tolist(), self._of_one(region.rows[some, :context]), strict=True)
        for k in np.setdiff1d(np.arange(len(region)), [*complete, *plain]).tolist():
            generator = numpy_generator(seed, "unknown", int(region.row_numbers[k]))
            one = region.take(np.array([k])).of_gaps()
            if is_one and one.gaps[0, -1]:
                yield k, self._averaged(one.rows[:, :context], generator, goal)
            else:
                yield k, self._sampled(one, generator, goal)

    def _sampled(self, region: Region, generator: np.random.Generator, goal: Goal) -> Posterior:
        """Return the posterior of a region of one row, from draws.

        The context is drawn from its distribution inside its intervals. Known targets weight the
        context. Unknown targets are drawn inside their intervals. The evidence is the density of
        the known targets, or the probability of the intervals of the targets, times the mean weight
        of the context (``_contexts``).
        """
        [row], intervals, population = region.rows, region.intervals, self.population
        context = population.flow.context
        is_drawn = np.isnan(row[context:]).all()
        if is_drawn and population.target_count > 1 and not intervals:
            goal = replace(goal, effective=max(DRAWS, goal.effective))
        ranges = {d - context: own for d, own in intervals.items() if d >= context}
        errors, known = list[Array](), row[None, :context]
        of_known = None if np.isnan(known).any() else self._log_mass(known)

        def draw(count: int) -> tuple[Array, Array]:
            how = intervals, count, generator, of_known
            x, log_w, log_mass, error = self._contexts(known[0], *how)
            errors.append(error.max(axis=0))
            if is_drawn:
                y, log_p = self._drawn(x, ranges, log_mass, generator)
            else:
                y = row[None, context:].repeat(count, axis=0)
                log_p = population.log_factors(np.column_stack([x, y])).sum(axis=2)
            rows = np.column_stack([x, y])
            log_p += (log_w + region.log_share(population.columns, rows))[:, None]
            return rows, self._cut(rows, row, log_p, log_mass)

        found = Posterior.doubled(draw, self._weights, goal)
        return replace(found, log_mass_se=np.max(errors, axis=0))

    def _cut(self, rows: Array, known: Array | None, log_p: Array, log_mass: Array) -> Array:
        """Return the log-weights of complete rows ``(n, d + D)`` under the constraints, ``(n, M)``.

        Args:
            rows: the rows.
            known: the values that are written already, as for ``Constraints.met``.
            log_p: the log-weights without constraints.
            log_mass: log P(A | x) of each member, ``(n, M)``.
        """
        if not self.constraints:
            return log_p
        is_met = self.constraints.met(rows, known)[:, None] & np.isfinite(log_mass)
        return np.where(is_met, log_p - np.where(is_met, log_mass, 0.0), -np.inf)

    def _drawn(
        self,
        x: Array,
        ranges: Mapping[int, Array],
        log_mass: Array,
        generator: np.random.Generator,
    ) -> tuple[Array, Array]:
        """Draw targets inside intervals, given contexts.

        Args:
            x: contexts ``(n, d)`` in the user's units.
            ranges: intervals ``(I, 2)`` in the user's units, by the index of the target.
            log_mass: log P(A | x) of each member, ``(n, M)``.
            generator: the source of the draws.

        Returns draws ``(n, D)``, and their log-weights without the constraints,
        log p_m(y | x) - log r(y), ``(n, M)``.
        """
        n, flow, restricted = len(x), self.population.flow, self._restricted(ranges)
        noise = flow.base.sample(n, generator, flow.dtype).movedim(-1, 0).double().numpy()
        levels = generator.random(noise[:, 0].shape) if restricted else noise[:, 0]
        with np.errstate(divide="ignore"):
            log_v = np.tile(np.log(self._weights), (n, 1))
        if 0 in restricted:  # the intervals of the first target depend on x alone
            nothing = np.full((n, 1, noise.shape[2]), np.nan)
            with np.errstate(invalid="ignore"):  # if no target meets the constraints
                share = self._log_inside(x, nothing, 0, ranges)[2] - log_mass
            log_v += np.where(np.isfinite(share), share, -np.inf)
        is_possible = np.isfinite(log_v).any(axis=1)
        shares = softmax(np.where(is_possible[:, None], log_v, 0.0), axis=1)
        member = choose(shares, generator.random(n))
        # Each member draws its own rows, side by side; a member with fewer draws the first row, too
        rows = [np.flatnonzero(member == m) for m in range(flow.members)]
        most = max(map(len, rows))
        table = np.zeros((most, flow.members), np.int64)
        for m, own in enumerate(rows):
            table[: len(own), m] = own
        z, _ = self._walk(x[table], ranges, noise[table, np.arange(flow.members)], levels[table])
        drawn, y = flow.decode(z, x[table]).numpy(), np.empty(levels.shape)
        for m, own in enumerate(rows):
            y[own] = drawn[: len(own), m]
        log_p = self.population.log_factors(np.column_stack([x, y]), only_discrete=True).sum(axis=2)
        with np.errstate(divide="ignore"):
            log_r = log_p + np.log(shares)
        for j in restricted:
            log_r -= self._log_inside(x, y[:, None], j, ranges)[2]
        for j, intervals in ranges.items():
            is_possible &= in_intervals(y[:, j], intervals)
        with np.errstate(invalid="ignore"):  # of impossible draws
            found = log_p - np.logaddexp.reduce(log_r, axis=1)[:, None]
        return y, np.where(is_possible[:, None], found, -np.inf)

    def _restricted(self, ranges: Mapping[int, Array]) -> list[int]:
        """Return the indices of the targets that constraints or conditions restrict."""
        context = self.population.flow.context
        places = self.constraints.places
        return [
            j for j in range(self.population.target_count) if j in ranges or context + j in places
        ]

    def _walk(
        self, x: Array, ranges: Mapping[int, Array], noise: Array, levels: Array
    ) -> tuple[Array, Array]:
        """Draw the targets of every member inside intervals, one target after another.

        A discrete target is rounded before the next one is drawn, as ``log_factors`` reads it.

        Args:
            x: contexts ``(n, d)`` or ``(n, M, d)`` in the user's units.
            ranges: intervals ``(I, 2)`` in the user's units, by the index of the target.
            noise: the noise of targets that nothing restricts, ``(n, M, D)``.
            levels: uniform numbers from 0 to 1 for restricted targets, ``(n, M, D)``.

        Returns the noise of the targets ``(n, M, D)``, and the log-probabilities of their
        intervals, ``(n, M, D)``, 0 for targets that nothing restricts.
        """
        population, flow = self.population, self.population.flow
        restricted, columns = self._restricted(ranges), population.columns[flow.context :]
        z, log_p, y = noise.copy(), np.zeros(noise.shape), np.full(noise.shape, np.nan)
        for j, column in enumerate(columns):
            if j in restricted:
                y = flow.decode(z, x).numpy() if j else y
                ends, log_each, log_p[..., j] = self._log_inside(x, y, j, ranges)
                z[..., j] = self._noise_inside(ends, log_each, levels[..., j])
            if column.is_discrete and j + 1 < len(columns):
                y = flow.decode(z, x).numpy()
                z[..., j] = population.noise_of(x, y, j, y[..., j])
        return z, log_p

    def _log_inside(
        self, x: Array, y: Array, j: int, ranges: Mapping[int, Array]
    ) -> tuple[Array, Array, Array]:
        """Return the intervals of target j that constraints and conditions allow.

        Args:
            x: contexts ``(n, d)`` or ``(n, M, d)`` in the user's units.
            y: the targets ``(n, M or 1, D)``, of which those before j matter.
            j: the index of the target.
            ranges: intervals ``(I, 2)`` in the user's units, by the index of the target.

        Returns the noise at their ends ``(2, I, n, M)``, their log-probabilities ``(I, n, M)``, and
        the log-probability of all of them together, ``(n, M)``.
        """
        population, context = self.population, self.population.flow.context
        if not j and x.ndim == 2:  # the intervals depend on x alone, and often all x are equal
            x, places = np.unique(x, axis=0, return_inverse=True)
            ends, each, whole = self._log_inside(x[:, None], y[: len(x), :1], 0, ranges)
            places = places.ravel()
            return ends[:, :, places], each[:, places], whole[places]
        given = x if x.ndim == 3 else x[:, None]
        n, members = np.broadcast_shapes(y.shape[:2], given.shape[:2])
        rows = np.full((n, members, len(population.columns)), np.nan)
        rows[..., :context], rows[..., context : context + j] = given, y[..., :j]
        drawn = rows.reshape(n * members, -1)
        written = self.constraints.written(drawn)
        written[:, :context] = drawn[:, :context]
        allowed = self.constraints.allowed(written, context + j, ranges.get(j))
        before = np.where(np.isnan(y), self._middle[context:], y)
        before = np.broadcast_to(before, (n, members, y.shape[2]))
        ends = np.array(
            [
                [population.noise_of(x, before, j, end.reshape(n, members)) for end in own.T]
                for own in allowed.transpose(1, 0, 2)
            ]
        ).transpose(1, 0, 2, 3)
        log_each = log_interval(population.flow.base.log_cdf, *ends)
        return ends, log_each, np.asarray(np.logaddexp.reduce(log_each, axis=0))

    def _noise_inside(self, ends: Array, log_each: Array, levels: Array) -> Array:
        """Return noise inside intervals, ``(n, M)``; 0 if they hold no number.

        Args:
            ends: the ends of the intervals, ``(2, I, n, M)``.
            log_each: their log-probabilities, ``(I, n, M)``.
            levels: uniform numbers from 0 to 1, ``(n, M or 1)``.
        """
        log_p = np.logaddexp.reduce(log_each, axis=0)
        is_empty = np.isneginf(log_p)
        with np.errstate(invalid="ignore"):
            share = np.nan_to_num(np.exp(log_each - log_p))
        below = share.cumsum(axis=0)
        which = (levels > below).sum(axis=0).clip(0, len(share) - 1)[None]
        low, high, own, end = (
            np.take_along_axis(each, which, axis=0)[0] for each in (*ends, share, below)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.nan_to_num((levels - end + own) / own).clip(0, 1)
        z = self.population.flow.base.inside(low, high, level)
        return np.where(is_empty, 0.0, z)

    def _of_one(self, x: Array) -> list[Posterior]:
        """Return the distributions of one target given complete contexts ``(n, d)``."""
        if labels := self.population.columns[-1].labels:
            rows, context = _with_each(x, range(len(labels))), x.shape[1]
            known = np.column_stack([rows[:, :context], np.full(len(rows), np.nan)])
            log_p = self.log_density(rows, known)[0]
            parts = zip(np.split(rows, len(x)), np.split(log_p, len(x)), strict=True)
            return [Posterior.of(*part, self._weights, is_exact=True) for part in parts]
        values, log_weights, levels = self._nodes(x)
        members, nodes = values.shape[1:]
        # The nodes of a member have no weight for the other members
        is_own = np.eye(members, dtype=bool)[:, None].repeat(nodes, axis=1)
        found = list[Posterior]()
        column = self.population.columns[-1]
        for given, y, log_w, own in zip(x, values, log_weights, levels, strict=True):
            of_column = np.asarray(column.round(y.ravel()))
            rows = np.column_stack([np.tile(given, (members * nodes, 1)), of_column])
            of_members = np.where(is_own, log_w[..., None], -np.inf)
            how: Any = {"along": x.shape[1], "curve": self._curve(y, own), "is_exact": True}
            log_weights_of = of_members.reshape(members * nodes, members)
            found.append(Posterior.of(rows, log_weights_of, self._weights, **how))
        return found

    def _curve(self, y: Array, levels: Array) -> tuple[Array, Array] | None:
        """Return the distribution function of the ensemble: values, and their levels from 0 to 1.

        Args:
            y: values of the only target for each member, ``(M, K)``.
            levels: their levels in the distribution function of the member, ``(M, K)``; ``NaN`` for
                values that are impossible.

        Returns ``None`` if no value is possible.
        """
        possible = np.isfinite(y) & np.isfinite(levels)
        values = np.unique(y[possible])
        whole = np.zeros(len(values))
        for own, own_levels, some, weight in zip(y, levels, possible, self._weights, strict=True):
            if some.any():
                order = np.argsort(own[some], kind="stable")
                whole += weight * np.interp(values, own[some][order], own_levels[some][order])
        if not len(values) or whole[-1] <= whole[0]:
            return None
        return values, (whole - whole[0]) / (whole[-1] - whole[0])

    def _averaged(self, x: Array, generator: np.random.Generator, goal: Goal) -> Posterior:
        """Return the distribution of one target, averaged over completions of ``x`` ``(1, d)``.

        Completions that no target meets with the constraints are left out.
        """
        count = int(min(MOST_COMPLETIONS, max(COMPLETIONS, goal.effective)))
        x, log_w, _, _ = self._contexts(x[0], {}, count, generator)
        if self.population.columns[-1].labels:
            found = self._of_one(x)
            values = np.concatenate([each.values for each in found])
            parts = [each.log_weights + w for each, w in zip(found, log_w, strict=True)]
            log_weights = np.concatenate(parts) - np.log(count)
        else:
            values, log_weights = self._strata(x, log_w, generator)
        how: Any = {"is_exact": True, "completions": count}
        return Posterior.of(values, log_weights, self._weights, **how)

    def _strata(
        self, x: Array, log_w: Array, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return rows with one target given contexts ``(K, d)``, and their log-weights ``(N, M)``.

        The noise has a value in each of about ``MOST_COMPLETIONS`` intervals of equal probability,
        the same for all members, and each context takes every K-th of them.

        Args:
            x: the contexts.
            log_w: their log-weights ``(K,)``.
            generator: the source of the noise.
        """
        count, members = len(x), self.population.members
        each = MOST_COMPLETIONS // count
        places = np.arange(each)[:, None] * count + np.arange(count)
        levels = (places + generator.random(places.shape)) / places.size
        if self._restricted({}):
            ends, log_each, _ = self._log_inside(x, np.full((count, 1, 1), np.nan), 0, {})
            z = np.stack([self._noise_inside(ends, log_each, own[:, None]) for own in levels])
        else:
            z = ndtri(levels)[..., None]
        y = self.population.flow.decode(z[..., None], x)[..., 0].numpy()  # (each, K, M)
        values = np.column_stack([np.tile(x.repeat(members, axis=0), (each, 1)), y.ravel()])
        log_own = np.tile(log_w.repeat(members), each)[:, None] - np.log(places.size)
        own = np.where(np.tile(np.eye(members, dtype=bool), (places.size, 1)), log_own, -np.inf)
        return values, np.where(np.isfinite(values[:, -1:]), own, -np.inf)

    @cached_property
    def _middle(self) -> Array:
        """A row ``(d + D,)`` with possible values."""
        return self.population.flow.middle()[0].numpy()

    @cached_property
    def _weights(self) -> Array:
        return self.population.member_weights.numpy()

    def _log_mass(self, x: Array) -> tuple[Array, Array]:
        """Return log P(A | x) of each member, and the standard errors, ``(n, M)`` each.

        Args:
            x: contexts ``(n, d)`` in the user's units.
        """
        found, error = np.zeros((2, len(x), self.population.members))
        if not self.constraints or not len(x):
            return found, error
        distinct, places = np.unique(x, axis=0, return_inverse=True)
        found[:] = -np.inf
        of_targets = np.full((len(distinct), self.population.target_count), np.nan)
        broken = self.constraints.broken(np.column_stack([distinct, of_targets])).any(axis=1)
        possible = np.flatnonzero(~broken)
        size = max(1, self.population.chunk // MASS_DRAWS)
        for start in range(0, len(possible), size):
            some = possible[start : start + size]
            found[some], error[some] = self._log_mass_of(distinct[some])
        places = places.ravel()
        return found[places], error[places]

    def _log_mass_of(self, x: Array) -> tuple[Array, Array]:
        """Return ``_log_mass`` of contexts ``(n, d)`` that do not break a constraint."""
        n, members, count = len(x), self.population.members, self.population.target_count
        found, error = np.zeros((2, n, members))
        if not (restricted := self._restricted({})):
            return found, error
        if count == 1 and (labels := self.population.columns[-1].labels):
            rows = _with_each(x, range(len(labels)))
            log_p = self.population.log_factors(rows)[:, :, 0]
            log_p[~self.constraints.met(rows, rows)] = -np.inf
            return np.logaddexp.reduce(log_p.reshape(n, len(labels), members), axis=1), error
        if restricted == [0]:
            return self._log_inside(x, np.full((n, 1, count), np.nan), 0, {})[2], error
        waiting, draws = np.arange(n), MASS_DRAWS
        while len(waiting) and draws <= MOST_MASS_DRAWS:
            size = max(1, self.population.chunk // draws)
            for start in range(0, len(waiting), size):
                some = waiting[start : start + size]
                found[some], error[some] = self._mass_of_draws(x[some], draws, restricted[-1])
            waiting, draws = waiting[(error[waiting] > MASS_ERROR).any(axis=1)], 4 * draws
        return found, error

    def _mass_of_draws(self, x: Array, draws: int, last: int) -> tuple[Array, Array]:
        """Return log P(A | x) of several targets, and the standard errors, ``(n, M)`` each.

        Args:
            x: contexts ``(n, d)`` in the user's units.
            draws: the number of draws of the targets before the last restricted one.
            last: the index of the last restricted target.
        """
        n, members, count = len(x), self.population.members, self.population.target_count
        # Own numbers for each member, so that their errors are independent
        sets = [Sobol(last * members, rng=k).random(draws // MASS_SETS) for k in range(MASS_SETS)]
        levels = np.full((draws, members, count), 0.5)
        levels[:, :, :last] = np.concatenate(sets).reshape(draws, members, last)
        noise = ndtri(levels)
        own = [np.tile(each, (n, 1, 1)) for each in (noise, levels)]
        log_p = self._walk(x.repeat(draws, axis=0), {}, *own)[1]
        log_sets = np.logaddexp.reduce(log_p.sum(axis=2).reshape(n, MASS_SETS, -1, members), axis=2)
        log_sets -= np.log(draws // MASS_SETS)
        log_mean = np.logaddexp.reduce(log_sets, axis=1) - np.log(MASS_SETS)
        with np.errstate(invalid="ignore"):
            ratio = np.exp(log_sets - log_mean[:, None])
        error = ratio.std(axis=1, ddof=1) / np.sqrt(MASS_SETS)
        return log_mean, np.where(np.isfinite(log_mean), error, np.inf)  # no draw meets them

    def _nodes(self, x: Array) -> tuple[Array, Array, Array]:
        """Return values of the only target, log-weights, and levels, ``(n, M, K)`` each.

        The values are not rounded. Without constraints, the values are at equally spaced noise,
        with the weights of a trapezoidal rule; with constraints, inside of the intervals of the
        noise, with those of the Gauss-Legendre rule on a ``Line``. The weights of a member sum to
        1, unless no value meets the constraints. Further values, without a weight, lie where the
        density jumps, and between: ``BETWEEN`` values of the noise. The levels are those of the
        distribution function of the member.

        Args:
            x: contexts ``(n, d)`` in the user's units.
        """
        population, ends = self.population, None
        shape = len(x), population.members, 1
        if self._restricted({}):
            ends, log_each, _ = self._log_inside(x, np.full((len(x), 1, 1), np.nan), 0, {})
            z, log_weights = self._nodes_inside(ends, log_each)
            levels = self._levels(z, ends)
        else:
            line = np.linspace(-OUTER, OUTER, NODES)
            z, log_weights, levels = (
                np.tile(each, shape) for each in (line, -0.5 * line**2, self._levels(line))
            )
        if breaks := population.columns[-1].breaks:
            middle = np.full((len(x), 1, 1), self._middle[-1])
            at = [population.noise_of(x, middle, 0, np.full((len(x), 1), y)) for y in breaks]
            steps = np.arange(BETWEEN * (len(at) - 1) + 1) / BETWEEN
            of_breaks, k = np.stack(at, axis=2), np.ceil(steps).astype(np.int64)
            first, last = of_breaks[..., np.maximum(k - 1, 0)], of_breaks[..., k]
            between = last + (first - last) * (k - steps)
            z = np.concatenate([z, between], axis=2)
            levels = np.concatenate([levels, self._levels(between, ends)], axis=2)
            without = np.full(between.shape, -np.inf)
            log_weights = np.concatenate([log_weights, without], axis=2)
        found = np.empty(z.shape)
        size = max(1, population.chunk // z.shape[2])
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            noise = z[part].transpose(2, 0, 1)[..., None]  # (K, n, M, 1)
            y = population.flow.decode(noise, x[part], is_rounded=False)[..., 0].numpy()
            found[part] = y.transpose(1, 2, 0)
        with np.errstate(invalid="ignore"):  # if no target meets the constraints
            log_weights = log_weights - np.logaddexp.reduce(log_weights, axis=2, keepdims=True)
        is_possible = np.isfinite(found) & np.isfinite(log_weights)
        return found, np.where(is_possible, log_weights, -np.inf), levels

    def _levels(self, z: Array, ends: Array | None = None) -> Array:
        """Return the distribution function of the noise, perhaps inside intervals.

        Args:
            z: the noise ``(n, M, K)``, of any shape without intervals.
            ends: the ends of the intervals, ``(2, I, n, M)``.

        The result has the shape of ``z``. It is ``NaN`` if the intervals hold no number.
        """
        log_cdf = self.population.flow.base.log_cdf
        if ends is None:
            return np.exp(log_cdf(z))
        low, high = ends[..., None]
        below = log_interval(log_cdf, *np.broadcast_arrays(low, np.clip(z, low, high)))
        whole = np.logaddexp.reduce(log_interval(log_cdf, *ends), axis=0)[..., None]
        with np.errstate(invalid="ignore"):
            return np.asarray(np.exp(np.logaddexp.reduce(below, axis=0) - whole))

    def _nodes_inside(self, ends: Array, log_each: Array) -> tuple[Array, Array]:
        """Return noise inside the intervals of the only target, and log-weights, ``(n, M, K)``.

        Args:
            ends: the noise at the ends of the intervals, ``(2, I, n, M)``.
            log_each: the log-probabilities of the intervals, ``(I, n, M)``.
        """
        some = np.nonzero(np.isfinite(log_each))
        t, of_nodes = np.polynomial.legendre.leggauss(NODES)
        line, places = Line(*(end[some] / WIDTH for end in ends)), np.arange(len(some[0]))
        v, log_width = line.at(places, np.tile((t + 1) / 2, (len(places), 1)))
        noise = torch.from_numpy(WIDTH * v).reshape(1, 1, -1)
        log_p = self.population.flow.base.log_prob(noise)[0].numpy().reshape(v.shape)
        z = np.zeros((*log_each.shape, NODES))
        log_weights = np.full(z.shape, -np.inf)
        z[some], log_weights[some] = WIDTH * v, log_p + log_width + np.log(of_nodes)
        first, second = (each.transpose(1, 2, 0, 3) for each in (z, log_weights))
        shape = (*log_each.shape[1:], -1)
        return first.reshape(shape), second.reshape(shape)

    def _contexts(
        self,
        x: Array,
        intervals: Intervals,
        count: int,
        generator: np.random.Generator,
        of_known: tuple[Array, Array] | None = None,
    ) -> tuple[Array, Array, Array, Array]:
        """Return draws of a context inside intervals, ``(count, d)``, and their log-weights.

        Also return log P(A | x) of the draws, and the standard errors, as ``_log_mass``.

        The mean weight estimates the density of the known values in scaled units, with
        probabilities of labels, times the probability of the intervals given these values. For a
        complete context, and without intervals of the context, all log-weights are 0. A context
        that breaks the constraints with any target has the weight 0; without intervals, the mean
        weight of the others makes up for these.

        Args:
            x: the known values of the context, ``(d,)``, ``NaN`` for the values to draw.
            intervals: intervals ``(I, 2)`` in the user's units, by column.
            count: the number of draws.
            generator: the source of the draws.
            of_known: the result of ``_log_mass``, if the context is complete.
        """
        model, unknown = self.population.context_model, np.isnan(x)
        drawn, log_w = x[None].repeat(count, axis=0), np.zeros(count)
        inside = {d: own for d, own in intervals.items() if d < len(x)}
        if not inside:
            drawn, _ = model.draw_missing(drawn, generator)
        else:
            columns, sizes = (model.numbers, model.labels), model.mixture.sizes
            boxes = restriction(inside, columns, sizes, self._scaled)
            proposal = BoxProposal(model.mixture, model.mapped(x[None])[0], *boxes)
            rows, log_r = proposal.draw(np.zeros(count, np.int64), generator)
            log_w = model.mixture.log_prob(rows.numbers, rows.codes) - log_r
            drawn = model.joined(rows)
        rounded = as_rows(self.population.context_map.round(as_points(drawn)))
        found = np.where(unknown, rounded, x)
        if self.constraints and unknown.any():
            gaps = np.full((count, self.population.target_count), np.nan)
            known = np.append(x, gaps[0])
            found = self.constraints.written(np.column_stack([found, gaps]), known)[:, : len(x)]
        parts = self._log_mass(found) if of_known is None else of_known
        log_mass, error = (np.broadcast_to(each, (count, each.shape[1])) for each in parts)
        is_possible = np.isfinite(log_mass).any(axis=1)
        if not is_possible.all():
            log_w = np.where(is_possible, log_w, -np.inf)
            if not inside and is_possible.any():
                log_w -= np.logaddexp.reduce(log_w) - np.log(count)
        return found, log_w, log_mass, error

    def _scaled(self, d: int, intervals: Array) -> Array:
        """Return intervals ``(I, 2)`` of column d of the context after the preprocessing."""
        model = self.population.context_model
        assert model.preprocessing is not None
        low, high = self.population.columns[d].bounds
        inside = (low < intervals) & (intervals < high)
        part = model.preprocessing.part([model.numbers.index(d)])
        values = np.where(inside, intervals, float(part.restore(torch.zeros(1, 1, 1).double())))
        scaled = part.scale(values.reshape(-1, 1, 1)).reshape(intervals.shape)
        return np.where(inside, scaled, np.where(intervals <= low, -np.inf, np.inf))


def _with_each(x: Array, values: Sequence[float]) -> Array:
    """Return each context of ``x`` ``(n, d)`` with each of K values after it, ``(n K, d + 1)``."""
    return np.column_stack([x.repeat(len(values), axis=0), np.tile(values, len(x))])
