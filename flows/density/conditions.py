"""Conditions and events as users write them: values, ranges and sets of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from flows.core.arrays import Array
from flows.density.array_density import ArrayDensity, Conditions
from flows.density.columns_by_name import find_column, layout_of
from flows.tables.columns import WHOLE, Column, Label
from flows.tables.frames import numbers_of
from flows.tables.notices import Notice, TableError, collecting
from flows.tables.values import label_text

RANGE = ".."  # between the ends of a range in text


def conditions(density: ArrayDensity, given: Mapping[str, Any], what: str = "given") -> Conditions:
    """Return the conditions that a user wrote as a mapping.

    A tuple ``(low, high)`` is a range with both ends, of which one may be ``None``. A list or a set
    has several labels or whole numbers. Anything else is a value.

    Args:
        density: the density.
        given: values, ranges and sets by the name of their column.
        what: the name of the mapping in messages.

    Raises ``TableError`` for an unknown column, and for a value that its column does not allow.
    """
    row = np.full(len(density.columns), np.nan)
    intervals: dict[int, Array] = {}
    rare: dict[int, frozenset[Label]] = {}
    faults = list[Notice]()
    for name, value in given.items():
        d = find_column(density, str(name))
        with collecting(faults):
            if isinstance(value, tuple):
                intervals[d] = _range(density, d, value)
            elif isinstance(value, list | set | frozenset):
                intervals[d] = _set(density, d, list(value))
                rare |= _rare(density, d, list(value))
            else:
                [row[d]] = _numbers(density, d, [value])
                rare |= _rare(density, d, [value])
    if faults:
        raise TableError([replace(fault, row=None, advice=()) for fault in faults], what)
    return Conditions(row, intervals, rare)


def event_conditions(density: ArrayDensity, values: Mapping[str, Any]) -> Conditions:
    """Return an event as conditions of intervals. A value stands for its cell.

    Raises ``TableError`` as ``conditions`` does, for an event without columns, and for a value of a
    column that is not rounded, whose probability is 0.
    """
    if not values:
        raise TableError([Notice("an event needs a column, such as {'age': (60, None)}")], "event")
    found = conditions(density, values, "event")
    intervals = dict(found.intervals)
    for d in np.flatnonzero(~np.isnan(found.row)):
        try:
            intervals[int(d)] = _cells(density.columns[d], found.row[d : d + 1])
        except TableError as error:
            raise TableError(error.faults, "event") from None
    return Conditions(np.full_like(found.row, np.nan), intervals, found.rare)


def parse_conditions(density: ArrayDensity, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return conditions that are written as text: ``60``, ``60..70``, ``60..`` or ``A,B``.

    A text that is a label is a value, even if it contains a comma or two dots.
    """
    found: dict[str, Any] = {}
    for name, text in texts.items():
        column = density.columns[find_column(density, name)]
        if text in map(str, (*column.labels, *dict(column.pooled))):
            found[name] = text
        elif RANGE in text and not column.labels:
            low, _, high = text.partition(RANGE)
            found[name] = (low.strip() or None, high.strip() or None)
        elif "," in text and (column.labels or column.kind in WHOLE):
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
    known = iter(_values(density, column, [end for end in ends if not _is_open(end)]))
    low, high = (
        infinite if _is_open(end) else next(known)
        for end, infinite in zip(ends, (-np.inf, np.inf), strict=True)
    )
    if column.kind in WHOLE and (cell := column.cell):
        first, last = column.count_steps(np.array([low, high]), cell)
        low, high = (np.ceil(first) - 0.5) * cell, (np.floor(last) + 0.5) * cell
    low, high = max(low, column.bounds[0]), min(high, column.bounds[1])
    if not low < high:
        why = f"; samples are multiples of {column.cell:.15g}" if column.multiple else ""
        raise _error(f"is given as {ends!r}, a range without values of the column{why}", column)
    return np.array([[low, high]])


def _set(density: ArrayDensity, d: int, values: list[Any]) -> Array:
    """Return the intervals ``(I, 2)`` of a set of labels or whole numbers."""
    if not values:
        raise _error("is given as an empty set", density.columns[d])
    return _cells(density.columns[d], _numbers(density, d, values))


def _rare(density: ArrayDensity, d: int, values: Sequence[Any]) -> dict[int, frozenset[Label]]:
    """Return the labels among ``values`` that are pooled, by the column; none without a pool.

    The label of the pool means all of them. Raises ``TableError`` for a label that no row held.
    """
    column = density.columns[d]
    if not column.pooled:
        return {}
    counts, (*frequent, pool) = dict(column.pooled), column.labels
    texts = {label_text(value) for value in values if not pd.isna(value)}
    for text in sorted(texts - counts.keys() - {*frequent, pool})[:1]:
        raise _error(f"holds {text!r}, which no row of the fitted table held", column)
    found = counts.keys() if pool in texts else texts & counts.keys()
    return {d: frozenset(found)} if found else {}


def _cells(column: Column, numbers: Array) -> Array:
    """Return the cells ``(I, 2)`` of rounded values, sorted; adjacent cells stay apart."""
    if column.kind not in WHOLE or not (cell := column.cell):
        why = "is learned as a number with decimals, so single values have probability 0"
        raise _error(f"{why}; give a range", column)
    multiples = column.count_steps(numbers, cell)
    for x in numbers[multiples != np.round(multiples)][:1]:
        why = f"is given as {x:.15g}, and samples are multiples of {cell:.15g}"
        raise _error(f"{why}, so its probability is 0; give a range", column)
    return np.array([[x - cell / 2, x + cell / 2] for x in np.unique(numbers)])


def _numbers(density: ArrayDensity, d: int, values: Sequence[Any]) -> Array:
    """Return values of column ``d`` as numbers. Raises ``TableError`` for disallowed values."""
    column = density.columns[d]
    found = _values(density, column, values)
    for value, number in zip(values, found, strict=True):
        if np.isnan(number) and not (isinstance(value, str) or value is None):
            continue  # a missing value is unknown
        if not column.holds(np.array([number]))[0]:
            raise _error(f"holds {value}, {column.refusal(number)}", column)
    return found


def _values(density: ArrayDensity, column: Column, values: Sequence[Any]) -> Array:
    """Return values of a column as numbers, ``(n,)``."""
    written = pd.DataFrame({column.name: pd.Series(list(values), dtype=object)})
    return numbers_of(written, [column], layout_of(density).na)[:, 0]


def _is_open(end: Any) -> bool:
    return end is None or (isinstance(end, float) and not np.isfinite(end))


def _error(problem: str, column: Column) -> TableError:
    return TableError([Notice(problem, column.name)])
