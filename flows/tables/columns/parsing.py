"""Data frames of users and pieces of files as parsed tables, and parsed tables as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import numpy as np

from flows.core.arrays import Array, Mask
from flows.core.errors import UserError
from flows.core.plurals import counted
from flows.tables.columns.field import Field, kinds_of_users, registered
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import (
    Advice,
    DropIncompleteRows,
    Notice,
    SetKind,
    TableError,
    collecting,
)
from flows.tables.columns.options import MissingAsked
from flows.tables.columns.order import ORDER
from flows.tables.columns.spelling import Spelling, find_spelling, has_leading_zeros
from flows.tables.columns.types import type_of
from flows.tables.columns.values import PLAIN, Format, missing_values, parse_values, without_marks

KEEP_ZEROS = ("", "time")  # kinds of users for which text with leading zeros stays text


class Table(NamedTuple):
    """A parsed table.

    Args:
        frame: the parsed values.
        source: the name of the file; empty for a data frame.
        types: the types of the columns of a data frame, as ``types.type_of`` returns them.
        written: the format of the file, if it is CSV.
        nameless: what the columns of a data frame that are labelled ``None`` or NaN are called.
        spellings: the currency or percent signs of columns, by name.
        padded: the columns of text with leading zeros.
    """

    frame: pd.DataFrame
    source: str = ""
    types: Mapping[str, Any] = {}
    written: Format = PLAIN
    nameless: Set[str] = frozenset()
    spellings: Mapping[str, Spelling] = {}
    padded: Set[str] = frozenset()


def default_names(count: int) -> list[str]:
    """Return the names of columns that have none: x0, x1 and so on."""
    return [f"x{d}" for d in range(count)]


def as_frame(rows: Any, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Return ``rows`` as a data frame; the columns of an array are called ``names``.

    Without ``names``, they have ``default_names``. Raises ``UserError`` for an array
    that does not hold rows ``(n, D)``. The rows of an array are numbered from 1.
    """
    if isinstance(rows, pd.DataFrame):
        return rows
    values = np.asarray(rows)
    if values.ndim != 2 or (names and values.shape[1] != len(names)):
        wanted = f"rows of {counted(len(names), 'number')}" if names else "rows"
        got = f"one of shape {values.shape}" if values.ndim else repr(rows)
        raise UserError(f"expected a data frame, or an array of {wanted}; got {got}")
    columns = names or default_names(values.shape[1])
    return pd.DataFrame(values, columns=columns, index=range(1, len(values) + 1))


