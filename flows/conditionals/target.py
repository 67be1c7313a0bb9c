"""The conditional distributions of a density with a target: p(y | x), where x may have gaps.

A flow gives p(y | x) for a complete context x. Missing values of x are drawn from a mixture
(``TargetPopulation``), and p(y | x) is averaged over the draws.

- *One target* has nodes at equally spaced noise, with the weights of a trapezoidal rule in the
  noise; a category has its labels, with their probabilities.
- *Several targets* are drawn from the flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flows.conditionals.distillation import Distilled
from flows.conditionals.unknowns import ENOUGH, MOST, Intervals, Posterior
from flows.core.arrays import Array, Whole
from flows.core.errors import UserError
from flows.core.seeds import numpy_generator
from flows.networks.target_population import TargetPopulation

COMPLETIONS = 16  # draws of a context with gaps, if the targets are unknown
DRAWS = 1_000  # of several targets, at least
ROWS = 200  # complete rows whose nodes are computed at a time


@dataclass(frozen=True)
class TargetUnknowns:
    """Conditional distributions of the targets.

    Args:
        population: the flow and the distribution of its context.
        distilled: the ranges and margins of all columns.
    """

    population: TargetPopulation
    distilled: Distilled

    def posteriors(
        self,
        rows: Array,
        numbers: Whole,
        seed: int = 0,
        enough: float = DRAWS,
    ) -> Iterator[tuple[int, Posterior]]:
        """Yield the index and the posterior of each row, in any order.

        Args:
            rows: rows in the user's units, ``(n, d + D)``, with ``NaN`` for unknown values. Either
                all targets or no target of a row are unknown.
            numbers: the numbers of the rows, which select their random streams, ``(n,)``.
            seed: the seed of the random streams.
            enough: the number of draws of several targets, at least.
        """
        context = self.population.network.context
        plain = ~np.isnan(rows[:, :context]).any(axis=1) & np.isnan(rows[:, context:]).all(axis=1)
        for k in np.flatnonzero(~plain).tolist():
            generator = numpy_generator(seed, "unknown", int(numbers[k]))
            if not np.isnan(rows[k, context:]).all():
                yield k, self._weighted(rows[k], generator)
                continue
            x = self.population.complete(rows[k : k + 1, :context], COMPLETIONS, generator)
            yield k, replace(self._averaged(x, generator, enough), completions=COMPLETIONS)
        places = np.flatnonzero(plain)
        for start in range(0, len(places), ROWS):
            some = places[start : start + ROWS]
            if self.population.targets == 1:
                found = self._of_one(rows[some, :context])
                yield from zip(some.tolist(), found, strict=True)
                continue
            for k in some.tolist():
                generator = numpy_generator(seed, "unknown", int(numbers[k]))
                yield k, self._drawn(rows[k : k + 1, :context], generator, enough)

    def restricted(
        self,
        row: Array,
        intervals: Intervals,
        generator: np.random.Generator,
        error: float,
        most: int = MOST,
    ) -> Posterior:
        """Return the posterior of a row whose unknown values lie inside intervals.

        The context is drawn from its distribution inside its intervals. One target is then drawn
        inside its intervals, whose probability enters the weight. Several targets are drawn from
        the flow, and draws outside their intervals have the weight 0. The evidence is the
        probability of the intervals of the targets, times the mean weight of the context
        (``TargetPopulation.restricted``).

        Args:
            row: the row in the user's units, ``(d + D,)``, with ``NaN`` for unknown values, to
                which all targets belong.
            intervals: intervals ``(I, 2)`` in the user's units, by column.
            generator: the source of random numbers.
            error: the standard error of the log-evidence at which drawing stops.
            most: the number of draws, at most.

        Raises ``UserError`` if no draw of several targets lies inside the intervals.
        """
        context = self.population.network.context
        of_context = {d: own for d, own in intervals.items() if d < context}

        def draw(count: int) -> tuple[Array, Array]:
            x, log_w = self.population.restricted(row[:context], of_context, count, generator)
            y, log_p = self._inside(x, intervals, generator)
            return np.column_stack([x, y]), log_w[:, None] + log_p

        found = Posterior.doubled(draw, self._weights, lambda each: each.error <= error, most)
        if not np.isfinite(found.log_weights).any():
            names = [self.population.columns[d].name for d in intervals if d >= context]
            raise UserError(
                f"none of {len(found.values):,} draws of {', '.join(names)} is inside the ranges; "
                "widen the ranges, or fit one target alone"
            )
        return found

    def _inside(
        self, x: Array, intervals: Intervals, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return targets ``(n, D)`` given contexts ``(n, d)``, and log-weights ``(n, M)``."""
        population, context = self.population, self.population.network.context
        if population.targets == 1 and context in intervals:
            y, log_p = population.inside(x, intervals[context], generator)
            return y[:, None], log_p
        y = population.network.ensemble_sample(None, generator, x).double().numpy()
        log_p = np.zeros((len(x), population.members))
        for d, own in intervals.items():
            if d >= context:
                drawn = y[:, d - context, None]
                is_inside = ((own[:, 0] <= drawn) & (drawn <= own[:, 1])).any(axis=1)
                log_p[~is_inside] = -np.inf
        return y, log_p

    def _of_one(self, x: Array) -> list[Posterior]:
        """Return the distributions of one target given complete contexts ``(n, d)``."""
        if labels := self.population.columns[-1].labels:
            rows = np.column_stack(
                [x.repeat(len(labels), axis=0), np.tile(range(len(labels)), len(x))]
            )
            log_p = self.population.log_factors(rows)[:, :, 0]
            parts = zip(np.split(rows, len(x)), np.split(log_p, len(x)), strict=True)
            return [self._posterior(*part, is_exact=True) for part in parts]
        values, log_weights = self.population.nodes(x)
        members, nodes = values.shape[1:]
        # The nodes of a member have no weight for the other members
        own = np.where(np.eye(members, dtype=bool)[:, None], log_weights[None, :, None], -np.inf)
        own = own.reshape(members * nodes, members)
        along = x.shape[1]
        return [
            self._posterior(
                np.column_stack([np.tile(given, (members * nodes, 1)), y.ravel()]),
                own,
                is_exact=True,
                along=along,
            )
            for given, y in zip(x, values, strict=True)
        ]

    def _averaged(self, x: Array, generator: np.random.Generator, enough: float) -> Posterior:
        """Return the distribution of the targets, averaged over completions ``(K, d)``."""
        if self.population.targets > 1:
            return self._drawn(x, generator, enough)
        found = self._of_one(x)
        values = np.concatenate([each.values for each in found])
        log_weights = np.concatenate([each.log_weights for each in found]) - np.log(len(x))
        return self._posterior(values, log_weights, is_exact=True)

    def _drawn(self, x: Array, generator: np.random.Generator, enough: float) -> Posterior:
        """Return draws of the targets given contexts ``(K, d)``, each equally often."""
        count = int(min(MOST, max(DRAWS, enough)))
        given = np.resize(x, (count, x.shape[1]))
        y = self.population.network.ensemble_sample(None, generator, given).double().numpy()
        log_weights = np.full((count, self.population.members), -np.log(count))
        return self._posterior(np.column_stack([given, y]), log_weights)

    def _weighted(self, row: Array, generator: np.random.Generator) -> Posterior:
        """Return completions of the context of a row ``(d + D,)``, with the weights p(y | x).

        The number of completions is doubled until ``ENOUGH`` are effective.
        """
        context = self.population.network.context

        def draw(count: int) -> tuple[Array, Array]:
            x = self.population.complete(row[None, :context], count, generator)
            rows = np.column_stack([x, np.tile(row[context:], (count, 1))])
            return rows, self.population.log_factors(rows).sum(axis=2)

        return Posterior.doubled(draw, self._weights, lambda each: each.effective >= ENOUGH, MOST)

    @property
    def _weights(self) -> Array:
        return self.population.member_weights.numpy()

    def _posterior(self, values: Array, log_weights: Array, **kind: Any) -> Posterior:
        return Posterior.of(values, log_weights, self._weights, **kind)
