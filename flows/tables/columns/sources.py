"""Columns as linear forms of learned columns: the values of carried columns, and of constraints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flows.core.arrays import Array
from flows.tables.columns.field import Field

MOST_STEPS = 100  # of a rounded computed column, at which one comparison may change


@dataclass(frozen=True)
class Source:
    """A column as a linear form of learned columns: a learned column, or one that is computed.

    Its value is ``scale`` times ``offset + sum_d slopes[d] x_d``; a computed column is rounded
    before it is scaled. The scale makes days of dates in seconds.

    Args:
        column: the column.
        slopes: the coefficients of learned columns, by their index.
        offset: the offset.
        is_carried: whether the column is computed, and rounded as it is written.
    """

    column: Field
    slopes: Mapping[int, float]
    offset: float = 0.0
    is_carried: bool = False

    @property
    def scale(self) -> float:
        """The factor from the numbers of the column to those of a comparison."""
        return self.column.scale

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value of the column, perhaps infinite."""
        return (-np.inf, np.inf) if self.is_carried else self.column.ends

    @cached_property
    def spacing(self) -> float:
        """The step of a computed column as it is written; 0 for a column that is not rounded."""
        return self.column.spacing if self.is_carried else 0.0

    def linear(self, rows: Array) -> Array:
        """Return the numbers of the column in rows ``(n, D)``, before their rounding, ``(n,)``."""
        x = np.full(len(rows), self.offset)
        for d, slope in self.slopes.items():
            x += slope * rows[:, d]
        return x

    def values(self, rows: Array) -> Array:
        """Return the numbers of the column in rows ``(n, D)`` as they are written, ``(n,)``."""
        if self.is_carried:
            return self.column.computed(self.linear(rows))
        [d] = self.slopes
        return rows[:, d]

    def steps(self, rows: Array, d: int, low: Array, high: Array) -> list[Array]:
        """Return the values of column ``d`` between two others at which a computed column steps.

        Args:
            rows: the rows ``(n, D)``.
            d: the index of a column with a slope.
            low: the smallest value of column ``d`` in each row, ``(n,)``.
            high: the largest value ``(n,)``.
        """
        rest, slope = self.linear(with_value(rows, d, 0.0)), self.slopes[d]
        ends = np.sort([rest + slope * low, rest + slope * high], axis=0)
        first = np.ceil(ends[0] / self.spacing - 0.5)
        counts = (np.floor(ends[1] / self.spacing - 0.5) - first + 1)[np.isfinite(ends).all(axis=0)]
        count = int(min(counts.max(initial=0), MOST_STEPS))
        edges = [(first + k + 0.5) * self.spacing for k in range(count)]
        edges += [np.full(len(rows), bound) for bound in self.column.bounds]
        return [(edge - rest) / slope for edge in edges]


def with_value(rows: Array, d: int, x: float) -> Array:
    """Return rows ``(n, D)`` with the value ``x`` in column ``d``."""
    found = rows.copy()
    found[:, d] = x
    return found
