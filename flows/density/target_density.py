"""The conditional density of targets on arrays: p(y | x) of the last columns given the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from scipy.stats import spearmanr

from flows.conditionals.distillation import SAMPLES, Distilled
from flows.conditionals.region import Region
from flows.conditionals.target import TargetUnknowns
from flows.conditionals.target_population import TargetPopulation
from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.core.seeds import numpy_generator
from flows.density.array_density import ArrayDensity, Estimate, Probability
from flows.networks.population import Population
from flows.recipe.record import Record
from flows.tables.field import Field
from flows.tables.schema import Schema

ALONG = 80  # values of a column along which the targets are drawn
BANDS = (0.05, 0.25, 0.5, 0.75, 0.95)


class TargetDensity(ArrayDensity):
    """The density of the targets given all other columns, the context.

    The methods are those of ``ArrayDensity``, with the targets as unknown columns. Questions about
    the context have no answer, and raise ``UserError`` with the alternative.

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

    def log_prob(self, rows: Array, row_numbers: Whole, is_given: Mask | None = None) -> Estimate:
        """Return log p(y | x) of each row. Raises ``UserError`` if a column ``is_given``.

        ``ArrayDensity.log_prob`` lists the results for values that are missing or not allowed.
        """
        if is_given is not None and is_given.any():
            raise UserError(
                f"given: the density of {self._names} is conditional on all other columns already"
            )
        found = super().log_prob(rows, row_numbers)
        lacking = np.isnan(rows[:, self.context :]).any(axis=1)
        for values in found[:-1]:
            values[lacking] = np.nan
        return found

    def _scorable(self, rows: Array) -> tuple[Array, Mask]:
        wrong, of_context = self.disallowed(rows), np.arange(rows.shape[1]) < self.context
        lacking = (wrong | np.isnan(rows)) & ~of_context
        scored = np.where(wrong & of_context, np.nan, rows)
        return scored, np.logical_or.reduce(lacking, axis=1)

    def _log_density(self, rows: Array) -> Array:
        return self.population.log_factors(rows).sum(axis=2)

    def sample(
        self, n: int, seed: int = 0, given: Region | None = None
    ) -> Iterator[tuple[Array, float]]:
        """Yield rows with drawn targets, as ``ArrayDensity.sample``. ``given`` is needed."""
        if given is None:
            raise UserError(
                f"the density of {self._names} is conditional: give values of other columns "
                "(given), or fit the table without a target"
            )
        self._check_targets(given.rows)
        return super().sample(n, seed, given)

    def complete(
        self, rows: Array, row_numbers: Whole, count: int, seed: int
    ) -> tuple[Array, Array]:
        self._check_targets(rows)
        return super().complete(rows, row_numbers, count, seed)

    def fill(self, rows: Array, row_numbers: Whole) -> tuple[Array, Array]:
        """Return the rows with unknown targets replaced by conditional medians, ``(n, d + D)``.

        Also return the effective numbers of draws, ``(n,)``. Raises ``UserError`` if a value of the
        context is missing.
        """
        gaps = np.isnan(rows[:, : self.context])
        if gaps.any():
            name = self.columns[int(np.flatnonzero(gaps.any(axis=0))[0])].name
            raise UserError(
                f"column {name} has missing values, and only {self._names} can be filled; fit the "
                "table without a target to fill other columns"
            )
        self._check_targets(rows)
        return super().fill(rows, row_numbers)

    def predict(self, region: Region, d: int, levels: Sequence[float]) -> tuple[Array, Array]:
        """Return the distribution of target ``d`` given the context of each row.

        All targets are treated as unknown.
        """
        self._check_target(d)
        return super().predict(region.hiding(range(self.context, len(self.columns))), d, levels)

    def probability(self, event: Region, given: Region, seed: int = 0) -> Probability:
        """Return the probability of an event of the targets, as ``ArrayDensity.probability``."""
        for d in event.intervals:
            self._check_target(d)
        self._check_targets(given.rows)
        return super().probability(event, given, seed)

    def surprise(self, rows: Array, row_numbers: Whole) -> tuple[Array, Array]:
        """Return the surprise of each target given x and the targets before it, ``(n, D)``.

        ``ArrayDensity.surprise`` has the formula. The surprise is ``NaN`` for all other columns,
        for rows without a target and, with several targets, for rows with gaps.
        """
        found, effective = np.full(rows.shape, np.nan), np.full(len(rows), np.inf)
        if len(self.targets) == 1:
            estimate = self.log_prob(rows, row_numbers)
            log_q, effective = estimate.log_ensemble[:, None], estimate.effective
            known = np.flatnonzero(~np.isnan(rows[:, -1]))
        else:
            known = np.flatnonzero(~np.isnan(rows).any(axis=1))
            factors = self.population.log_factors(rows[known])
            log_q = np.full((len(rows), len(self.targets)), np.nan)
            log_q[known] = self._ensemble_factors(factors)
        for j in range(len(self.targets)):
            d = self.context + j
            found[known, d] = self._log_margin(d, rows[known, d]) - log_q[known, j]
        return found, effective

    def _ensemble_factors(self, factors: Array) -> Array:
        """Return log p(y_j | x, y_1, ..., y_{j-1}) of the ensemble, ``(n, D)``.

        ``factors`` ``(n, M, D)`` are those of the members.
        """
        leading = [self.ensemble(each) for each in factors.cumsum(axis=2).transpose(2, 0, 1)]
        return np.diff(np.stack(leading, axis=1), axis=1, prepend=0.0)

    def curve(self, row: Array, d: int, row_number: int) -> tuple[Array, Array]:
        self._check_target(d)
        return super().curve(row, d, row_number)

    @cached_property
    def unknowns(self) -> TargetUnknowns:  # type: ignore[override]
        """The conditional distributions of the targets."""
        generator = numpy_generator(0, "sample")
        samples = self.population.ensemble_sample(SAMPLES, generator).double().numpy()
        return TargetUnknowns(self.population, Distilled(self.columns, samples))

    @property
    def _names(self) -> str:
        return ", ".join(self.targets)

    def _check_target(self, d: int) -> None:
        if d < self.context:
            raise UserError(
                f"column {self.columns[d].name} is not a target; the density is of {self._names} "
                "given the other columns: fit the table without a target"
            )

    def _check_targets(self, rows: Array) -> None:
        """Raise ``UserError`` for a row with known targets beside gaps, also of other targets."""
        gaps = np.isnan(rows)
        knows_target = ~gaps[:, self.context :].all(axis=1)
        for k in np.flatnonzero(knows_target & gaps.any(axis=1))[:1].tolist():
            unknown = self.columns[int(gaps[k].argmax())].name
            raise UserError(
                f"a row with a known target has no value of {unknown}; only {self._names} can be "
                "drawn, all together: leave the targets out, or fit the table without a target"
            )


