"""The conditional distributions of a density with a target: p(y | x), where x may have gaps.

A flow gives p(y | x) for a complete context x. A mixture approximates the distribution r of x, with
its labels. Missing values are drawn from it given the known values x_o, and p(y | x) is averaged::

    p(y | x_o) ~ 1/K sum_k p(y | x_o, x_k),    x_k ~ r( . | x_o)

- *One target* has nodes at equally spaced noise, with the weights of a trapezoidal rule in the
  noise; a category has its labels, with their probabilities. The draws x_k have equal weights, so
  all of them are effective. Each has few nodes: its own values of the noise, from intervals of
  equal probability.
- *Several targets* are drawn from the flow, each given its own x_k.
- *Constraints* A cut p(y | x) for each x: p(y | x, A) = p(y | x) / P(A | x), where y meets A. For
  labels, P(A | x) is a sum; for one number, the probability of the intervals of y that meet A; for
  several targets, the share of ``MASS_NODES`` values of the noise whose y meet A.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri, softmax
from scipy.stats.qmc import Sobol

from flows.core.arrays import Array, Mask, Whole, as_points, as_rows, choose, in_intervals
from flows.core.errors import UserError
from flows.core.seeds import numpy_generator
from flows.mixtures.truncated_mixture import (
    BoxProposal,
    log_interval,
    restriction,
    truncated_normal,
)
from flows.posterior.cut import intervals_met
from flows.posterior.goal import Goal
from flows.posterior.posterior import Posterior
from flows.posterior.region import Intervals, Region
from flows.posterior.target_population import TargetPopulation
from flows.tables.constraint import Constraints

# Draws of a context with gaps, at least and at most, if one target is unknown. The values of the
# target, per member, are as many as the largest number of draws.
COMPLETIONS, MOST_COMPLETIONS = 256, 1_024
DRAWS = 1_000  # of several targets, at least
ROWS = 200  # complete rows whose nodes are computed at a time
NODES, REACH = 101, 5.0  # nodes of a target, and the noise of the outer nodes
GRID, FAR = 65, 8.0  # values of the noise at which constraints are checked, and the outer ones
MASS_NODES = 256  # values of the noise for the probability of constraints
NUMBERS = 2_000_000  # numbers of the rows that are checked at a time: limits the memory


@dataclass(frozen=True)
class TargetPosteriors:
    """The posteriors of a density with a target.

    Args:
        population: the flow and the distribution of its context.
        constraints: the constraints that rows meet.
    """

    population: TargetPopulation
    constraints: Constraints

    def log_density(self, rows: Array) -> Array:
        """Return log p(y | x) of complete rows under the constraints, ``(n, M)``.

        Args:
            rows: the rows ``(n, d + D)``.
        """
        return self._cut(rows, self.population.log_factors(rows).sum(axis=2))

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
        log_q = self.log_density(region.rows[complete])
        for k, own in zip(complete.tolist(), log_q, strict=True):
            yield k, Posterior.of(region.rows[k : k + 1], own[None], self._weights, is_exact=True)
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
        context. One target is drawn inside its intervals, whose probability enters the weight.
        Several targets are drawn from the flow, and draws outside their intervals have the weight
        0. The evidence is the density of the known targets, or the probability of the intervals of
        the targets, times the mean weight of the context (``_contexts``).

        Raises ``UserError`` if no draw of several targets lies inside the intervals.
        """
        [row], intervals, population = region.rows, region.intervals, self.population
        context = population.flow.context
        is_drawn = np.isnan(row[context:]).all()
        if is_drawn and population.target_count > 1 and not intervals:
            goal = replace(goal, effective=max(DRAWS, goal.effective))

        def draw(count: int) -> tuple[Array, Array]:
            x, log_w = self._contexts(row[:context], intervals, count, generator)
            if is_drawn:
                y, log_p = self._inside(x, intervals, generator)
            else:
                y = row[None, context:].repeat(count, axis=0)
                log_p = population.log_factors(np.column_stack([x, y])).sum(axis=2)
            rows = np.column_stack([x, y])
            log_share = region.log_share(population.columns, rows)
            log_p = log_p + (log_w + log_share)[:, None]
            return rows, log_p if is_drawn and self._cuts_number else self._cut(rows, log_p)

        found = Posterior.doubled(draw, self._weights, goal)
        names = [population.columns[d].name for d in intervals if d >= context]
        if names and not self.constraints and not np.isfinite(found.log_weights).any():
            raise UserError(
                f"none of {len(found.values):,} draws of {', '.join(names)} is inside the ranges; "
                "widen the ranges, or fit one target alone"
            )
        return found

    def _inside(
        self, x: Array, intervals: Intervals, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return targets ``(n, D)`` given contexts ``(n, d)``, and log-weights ``(n, M)``."""
        population, context = self.population, self.population.flow.context
        if self._cuts_number or (population.target_count == 1 and context in intervals):
            own = intervals.get(context, np.array([[-np.inf, np.inf]]))
            y, log_p = self._target_inside(x, own, generator)
            return y[:, None], log_p
        y = population.flow.ensemble_sample(None, generator, x).double().numpy()
        log_p = np.zeros((len(x), population.members))
        for d, own in intervals.items():
            if d >= context:
                log_p[~in_intervals(y[:, d - context], own)] = -np.inf
        return y, log_p

    def _of_one(self, x: Array) -> list[Posterior]:
        """Return the distributions of one target given complete contexts ``(n, d)``."""
        if labels := self.population.columns[-1].labels:
            rows = _with_each(x, range(len(labels)))
            log_p = self.population.log_factors(rows)[:, :, 0]
            parts = zip(np.split(rows, len(x)), np.split(log_p, len(x)), strict=True)
            return [self._posterior(*part, is_exact=True) for part in parts]
        values, log_weights = self._nodes(x)
        members, nodes = values.shape[1:]
        # The nodes of a member have no weight for the other members
        own = np.where(np.eye(members, dtype=bool)[:, None], log_weights[None, :, None], -np.inf)
        own = own.reshape(members * nodes, members)
        along = x.shape[1]
        return [
            Posterior.of(
                np.column_stack([np.tile(given, (members * nodes, 1)), y.ravel()]),
                own if np.isfinite(y).all() else np.full_like(own, -np.inf),
                self._weights,
                is_exact=True,
                along=along,
            )
            for given, y in zip(x, values, strict=True)
        ]

    def _averaged(self, x: Array, generator: np.random.Generator, goal: Goal) -> Posterior:
        """Return the distribution of one target, averaged over completions of ``x`` ``(1, d)``."""
        count = int(min(MOST_COMPLETIONS, max(COMPLETIONS, goal.effective)))
        x, _ = self._contexts(x[0], {}, count, generator)
        if self.population.columns[-1].labels:
            found = self._of_one(x)
            values = np.concatenate([each.values for each in found])
            log_weights = np.concatenate([each.log_weights for each in found]) - np.log(count)
        else:
            values, log_weights = self._strata(x, generator)
        how: Any = {"is_exact": True, "completions": count}
        return Posterior.of(values, log_weights, self._weights, **how)

    def _strata(self, x: Array, generator: np.random.Generator) -> tuple[Array, Array]:
        """Return rows with one target given contexts ``(K, d)``, and their log-weights ``(N, M)``.

        The noise has a value in each of about ``MOST_COMPLETIONS`` intervals of equal probability,
        the same for all members, and each context takes every K-th of them.
        """
        count, members = len(x), self.population.members
        each = MOST_COMPLETIONS // count
        places = np.arange(each)[:, None] * count + np.arange(count)
        z = self._noise(x, (places + generator.random(places.shape)) / places.size)
        y = self.population.flow.decode(z[..., None], x)[..., 0].numpy()  # (each, K, M)
        values = np.column_stack([np.tile(x.repeat(members, axis=0), (each, 1)), y.ravel()])
        own = np.where(np.eye(members, dtype=bool), -np.log(places.size), -np.inf)
        own = np.tile(own, (places.size, 1))
        return values, np.where(np.isfinite(values[:, -1:]), own, -np.inf)

    @property
    def _weights(self) -> Array:
        return self.population.member_weights.numpy()

    def _posterior(self, values: Array, log_weights: Array, **kind: Any) -> Posterior:
        return Posterior.of(values, self._cut(values, log_weights), self._weights, **kind)

    @property
    def _cuts_number(self) -> bool:
        """Whether constraints cut the distribution of the only target, a number."""
        [*_, last] = self.population.columns
        is_one = self.population.target_count == 1 and not last.labels
        return is_one and any(last.name in each.names for each in self.constraints.each)

    def _noise(self, x: Array, levels: Array) -> Array:
        """Return the noise of the only target, a number, ``(K, n, M or 1)``.

        With constraints, the noise is inside the intervals of the target that meet them, and
        ``NaN`` if there are none.

        Args:
            x: contexts ``(n, d)`` in the user's units.
            levels: levels of probability from 0 to 1, ``(K, n)``.
        """
        if not self._cuts_number:
            return np.asarray(ndtri(levels))[..., None]
        ends, log_p = self._ends(x, self._met_by(x))
        log_mass = np.logaddexp.reduce(log_p, axis=0)
        with np.errstate(invalid="ignore"):
            share = np.exp(log_p - log_mass)  # (I, n, M)
        below = share.cumsum(axis=0)
        which = (levels[:, None, :, None] > below).sum(axis=1).clip(0, len(share) - 1)  # (K, n, M)
        row, member = np.indices(log_mass.shape)
        low, high = (end[which, row, member] for end in ends)
        own = share[which, row, member]
        level = (levels[:, :, None] - below[which, row, member] + own) / own
        z = truncated_normal(low, high, level.clip(0, 1))
        return np.where(np.isfinite(log_mass), z, np.nan)

    def _met_by(self, x: Array) -> Array:
        """Return the intervals of the only target, a number, that meet the constraints.

        The intervals are ``(n, I, 2)``. Rows with fewer intervals have empty ones.

        Args:
            x: contexts ``(n, d)`` in the user's units.
        """
        z = np.linspace(-FAR, FAR, GRID).reshape(-1, 1, 1, 1)
        y = self.population.flow.decode(z, x)[..., 0].numpy()  # (G, n, M)
        grid = np.sort(y.transpose(1, 0, 2).reshape(len(x), -1), axis=1)

        def met(some: Whole, y: Array) -> Mask:
            rows = np.column_stack([x[some].repeat(y.shape[1], axis=0), y.ravel()])
            return self.constraints.met(rows).reshape(y.shape)

        row, low, high = intervals_met(met, grid, (-np.inf, np.inf))
        count = np.bincount(row, minlength=len(x))
        found = np.tile(grid[:, :1, None], (1, max(1, count.max(initial=0)), 2))
        found[row, np.arange(len(row)) - (count.cumsum() - count)[row]] = np.stack([low, high], 1)
        return found

    def _ends(self, x: Array, intervals: Array) -> tuple[Array, Array]:
        """Return the noise at the ends of intervals ``(n, I, 2)`` of the only target.

        The noise is ``(2, I, n, M)``. Also return the log-probabilities of the intervals,
        ``(I, n, M)``.
        """
        any_value = np.full((len(x), 1), float(self.population.flow.middle()[0, -1]))
        ends = [
            [self.population.noise_of(x, any_value, 0, end) for end in own.T]
            for own in intervals.transpose(1, 0, 2)
        ]
        found = np.array(ends).transpose(1, 0, 2, 3)
        return found, log_interval(self.population.flow.base.log_cdf, *found)

    def _cut(self, rows: Array, log_weights: Array) -> Array:
        """Return the log-weights of complete rows under the constraints, ``(n, M)``."""
        if not (self.constraints and len(rows)):
            return log_weights
        contexts = rows[:, : self.population.flow.context]
        x, places = np.unique(contexts, axis=0, return_inverse=True)
        log_mass = self._log_mass(x)[places.ravel()]
        with np.errstate(invalid="ignore"):  # if no target meets the constraints
            cut = log_weights - log_mass
        return np.where(self.constraints.met(rows)[:, None], cut, -np.inf)

    def _log_mass(self, x: Array) -> Array:
        """Return log P(A | x) of each member, ``(n, M)``, for contexts ``(n, d)``."""
        population, columns = self.population, self.population.columns
        members, names = population.members, {each.name for each in columns[x.shape[1] :]}
        if not names & {name for each in self.constraints.each for name in each.names}:
            return np.zeros((len(x), members))
        if len(names) == 1 and (labels := columns[-1].labels):
            rows = _with_each(x, range(len(labels)))
            log_p = population.log_factors(rows)[:, :, 0]
            log_p[~self.constraints.met(rows)] = -np.inf
            return np.logaddexp.reduce(log_p.reshape(len(x), len(labels), members), axis=1)
        if self._cuts_number:
            return np.asarray(np.logaddexp.reduce(self._ends(x, self._met_by(x))[1], axis=0))
        noise = ndtri(Sobol(len(names), rng=0).random(MASS_NODES))[:, None, None]
        size = max(1, NUMBERS // (MASS_NODES * members * len(columns)))
        found = np.empty((len(x), members))
        for start in range(0, len(x), size):
            part = x[start : start + size]
            y = population.flow.decode(noise, part).numpy()  # (K, n, M, D)
            given = np.broadcast_to(part[:, None], (*y.shape[:-1], part.shape[1]))
            rows = np.concatenate([given, y], axis=-1)
            is_met = self.constraints.met(rows.reshape(-1, rows.shape[-1]))
            found[start : start + size] = is_met.reshape(y.shape[:-1]).sum(axis=0)
        return np.log((found + 0.5) / (MASS_NODES + 1))

    def _target_inside(
        self, x: Array, intervals: Array, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Draw the only target inside intervals, given contexts.

        Args:
            x: contexts ``(n, d)`` in the user's units.
            intervals: intervals ``(I, 2)`` of the target in the user's units.
            generator: the source of the draws.

        Returns draws from the ensemble ``(n,)``, and the members' log-probabilities of the
        intervals, ``(n, M)``.
        """
        n, rows, flow = len(x), np.arange(len(x)), self.population.flow
        inside = np.broadcast_to(intervals, (n, *intervals.shape))
        log_mass: Array | float = 0.0
        if self._cuts_number:
            allowed = self._met_by(x)
            log_mass = np.logaddexp.reduce(self._ends(x, allowed)[1], axis=0)
            low = np.maximum(allowed[:, :, None, 0], intervals[:, 0])
            high = np.minimum(allowed[:, :, None, 1], intervals[:, 1])
            both = np.stack([low, np.maximum(low, high)], axis=-1)  # empty if they do not overlap
            inside = both.reshape(n, -1, 2)
        ends, masses = self._ends(x, inside)
        with np.errstate(invalid="ignore"):  # if no target meets the constraints
            log_p = np.logaddexp.reduce(masses, axis=0) - log_mass
        log_p = np.where(np.isnan(log_p), -np.inf, log_p)
        possible: Mask = np.logical_or.reduce(np.isfinite(log_p), axis=1)
        shares = softmax(np.where(possible[:, None], log_p, 0) + np.log(self._weights), axis=1)
        member = choose(shares, generator.random(n))
        own_masses = np.where(possible, masses[:, rows, member], 0).T
        which = choose(softmax(own_masses, axis=1), generator.random(n))
        low, high = ends[:, which, rows, member]
        z = truncated_normal(low, high, generator.random(n))
        y = flow.decode(np.tile(z[:, None, None], (1, flow.members, 1)), x)
        drawn = y[torch.arange(n), torch.from_numpy(member), 0].numpy()
        own = inside[rows, which]
        return np.clip(drawn, own[:, 0], own[:, 1]), log_p

    def _nodes(self, x: Array) -> tuple[Array, Array]:
        """Return values of the only target at equally spaced noise, and their log-weights.

        The values are ``(n, M, K)``, and the log-weights ``(K,)`` are of a trapezoidal rule, whose
        weights sum to 1. With constraints, the values have equal weights, and are ``NaN`` if no
        value meets them.

        Args:
            x: contexts ``(n, d)`` in the user's units.
        """
        if self._cuts_number:
            levels = np.repeat((np.arange(NODES)[:, None] + 0.5) / NODES, len(x), axis=1)
            y = self.population.flow.decode(self._noise(x, levels)[..., None], x)[..., 0]
            return y.numpy().transpose(1, 2, 0), np.full(NODES, -np.log(NODES))
        z = np.linspace(-REACH, REACH, NODES)
        log_weights = -0.5 * z**2
        log_weights -= np.logaddexp.reduce(log_weights)
        population = self.population
        found = np.empty((len(x), population.members, len(z)))
        size = max(1, population.chunk // len(z))
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            y = population.flow.decode(z.reshape(-1, 1, 1, 1), x[part])  # (K, n, M, 1)
            found[part] = y[..., 0].numpy().transpose(1, 2, 0)
        return found, log_weights

    def _contexts(
        self, x: Array, intervals: Intervals, count: int, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return draws of a context inside intervals, ``(count, d)``, and their log-weights.

        The mean weight estimates the density of the known values in scaled units, with
        probabilities of labels, times the probability of the intervals given these values. For a
        complete context, and without intervals of the context, all log-weights are 0.

        Args:
            x: the known values of the context, ``(d,)``, ``NaN`` for the values to draw.
            intervals: intervals ``(I, 2)`` in the user's units, by column.
            count: the number of draws.
            generator: the source of the draws.
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
        return np.where(unknown, rounded, x), log_w

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
