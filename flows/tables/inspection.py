"""The checks on a table before a fit: rounded columns, copies of rows, and faults.

This module needs neither torch nor pandas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask, Whole, rounded
from flows.tables.columns import WHOLE, Column
from flows.tables.duplicates import first_copies
from flows.tables.notices import Notice, SetKind, TableError, leave_out
from flows.tables.rounding import DISTINCT, common_step

LEAST_ROWS = 10
LEAST_VALUES = 8  # in a column with missing values, so that every cross-validation fold has some


class Inspection(NamedTuple):
    """The result of ``inspect``.

    Args:
        columns: the columns, with the step of each rounded column.
        copies: the index of the first copy of each row, ``(n,)``.
        notices: statements about rounded columns and copies.
    """

    columns: list[Column]
    copies: Whole
    notices: list[Notice]


def inspect(
    columns: Sequence[Column],
    values: Array,
    rows: Whole | None = None,
    faults: Sequence[Notice] = (),
) -> Inspection:
    """Inspect the ``columns`` of ``values`` ``(n, D)``; missing values are ``NaN``.

    A column with fewer than 90% distinct values is rounded. Its step is the most common gap between
    its distinct values.

    Args:
        columns: the columns.
        values: their values, with codes for labels.
        rows: the numbers of the rows in the user's file, ``(n,)``; 1 to n by default.
        faults: faults of other columns, which are reported together with the faults found here.

    Raises ``TableError``, with all faults, for a table that no density can be fitted to.
    """
    faults = list(faults)
    if len(values) < LEAST_ROWS:
        faults.append(Notice(f"the table has {len(values)} rows; a fit needs {LEAST_ROWS}"))
        raise TableError(faults)
    rows = np.arange(1, len(values) + 1) if rows is None else rows
    known = ~np.isnan(values)
    sound = np.full(len(columns), True)
    for d, (column, x, own) in enumerate(zip(columns, values.T, known.T, strict=True)):
        found = _faults(column, x[own], rows[own])
        faults += found
        sound[d] = not found
    faults += _redundant([column.name for column in columns], values, sound)
    if faults:
        raise TableError(faults)
    copies = first_copies(values)
    count = len(np.unique(copies))
    if count < LEAST_ROWS:
        raise TableError(
            [Notice(f"the table has {count} different rows; a fit needs {LEAST_ROWS}")]
        )
    notices = _about_copies(len(values), count)
    inspected = []
    for column, x, own in zip(columns, values.T, known.T, strict=True):
        distinct, different = np.unique(x[own]), len(np.unique(copies[own]))
        if column.kind not in WHOLE and len(distinct) < DISTINCT * different:
            column = replace(column, step=common_step(distinct))
            notices.append(_about_steps(column, x[own], len(distinct)))
        inspected.append(column)
    return Inspection(inspected, copies, notices)


def _faults(column: Column, x: Array, rows: Whole) -> list[Notice]:
    """Return the first fault of the known values ``x`` ``(m,)`` of a column, or an empty list."""
    disallowed = np.flatnonzero(~column.holds(x))
    if len(disallowed):
        first = disallowed[0]
        problem = f"holds {x[first]}; {column.word} values must be {_allowed(column)}"
        as_real = ("learn any number", SetKind(column.name, "real"))
        advice = () if column.kind == "real" else (as_real,)
        return [Notice(problem, column.name, rows[first], advice)]
    if len(x) < LEAST_VALUES:
        problem = f"holds a value in {len(x)} rows; a fit needs {LEAST_VALUES}"
        return [Notice(problem, column.name, advice=(leave_out(column.name),))]
    if x.min() == x.max():
        value = repr(column.labels[0]) if column.labels else f"{x[0]:g}"
        return [
            Notice(f"holds {value} in every row", column.name, advice=(leave_out(column.name),))
        ]
    with np.errstate(over="ignore", under="ignore"):
        if not 0 < x.std() < math.inf:
            return [Notice("is too large or too small to be squared; change its unit", column.name)]
    return []


def _allowed(column: Column) -> str:
    """Describe the numbers that the kind of a column allows."""
    low, high = column.bounds
    if column.kind == "integer":
        return f"multiples of {column.step:g}"
    if column.kind == "count":
        return "whole numbers of at least 0"
    if column.kind == "real":
        return "finite"
    return f"finite and strictly between {low:g} and {high:g}"


def _about_copies(rows: int, different: int) -> list[Notice]:
    copies = rows - different
    if not copies:
        return []
    are = "is a copy of another row" if copies == 1 else "are copies of other rows"
    return [
        Notice(
            f"{copies} of {rows} rows {are}; a row and its copies are in one fold, so no network "
            "is scored on a row that it learned from"
        )
    ]


def _about_steps(column: Column, x: Array, distinct: int) -> Notice:
    """Return the notice for a rounded column ``(m,)`` with ``distinct`` distinct values."""
    whole = replace(column, kind="integer", step=float(rounded(column.step, 6)))
    if whole.step == 1 and x.min() == 0:  # samples of an integer may be below 0
        whole = replace(whole, kind="count")
    problem = (
        f"holds {distinct} distinct values in {len(x)} rows, in steps of {whole.step:g}; "
        "rounded values have no density, so training adds uniform noise of this width"
    )
    if column.kind == "real" and whole.holds(x).all():
        aim = f"draw samples in steps of {whole.step:g}"
        return Notice(problem, column.name, advice=((aim, SetKind(column.name, whole.word)),))
    return Notice(f"{problem}; samples lie between the steps", column.name)


def _redundant(names: Sequence[str], values: Array, sound: Mask) -> list[Notice]:
    """Return a fault for each column that equals another or is a linear combination of others.

    Such columns have no joint density. Only columns that are ``sound`` ``(D,)`` are compared, on
    the rows that are complete in these columns. In a QR decomposition of the standardised columns,
    the diagonal of R is the part of each column that the columns before it do not explain. This
    part is 0, up to rounding, for a linear combination.
    """
    names, values = np.array(names)[sound].tolist(), values[:, sound]
    values = values[~np.isnan(values).any(axis=1)]
    if len(values) < LEAST_ROWS or not (np.ptp(values, axis=0) > 0).all():
        return []
    deviation = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / deviation
    rounding = 1e-10 + 4 * np.finfo(float).eps * (np.abs(values).max(axis=0) / deviation).sum()
    beyond = np.abs(np.diagonal(np.linalg.qr(standard, mode="r"))) / math.sqrt(len(values))
    faults, kept = [], list[int]()
    for d, name in enumerate(names):
        others = [k for k in kept if (values[:, k] == values[:, d]).all()]
        relation = "equals"
        if not others and len(values) > len(names) and beyond[d] < rounding:
            share = np.linalg.lstsq(standard[:, kept], standard[:, d], rcond=None)[0]
            others = [k for k, part in zip(kept, share, strict=True) if abs(part) > 1e-6]
            relation = "is a linear combination of"
        if others:
            problem = (
                f"{relation} {', '.join(names[k] for k in others)}, so no joint density exists"
            )
            faults.append(Notice(problem, name, advice=(leave_out(name),)))
        else:
            kept.append(d)
    return faults
