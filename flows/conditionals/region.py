"""Regions, which have the known values and the intervals of rows; and goals, which end drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from flows.core.arrays import Array, Whole
from flows.tables.field import Field, Label

ENOUGH = 100  # effective draws
MOST = 8_192  # draws of a row, at most
Intervals = Mapping[int, Array]  # intervals (I, 2) in the user's units, by column


@dataclass(frozen=True)
class Goal:
    """When drawing ends.

    Args:
        effective: the effective number of draws, at least.
        error: the standard error of the log-evidence, at most.
        most: the number of draws after which drawing ends in any case.
    """

    effective: float = ENOUGH
    error: float = np.inf
    most: int = MOST


@dataclass(frozen=True)
class Region:
    """Rows with gaps, and intervals or sets for some of the unknown values.

    A row without intervals has known and unknown values. Conditions are a region of one row.

    Args:
        rows: the known values in the user's units, ``(n, D)``, with codes for labels and ``NaN``
            for unknown values.
        row_numbers: the numbers of the rows, which select their random streams, ``(n,)``.
        intervals: for some columns, intervals ``(I, 2)`` in the user's units, which are sorted and
            do not overlap. The unknown value of each row lies in one of them; a label, if its code
            does.
        rare: the rare labels that are allowed in a column with a pool. Labels have the code of the
            pool there, in ``rows`` or among the intervals.
    """

    rows: Array
    row_numbers: Whole
    intervals: Intervals = field(default_factory=dict)
    rare: Mapping[int, frozenset[Label]] = field(default_factory=dict)

    @classmethod
    def of_conditions(
        cls, row: Array, intervals: Intervals, rare: Mapping[int, frozenset[Label]]
    ) -> Region:
        """Return the region of one row, number 0.

        Args:
            row: the known values, ``(D,)``.
            intervals: the intervals by column.
            rare: the allowed rare labels by column.
        """
        return cls(row[None], np.zeros(1, np.int64), intervals, rare)

    def take(self, places: Whole) -> Region:
        """Return the rows with the indices ``places``."""
        return replace(self, rows=self.rows[places], row_numbers=self.row_numbers[places])

    def hiding(self, places: Sequence[int]) -> Region:
        """Return the region with unknown values in the columns with the indices ``places``."""
        rows = self.rows.copy()
        rows[:, places] = np.nan
        return replace(self, rows=rows)

    def numbered(self, number: int) -> Region:
        """Return the region whose rows have this number."""
        return replace(self, row_numbers=np.full(len(self.rows), number))

    @property
    def is_everything(self) -> bool:
        """Whether no value is known and no value is restricted."""
        return not self.intervals and bool(np.isnan(self.rows).all())

    def also(self, event: Region) -> Region | None:
        """Return these conditions and the ``event``; ``None`` if they contradict each other.

        Args:
            event: conditions of intervals only.
        """
        intervals, rare, [row] = dict(self.intervals), {**event.rare, **self.rare}, self.rows
        for d, own in event.intervals.items():
            if d in self.rare and d in event.rare:
                rare[d] = self.rare[d] & event.rare[d]
                if not rare[d]:
                    own = own[:-1]  # without the pool, which is the last label
                    del rare[d]
            if not np.isnan(row[d]):
                if not ((own[:, 0] <= row[d]) & (row[d] <= own[:, 1])).any():
                    return None
                continue
            both = [
                (max(low, a), min(high, b))
                for low, high in intervals.get(d, np.array([[-np.inf, np.inf]]))
                for a, b in own
                if max(low, a) < min(high, b)
            ]
            if not both:
                return None
            intervals[d] = np.array(both)
        return replace(self, intervals=intervals, rare=rare)

    def log_share(self, columns: Sequence[Field], values: Array) -> Array:
        """Return the logarithm of the share of a pool that is allowed, for each row ``(n,)``.

        It is 0 for a row without a label of a pool.

        Args:
            columns: the columns.
            values: complete rows ``(n, D)``.
        """
        found = np.zeros(len(values))
        for d in self.rare.keys() & self.intervals.keys():
            is_pool = columns[d].round(values[:, d]) == columns[d].pool
            found += np.where(is_pool, np.log(columns[d].rare_share(self.rare[d])), 0.0)
        return found
