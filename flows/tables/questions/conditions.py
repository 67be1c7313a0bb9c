"""Conditions and events as users write them: values, ranges and sets of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flows.core.arrays import Array
from flows.tables.columns.field import Field, Label
from flows.tables.columns.notices import Notice, TableError, collecting
from flows.tables.columns.parsing import numbers_of_values
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region

RANGE = ".."  # between the ends of a range in text


def conditions(
    density: ArrayDensity, given: Mapping[str, Any] | None, what: str = "given"
) -> Region:
    """Return the conditions that a user wrote as a mapping.

    A tuple ``(low, high)`` is a range with both ends, of which one may be ``None``. A list or a set
    has several labels or whole numbers. Anything else is a value.

    Args:
        density: the density.
        given: values, ranges and sets by the name of their column; ``None`` for no condition.
        what: the name of the mapping in messages.

    Raises ``TableError`` for an unknown column, and for a value that its column does not allow.
    """
    row = np.full(len(density.columns), np.nan)
    intervals: dict[int, Array] = {}
    rare: dict[int, frozenset[Label]] = {}
    faults = list[Notice]()
    for name, value in (given or {}).items():
        d = density.schema.find(str(name))
        with collecting(faults):
            if isinstance(value, tuple):
                intervals[d] = _range(density, d, value)
            elif isinstance(value, list | set | frozenset):
                intervals[d] = _set(density, d, list(value))
                rare[d] = density.columns[d].rare_among(list(value))
            else:
                [row[d]] = _numbers(density, d, [value])
                rare[d] = density.columns[d].rare_among([value])
    if faults:
        raise TableError([replace(fault, row=None, advice=()) for fault in faults], what)
    return Region.of_conditions(row, intervals, {d: labels for d, labels in rare.items() if labels})


def event_conditions(density: ArrayDensity, values: Mapping[str, Any]) -> Region:
    """Return an event as conditions of intervals. A value stands for its cell.

    Raises ``TableError`` as ``conditions`` does, for an event without columns, and for a value of a
    column that is not rounded, whose probability is 0.
    """
    if not values:
        raise TableError([Notice("an event needs a column, such as {'age': (60, None)}")], "event")
    found = conditions(density, values, "event")
    intervals = dict(found.intervals)
    [row] = found.rows
    for d in np.flatnonzero(~np.isnan(row)):
        try:
            intervals[int(d)] = density.columns[d].cells_of(row[d : d + 1])
        except TableError as error:
            raise TableError(error.faults, "event") from None
    return Region.of_conditions(np.full_like(row, np.nan), intervals, found.rare)


def parse_conditions(density: ArrayDensity, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return conditions that are written as text: ``60``, ``60..70``, ``60..`` or ``A,B``.

    A text that is a label is a value, even if it contains a comma or two dots.
    """
    found: dict[str, Any] = {}
    for name, text in texts.items():
        column = density.columns[density.schema.find(name)]
        if column.is_label(text):
            found[name] = text
        elif RANGE in text and not column.labels:
            low, _, high = text.partition(RANGE)
            found[name] = (low.strip() or None, high.strip() or None)
        elif "," in text and column.is_discrete:
            found[name] = [part.strip() for part in text.split(",")]
        else:
            found[name] = text
    return found


def _range(density: ArrayDensity, d: int, ends: tuple[Any, ...]) -> Array:
    """Return the interval ``(1, 2)`` of a range; whole numbers at its ends are inside."""
    column = density.columns[d]
    if column.labels:
        raise _error("has labels, so a range has no meaning; name a list of labels", column)
    if len(ends) != 2 or all(map(_is_open, ends)):
        raise _error(f"is given as {ends!r}; a range is (low, high), and one may be None", column)
    closed = [end for end in ends if not _is_open(end)]
    known = iter(numbers_of_values(column, closed, density.schema.na))
    low, high = (
        infinite if _is_open(end) else next(known)
        for end, infinite in zip(ends, (-np.inf, np.inf), strict=True)
    )
    if low > high:
        raise _error(
            f"is given as {ends!r}; the first end must not be larger than the second", column
        )
    low, high = column.range_of(low, high)
    if not low < high:
        why = f"is given as {ends!r}, a range without values of the column"
        raise _error(f"{why}, which are {column.allowed}{column.details}", column)
    return np.array([[low, high]])


def _set(density: ArrayDensity, d: int, values: list[Any]) -> Array:
    """Return the intervals ``(I, 2)`` of a set of labels or whole numbers."""
    if not values:
        raise _error("is given as an empty set", density.columns[d])
    return density.columns[d].cells_of(_numbers(density, d, values))


def _numbers(density: ArrayDensity, d: int, values: Sequence[Any]) -> Array:
    """Return values of column ``d`` as numbers. Raises ``TableError`` for disallowed values."""
    column = density.columns[d]
    found = numbers_of_values(column, values, density.schema.na)
    for value, number in zip(values, found, strict=True):
        if np.isnan(number) and not (isinstance(value, str) or value is None):
            continue  # a missing value is unknown
        if not column.holds(np.array([number]))[0]:
            raise _error(f"holds {value}, {column.refusal(number)}", column)
    return found


def _is_open(end: Any) -> bool:
    return end is None or (isinstance(end, float) and not np.isfinite(end))


def _error(problem: str, column: Field) -> TableError:
    return TableError([Notice(problem, column.name)])
