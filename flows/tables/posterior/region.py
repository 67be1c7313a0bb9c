"""Regions: the known values of rows, and the intervals of unknown values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.core.intervals import in_intervals
from flows.tables.columns.field import Field, Label

NONE = np.zeros((0, 0), bool)  # no value is refused
Intervals = Mapping[int, Array]  # intervals (I, 2) in the user's units, by column


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
        refused: which values their columns do not allow, ``(n, D)``; by default none. These values
            are unknown in ``rows``.
    """

    rows: Array
    row_numbers: Whole
    intervals: Intervals = field(default_factory=dict)
    rare: Mapping[int, frozenset[Label]] = field(default_factory=dict)
    refused: Mask = field(default_factory=lambda: NONE)

    def __post_init__(self) -> None:
        if self.refused is NONE:
            object.__setattr__(self, "refused", np.zeros(self.rows.shape, bool))

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

    @classmethod
    def of_rows(cls, rows: Array) -> Region:
        """Return the region of rows ``(n, D)`` that are numbered from 0."""
        return cls(rows, np.arange(len(rows)))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def take(self, places: Whole | slice) -> Region:
        """Return the rows with the indices ``places``."""
        rows, row_numbers = self.rows[places], self.row_numbers[places]
        return replace(self, rows=rows, row_numbers=row_numbers, refused=self.refused[places])

    def repeated(self, count: int) -> Region:
        """Return a region of one row ``count`` times, with the numbers from 0."""
        found = self.take(np.zeros(count, np.int64))
        return replace(found, row_numbers=np.arange(count))

    def hiding(self, places: Sequence[int]) -> Region:
        """Return the region with unknown values in the columns with the indices ``places``."""
        rows = self.rows.copy()
        rows[:, places] = np.nan
        return replace(self, rows=rows)

    @property
    def gaps(self) -> Mask:
        """Which values are unknown, ``(n, D)``."""
        return np.isnan(self.rows)

    @property
    def uses(self) -> Mask:
        """Which values are known or restricted, ``(n, D)``."""
        found = ~self.gaps
        found[:, [*self.intervals]] = True
        return found

    @property
    def missing(self) -> Mask:
        """Which values are unknown and not refused, ``(n, D)``."""
        return self.gaps & ~self.refused

    def of_gaps(self) -> Region:
        """Return the rows, which lack the same values, with the intervals of these values only."""
        intervals = {d: own for d, own in self.intervals.items() if self.gaps[:, d].any()}
        return replace(self, intervals=intervals)

    @property
    def is_everything(self) -> bool:
        """Whether no value is known and no value is restricted."""
        return not self.intervals and bool(self.gaps.all())

    def also(self, event: Region) -> tuple[Region, Mask]:
        """Return the rows under these conditions and an event, and which rows exclude the event.

        Args:
            event: conditions of intervals only.

        The mask is ``(n,)``. A row excludes the event if a known value, or all intervals of an
        unknown value, lie outside of the intervals of the event.
        """
        intervals, rare = dict(self.intervals), {**event.rare, **self.rare}
        excludes = np.zeros(len(self), bool)
        for d, own in event.intervals.items():
            if d in self.rare and d in event.rare:
                rare[d] = self.rare[d] & event.rare[d]
                if not rare[d]:
                    own = own[:-1]  # without the pool, which is the last label
                    del rare[d]
            is_inside = in_intervals(self.rows[:, d], own)
            both = [
                (max(low, a), min(high, b))
                for low, high in intervals.get(d, np.array([[-np.inf, np.inf]]))
                for a, b in own
                if max(low, a) < min(high, b)
            ]
            excludes |= np.where(self.gaps[:, d], not both, ~is_inside)
            if both and self.gaps[:, d].any():
                intervals[d] = np.array(both)
        return replace(self, intervals=intervals, rare=rare), excludes

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
