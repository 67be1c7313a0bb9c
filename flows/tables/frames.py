"""Convert data frames to numbers ``(n, D)`` and back.

Data frames of users and pieces of files go through the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flows.core.arrays import Array, Whole
from flows.core.errors import UserError
from flows.tables.columns import Column
from flows.tables.inspection import inspect
from flows.tables.kinds import declare
from flows.tables.notices import DropIncompleteRows, Notice, TableError, collecting, leave_out
from flows.tables.values import (
    PLAIN,
    Format,
    missing_values,
    parse_values,
    to_codes,
    to_floats,
)

NAMELESS = r"(Unnamed: \d+)?"  # a column without a name; pandas calls it "Unnamed: 0"


class Table(NamedTuple):
    """A parsed data frame, and the name of its file, which is empty if there is no file."""

    frame: pd.DataFrame
    source: str = ""


class Rows(NamedTuple):
    """The rows that a density is to learn.

    Args:
        columns: the columns.
        values: ``(n, D)``, with codes for labels and ``NaN`` for missing values.
        copies: the index of the first copy of each row, ``(n,)``.
        notices: statements about the table.
    """

    columns: list[Column]
    values: Array
    copies: Whole
    notices: list[Notice]


def as_frame(rows: Any, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Return ``rows`` as a data frame; the columns of an array are called ``names``.

    Without ``names``, they are called ``x0``, ``x1`` and so on. Raises ``UserError`` for an array
    that does not hold rows ``(n, D)``. The rows of an array are numbered from 1.
    """
    if isinstance(rows, pd.DataFrame):
        return rows
    values = np.asarray(rows)
    if values.ndim != 2 or (names and values.shape[1] != len(names)):
        wanted = f"rows of {len(names)} numbers" if names else "rows"
        raise UserError(f"expected an array of {wanted}; got one of shape {values.shape}")
    columns = names or [f"x{d}" for d in range(values.shape[1])]
    return pd.DataFrame(values, columns=columns, index=range(1, len(values) + 1))


def parse(
    frame: pd.DataFrame, kinds: Mapping[str, str], source: str = "", written: Format = PLAIN
) -> Table:
    """Return the columns that ``kinds`` names, in this order, with numbers in place of text.

    ``written`` is the format of text. ``values.parse_values`` describes the parsed columns. Raises
    ``TableError`` for a column that is missing, or whose name occurs twice.
    """
    names = list(map(str, frame.columns))
    parsed = {
        name: parse_values(
            frame.iloc[:, position(names, name, source)],
            is_category=word == "category",
            written=written,
        )
        for name, word in kinds.items()
    }
    return Table(pd.DataFrame(parsed, index=frame.index), source)


def position(names: Sequence[str], name: str, source: str = "") -> int:
    """Return the index of the column ``name`` in ``names``.

    Raises ``TableError`` unless exactly one column has this name.
    """
    count = list(names).count(name)
    if count > 1:
        raise TableError([Notice(f"{count} columns are called {name}; rename them")], source)
    if not count:
        there = f"there is no column {name}; the columns are: {', '.join(names)}"
        raise TableError([Notice(there)], source)
    return list(names).index(name)


def take(table: Table, kinds: Mapping[str, str], missing: str = "stop") -> Rows:
    """Return the rows of a table that a density is to learn.

    Args:
        table: a parsed table.
        kinds: the kinds that a user names, by column.
        missing: ``"stop"`` or ``"drop"`` as in ``apply_missing_policy``; or ``"learn"``, which
            keeps missing values as ``NaN`` and drops only rows without any value.

    Raises ``TableError``, with the faults of all columns, for a table that no density can be fitted
    to, and ``ValueError`` for a word that is not a kind.
    """
    frame, source = table
    for name in kinds:
        position(list(frame), name, source)
    faults: list[Notice] = []
    try:
        frame, nameless = _without_nameless(frame, kinds, faults)
        rows = _learnable_rows(frame, kinds, missing, faults)
    except TableError as error:
        raise TableError(error.faults, source) from None
    notices = [*nameless, *rows.notices]
    if source and all(re.fullmatch(r"-?\d+", name) for name in frame):
        problem = f"the columns are called {', '.join(frame)}; if this is a row of the file"
        notices.insert(0, Notice(f"{problem}, write a line of names above it"))
    return rows._replace(notices=notices)


def _without_nameless(
    frame: pd.DataFrame, kinds: Mapping[str, str], faults: list[Notice]
) -> tuple[pd.DataFrame, list[Notice]]:
    """Return the columns with a name, and notices on the others; add faults to ``faults``."""
    nameless = [name for name in frame if re.fullmatch(NAMELESS, name) and name not in kinds]
    notices = []
    for name in nameless:
        if frame[name].notna().any() and not _is_index(frame, name):
            problem = "has no name; give it one"
            faults.append(Notice(problem, repr(name), advice=(leave_out(name),)))
        problem = "is left out: it has no name, and holds the numbers of the rows or nothing"
        notices.append(Notice(problem, repr(name)))
    frame = frame.drop(columns=nameless)
    if frame.columns.empty:
        raise TableError([*faults, Notice("there is no column to learn")])
    return frame, notices


