"""The surprise of each value, given the other values of its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flows.core.arrays import Array
from flows.tables.columns.lazy import pd
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.question import Answer, Asked, Question


@dataclass(frozen=True)
class Surprise(Question):
    """The surprise of each value, given the other values of its row::

        s_j = log m(x_j) - log q(x_j | rest),   m = (margin_j + uniform_j) / 2

    The surprise is in nats and does not depend on the units of the columns. It is ``NaN`` for an
    unknown value, and infinite for a value that its column does not allow. ``margin_j`` is the
    density of column j alone. ``uniform_j`` is the uniform density 1 / (3 ranges of the column), or
    1 / K for one of K labels. If m were the margin alone, a value far outside of the table would
    have a low surprise, because its margin is low, too.

    With targets, only targets have a surprise, given x and the targets before them. It is ``NaN``
    for a row without a target and, with several targets, for a row with a gap.

    The result is ``surprise``, ``(n, D)``.
    """

    noun: ClassVar[str] = "surprises"

    def given_rows(self, density: ArrayDensity, rows: Array) -> Array | None:
        return None

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        log_q, effective = density.log_given(region)
        found = np.full(region.rows.shape, np.nan)
        for d in range(len(density.columns)):
            known = np.flatnonzero(~np.isnan(log_q[:, d]))
            if len(known):
                log_margin = _log_margin(density, d, region.rows[known, d])
                found[known, d] = log_margin - log_q[known, d]
        found[region.refused] = np.inf
        return Answer({"surprise": found}, effective)

    def adds(self, density: ArrayDensity) -> list[str]:
        return [f"{name}_surprise" for name in density.names]

    def added(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        return pd.DataFrame(answer["surprise"], asked.frame.index, self.adds(density))


def _log_margin(density: ArrayDensity, d: int, x: Array) -> Array:
    """Return log m of values ``x`` ``(n,)`` of column ``d``, in the formula of ``Surprise``."""
    distilled, labels = density.distilled, density.columns[d].labels
    width = len(labels) or 3 * (distilled.high[d] - distilled.low[d])
    return np.logaddexp(distilled.log_margin(d, x), -np.log(width)) - np.log(2)
