"""Relations between the columns of a row: linear comparisons, tests of labels, and, or, not.

A relation holds or is broken in a complete row. Where values are unknown, it may be undecided. The
values of one unknown column at which a relation changes are known in closed form, so the values
that a relation allows are found without a search (``constraint.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flows.core.arrays import Array
from flows.tables.columns.kinds.date import Date
from flows.tables.columns.sources import Source, with_value

TOLERANCE = 1e-9  # of rounding errors, relative to the largest term
BROKEN, UNDECIDED, HOLDS = 0.0, 0.5, 1.0  # min, max and 1 - x are then Kleene's logic


class Relation(ABC):
    """A relation between the columns of a row."""

    @abstractmethod
    def holds(self, rows: Array) -> Array:
        """Return ``HOLDS``, ``BROKEN`` or ``UNDECIDED`` for each row, ``(n,)``.

        Args:
            rows: rows ``(n, D)`` as they are written, with codes for labels and ``NaN`` for unknown
                values.
        """

    @abstractmethod
    def turns(self, rows: Array, d: int) -> list[Array]:
        """Return the values of column ``d`` at which the relation may change, ``(n,)`` each.

        A number is ``NaN`` or infinite if there is no such value.

        Args:
            rows: rows ``(n, D)`` as for ``holds``; the values of column ``d`` do not matter.
            d: the index of a column of numbers.
        """

    @property
    @abstractmethod
    def groups(self) -> list[Set[int]]:
        """The indices of the learned columns that each comparison depends on."""


@dataclass(frozen=True)
class Joined(Relation):
    """Relations that a word joins.

    Args:
        word: ``"and"``, ``"or"``, or ``"not"`` before a single relation.
        parts: the relations.
    """

    word: str
    parts: Sequence[Relation]

    def holds(self, rows: Array) -> Array:
        found = np.stack([part.holds(rows) for part in self.parts])
        match self.word:
            case "and":
                return np.asarray(found.min(axis=0))
            case "or":
                return np.asarray(found.max(axis=0))
        return np.asarray(1 - found[0])

    def turns(self, rows: Array, d: int) -> list[Array]:
        return [each for part in self.parts for each in part.turns(rows, d)]

    @property
    def groups(self) -> list[Set[int]]:
        return [group for part in self.parts for group in part.groups]


@dataclass(frozen=True)
class Linear(Relation):
    """The comparison of a linear form with 0::

        offset + sum_k c_k v_k  <= 0,  < 0,  == 0  or  != 0

    ``v_k`` are the values of columns as they are written; a column has one term. A form is 0 if it
    is at most ``TOLERANCE`` times its largest term, so 0.1 + 0.2 - 0.3 is 0. Dates count as terms
    of one day.

    Args:
        sign: ``"<="``, ``"<"``, ``"=="`` or ``"!="``.
        terms: the columns, each with its coefficient.
        offset: the offset.
        size: the size of the constants in the form.
    """

    sign: str
    terms: Sequence[tuple[Source, float]]
    offset: float
    size: float

    def holds(self, rows: Array) -> Array:
        low, high, size = self._range(rows)
        margin = TOLERANCE * size
        match self.sign:
            case "<=":
                broken, holds = low > margin, high <= margin
            case "<":
                broken, holds = low >= -margin, high < -margin
            case _:
                broken, holds = (
                    (low > margin) | (high < -margin),
                    (low >= -margin) & (high <= margin),
                )
        found = np.where(holds, HOLDS, np.where(broken, BROKEN, UNDECIDED))
        return 1 - found if self.sign == "!=" else found

    def turns(self, rows: Array, d: int) -> list[Array]:
        slope = self.slope(d)
        if not slope:
            return []
        low, high, size = self._range(with_value(rows, d, 0.0), before_rounding=d)
        own = [(source, c) for source, c in self.terms if d in source.slopes]
        rounding = sum(abs(c * source.scale) * source.spacing / 2 for source, c in own)
        found = []
        for rest in (low, high) if (low != high).any() else (low,):
            middle = -rest / slope
            of_x = [
                abs(c * source.slopes[d] * source.scale) * abs(middle)
                for source, c in own
                if not isinstance(source.column, Date)
            ]
            margin = TOLERANCE * np.max([size, *of_x], axis=0)
            reach = (margin + rounding) / abs(slope)
            ends = middle - reach, middle + reach
            found += [*ends, *self._turns_of_rounded(rows, d, *ends)]
        return found

    @property
    def groups(self) -> list[Set[int]]:
        return [{d for source, _ in self.terms for d in source.slopes}]

    def _turns_of_rounded(self, rows: Array, d: int, low: Array, high: Array) -> list[Array]:
        """Return the turns that the rounding of computed columns moves or adds.

        A computed column is constant between two of its steps. There, the form changes with the
        other columns alone.

        Args:
            rows: the rows ``(n, D)``.
            d: the index of a column.
            low: the smallest value of column ``d`` at which rounding matters, ``(n,)``.
            high: the largest value ``(n,)``.
        """
        own = [(source, c) for source, c in self.terms if d in source.slopes]
        steps = [
            step for source, _ in own if source.spacing for step in source.steps(rows, d, low, high)
        ]
        slope = sum(c * source.scale * source.slopes[d] for source, c in own if not source.spacing)
        if not steps or not slope:
            return steps
        ends = np.sort(np.stack([low, *steps, high]), axis=0)
        found, changed = [*steps], rows.copy()
        for changed[:, d] in (ends[1:] + ends[:-1]) / 2:
            value = self._range(changed)
            found += [changed[:, d] - end / slope for end in value[:2]]
        return found

    def slope(self, d: int) -> float:
        """Return the coefficient of learned column ``d`` in the form.

        Args:
            d: the index of the column.
        """
        parts = [c * source.scale * source.slopes.get(d, 0.0) for source, c in self.terms]
        # Terms that cancel leave a rounding error
        return sum(parts) if abs(sum(parts)) > TOLERANCE * sum(map(abs, parts)) else 0.0

    @cached_property
    def rounding(self) -> float:
        """The largest error of the form that the rounding of computed columns makes."""
        return sum(abs(c * source.scale) * source.spacing / 2 for source, c in self.terms)

    @cached_property
    def most_steps(self) -> float:
        """The largest number of steps of computed columns at which the comparison may change.

        It is infinite if a rounded column depends on a column with which the form does not change.
        """
        most = 0.0
        for source, _ in self.terms:
            for d in source.slopes if source.spacing else ():
                slope = self.slope(d)
                width = 2 * self.rounding / abs(slope) if slope else np.inf
                most = max(most, width * abs(source.slopes[d]) / source.spacing)
        return most

    def _range(
        self, rows: Array, *, before_rounding: int | None = None
    ) -> tuple[Array, Array, Array]:
        """Return the smallest and the largest value of the form, and the size of its terms.

        They are ``(n,)``. An unknown number may have any value within the bounds of its column.

        Args:
            rows: the rows ``(n, D)``.
            before_rounding: the index of a column; computed columns that depend on this column are
                not rounded.
        """
        low, size = np.full(len(rows), self.offset), np.full(len(rows), self.size)
        high = low.copy()
        with np.errstate(invalid="ignore", over="ignore"):  # values may be infinite
            for source, c in self.terms:
                factor = c * source.scale
                is_linear = before_rounding in source.slopes
                x = factor * (source.linear(rows) if is_linear else source.values(rows))
                if not isinstance(source.column, Date):
                    size = np.fmax(size, np.abs(x))
                unknown = np.isnan(x)
                if not unknown.any():
                    low += x
                    high += x
                    continue
                least, most = sorted(factor * end for end in source.ends)
                low += np.where(unknown, least, x)
                high += np.where(unknown, most, x)
        return low, high, size


@dataclass(frozen=True)
class LabelComparison(Relation):
    """The comparison of two labels.

    Args:
        left: a column of labels.
        right: another column of labels, or a code of the left column.
        codes: for two columns, the code of each left label among the right labels, -2 for none.
        is_equal: whether equal labels meet the relation; otherwise different labels do.
    """

    left: Source
    right: Source | float
    codes: Sequence[float]
    is_equal: bool

    def holds(self, rows: Array) -> Array:
        x = self.left.values(rows)
        # A computed code may be that of no label
        x = np.where((x < 0) | (x >= len(self.left.column.labels)), -1.0, x)
        if isinstance(self.right, Source):
            new, y = np.array([*self.codes, -2.0]), self.right.values(rows)  # -2 for the code -1
            x = np.where(np.isnan(x), np.nan, new[np.nan_to_num(x).astype(np.int64)])
        else:
            y = np.full(len(rows), self.right)
        found = (x == y) == self.is_equal
        return np.where(np.isnan(x) | np.isnan(y), UNDECIDED, found)

    def turns(self, rows: Array, d: int) -> list[Array]:
        found = []
        for side in (self.left, self.right):
            if isinstance(side, Source) and (slope := side.slopes.get(d)):
                rest = side.linear(with_value(rows, d, 0.0))
                edges = np.arange(len(side.column.labels) + 1) - 0.5  # of the cells of codes
                found += [(edge - rest) / slope for edge in edges]
        return found

    @property
    def groups(self) -> list[Set[int]]:
        sides = [each for each in (self.left, self.right) if isinstance(each, Source)]
        return [{d for side in sides for d in side.slopes}]
