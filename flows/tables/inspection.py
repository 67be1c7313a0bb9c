"""The checks on a table before a fit: rounded columns, copies of rows, and faults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask, Whole, rounded
from flows.tables.carried import Carried
from flows.tables.columns import WHOLE, Column
from flows.tables.duplicates import first_copies
from flows.tables.notices import Notice, ReadAsMissing, SetKind, TableError, leave_out
from flows.tables.rounding import DISTINCT, common_step, find_peak

LEAST_ROWS = 10
LEAST_VALUES = 8  # in a column with missing values: fewer would hardly be in every fold


class NoDensity(NamedTuple):
    """A column without a density: how it is carried, what is said, and the fault if not carried."""

    carried: Carried
    notice: Notice
    fault: Notice


class Inspection(NamedTuple):
    """The result of ``check_columns``.

    Args:
        columns: the K columns that have a density, with the step of each rounded column.
        places: their places among all columns, ``(K,)``.
        copies: the index of the first copy of each row, ``(n,)``.
        carried: the other columns, which are computed from these.
        notices: statements about carried columns, rounded columns, suspicious numbers and copies.
    """

    columns: list[Column]
    places: Whole
    copies: Whole
    carried: list[Carried]
    notices: list[Notice]


def check_columns(
    columns: Sequence[Column],
    values: Array,
    rows: Whole | None = None,
    faults: Sequence[Notice] = (),
    *,
    strict: bool = True,
    targets: Sequence[str] = (),
) -> Inspection:
    """Inspect the ``columns`` of ``values`` ``(n, D)``; missing values are ``NaN``.

    A column with fewer than 90% distinct values is rounded (``common_step``). A column with one
    value, with hardly any value, or that is a linear combination of others has no density, and is
    carried.

    Args:
        columns: the columns.
        values: their values, with codes for labels.
        rows: the numbers of the rows in the user's file, ``(n,)``; 1 to n by default.
        faults: faults of other columns, which are reported together with the faults found here.
        strict: whether a column without a density is a fault.
        targets: the names of the columns to learn given all others; empty if all are learned.

    Raises ``TableError``, with all faults, for a table that no density can be fitted to.
    """
    faults = list(faults)
    if len(values) < LEAST_ROWS:
        faults.append(Notice(f"the table has {len(values)} rows; a fit needs {LEAST_ROWS}"))
        raise TableError(faults)
    rows = np.arange(1, len(values) + 1) if rows is None else rows
    known = ~np.isnan(values)
    without: dict[int, NoDensity] = {}
    sound = np.full(len(columns), True)
    for d, (column, x, own) in enumerate(zip(columns, values.T, known.T, strict=True)):
        found = _faults(column, x[own], rows[own])
        faults += found
        if not found and (constant := _constant(column, x[own])):
            without[d] = constant
        sound[d] = not found and d not in without
    # A target may depend on other columns; its density is then as narrow as networks allow
    is_target = np.array([column.name in targets for column in columns])
    without |= _redundant(columns, values, sound & ~is_target)
    if strict:
        faults += [each.fault for _, each in sorted(without.items())]
    elif len(without) == len(columns):
        faults.append(Notice("no column has a density: each is constant, or copies another"))
    if faults:
        raise TableError(faults)
    places = np.array([d for d in range(len(columns)) if d not in without])
    columns = [columns[d] for d in places]
    values, known = values[:, places], known[:, places]
    copies = first_copies(values)
    count = len(np.unique(copies))
    if count < LEAST_ROWS:
        raise TableError(
            [Notice(f"the table has {count} different rows; a fit needs {LEAST_ROWS}")]
        )
    notices = [each.notice for _, each in sorted(without.items())]
    notices += _about_copies(len(values), count)
    inspected = []
    for column, x, own in zip(columns, values.T, known.T, strict=True):
        distinct, different = np.unique(x[own]), len(np.unique(copies[own]))
        if column.kind not in WHOLE and len(distinct) < DISTINCT * different:
            column = replace(column, step=common_step(x[own]))
            if not targets or column.name in targets:  # no other column gets noise
                notices.append(_about_steps(column, x[own], len(distinct)))
        if column.kind in ("integer", "count"):
            column = replace(column, peak=find_peak(x[own], column))
        if np.isinf(column.bounds).sum() == 1:
            farthest = distinct[-1 if np.isinf(column.bounds[1]) else 0]
            column = replace(column, farthest=float(farthest))
        notices += _about_sentinel(column, x[own])
        inspected.append(column)
    carried = [each.carried for _, each in sorted(without.items())]
    return Inspection(inspected, places, copies, carried, notices)


def _faults(column: Column, x: Array, rows: Whole) -> list[Notice]:
    """Return the first fault of the known values ``x`` ``(m,)`` of a column, or an empty list."""
    disallowed = np.flatnonzero(~column.holds(x))
    if len(disallowed):
        first = disallowed[0]
        problem = f"holds {x[first]}; {column.word} values must be {_allowed(column)}"
        as_real = ("learn any number", SetKind(column.name, "real"))
        advice = () if column.kind == "real" else (as_real,)
        return [Notice(problem, column.name, rows[first], advice)]
    if len(x) < LEAST_VALUES or x.min() == x.max():
        return []
    with np.errstate(over="ignore", under="ignore"):
        if not 0 < x.std() < math.inf:
            return [Notice("is too large or too small to be squared; change its unit", column.name)]
    return []


def _constant(column: Column, x: Array) -> NoDensity | None:
    """Return a column whose known values ``x`` ``(m,)`` are equal, or too few to learn from."""
    out = (leave_out(column.name),)
    if len(x) < LEAST_VALUES:
        problem = f"holds a value in {len(x)} rows; a fit needs {LEAST_VALUES}"
        carried = Carried(column, None)
        notice = Notice(f"{problem}; samples hold no value", column.name)
    elif x.min() == x.max():
        carried = Carried(column, float(x[0]))
        problem = f"holds {carried} in every row"
        notice = Notice(f"{problem}, and in samples", column.name)
    else:
        return None
    return NoDensity(carried, notice, Notice(problem, column.name, advice=out))


def _about_sentinel(column: Column, x: Array) -> list[Notice]:
    """Return a notice on a number of nines, such as -999, that is far from all other values."""
    if column.labels or column.kind == "date":
        return []
    distinct, counts = np.unique(x, return_counts=True)
    for mark, count, others in (
        (distinct[0], counts[0], distinct[1:]),
        (distinct[-1], counts[-1], distinct[:-1]),
    ):
        gap = np.abs(others - mark).min()
        if set(f"{abs(mark):g}") == {"9"} and gap > np.ptp(others):
            problem = (
                f"holds {mark:g} in {count} row{'s' * int(count > 1)}, far from all other values"
            )
            remedy = ReadAsMissing(f"{mark:g}")
            return [Notice(problem, column.name, advice=(("read it as missing", remedy),))]
    return []


def _allowed(column: Column) -> str:
    """Describe the numbers that the kind of a column allows."""
    low, high = column.ends
    if column.kind in WHOLE:
        numbers = "whole numbers" if column.step == 1 else f"multiples of {column.step:g}"
        if low == -math.inf:
            return numbers if high == math.inf else f"{numbers} of at most {high:g}"
        return f"{numbers} " + (
            f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        )
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
    step = float(rounded(column.step, 6))
    # A kind that keeps the sign: samples of an integer may be below 0
    whole = Column(column.name, "count" if x.min() >= 0 else "integer", step=step)
    problem = (
        f"holds {distinct} distinct values in {len(x)} rows, in steps of {step:g}; "
        "rounded values have no density, so training adds uniform noise of this width"
    )
    if column.kind != "interval" and whole.holds(x).all():
        aim = f"draw samples in steps of {step:g}"
        return Notice(problem, column.name, advice=((aim, SetKind(column.name, whole.word)),))
    return Notice(f"{problem}; samples lie between the steps", column.name)


def _redundant(columns: Sequence[Column], values: Array, sound: Mask) -> dict[int, NoDensity]:
    """Return each column that equals another or is a linear combination of others, by its place.

    Such columns have no joint density. Only columns that are ``sound`` ``(D,)`` are compared, on
    the rows that are complete in these columns. In a QR decomposition of the standardised columns,
    the diagonal of R is the part of each column that the columns before it do not explain. This
    part is 0, up to rounding, for a linear combination.
    """
    places = np.flatnonzero(sound).tolist()
    names, values = [columns[d].name for d in places], values[:, places]
    values = values[~np.isnan(values).any(axis=1)]
    if len(values) < LEAST_ROWS or not (np.ptp(values, axis=0) > 0).all():
        return {}
    deviation = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / deviation
    rounding = 1e-10 + 4 * np.finfo(float).eps * (np.abs(values).max(axis=0) / deviation).sum()
    beyond = np.abs(np.diagonal(np.linalg.qr(standard, mode="r"))) / math.sqrt(len(values))
    found, kept = dict[int, NoDensity](), list[int]()
    for d, name in enumerate(names):
        others = [k for k in kept if (values[:, k] == values[:, d]).all()][:1]
        relation = "equals"
        if not others and len(values) > len(names) and beyond[d] < rounding:
            share = np.linalg.lstsq(standard[:, kept], standard[:, d], rcond=None)[0]
            others = [k for k, part in zip(kept, share, strict=True) if abs(part) > 1e-6]
            relation = "is a linear combination of"
        if not others:
            kept.append(d)
            continue
        named = [names[k] for k in others]
        column = columns[places[d]]
        carried = Carried.fitted(column, values[:, d], named, values[:, others])
        fault = f"{relation} {', '.join(named)}, so no joint density exists"
        found[places[d]] = NoDensity(
            carried,
            Notice(f"equals {carried}, so samples compute it", name),
            Notice(fault, name, advice=(leave_out(name),)),
        )
    return found
