"""The distribution of columns given the other values of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flows.core.arrays import Array, rounded
from flows.core.errors import UserError
from flows.tables.columns.field import Field
from flows.tables.columns.lazy import pd
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import BATCHES, ERROR, Goal, Posterior
from flows.tables.posterior.region import Region
from flows.tables.questions.few_rows import check_level, ends_of, interval
from flows.tables.questions.question import Answer, Asked, Question

QUANTILES = (0.05, 0.5, 0.95)
DIGITS = 8  # significant digits of predictions in files
EFFECTIVE = "effective_draws"  # the last of the added columns


@dataclass(frozen=True)
class Predict(Question):
    """The distribution of columns, each given the values of all columns that are not predicted.

    The results are named like the columns: the mean, the standard deviation and the quantiles at
    the L levels in the column's unit, ``(n, 2 + L)``; for a category, the probabilities of its K
    labels, ``(n, K)``. The mean and the standard deviation leave out values that lie more than one
    range of the column beyond either end of its range, because a positive column may have no mean
    otherwise. If the density has targets, all targets are unknown.

    Args:
        columns: the names of the columns.
        levels: the levels of the quantiles, between 0 and 1.
        interval: the level of the intervals that few rows leave in each result (``few_rows.py``);
            ``None`` for no intervals.
    """

    columns: Sequence[str]
    levels: Sequence[float] = QUANTILES
    interval: float | None = None

    noun: ClassVar[str] = "predictions"
    needs_all: ClassVar[bool] = False

    def check(self, density: ArrayDensity) -> None:
        if isinstance(self.columns, str) or not self.columns:
            raise UserError(f"columns = {self.columns!r}: must be a list of columns to predict")
        for name in self.columns:
            density.schema.find(name)
            if [*self.columns].count(name) > 1:
                raise UserError(f"column {name} is to be predicted twice")
        for level in self.levels:
            if not 0 < level < 1:
                raise UserError(f"quantile {level:g}: must be between 0 and 1")
        if len({f"{level:g}" for level in self.levels}) < len(self.levels):
            shown = ", ".join(map(str, self.levels))
            raise UserError(f"quantiles {shown}: two are the same to six digits")
        check_level(self.interval)
        names = self.adds(density)
        for name in names:
            if self.interval is not None and names.count(name) > 1:
                raise UserError(
                    f"the answer has two columns {name}, a label and the end of an interval: leave "
                    "out the interval, or rename the label"
                )

    def hidden(self, density: ArrayDensity) -> Sequence[str]:
        return [*self.columns, *density.targets]

    def describes(self, density: ArrayDensity, region: Region) -> Sequence[str]:
        return self.columns

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        n, hidden = len(region), [density.schema.find(name) for name in self.hidden(density)]
        places = {name: density.schema.find(name) for name in self.columns}
        sizes = {name: len(self._names(density, name)) for name in self.columns}
        views, effective, region = density.views[:1], np.empty(n), region.hiding(hidden)
        shape = 1, 1, n
        if self.interval is not None:
            views, shape = density.views, (1 + BATCHES, len(density.views), n)
        answers = {name: np.full((*shape, size), np.nan) for name, size in sizes.items()}
        goal = Goal(error=ERROR) if region.intervals else Goal()
        for k, posterior in density.posteriors(region, goal=goal):
            posterior.possible()
            effective[k] = posterior.effective
            parts = [posterior, *posterior.batches()] if self.interval is not None else [posterior]
            for name, d in places.items():
                answers[name][:, :, k] = [
                    _summary(density, part, views, d, self.levels) for part in parts
                ]
        for name, d in places.items():
            if density.columns[d].labels:
                exact, shares = density.closed_label_probabilities(region, d)
                answers[name][:, :, exact] = shares[: len(views)]
                if len(places) == 1:
                    effective[exact] = np.inf
        of_all = {name: own[0, 0] for name, own in answers.items()}
        found = Answer(self._rounded(density, of_all), effective)
        if self.interval is None:
            return found
        low, high = self._intervals(density, region, answers, self.interval)
        return replace(found, low=low, high=high)

    def _intervals(
        self, density: ArrayDensity, region: Region, answers: Mapping[str, Array], level: float
    ) -> list[dict[str, Array]]:
        """Return the lower and the upper ends of the intervals of the results, by column.

        Args:
            density: the density.
            region: the rows.
            answers: by column, the answers ``(1 + B, 1 + F, n, K)``, as for ``interval``.
            level: the level of the intervals.
        """
        found, is_filled = list[dict[str, Array]]([{}, {}]), density.fills_context(region)
        for name, own in answers.items():
            column = density.columns[density.schema.find(name)]
            ends = interval(own, level, is_probability=bool(column.labels))
            for by_name, x in zip(found, ends, strict=True):
                x[is_filled] = np.nan
                if not column.labels:
                    sd = x[:, 1].clip(min=0.0)
                    x = x.clip(*column.ends)
                    x[:, 1] = sd
                by_name[name] = x
        return [self._rounded(density, ends) for ends in found]

    def adds(self, density: ArrayDensity) -> list[str]:
        own = {}
        for name in self.columns:
            names = [*map(str, self._names(density, name))]
            if self.interval is not None:
                names = [each for own in names for each in (own, *ends_of(own))]
            own[name] = [*names, EFFECTIVE]
        if len(own) == 1:
            return own[self.columns[0]]
        return [f"{name}_{each}" for name, names in own.items() for each in names]

    def added(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        """Return the distributions side by side, with the column in front of each name.

        The labels of a single column keep their types as names.
        """
        index = asked.frame.index
        draws = np.where(np.isfinite(answer.effective), answer.effective, np.nan)
        parts = []
        for name in self.columns:
            column = density.columns[density.schema.find(name)]
            names = self._names(density, name)
            own: dict[Any, Any] = {}
            for k, each in enumerate(names):
                values = {each: answer[name][:, k]}
                if self.interval is not None:
                    ends = answer.low[name][:, k], answer.high[name][:, k]
                    values |= dict(zip(ends_of(each), ends, strict=True))
                if not column.labels:
                    is_sd = each == "sd"
                    values = {x: column.points(y, is_distance=is_sd) for x, y in values.items()}
                own |= values
            part = pd.DataFrame(own, index=pd.RangeIndex(len(index))).set_axis(index)
            part.insert(len(own), EFFECTIVE, draws, allow_duplicates=True)
            parts.append(part if len(self.columns) == 1 else part.add_prefix(f"{name}_"))
        return pd.concat(parts, axis=1)

    def rows(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        """Return the user's rows and the distributions, with numbers of few digits."""
        added = {str(name): _short(x) for name, x in self.added(density, asked, answer).items()}
        return asked.frame.assign(**added)

    def _names(self, density: ArrayDensity, name: str) -> list[Any]:
        """Return the names of the results of a column: those of the summary, or the labels."""
        labels = density.columns[density.schema.find(name)].labels
        return [*(labels or ("mean", "sd", *(f"q{level:g}" for level in self.levels)))]

    def _rounded(self, density: ArrayDensity, results: Mapping[str, Array]) -> dict[str, Array]:
        """Return the results with quantiles that their columns allow."""
        found = dict(results)
        for name, own in results.items():
            column = density.columns[density.schema.find(name)]
            if not column.labels:
                quantiles = np.asarray(column.round(own[:, 2:]))
                found[name] = np.concatenate([own[:, :2], quantiles], axis=1)
        return found


