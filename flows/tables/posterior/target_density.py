"""The conditional density of targets on arrays: p(y | x) of the last columns given the others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.networks.densities import Densities
from flows.recipe.record import Record
from flows.tables.columns.schema import Schema
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import Evidence, Goal, Posterior, member_shares
from flows.tables.posterior.region import Region
from flows.tables.posterior.target import TargetPosteriors
from flows.tables.posterior.target_population import TargetPopulation


class TargetDensity(ArrayDensity):
    """The density of the targets given all other columns, the context.

    The targets are the last columns.

    Args:
        population: the flow of p(y | x), with a distribution of x for gaps.
        schema: the schema of the table, as in ``ArrayDensity``.
        record: how the flow was trained, as in ``ArrayDensity``.
    """

    population: TargetPopulation

    def __init__(
        self,
        population: TargetPopulation,
        schema: Schema | None = None,
        record: Record | None = None,
    ) -> None:
        super().__init__(population, schema, record)
        self.context = population.flow.context
        self.targets = self.names[self.context :]

    @cached_property
    def inputs(self) -> Mask:
        """Which columns are given only: the context, ``(d + D,)``."""
        return np.arange(len(self.columns)) < self.context

    @cached_property
    def member_weights(self) -> Array:
        """The weights of the members in the ensemble, ``(M,)``, also under the constraints."""
        return self.population.member_weights.numpy()

    def fills_context(self, region: Region) -> Mask:
        """Return which rows lack a value of the context, ``(n,)``, as ``ArrayDensity``."""
        return np.asarray(region.gaps[:, self.inputs].any(axis=1))

    def evidence(self, rows: Array, known: Array | None = None) -> Evidence:
        """Return log p(y | x) of complete rows, as ``ArrayDensity.evidence``.

        With constraints, p(y | x) is normalised for each x.
        """
        log_q, error = self._conditional.log_density(rows, known)
        shares = member_shares(log_q, self.member_weights)
        return Evidence.exact(log_q, error, shares)

    def posteriors(
        self, region: Region, seed: int = 0, goal: Goal | None = None, own: Array | None = None
    ) -> Iterator[tuple[int, Posterior]]:
        """Yield the index and the posterior of each row of a region, in any order.

        Args:
            region: the rows and the conditions. Either all targets or no target of a row are
                unknown.
            seed: the seed of the random streams.
            goal: when drawing ends.
            own: not used.
        """
        return self._conditional.of(region, seed, goal)

    def closed_form(self, region: Region) -> tuple[Whole, Array]:
        """Return the log-probabilities of intervals of the first target, as ``ArrayDensity``.

        They have a closed form if x is known, and nothing restricts the other targets.
        """
        is_alone = self._conditional.restricts_first(region.intervals)
        lacks_targets = region.gaps[:, self.context :].all(axis=1)
        places = np.flatnonzero(~self.fills_context(region) & lacks_targets & is_alone)
        return places, self._conditional.log_inside(region.take(places))

    def closed_label_probabilities(self, region: Region, d: int) -> tuple[Whole, Array]:
        """Return no probabilities: those of a label that is a target depend on numbers."""
        count = len(self.columns[d].labels)
        return np.arange(0), np.empty((len(self.views), 0, count))

    @cached_property
    def _conditional(self) -> TargetPosteriors:
        return TargetPosteriors(self.population, self.constraints)

    def log_given(self, region: Region) -> tuple[Array, Array]:
        """Return the log-density of each target given x and the targets before it.

        Constraints enter with the last target, so that the factors sum to the log-density.

        The result is ``(n, d + D)``, with ``NaN`` for the context, for rows without a target and,
        with several targets, for rows with gaps. Also return the effective numbers of draws,
        ``(n,)``.

        Args:
            region: the rows.
        """
        rows, found = region.rows, np.full(region.rows.shape, np.nan)
        effective = np.full(len(rows), np.inf)
        if len(self.targets) == 1:
            known = np.flatnonzero(~np.isnan(rows[:, -1]))
            evidence = self.log_known(region.take(known))
            found[known, -1], effective[known] = self.ensemble(evidence.log_q), evidence.effective
            return found, effective
        known = np.flatnonzero(~np.isnan(rows).any(axis=1))
        factors = self.population.log_factors(rows[known]).cumsum(axis=2)
        leading = [self.ensemble(each) for each in factors.transpose(2, 0, 1)[:-1]]
        whole = self.log_density(rows[known], rows[known])  # under the constraints
        leading.append(self.ensemble(whole))
        found[known, self.context :] = np.diff(np.stack(leading, axis=1), axis=1, prepend=0.0)
        return found, effective


def density_of(
    population: Densities, schema: Schema | None = None, record: Record | None = None
) -> ArrayDensity:
    """Return the density of a population on arrays, with a target or without."""
    if isinstance(population, TargetPopulation):
        return TargetDensity(population, schema, record)
    return ArrayDensity(population, schema, record)
