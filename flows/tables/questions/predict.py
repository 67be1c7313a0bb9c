"""The distribution of columns given the other values of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flows.core.arrays import Array, rounded
from flows.core.errors import UserError
from flows.tables.columns.field import Field
from flows.tables.columns.lazy import pd
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import ERROR, Goal, Posterior
from flows.tables.posterior.region import Region
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
    """

    columns: Sequence[str]
    levels: Sequence[float] = QUANTILES

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

    def hidden(self, density: ArrayDensity) -> Sequence[str]:
        return [*self.columns, *density.targets]

    def describes(self, density: ArrayDensity, region: Region) -> Sequence[str]:
        return self.columns

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        n, hidden = len(region), [density.schema.find(name) for name in self.hidden(density)]
        places = {name: density.schema.find(name) for name in self.columns}
        results = {name: np.empty((n, len(self._names(density, name)))) for name in places}
        found = Answer(results, np.empty(n))
        goal = Goal(error=ERROR) if region.intervals else Goal()
        for k, posterior in density.posteriors(region.hiding(hidden), goal=goal):
            posterior.possible()
            found.effective[k] = posterior.effective
            for name, d in places.items():
                found[name][k] = self._summary(density, posterior, d)
        for name, d in places.items():
            if density.columns[d].labels:
                exact, shares = density.label_probabilities(region.hiding(hidden), d)
                found[name][exact] = shares
                if len(places) == 1:
                    found.effective[exact] = np.inf
        return found

    def adds(self, density: ArrayDensity) -> list[str]:
        own = {name: [*map(str, self._names(density, name)), EFFECTIVE] for name in self.columns}
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
            own: dict[Any, Any] = dict(zip(names, answer[name].T, strict=True))
            if not column.labels:
                own = {each: column.points(x, is_distance=each == "sd") for each, x in own.items()}
            part = pd.DataFrame(own, index=pd.RangeIndex(len(index))).set_axis(index)
            part.insert(len(names), EFFECTIVE, draws, allow_duplicates=True)
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

    def _summary(self, density: ArrayDensity, posterior: Posterior, d: int) -> Array:
        """Return the moments and quantiles of column ``d``, or the probabilities of its labels."""
        column = density.columns[d]
        if column.labels:
            return label_probabilities(column, posterior, d)
        quantiles = np.asarray(column.round(posterior.quantiles(d, np.array(self.levels))))
        return np.concatenate([_moments(density, posterior, d), quantiles])


def _short(x: pd.Series) -> Any:
    """Return numbers with ``DIGITS`` digits; durations are in seconds."""
    x = x.dt.total_seconds() if x.dtype.kind == "m" else x
    return rounded(x, DIGITS) if x.dtype.kind == "f" else x


def label_probabilities(column: Field, posterior: Posterior, d: int) -> Array:
    """Return the probabilities of the labels of a column, ``(K,)``.

    Args:
        column: the column.
        posterior: the posterior of a row.
        d: the index of the column.
    """
    codes = np.asarray(column.round(posterior.values[:, d])).astype(np.int64)
    return np.bincount(codes, posterior.weights, len(column.labels)).astype(np.float64)


def _moments(density: ArrayDensity, posterior: Posterior, d: int) -> tuple[float, float]:
    """Return the mean and the standard deviation of column ``d`` that ``Predict`` defines."""
    x = posterior.values[:, d]
    inside = ~density.distilled.is_far(x, d)
    # Far values have weight 0, and are set to 0 because their squares may overflow
    x, weights = np.where(inside, x, 0.0), np.where(inside, posterior.weights, 0.0)
    with np.errstate(invalid="ignore"):  # if all values are far, there are no moments
        weights /= weights.sum()
    mean = weights @ x
    return float(mean), float(np.sqrt(weights @ (x - mean) ** 2))