def _learnable_rows(
    frame: pd.DataFrame, kinds: Mapping[str, str], missing: str, faults: list[Notice]
) -> Rows:
    """Return the rows as numbers. Add faults to ``faults``, and raise ``TableError`` with them."""
    is_missing = _missing_mask(frame)
    for name in frame.columns[is_missing.all()] if len(frame) else ():
        faults.append(Notice("holds no value in any row", name, advice=(leave_out(name),)))
        frame, is_missing = frame.drop(columns=name), is_missing.drop(columns=name)
    faults += _missing_faults(frame, is_missing) if missing == "stop" else []
    left_out = {"learn": is_missing.all(axis=1), "drop": is_missing.any(axis=1)}.get(missing, False)
    kept = frame.mask(is_missing)[~np.broadcast_to(left_out, len(frame))]
    columns, values = list[Column](), list[Array]()
    for name in kept:
        with collecting(faults):
            column = declare(kept[name], kinds.get(name))
            values.append(_column_numbers(kept[name], column, is_fit=True))
            columns.append(column)
    if not columns:
        raise TableError(faults)
    rows = np.stack(values, axis=1)
    inspection = inspect(columns, rows, kept.index.to_numpy(), faults)
    which = "without a" if missing == "learn" else "with a missing"
    notices = rows_left_out(len(frame) - len(rows), which)
    notices += _missing_notice(columns, rows)
    notices += [
        Notice(f"is taken as a category of {len(column.labels)} labels", column.name)
        for column in columns
        if column.labels and column.name not in kinds
    ]
    return Rows(inspection.columns, rows, inspection.copies, notices + inspection.notices)


def _is_index(frame: pd.DataFrame, name: str) -> bool:
    """Return whether a column without a name holds the numbers of the rows."""
    column = frame[name]
    is_whole = column.dtype.kind == "f" and bool((column % 1 == 0).all())
    return name == frame.columns[0] and is_whole and column.is_unique


def apply_missing_policy(table: Table, missing: str = "stop") -> Table:
    """Return a table after the policy ``missing`` is applied to its missing values.

    ``"stop"`` raises ``TableError`` for a missing value, ``"drop"`` drops rows with a missing
    value, and ``"keep"`` keeps all rows, with ``NaN`` for missing values.
    """
    frame, source = table
    is_missing = _missing_mask(frame)
    if missing == "keep":
        return Table(frame.mask(is_missing), source)
    if missing == "stop" and (faults := _missing_faults(frame, is_missing)):
        raise TableError(faults, source)
    return Table(frame[~is_missing.any(axis=1)], source)


def _missing_mask(frame: pd.DataFrame) -> pd.DataFrame:
    """Return which values are missing, including marks such as ``"?"``."""
    return pd.DataFrame({name: missing_values(frame[name]) for name in frame}, index=frame.index)


def _missing_faults(frame: pd.DataFrame, is_missing: pd.DataFrame) -> list[Notice]:
    """Return a fault for each column with a missing value."""
    faults = []
    for name in frame.columns[is_missing.any()]:
        row = is_missing.index[is_missing[name]][0]
        value = frame.loc[is_missing[name], name].iloc[0]
        problem = "holds no value"
        if isinstance(value, str):
            problem = f"holds {value!r}, which counts as a missing value"
        advice = (("leave out rows with a missing value", DropIncompleteRows()),)
        faults.append(Notice(problem, name, row, advice))
    return faults


def _missing_notice(columns: Sequence[Column], values: Array) -> list[Notice]:
    """Return a notice that counts the missing values of each column."""
    gaps = np.isnan(values).sum(axis=0)
    counts = [f"{gap} in {column.name}" for column, gap in zip(columns, gaps, strict=True) if gap]
    if not counts:
        return []
    total = f"{gaps.sum()} of {values.size} values are missing: {', '.join(counts)}"
    return [Notice(f"{total}; the fit uses the other values of these rows")]


def rows_left_out(rows: int, which: str = "with a missing") -> list[Notice]:
    """Return a notice on ``rows`` rows that were left out; no notice for 0 rows."""
    if not rows:
        return []
    are = "row {} value is" if rows == 1 else "rows {} value are"
    return [Notice(f"{rows} {are.format(which)} left out")]


def to_numbers(table: Table, columns: Sequence[Column]) -> Array:
    """Return the ``columns`` of a table as numbers ``(n, D)``, ``NaN`` for missing values.

    Categories become codes: the indices of their labels, and -1 for a value that is not a label.
    Raises ``TableError``, with the faults of all columns, for values that are not numbers.
    """
    found, faults = list[Array](), list[Notice]()
    for column in columns:
        with collecting(faults):
            found.append(_column_numbers(table.frame[column.name], column, is_fit=False))
    if faults:
        raise TableError(faults, table.source)
    return np.stack(found, axis=1)


def _column_numbers(values: pd.Series, column: Column, *, is_fit: bool) -> Array:
    return to_codes(values, column) if column.labels else to_floats(values, column, is_fit=is_fit)


def to_frame(columns: Sequence[Column], values: Array) -> pd.DataFrame:
    """Return numbers ``(n, D)`` as a data frame with labels, whole numbers and floats."""
    pairs = zip(columns, values.T, strict=True)
    return pd.DataFrame({column.name: _typed(column, x) for column, x in pairs})


def _typed(column: Column, x: Array) -> Array | pd.Categorical | Whole:
    if column.labels:
        codes = x.astype(np.int64)
        if column.ordered:
            return pd.Categorical.from_codes(codes, list(column.labels), ordered=True)
        return np.array(column.labels)[codes]
    return x.astype(np.int64) if column.is_whole else x
