"""The density of one column along its values, given the rest of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flows.core.arrays import Array
from flows.density.array_density import ArrayDensity
from flows.density.question import Answer, Question
from flows.density.questions.draw import Draw
from flows.posterior.region import Region

GRID, REACH = 200, 3.5  # a curve has 200 points, from -3.5 to 3.5 in normal scores
COMPLETIONS = 16  # draws of a row's other unknown values, over which a curve is averaged


@dataclass(frozen=True)
class Curve(Question):
    """The density of a column at G of its values, given the rest of a row.

    For a category, the densities are the probabilities of its labels. If other values of the row
    are unknown, they are drawn, and the curves are averaged::

        q(x_d | x_o) = E [ q(x_d | x_o, x_u) ],      x_u ~ q(x_u | x_o)

    Each value stands for an interval. The densities times the widths of the intervals sum to 1. The
    results are ``x`` and ``density``, ``(1, G)``: the question is about one row, because rows have
    different values.

    Args:
        column: the name of the column.
    """

    column: str

    noun: ClassVar[str] = "curves"

    def stated(self, density: ArrayDensity, region: Region) -> Sequence[int]:
        return [density.schema.find(self.column)]

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        d, [row] = density.schema.find(self.column), region.rows
        rest, effective = region.hiding([d]).rows, np.full(1, np.inf)
        if np.isnan(rest).sum() > 1:
            drawn = Draw(COMPLETIONS).answer(density, region.hiding([d]))
            rest, effective = drawn["rows"][0], drawn.effective
        x = _grid(density, row, d)
        rows = rest.repeat(len(x), axis=0)
        rows[:, d] = np.tile(x, len(rest))
        log_q = density.ensemble(density.log_density(rows))
        log_q = log_q.reshape(len(rest), -1) + np.log(np.gradient(x))
        share = np.exp(log_q - np.logaddexp.reduce(log_q, axis=1, keepdims=True)).mean(axis=0)
        return Answer({"x": x[None], "density": (share / np.gradient(x))[None]}, effective)


def _grid(density: ArrayDensity, row: Array, d: int) -> Array:
    """Return values of column ``d``, equally spaced in normal scores, ``(G,)``."""
    column, distilled = density.columns[d], density.distilled
    if column.labels:
        return np.arange(len(column.labels), dtype=np.float64)
    own = 0.0 if np.isnan(row[d]) else distilled.scores(d, row[d : d + 1])[0].item()
    low, high = min(-REACH, own - 1), max(REACH, own + 1)
    x = distilled.values(d, np.linspace(low, high, GRID))[0]
    return np.unique(column.round(x)) if column.is_discrete else x