def density_of(
    population: Population, schema: Schema | None = None, record: Record | None = None
) -> ArrayDensity:
    """Return the density of a population on arrays, with a target or without."""
    if isinstance(population, TargetPopulation):
        return TargetDensity(population, schema, record)
    return ArrayDensity(population, schema, record)


def target_along(
    density: TargetDensity, rows: Array, d: int | None = None
) -> tuple[int, Array, list[Array]]:
    """Return the distributions of the targets along one column of the context.

    The other columns are at their medians or, for labels, at the most frequent label. Values that
    their column does not allow count as missing.

    Args:
        density: the density of the targets.
        rows: rows of the table ``(n, D)``, ``NaN`` for missing values.
        d: the column; ``None`` for the column with the largest rank correlation with a target.

    Returns the column, its values ``(G,)`` and, for each target, the quantiles ``BANDS`` ``(G, 5)``
    or the probabilities of its labels ``(G, K)``.
    """
    context = density.context
    rows = np.where(density.disallowed(rows), np.nan, rows)  # such as a new label
    if d is None:
        d = int(np.argmax([_correlation(x, rows[:, context:]) for x in rows.T[:context]]))
    if np.isnan(rows[:, d]).all():
        raise UserError(f"column {density.columns[d].name} holds no value to draw a target along")
    known = [x[~np.isnan(x)] for x in rows.T]
    typical = np.array([_typical(*each) for each in zip(density.columns, known, strict=True)])
    if labels := density.columns[d].labels:
        along = np.arange(len(labels), dtype=np.float64)
    else:
        low, high = np.quantile(known[d], [0.005, 0.995])
        along = np.linspace(low, high, ALONG)
        if density.columns[d].is_discrete:
            along = np.unique(density.columns[d].round(along))
    asked = np.tile(typical, (len(along), 1))
    asked[:, d] = along
    targets = range(context, len(density.columns))
    return d, along, [_bands(density, asked, t) for t in targets]


def _typical(column: Field, x: Array) -> float:
    """Return the median or the most frequent label of known values; ``NaN`` if there are none."""
    if not len(x):
        return np.nan
    return float(np.bincount(x.astype(np.int64)).argmax() if column.labels else np.median(x))


def _correlation(x: Array, targets: Array) -> float:
    """Return the largest absolute rank correlation of ``x`` ``(n,)`` with a target ``(n, D)``.

    It is 0 if fewer than three rows have different values, and -1 without a value of x.
    """
    found = [-1.0 if np.isnan(x).all() else 0.0]
    for y in targets.T:
        both = ~np.isnan(x) & ~np.isnan(y)
        if both.sum() >= 3 and np.ptp(x[both]) > 0 and np.ptp(y[both]) > 0:
            found.append(abs(float(spearmanr(x[both], y[both]).statistic)))
    return max(found)


def _bands(density: TargetDensity, rows: Array, t: int) -> Array:
    """Return the quantiles ``BANDS`` of target ``t``, or the probabilities of its labels."""
    same_draws = np.zeros(len(rows), dtype=np.int64)  # so that curves of drawn targets are smooth
    found, _ = density.predict(Region(rows, same_draws), t, BANDS)
    return found if density.columns[t].labels else found[:, 2:]
