"""The checks on columns before a fit: faults, copies of rows, and columns without a density."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array
from flows.core.arrays import Whole as Counts
from flows.core.plurals import counted
from flows.tables.columns.duplicates import first_copies
from flows.tables.columns.equations import equations
from flows.tables.columns.field import Field
from flows.tables.columns.formula_search import BASES
from flows.tables.columns.kinds import Real, Time
from flows.tables.columns.kinds.time import are_clock_digits, to_minutes
from flows.tables.columns.kinds.unlearned import Carried
from flows.tables.columns.kinds.whole import Whole
from flows.tables.columns.notices import Notice, SetKind, TableError
from flows.tables.columns.order import DISTINCT

LEAST_ROWS = 10
EQUAL = "equal formulas of other columns, so samples compute them"
LEAST_VALUES = 8  # in a column with missing values: fewer would hardly be in every fold


class Checked(NamedTuple):
    """The result of ``check``.

    Args:
        fields: the K columns that have a density, with what their values tell.
        values: their values ``(n, K)``; clock times are minutes.
        copies: the index of the first copy of each row, ``(n,)``.
        carried: the other columns, which are computed from these.
        notices: statements about carried columns, rounded columns, suspicious numbers and copies.
    """

    fields: list[Field]
    values: Array
    copies: Counts
    carried: list[Carried]
    notices: list[Notice]


class NoDensity(NamedTuple):
    """A column without a density.

    Args:
        carried: the column as samples compute it.
        notice: the notice of a fit that carries the column along.
    """

    carried: Carried
    notice: Notice


def check(
    fields: Sequence[Field],
    values: Array,
    rows: Counts | None = None,
    faults: Sequence[Notice] = (),
    *,
    targets: Sequence[str] = (),
    stored: Array | None = None,
    named: Collection[str] = (),
) -> Checked:
    """Check the columns of ``values`` ``(n, D)``; missing values are ``NaN``.

    A column with fewer than 90% distinct values is rounded. A column with one value, with hardly
    any value, or that equals a formula of others has no density, and is carried.

    Args:
        fields: the columns.
        values: their values, with codes for labels.
        rows: the numbers of the rows in the user's file, ``(n,)``; 1 to n by default.
        faults: faults of other columns, which are reported together with the faults found here.
        targets: the names of the columns to learn given all others; empty if all are learned.
        stored: the values before ``values.as_written``, ``(n, D)``, if they differ. Equations that
            a program computed in single precision hold in these.
        named: the names of the columns whose kind the user names.

    Raises ``TableError``, with all faults, for a table that no density can be fitted to.
    """
    faults = list(faults)
    if len(values) < LEAST_ROWS:
        faults.append(
            Notice(f"the table has {counted(len(values), 'row')}; a fit needs {LEAST_ROWS}")
        )
        raise TableError(faults)
    rows = np.arange(1, len(values) + 1) if rows is None else rows
    known = ~np.isnan(values)
    without: dict[int, NoDensity] = {}
    sound = np.full(len(fields), True)
    for d, (field, x, own) in enumerate(zip(fields, values.T, known.T, strict=True)):
        found = _faults(field, x[own], rows[own])
        faults += found
        if not found and (constant := _constant(field, x[own])):
            without[d] = constant
        sound[d] = not found and d not in without
    # A target may depend on other columns; its density is then as narrow as networks allow
    is_target = np.array([field.name in targets for field in fields])
    computable = sound & ~is_target
    for d, column in equations(fields, values, computable, stored, named).items():
        problem = f"equals {column.formula}, so samples compute it"
        notice = Notice(problem, column.name, is_decision=True, together=EQUAL)
        without[d] = NoDensity(column, notice)
    if len(without) == len(fields):
        why = "no column has a density: each is constant, copies another or identifies the rows"
        faults.append(Notice(why))
    if faults:
        raise TableError(faults)
    carried = [each.carried for _, each in sorted(without.items())]
    learned = [field for d, field in enumerate(fields) if d not in without]
    values = np.delete(values, [*without], axis=1)
    learned = _with_domains(learned, values, carried, named)
    learned, values, carried, notices = _with_times(learned, values, carried, named)
    known, copies = ~np.isnan(values), first_copies(values)
    count = len(np.unique(copies))
    if count < LEAST_ROWS:
        rows_left = counted(count, "different row")
        raise TableError([Notice(f"the table has {rows_left}; a fit needs {LEAST_ROWS}")])
    notices += [each.notice for _, each in sorted(without.items())]
    notices += _about_copies(len(values), count)
    fitted = []
    for field, x, own in zip(learned, values.T, known.T, strict=True):
        different = len(np.unique(copies[own]))
        is_rounded = len(np.unique(x[own])) < DISTINCT * different
        fitted.append(field.fitted(x[own], is_rounded=is_rounded))
        if not targets or field.name in targets:
            notices += fitted[-1].about_samples(x[own], is_rounded=is_rounded)
        notices += fitted[-1].about_values(x[own])
    return Checked(fitted, values, copies, carried, notices)


def _with_domains(
    fields: Sequence[Field], values: Array, carried: Sequence[Carried], named: Collection[str]
) -> list[Field]:
    """Return columns with the ends that formulas need, so samples of computed columns have values.

    A count without 0 starts above 0 if a logarithm or a ratio divides by it. In an equation
    ``time = 100 hour + minute``, minutes end at 59 and hours at 23.

    Args:
        fields: the learned columns.
        values: their values ``(n, K)``.
        carried: the computed columns.
        named: the names of the columns whose kind the user names.
    """
    columns = {field.name: x for field, x in zip(fields, values.T, strict=True)}
    found = {field.name: field for field in fields}
    for each in carried:
        ends: dict[str, tuple[float, float]] = {}
        for term, _ in each.terms:
            name = term.names[-1]
            is_needed = term.word in BASES or term.word == "ratio"
            if is_needed and name in columns and np.nanmin(columns[name]) > 0:
                field = found[name]
                ends[name] = (field.cell, math.inf)
        if each.needs <= columns.keys() and _is_clock_time(each, columns):
            (hour, _), (minute, _) = sorted(each.terms, key=lambda term: -term[1])
            last = max(23.0, float(np.nanmax(columns[hour.names[0]])))
            ends |= {hour.names[0]: (0.0, last), minute.names[0]: (0.0, 59.0)}
        for name in ends.keys() - {*named}:
            if isinstance(field := found[name], Whole):
                found[name] = field.within(*ends[name])
    return [*found.values()]


def _is_clock_time(column: Carried, columns: Mapping[str, Array]) -> bool:
    """Return whether a column is 100 hour + minute, and a clock time in all rows."""
    if sorted(c for _, c in column.terms) != [1, 100] or column.offset:
        return False
    x = column.values(columns)
    return bool(are_clock_digits(x[~np.isnan(x)]).all())


def _with_times(
    fields: Sequence[Field], values: Array, carried: Sequence[Carried], named: Collection[str]
) -> tuple[list[Field], Array, list[Carried], list[Notice]]:
    """Return columns in which numbers that are clock times have their kind, and notices on them.

    A column that the formula of another one needs stays as it is. A copy of a clock time is a clock
    time, too.

    Args:
        fields: the learned columns.
        values: their values ``(n, K)``; those of clock times become minutes.
        carried: the computed columns.
        named: the names of the columns whose kind the user names.
    """
    values, notices = values.copy(), list[Notice]()
    used = {name for each in carried if not each.is_copy for name in each.needs}
    used |= {name for each in carried if each.name in named for name in each.needs}
    times: dict[str, Field] = {}
    for field, x in zip(fields, values.T, strict=True):
        if not field.is_numeric or field.name in {*named, *used}:
            continue
        if time := Time.of_numbers(field, x[~np.isnan(x)]):
            times[field.name] = time
            notices.append(time.about(field.without_ends.word))
            x[:] = to_minutes(x)
    found = [times.get(field.name, field) for field in fields]
    with_copies = list[Carried]()
    for each in carried:
        for name in each.needs & times.keys():
            is_mixed = each.field.text_is_missing
            own = replace(times[name], name=each.name, text_is_missing=is_mixed)
            each = replace(each, field=own)
        with_copies.append(each)
    return found, values, with_copies, notices


def _faults(field: Field, x: Array, rows: Counts) -> list[Notice]:
    """Return the first fault of the known values ``x`` ``(m,)`` of a column, or an empty list."""
    disallowed = np.flatnonzero(~field.holds(x))
    if len(disallowed):
        first = disallowed[0]
        problem = f"holds {x[first]}; {field.word} values must be {field.allowed}"
        as_real = ("learn any number", SetKind(field.name, Real.kind))
        advice = () if isinstance(field, Real) else (as_real,)
        return [Notice(problem, field.name, rows[first], advice)]
    if len(x) < LEAST_VALUES or x.min() == x.max():
        return []
    with np.errstate(over="ignore", under="ignore"):
        if not 0 < x.std() < math.inf:
            return [Notice("is too large or too small to be squared; change its unit", field.name)]
    return []


def _constant(field: Field, x: Array) -> NoDensity | None:
    """Return a column whose known values ``x`` ``(m,)`` are equal, or too few to learn from."""
    if len(x) < LEAST_VALUES:
        carried = Carried(field, None)
        problem = f"holds a value in {counted(len(x), 'row')}; a fit needs {LEAST_VALUES}; samples "
        problem += "hold no value"
        together = f"hold a value in fewer than {LEAST_VALUES} rows, and no value in samples"
    elif x.min() == x.max():
        carried = Carried(field, float(x[0]))
        problem = f"holds {carried.formula} in every row, and in samples"
        together = "hold one value in every row, and in samples"
    else:
        return None
    return NoDensity(carried, Notice(problem, field.name, is_decision=True, together=together))


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