def _summary(
    density: ArrayDensity, posterior: Posterior, views: Array, d: int, levels: Sequence[float]
) -> Array:
    """Return the moments and quantiles of a column, or the probabilities of its labels.

    Quantiles are not rounded.

    Args:
        density: the density.
        posterior: the posterior of a row.
        views: V times the weights of the members, as for ``Posterior.weights_in``.
        d: the index of the column.
        levels: the levels of L quantiles.

    Returns an array ``(V, 2 + L)`` or ``(V, K)``.
    """
    column, weights = density.columns[d], posterior.weights_in(views)
    if column.labels:
        return label_probabilities(column, posterior.values[:, d], weights)
    quantiles = posterior.quantiles_in(views, d, np.array(levels))
    return np.column_stack([_moments(density, posterior.values[:, d], weights, d), quantiles])


def _short(x: pd.Series) -> Any:
    """Return numbers with ``DIGITS`` digits; durations are in seconds."""
    x = x.dt.total_seconds() if x.dtype.kind == "m" else x
    return rounded(x, DIGITS) if x.dtype.kind == "f" else x


def label_probabilities(column: Field, values: Array, weights: Array) -> Array:
    """Return the probabilities of the labels of a column, ``(V, K)``.

    Args:
        column: the column.
        values: the values of the column in a posterior, ``(N,)``.
        weights: V times their weights, ``(V, N)``.
    """
    codes, count = np.asarray(column.round(values)).astype(np.int64), len(column.labels)
    return np.array([np.bincount(codes, own, count) for own in weights], np.float64)


def _moments(density: ArrayDensity, x: Array, weights: Array, d: int) -> Array:
    """Return the mean and the standard deviation that ``Predict`` defines, ``(V, 2)``.

    Args:
        density: the density.
        x: the values of column ``d`` in a posterior, ``(N,)``.
        weights: V times their weights, ``(V, N)``.
        d: the index of the column.
    """
    inside = ~density.distilled.is_far(x, d)
    # Far values have weight 0, and are set to 0 because their squares may overflow
    x, weights = np.where(inside, x, 0.0), np.where(inside, weights, 0.0)
    with np.errstate(invalid="ignore"):  # if all values are far, there are no moments
        weights /= weights.sum(axis=1, keepdims=True)
    mean = weights @ x
    variance = (weights * (x - mean[:, None]) ** 2).sum(axis=1)
    return np.column_stack([mean, np.sqrt(variance)])