def from_user(
    rows: Any,
    kinds: Mapping[str, str | Field],
    na: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> Table:
    """Parse a data frame, or an array ``(n, D)``, that a user wants to fit or to inspect.

    Args:
        rows: the data frame or the array.
        kinds: the kinds that the user names, by column.
        na: marks of missing values.
        only: the names of the columns of a data frame that are read, if they are there; by default,
            all columns.
    """
    frame = as_frame(rows)
    names = list(map(str, frame.columns))
    is_array = frame is not rows
    places = [d for d, name in enumerate(names) if is_array or only is None or name in only]
    table = parse(frame, {names[d]: kinds.get(names[d], "") for d in places}, na=na)
    if is_array:  # has one type for all columns
        return table
    return table._replace(
        types={names[d]: type_of(frame.iloc[:, d]) for d in places},
        nameless={name for name, own in zip(names, frame.columns, strict=True) if pd.isna(own)},
    )


def parse(
    frame: pd.DataFrame,
    kinds: Mapping[str, str | Field],
    source: str = "",
    written: Format = PLAIN,
    na: Sequence[str] = (),
) -> Table:
    """Return the columns that ``kinds`` names, in this order, with numbers in place of text.

    ``written`` is the format of text, and ``na`` are further marks of missing values.
    ``values.parse_values`` describes the parsed columns. Raises ``TableError`` for a column that is
    missing, or whose name occurs twice.
    """
    names, parsed = list(map(str, frame.columns)), dict[str, pd.Series]()
    spellings, padded = dict[str, Spelling](), set[str]()
    for name, word in kinds.items():
        column = without_marks(frame.iloc[:, position(names, name, source)], na)
        is_category = reads_labels(word)
        if word in KEEP_ZEROS and has_leading_zeros(column):
            padded.add(name)
            is_category = True
        spelling = word.spelling if isinstance(word, Field) else None
        if not isinstance(word, Field) and not is_category and not _is_for_users(word, column):
            spelling = find_spelling(column, written)
        if spelling is not None:
            spellings[name] = spelling
        parsed[name] = parse_values(
            column,
            is_category=is_category,
            text_is_missing=isinstance(word, Field) and word.text_is_missing,
            written=written,
            signed=None if spelling is None else spelling.read(column),
        )
    found = pd.DataFrame(parsed, index=frame.index)
    return Table(found, source, spellings=spellings, padded=padded)


def _is_for_users(word: str, column: pd.Series) -> bool:
    """Return whether a kind that a user defined takes a column, with signs around numbers.

    Args:
        word: the kind that the user names, or an empty text.
        column: the column.
    """
    if word:
        return word.partition(":")[0] not in ORDER
    kinds = kinds_of_users()
    if not kinds or column.dtype.kind in "biufmM":
        return False
    known = parse_values(column, is_category=False)
    known = known[~missing_values(known)]
    return bool(len(known)) and any(cls.choose(known) for cls in kinds)


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


def apply_missing_policy(table: Table, missing: str = "stop") -> Table:
    """Return a table after the policy ``missing`` is applied to its missing values.

    ``"stop"`` raises ``TableError`` for a missing value, ``"drop"`` drops rows with a missing
    value, and ``"keep"`` keeps all rows, with ``NaN`` for missing values. Raises ``ValueError`` for
    another word.
    """
    if missing not in get_args(MissingAsked):
        raise ValueError(f"missing = {missing!r}: must be 'keep', 'stop' or 'drop'")
    is_missing = missing_mask(table.frame)
    if missing == "keep":
        return Table(table.frame.mask(is_missing), table.source)
    if missing == "stop" and (faults := missing_faults(table.frame, is_missing)):
        raise TableError(faults, table.source)
    return Table(table.frame[complete_rows(table.frame)], table.source)


def complete_rows(frame: pd.DataFrame) -> Mask:
    """Return which rows of a parsed frame have no missing value, ``(n,)``."""
    return ~missing_mask(frame).to_numpy(bool).any(axis=1)


def missing_mask(frame: pd.DataFrame) -> pd.DataFrame:
    """Return which values are missing, including marks such as ``"?"``."""
    return pd.DataFrame({name: missing_values(frame[name]) for name in frame}, index=frame.index)


def missing_faults(
    frame: pd.DataFrame, is_missing: pd.DataFrame, text_is_missing: Set[str] = frozenset()
) -> list[Notice]:
    """Return a fault for each column with a missing value.

    Args:
        frame: the parsed values ``(n, D)``.
        is_missing: which of them are missing, ``(n, D)``.
        text_is_missing: the columns of numbers in which text counts as missing, and may be labels.
    """
    faults = []
    for name in frame.columns[is_missing.any()]:
        row = is_missing.index[is_missing[name]][0]
        value = frame.loc[is_missing[name], name].iloc[0]
        problem = "holds no value"
        if isinstance(value, str):
            problem = f"holds {value!r}, which counts as a missing value"
        advice: Advice = (("leave out rows with a missing value", DropIncompleteRows()),)
        if name in text_is_missing:
            advice = (*advice, ("learn labels", SetKind(name, "category")))
        faults.append(Notice(problem, name, row, advice))
    return faults


def rows_left_out(rows: int, which: str = "with a missing") -> list[Notice]:
    """Return a notice on ``rows`` rows that were left out; no notice for 0 rows."""
    if not rows:
        return []
    are = counted(rows, f"row {which} value is", f"rows {which} value are")
    return [Notice(f"{are} left out")]


def reads_labels(kind: str | Field) -> bool:
    """Return whether numbers in text are labels of a column of this kind, a field or a word."""
    if isinstance(kind, Field):
        return kind.reads_labels
    cls = registered().get((kind or "").partition(":")[0])
    return cls is not None and bool(cls.reads_labels)


def parse_fields(
    frame: pd.DataFrame,
    fields: Sequence[Field],
    source: str = "",
    written: Format = PLAIN,
    na: Sequence[str] = (),
) -> Table:
    """Return the columns ``fields`` as ``parse`` does, with ``NaN`` for marks of missing values."""
    table = parse(frame, {field.name: field for field in fields}, source, written, na)
    return apply_missing_policy(table, "keep")


def numbers_of(fields: Sequence[Field], table: Table) -> Array:
    """Return the columns ``fields`` of a parsed table as numbers ``(n, D)``, with codes for labels.

    Raises ``TableError``, with the faults of all columns, for values that are not numbers.
    """
    found, faults = list[Array](), list[Notice]()
    for field in fields:
        with collecting(faults):
            found.append(field.numbers(table.frame[field.name]))
    if faults:
        raise TableError(faults, table.source)
    return np.stack(found, axis=1)


def numbers_of_values(field: Field, values: Sequence[Any], na: Sequence[str]) -> Array:
    """Return values that a user writes for a column outside of a table as numbers, ``(n,)``.

    Raises ``TableError`` for text that is not a number, also if it counts as missing in the table.
    """
    field = replace(field, text_is_missing=False)
    written = pd.DataFrame({field.name: pd.Series([*values], dtype=object)})
    found = numbers_of([field], parse_fields(written, [field], na=na))[:, 0]
    for value, number in zip(values, found, strict=True):
        if isinstance(value, str) and not np.isnan(number) and (why := field.misread(value)):
            raise TableError([Notice(f"holds {value!r}, {why}", field.name)])
    return found


def refused(fields: Sequence[Field], values: Array) -> Mask:
    """Return which numbers ``(n, D)`` the kinds of their columns do not allow, ``(n, D)``."""
    held = [field.holds(x) for field, x in zip(fields, values.T, strict=True)]
    return ~(np.stack(held, axis=1) | np.isnan(values))


def round_rows(fields: Sequence[Field], rows: Array) -> Array:
    """Return numbers ``(n, D)`` in the user's units, rounded to the values of samples."""
    return np.stack([field.round(x) for field, x in zip(fields, rows.T, strict=True)], axis=1)
