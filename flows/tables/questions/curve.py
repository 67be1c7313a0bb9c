"""The density of one column along its values, given the rest of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flows.core.arrays import Array
from flows.tables.columns.lazy import pd
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.draw import Draw
from flows.tables.questions.few_rows import check_level, interval
from flows.tables.questions.question import Answer, Asked, Question

GRID, REACH = 200, 3.5  # a curve has 200 points, from -3.5 to 3.5 in normal scores
COMPLETIONS = 16  # draws of a row's other unknown values, over which a curve is averaged


@dataclass(frozen=True)
class Curve(Question):
    """The density of a column at G of its values, given the rest of a row.

    For a category, the densities are the probabilities of its labels. If other values of the row
    are unknown, they are drawn, and the curves are averaged::

        q(x_d | x_o) = E [ q(x_d | x_o, x_u) ],      x_u ~ q(x_u | x_o)

    Each value stands for a bin. The densities times the widths of the bins sum to 1. The results
    are ``x`` and ``density``, ``(n, G)``, with ``NaN`` after the last value of a row.

    Args:
        column: the name of the column.
        interval: the level of the intervals that few rows leave in each density (``few_rows.py``);
            ``None`` for no intervals. A row with other unknown values has no interval, because
            their draws are those of all members.
    """

    column: str
    interval: float | None = None

    noun: ClassVar[str] = "curves"

    def describes(self, density: ArrayDensity, region: Region) -> Sequence[str]:
        return [self.column]

    def check(self, density: ArrayDensity) -> None:
        check_level(self.interval)

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        found = [self._curve(density, region.take(slice(k, k + 1))) for k in range(len(region))]
        gaps = np.delete(region.gaps, density.schema.find(self.column), axis=1)
        others = np.flatnonzero(gaps.any(axis=1)).tolist()
        size = max((len(x) for x, _, _ in found), default=0)
        names, n = ("x", "density", "low", "high"), len(region)
        results = {name: np.full((n, size), np.nan) for name in names}
        effective = np.empty(n)
        for k, (x, answers, own) in enumerate(found):
            results["x"][k, : len(x)], results["density"][k, : len(x)] = x, answers[0, 0]
            effective[k] = own
            if self.interval is not None and k not in others:
                is_probability = bool(density.columns[density.schema.find(self.column)].labels)
                low, high = interval(answers, self.interval, is_probability=is_probability)
                results["low"][k, : len(x)], results["high"][k, : len(x)] = low.clip(min=0), high
        low, high = results.pop("low"), results.pop("high")
        if self.interval is None:
            return Answer(results, effective)
        return Answer(results, effective, {"density": low}, {"density": high})

    def rows(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        """Return a row for each value of each curve, with the index of the user's row."""
        column = density.columns[density.schema.find(self.column)]
        x, q = answer["x"], answer["density"]
        is_there = ~np.isnan(x)
        index = asked.frame.index.repeat(is_there.sum(axis=1))
        shown = np.array(column.labels)[x[is_there].astype(int)] if column.labels else None
        values = column.points(x[is_there]) if shown is None else pd.Series(shown)
        found = pd.DataFrame({self.column: values, "density": q[is_there]})
        if self.interval is not None:
            low, high = (end["density"][is_there] for end in (answer.low, answer.high))
            found = found.assign(density_low=low, density_high=high)
        return found.set_axis(index)

    def _curve(self, density: ArrayDensity, region: Region) -> tuple[Array, Array, float]:
        """Return the values of one row, the densities, and the effective number of draws.

        The densities are those of the ensemble and of its folds, ``(1, 1 + F, G)``.
        """
        d, [row], effective = density.schema.find(self.column), region.rows, np.inf
        rest = region.hiding([d]).rows
        if np.isnan(rest).sum() > 1:
            drawn = Draw(COMPLETIONS).answer(density, region.hiding([d]))
            rest, effective = drawn["rows"][0], float(drawn.effective[0])
        x = _grid(density, row, d)
        rows = rest.repeat(len(x), axis=0)
        rows[:, d] = np.tile(x, len(rest))
        log_q = density.in_views(density.log_density(rows, region.hiding([d]).rows[0]))
        log_q = log_q.reshape(len(log_q), len(rest), -1) + np.log(np.gradient(x))
        with np.errstate(invalid="ignore"):  # of a row that breaks a constraint
            share = np.exp(log_q - np.logaddexp.reduce(log_q, axis=2, keepdims=True))
        share = share.mean(axis=1)
        return x, (share / np.gradient(x))[None], effective


def _grid(density: ArrayDensity, row: Array, d: int) -> Array:
    """Return values of column ``d``, equally spaced in normal scores, ``(G,)``."""
    column, distilled = density.columns[d], density.distilled
    if column.labels:
        return np.arange(len(column.labels), dtype=np.float64)
    own = 0.0 if np.isnan(row[d]) else distilled.scores(d, row[d : d + 1])[0].item()
    low, high = min(-REACH, own - 1), max(REACH, own + 1)
    x = distilled.values(d, np.linspace(low, high, GRID))[0]
    return np.unique(column.round(x)) if column.is_discrete else x
