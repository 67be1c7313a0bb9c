"""Constraints between the columns of a table, as users write them, such as ``"start <= end"``.

``constraint_text.py`` reads the text as a relation between columns (``relations.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from flows.core.arrays import Array, Mask
from flows.core.intervals import intersection
from flows.tables.columns.constraint_text import ConstraintText
from flows.tables.columns.field import Field
from flows.tables.columns.relations import (
    BROKEN,
    HOLDS,
    UNDECIDED,
    Relation,
)
from flows.tables.columns.schema import Schema


@dataclass(frozen=True)
class Constraint:
    """A constraint that each row of a table meets. ``parse`` returns one.

    Args:
        text: the constraint as a user writes it.
        names: the columns that it names, in order.
        places: the indices of the learned columns that it depends on.
        relation: what it compares.

    Examples:
        >>> import flows
        >>> import numpy as np
        >>> from flows.tables.columns.schema import Schema
        >>> schema = Schema.of([flows.Field.parse(name, "real") for name in ("low", "high")])
        >>> constraint = Constraint.parse("0 <= low <= high", schema)
        >>> constraint.holds(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, np.nan], [-1.0, np.nan]]))
        array([ 1.,  0., nan,  0.])
    """

    text: str
    names: tuple[str, ...]
    places: tuple[int, ...] = field(repr=False)
    relation: Relation = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, schema: Schema) -> Constraint:
        """Return the constraint that a user writes as ``text``.

        A constraint compares columns, numbers, labels and dates, with + - * /, ``and``, ``or`` and
        ``not``. Comparisons are linear in the columns. Labels and dates are quoted as in Python. A
        name that is no identifier of Python is in backticks.

        The difference of two dates is a number of days, and a date plus or minus a number of days
        is a date. A duration is a number of seconds. Labels are compared by ``==`` and ``!=``.

        Args:
            text: the constraint.
            schema: the columns of the table.

        Raises ``TableError``, with one line, for a text that is no such constraint, for a column
        that is neither learned nor computed from learned columns, and for a label or a date that
        its column does not hold.
        """
        reader = ConstraintText(text, schema)
        relation = reader.read()
        return cls(text, tuple(reader.columns), tuple(sorted(reader.places)), relation)

    def holds(self, rows: Array) -> Array:
        """Return 1 for each row where the constraint holds, 0 where it is broken, ``(n,)``.

        The result is ``NaN`` where a gap leaves it undecided. Known values, and the bounds of the
        columns with gaps, may decide a row with gaps. Numbers that differ by at most 1e-9 of the
        largest term are equal, and so are dates that differ by at most 1e-9 days.

        Args:
            rows: rows ``(n, D)`` of the learned columns in the user's units, as they are written,
                with codes for labels and ``NaN`` for gaps.
        """
        found = self.relation.holds(rows)
        return np.where(found == UNDECIDED, np.nan, found)


@dataclass(frozen=True)
class Constraints:
    """The constraints of a table, for rows in the user's units.

    Constraints act on values as they are written. Known values of a user are written already, and
    drawn values are rounded first.

    Args:
        fields: the D learned columns.
        each: the constraints.
    """

    fields: Sequence[Field]
    each: tuple[Constraint, ...] = ()

    @classmethod
    def of(cls, schema: Schema) -> Constraints:
        """Return the constraints of a schema. Raises ``TableError`` as ``Constraint.parse``.

        Args:
            schema: the schema.
        """
        return cls(schema.fields, tuple(Constraint.parse(text, schema) for text in schema.require))

    def __bool__(self) -> bool:
        """Return whether there is a constraint."""
        return bool(self.each)

    @cached_property
    def places(self) -> frozenset[int]:
        """The indices of the learned columns that constraints depend on."""
        return frozenset(d for each in self.each for d in each.places)

    def met(self, rows: Array, known: Array | None = None) -> Mask:
        """Return which complete rows meet all constraints, ``(n,)``.

        Args:
            rows: the rows ``(n, D)``, with codes for labels.
            known: the values that are written already, ``(D,)`` or ``(n, D)``, ``NaN`` for others;
                ``None`` if all values are drawn.
        """
        return self._holds(self.written(rows, known)) == HOLDS

    def broken(self, rows: Array) -> Mask:
        """Return which constraints the known values of rows break, ``(n, constraints)``.

        Args:
            rows: the rows ``(n, D)`` as they are written, with codes for labels and ``NaN`` for
                gaps.
        """
        found = [each.relation.holds(rows) == BROKEN for each in self.each]
        return np.stack(found, axis=1) if found else np.zeros((len(rows), 0), dtype=np.bool_)

    def written(self, rows: Array, known: Array | None = None) -> Array:
        """Return rows ``(n, D)`` in which drawn values of constrained columns are rounded.

        Args:
            rows: the rows.
            known: the values that are written already, as for ``met``.
        """
        found = rows.copy()
        for d in self.places:
            found[:, d] = self.fields[d].written(rows[:, d])
        return found if known is None else np.where(np.isnan(known), found, known)

    def order(self, unknown: Sequence[int], known: Iterable[int]) -> list[int]:
        """Return the constrained columns among unknown ones, in the order in which to draw them.

        The next column is the one in the most comparisons whose other columns are known or drawn,
        so that few draws are impossible.

        Args:
            unknown: the indices of the unknown columns.
            known: the indices of the known columns.
        """
        groups = [group for each in self.each for group in each.relation.groups]
        there, rest = {*known}, [d for d in unknown if d in self.places]
        found = list[int]()
        while rest:
            counts = [sum(d in group and group <= there | {d} for group in groups) for d in rest]
            found.append(rest.pop(int(np.argmax(counts))))
            there.add(found[-1])
        return found

    def allowed(self, rows: Array, d: int, within: Array | None = None) -> Array:
        """Return the intervals of the values of a column that constraints allow, ``(n, I, 2)``.

        A constraint changes only at certain values of the column, which have closed forms
        (``Relation.turns``), so the intervals between these values are allowed or not as a whole. A
        rounded value stands for its cell, so the intervals of a rounded column end at the edges of
        cells. Constraints that other unknown values leave undecided allow all values. The
        intervals of a row are sorted and do not overlap; empty ones, whose ends are infinite, fill
        up rows with fewer intervals.

        Args:
            rows: rows ``(n, D)`` as they are written, ``NaN`` for other unknown values; the values
                of column ``d`` do not matter.
            d: the index of the column.
            within: further intervals in which the values lie, ``(J, 2)``.
        """
        if within is not None:
            return intersection(self.allowed(rows, d), within[None])
        column, n = self.fields[d], len(rows)
        low, high = column.bounds
        ends = np.full((n, 2), [low, high])
        if d not in self.places:
            return ends[:, None]
        with np.errstate(all="ignore"):  # overflows, and terms that are infinite
            turns = self._turns(rows, d)
            turns = np.where(np.isnan(turns), low, turns).clip(low, high)
            ends = np.sort(np.concatenate([ends, turns], axis=1), axis=1)
            least, most = ends[:, :-1], ends[:, 1:]
            inside = _between(least, most, column.spacing)
            # Two turns that differ by a rounding error have nothing between them
            thin = np.maximum(column.spacing / 4, 4 * np.spacing(np.abs(inside)))
            is_thin = ~(most - least > thin)
        is_allowed, changed = np.zeros(inside.shape, bool), rows.copy()
        for k, x in enumerate(inside.T):
            changed[:, d] = column.written(x)
            own = self._holds(changed) != BROKEN
            is_allowed[:, k] = np.where(is_thin[:, k] & (k > 0), is_allowed[:, k - 1], own)
        return _merged(least, most, is_allowed)

    def _turns(self, rows: Array, d: int) -> Array:
        """Return the values of column ``d`` at which a constraint may change, ``(n, K)``."""
        column = self.fields[d]
        if column.labels:
            return np.tile(np.arange(1, len(column.labels)) - 0.5, (len(rows), 1))
        found = [turn for each in self.each for turn in each.relation.turns(rows, d)]
        turns = np.stack(found, axis=1) if found else np.empty((len(rows), 0))
        if not column.spacing:
            return turns
        center = column.written(turns.ravel()).reshape(turns.shape)
        return np.concatenate([center - column.spacing / 2, center + column.spacing / 2], axis=1)

    def _holds(self, rows: Array) -> Array:
        """Return how far rows ``(n, D)`` as they are written meet all constraints, ``(n,)``."""
        found = [each.relation.holds(rows) for each in self.each]
        return np.asarray(np.min([np.full(len(rows), HOLDS), *found], axis=0))


def _between(low: Array, high: Array, spacing: float) -> Array:
    """Return a value inside of each interval from ``low`` to ``high`` ``(n, K)``, if it has one.

    Args:
        low: the lower ends, perhaps infinite.
        high: the upper ends.
        spacing: the distance between neighbouring values; 0 for all numbers.
    """
    away = [np.maximum(np.maximum(np.abs(end), 1.0), spacing) for end in (low, high)]
    inside = np.where(np.isinf(low), high - away[1], np.where(np.isinf(high), low + away[0], 0.0))
    both = np.isfinite(low) & np.isfinite(high)
    inside = np.where(both, low / 2 + high / 2, inside)
    return np.where(np.isfinite(inside), inside, 0.0)


def _merged(low: Array, high: Array, is_allowed: Mask) -> Array:
    """Return the intervals ``(n, I, 2)`` that adjacent allowed intervals form together.

    Args:
        low: the lower ends ``(n, K)``, sorted; the upper ends are the lower ends after them.
        high: the upper ends ``(n, K)``.
        is_allowed: which intervals are allowed, ``(n, K)``.
    """
    none = np.zeros((len(low), 1), bool)
    before = np.concatenate([none, is_allowed[:, :-1]], axis=1)
    after = np.concatenate([is_allowed[:, 1:], none], axis=1)
    row, first = np.nonzero(is_allowed & ~before)
    _, last = np.nonzero(is_allowed & ~after)
    count = np.bincount(row, minlength=len(low))
    found = np.full((len(low), max(1, count.max(initial=0)), 2), np.inf)
    place = np.arange(len(row)) - (count.cumsum() - count)[row]
    found[row, place] = np.stack([low[row, first], high[row, last]], axis=1)
    found[found[..., 0] >= found[..., 1]] = np.inf
    return found
