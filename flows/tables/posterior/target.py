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

  ``restricted.py`` draws targets inside the intervals that are allowed given x.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri

from flows.core.arrays import Array, as_points, as_rows
from flows.core.intervals import log_interval
from flows.core.seeds import numpy_generator
from flows.mixtures.truncated_mixture import BoxProposal, codes_inside, restriction
from flows.tables.columns.constraint import Constraints
from flows.tables.posterior.posterior import Goal, Posterior
from flows.tables.posterior.quadrature import Line
from flows.tables.posterior.region import Intervals, Region
from flows.tables.posterior.restricted import RestrictedTargets, with_each
from flows.tables.posterior.target_population import TargetPopulation

# Draws of a context with gaps, at least and at most, if one target is unknown. The values of the
# target, per member, are as many as the largest number of draws.
COMPLETIONS, MOST_COMPLETIONS = 256, 1_024
DRAWS = 1_000  # of several targets, at least
ROWS = 200  # complete rows whose nodes are computed at a time
NODES, OUTER = 101, 5.0  # nodes of a target, and the noise of the outer nodes
BETWEEN = 8  # values of the noise between two values at which the density jumps
WIDTH = 2.0  # scale of the line on which nodes inside intervals lie, in standard deviations


@dataclass(frozen=True)
class TargetPosteriors:
    """The posteriors of a density with a target.

    Args:
        population: the flow and the distribution of its context.
        constraints: the constraints that rows meet.
    """

    population: TargetPopulation
    constraints: Constraints

    @cached_property
    def inside(self) -> RestrictedTargets:
        """The targets given complete contexts, under the constraints."""
        return RestrictedTargets(self.population, self.constraints)

    def log_density(self, rows: Array, known: Array | None) -> tuple[Array, Array]:
        """Return log p(y | x) of complete rows under the constraints, ``(n, M)``.

        Also return the standard errors of the members' log P(A | x), ``(n, M)``.

        Args:
            rows: the rows ``(n, d + D)``.
            known: the values that are written already, as for ``Constraints.met``.
        """
        log_q = self.population.log_factors(rows).sum(axis=2)
        log_mass, error = self.inside.log_mass(rows[:, : self.population.flow.context])
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

    def restricts_first(self, intervals: Intervals) -> bool:
        """Return whether intervals and constraints restrict the first target, and no other."""
        context = self.population.flow.context
        ranges = {d - context: own for d, own in intervals.items() if d >= context}
        is_number = not self.population.columns[context].labels
        can_be = is_number or self.population.target_count == 1
        return 0 in ranges and self.inside.places(ranges) == [0] and can_be

    def log_inside(self, region: Region) -> Array:
        """Return the log-probabilities of intervals of the first target given x, ``(n, M)``.

        Args:
            region: rows with complete contexts and without targets, and the intervals.
        """
        context = self.population.flow.context
        x, own = region.rows[:, :context], region.intervals.get(context)
        if not len(x) or own is None:
            return np.zeros((len(x), self.population.members))
        if labels := self.population.columns[context].labels:
            rows = with_each(x, codes_inside(own, len(labels)).tolist())
            known = np.column_stack([rows[:, :context], np.full(len(rows), np.nan)])
            log_p = self.log_density(rows, known)[0]
            log_p += region.log_share(self.population.columns, rows)[:, None]
            return np.logaddexp.reduce(log_p.reshape(len(x), -1, log_p.shape[1]), axis=1)
        lacking = np.full((len(x), 1, self.population.target_count), np.nan)
        log_p = self.inside.log_inside(x, lacking, 0, {0: own})[2]
        log_mass = self.inside.log_mass(x)[0]
        with np.errstate(invalid="ignore"):  # if no target meets the constraints
            return np.where(np.isneginf(log_p), -np.inf, log_p - log_mass)

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
        of_known = None if np.isnan(known).any() else self.inside.log_mass(known)

        def draw(count: int) -> tuple[Array, Array]:
            how = intervals, count, generator, of_known
            x, log_w, log_mass, error = self._contexts(known[0], *how)
            errors.append(error.max(axis=0))
            if is_drawn:
                y, log_p = self.inside.draw(x, ranges, log_mass, generator)
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

    def _of_one(self, x: Array) -> list[Posterior]:
        """Return the distributions of one target given complete contexts ``(n, d)``."""
        if labels := self.population.columns[-1].labels:
            rows, context = with_each(x, range(len(labels))), x.shape[1]
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
            curve = partial(self._curve, *self._curves(y, own))
            how: Any = {"along": x.shape[1], "curve": curve, "is_exact": True}
            log_weights_of = of_members.reshape(members * nodes, members)
            found.append(Posterior.of(rows, log_weights_of, self._weights, **how))
        return found

    @staticmethod
    def _curves(y: Array, levels: Array) -> tuple[Array, Array]:
        """Return values, and their levels in the members' distribution functions, ``(M, E)``.

        Args:
            y: values of the only target for each member, ``(M, K)``.
            levels: their levels in the distribution function of the member, ``(M, K)``; ``NaN`` for
                values that are impossible.

        Returns the possible values of all members ``(E,)``, and the levels, which are 0 for a
        member without possible values.
        """
        possible = np.isfinite(y) & np.isfinite(levels)
        values = np.unique(y[possible])
        found = np.zeros((len(y), len(values)))
        for m, (own, own_levels, some) in enumerate(zip(y, levels, possible, strict=True)):
            if some.any():
                order = np.argsort(own[some], kind="stable")
                found[m] = np.interp(values, own[some][order], own_levels[some][order])
        return values, found

    @staticmethod
    def _curve(values: Array, levels: Array, weights: Array) -> tuple[Array, Array]:
        """Return the distribution function of an ensemble: values, and their levels, ``(E,)``.

        Args:
            values: the values, ``(E,)``.
            levels: their levels in the distribution functions of the members, ``(M, E)``.
            weights: the weights of the members, ``(M,)``.

        The levels rise from 0 to 1; one ``NaN`` stands for the curve if no value is possible.
        """
        whole = np.zeros(len(values))
        for own, weight in zip(levels, weights, strict=True):
            if weight:
                whole += weight * own
        if not len(values) or whole[-1] <= whole[0]:
            return np.array([np.nan]), np.array([np.nan])
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
        if self.inside.places({}):
            ends, log_each, _ = self.inside.log_inside(x, np.full((count, 1, 1), np.nan), 0, {})
            z = np.stack([self.inside.noise_inside(ends, log_each, own[:, None]) for own in levels])
        else:
            z = ndtri(levels)[..., None]
        y = self.population.flow.decode(z[..., None], x)[..., 0].numpy()  # (each, K, M)
        values = np.column_stack([np.tile(x.repeat(members, axis=0), (each, 1)), y.ravel()])
        log_own = np.tile(log_w.repeat(members), each)[:, None] - np.log(places.size)
        own = np.where(np.tile(np.eye(members, dtype=bool), (places.size, 1)), log_own, -np.inf)
        return values, np.where(np.isfinite(values[:, -1:]), own, -np.inf)

    @cached_property
    def _weights(self) -> Array:
        return self.population.member_weights.numpy()

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
        if self.inside.places({}):
            ends, log_each, _ = self.inside.log_inside(x, np.full((len(x), 1, 1), np.nan), 0, {})
            z, log_weights = self._nodes_inside(ends, log_each)
            levels = self._levels(z, ends)
        else:
            line = np.linspace(-OUTER, OUTER, NODES)
            z, log_weights, levels = (
                np.tile(each, shape) for each in (line, -0.5 * line**2, self._levels(line))
            )
        if breaks := population.columns[-1].breaks:
            middle = np.full((len(x), 1, 1), self.inside.middle[-1])
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

        Also return log P(A | x) of the draws, and the standard errors, as ``log_mass``.

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
            of_known: the result of ``log_mass``, if the context is complete.
        """
        model, unknown = self.population.context_model, np.isnan(x)
        drawn, log_w = x[None].repeat(count, axis=0), np.zeros(count)
        inside = {d: own for d, own in intervals.items() if d < len(x)}
        if not inside:
            drawn, _ = model.draw_missing(drawn, generator)
        else:
            boxes = restriction(inside, model.mixture.sizes, self._scaled)
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
        parts = self.inside.log_mass(found) if of_known is None else of_known
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
        part = model.preprocessing.part([d - model.context])
        values = np.where(inside, intervals, float(part.restore(torch.zeros(1, 1, 1).double())))
        scaled = part.scale(values.reshape(-1, 1, 1)).reshape(intervals.shape)
        return np.where(inside, scaled, np.where(intervals <= low, -np.inf, np.inf))
