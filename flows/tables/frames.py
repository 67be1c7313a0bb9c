"""Data frames of users: what each column holds, and the numbers that it becomes.

A fault is one ``UserError`` that names the frame, or the file that it is from, column and row.
"""

import re
import sys
from ast import literal_eval
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from shlex import quote
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.tables.columns import Column, inspect, leave_out

FRAME = "the table"  # names a data frame in messages, as it has no file
NAMELESS = r"(Unnamed: \d+)?"  # what a column without a name is called, by pandas too
# How a missing value is written, in any case
MISSING = {"", "na", "n/a", "nan", "nat", "null", "<na>"}
# A missing value among numbers, too; among other texts these are labels
MARKS = ("-", "none", "None")
UNKNOWN = "?"  # a missing value everywhere, which a message quotes
MOST_LABELS = 20  # of a column of text that is a category without being asked
SOME = 1_000  # texts of a column that are looked at, to tell what they are


class Format(NamedTuple):
    """How a CSV file is written, in pandas' words.

    Without a ``sep`` it is a comma, or a tab in a file that is called ``.tsv``.
    """

    sep: str | None = None
    decimal: str = "."
    thousands: str | None = None
    encoding: str = "utf-8"


PLAIN = Format()
# Ways to write a number, by the options of the command line. Of those that fit, the first is named.
FORMATS = {
    "--decimal .": PLAIN,
    "--thousands ,": Format(thousands=","),
    "--decimal ,": Format(decimal=","),
    "--decimal , --thousands .": Format(decimal=",", thousands="."),
    "--thousands ' '": Format(thousands=" "),
    "--decimal , --thousands ' '": Format(decimal=",", thousands=" "),
    '--thousands "\'"': Format(thousands="'"),
}
# What to replace in what may be a number, by what, and what to say then
SIGNS = [
    ("^", "", "if that is a number, write {}"),
    ("%", "", "it is a number with a percent sign; take the sign away"),
    ("[$€£¥]", "", "it is a number with a currency sign; take the sign away"),
    ("[\u2212\u2013]", "-", "it is a number with a long minus; write -"),
]


class Table(NamedTuple):
    """A parsed frame, and what messages call it: the file that it is from, or ``the table``."""

    frame: pd.DataFrame
    source: str


def parse(
    frame: pd.DataFrame, kinds: Mapping[str, str], source: str = FRAME, written: Format = PLAIN
) -> Table:
    """Return the columns that ``kinds`` names, in this order, with numbers in place of text.

    A column of numbers becomes floats, and booleans a category of pandas; such a category and
    dates are left as they are. Any other column, and what ``kinds`` calls a category, holds
    objects: numbers, text without spaces around it, and ``NaN`` where a value is missing. Text is
    ``written`` in this format. Raises ``UserError`` for a column that is not there, or twice.
    """
    names = list(map(str, frame.columns))
    parsed = {
        name: _parse(frame.iloc[:, position(names, name, source)], word == "category", written)
        for name, word in kinds.items()
    }
    return Table(pd.DataFrame(parsed, index=frame.index), source)


def take(
    table: Table, kinds: Mapping[str, str], missing: str = "stop"
) -> tuple[list[Column], Array, list[str]]:
    """Return the columns that a density is to learn, their rows ``(n, D)``, and notices on them.

    ``kinds`` are the words of the user, by column; ``missing`` is as in ``complete``, or
    ``"learn"``: then a missing value is ``NaN``, and only rows without any value are left out.
    Raises ``UserError`` for what no density can be fitted to, and ``ValueError`` for an unknown
    word.
    """
    frame, source = table
    for name in kinds:
        position(list(frame), name, source)
    nameless = [name for name in frame if re.fullmatch(NAMELESS, name) and name not in kinds]
    for name in nameless:
        is_index = name == frame.columns[0] and _are_row_numbers(frame[name])
        if not is_index and frame[name].notna().any():
            problem = f"the column {name!r} has no name; write one above it"
            raise UserError(f"{source}: {problem}, or {leave_out(name)}")
    frame = frame.drop(columns=nameless)
    if frame.columns.empty:
        raise UserError(f"{source}: holds no column to learn")
    for name in frame.columns[frame.isna().all()] if len(frame) else ():
        raise UserError(f"{source}: column {name} holds no value in any row; {leave_out(name)}")
    table = Table(frame, source)
    kept = complete(table, "keep" if missing == "learn" else missing)
    if missing == "learn":
        kept = kept._replace(frame=kept.frame.dropna(how="all"))
    columns = [_declare(kept, name, kinds.get(name)) for name in kept.frame]
    values = numbers(kept, columns)
    notices = [
        f"left out: column {name!r}, without a name or anything to learn" for name in nameless
    ]
    which = "without a" if missing == "learn" else "with a missing"
    notices += left_out(len(frame) - len(values), which)
    notices += _missing(columns, values)
    taken = [column for column in columns if column.labels and column.name not in kinds]
    notices += [f"column {x.name} is taken as a category of {len(x.labels)} labels" for x in taken]
    try:
        columns, more = inspect(columns, values, kept.frame.index.to_numpy())
    except UserError as error:
        raise error if source == FRAME else UserError(f"{source}: {error}") from None
    return columns, values, notices + more


def left_out(rows: int, which: str = "with a missing") -> list[str]:
    """Return a notice on rows with a missing value; none where there are none."""
    return [f"left out: {rows} row{'s' * (rows > 1)} {which} value"] * (rows > 0)


def _missing(columns: Sequence[Column], values: Array) -> list[str]:
    """Return a notice on the gaps of each column; none where there are none."""
    gaps = np.isnan(values).sum(axis=0)
    counts = [f"{gap} in {column.name}" for column, gap in zip(columns, gaps, strict=True) if gap]
    total = f"{gaps.sum()} of {values.size} values are missing, and are learned around: "
    return [total + ", ".join(counts)] * bool(counts)


def complete(table: Table, missing: str = "stop") -> Table:
    """Return the rows of a table that lack no value or, where gaps are kept, all of its rows.

    A missing value is an error where ``missing`` is ``"stop"``; its row is left out where it is
    ``"drop"``; it is kept, as ``NaN``, where it is ``"keep"``.
    """
    frame, source = table
    gaps = _gaps(frame)
    if missing == "keep":
        return Table(frame.mask(gaps), source)
    for row, d in np.argwhere(gaps.to_numpy())[:1] if missing == "stop" else ():
        value = frame.iat[row, d]
        problem = f"{value!r}, which counts as no value" if isinstance(value, str) else "no value"
        remedy = "`--missing drop` (in the pipeline `data.missing: drop`)"
        if source == FRAME:
            remedy = "flows.fit(..., missing='drop'), or frame.dropna(),"
        raise UserError(
            f"{source}: column {frame.columns[d]}, row {frame.index[row]} holds {problem}; "
            f"{remedy} leaves such rows out"
        )
    return Table(frame[~gaps.any(axis=1)], source)


def _gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Return which values are missing, also those that are written as a mark."""
    gaps = frame.isna()
    for name in frame.select_dtypes("object"):
        among_numbers = any(isinstance(value, float) for value in frame[name].dropna())
        gaps[name] |= frame[name].isin([UNKNOWN, *(MARKS if among_numbers else ())])
    return gaps


def numbers(table: Table, columns: Sequence[Column]) -> Array:
    """Return the ``columns`` of a table as numbers ``(n, D)``, ``NaN`` where a value is missing.

    A category becomes codes: the places of its labels, and -1 for what is none of them.
    """
    found = [_codes(table, each) if each.labels else _floats(table, each) for each in columns]
    return np.stack(found, axis=1)


def count_unknown(table: Table, columns: Sequence[Column], values: Array) -> Counter[str]:
    """Count the rows of each label that was not there when the density was fitted.

    ``values`` are the numbers of the table; the keys name column and label.
    """
    return Counter(
        f"column {column.name}: {label!r}"
        for column, codes in zip(columns, values.T, strict=True)
        if column.labels
        for label in table.frame[column.name][codes < 0]
    )


def unknown_labels(unknown: Counter[str]) -> list[str]:
    """Return a notice on each of the labels that ``count_unknown`` counted."""
    notices = [
        f"{place} was not there when the density was fitted, "
        f"so the log-density of {rows} row{'s' * (rows > 1)} is minus infinity"
        for place, rows in unknown.most_common(MOST_LABELS)
    ]
    more = len(unknown) - len(notices)
    return [*notices, *[f"and so it is with {more} more labels"] * (more > 0)]


def taken_as_unknown(first: str, count: int, also: str = "") -> list[str]:
    """Return a notice on ``count`` values that their columns do not allow; none for 0.

    ``first`` tells of the first of them, and ``also`` what else becomes of them.
    """
    more = f", and so {'is' if count == 2 else 'are'} {count - 1} more" * (count > 1)
    return [f"{first}: it is taken as unknown{also}{more}"] * (count > 0)


def say(notices: Sequence[str]) -> None:
    """Print notices on standard error, a line each."""
    for notice in notices:
        print(notice, file=sys.stderr)


def as_numbers(column: pd.Series, written: Format = PLAIN) -> Array:
    """Return a column as floats ``(n,)``, ``NaN`` for what is no number."""
    if column.dtype.kind not in "iuf":
        column = column.astype(object)
    if written.thousands:  # three digits must follow: 1,5 is not 15
        mark = r"\s" if written.thousands.isspace() else re.escape(written.thousands)
        groups = rf"(?<=\d){mark}(?=\d{{3}}(?!\d))"
        column = column.astype(str).str.replace(groups, "", regex=True)
    if written.decimal != ".":  # nor is 1.5 a number then
        swapped = {ord(written.decimal): ".", ord("."): written.decimal}
        column = column.astype(str).str.translate(swapped)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def position(names: list[str], name: str, source: str) -> int:
    """Return the place of the column ``name``. Raises ``UserError`` unless there is just one."""
    if names.count(name) > 1:
        raise UserError(f"{source}: {names.count(name)} columns are called {name}; rename them")
    if name not in names:
        raise UserError(f"{source}: holds no column {name}; its columns are: {', '.join(names)}")
    return names.index(name)


def _are_row_numbers(column: pd.Series) -> bool:
    """Return whether a column can be the numbers of rows."""
    return column.dtype.kind == "f" and column.is_unique and bool((column % 1 == 0).all())


def _parse(column: pd.Series, is_category: bool, written: Format) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind in "mM":
        return column
    if column.dtype.kind == "b" or pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        return column.astype(object).astype(pd.CategoricalDtype([False, True]))
    found = as_numbers(column, written)
    is_text = np.isnan(found) | is_category
    rest = column[is_text].astype(object)
    rest = rest.where(rest.notna(), "")  # None, too
    text = [value if isinstance(value, Real) else str(value).strip() for value in rest]
    is_missing = [str(value).lower() in MISSING for value in text]
    if all(is_missing):
        return pd.Series(found, column.index)
    values = pd.Series(found, column.index, dtype=object)
    values[is_text] = np.where(is_missing, np.nan, pd.Series(text, dtype=object))
    return values


def _declare(table: Table, name: str, word: str | None) -> Column:
    """Return a column of the kind ``word``, or else of the kind that its values have."""
    values = table.frame[name].dropna()
    word = word or ("category" if _is_category(values, table.source) else "real")
    column = Column.parse(name, word)
    if word != "category":
        return column
    ordered = bool(getattr(values.dtype, "ordered", False))
    labels = values.cat.remove_unused_categories().cat.categories if ordered else values.unique()
    texts: list[Any] = list(dict.fromkeys(map(_text, labels)))
    if {*texts} <= {"True", "False"} or all(isinstance(each, Real) for each in labels):
        texts = list(map(literal_eval, texts))
    return replace(column, labels=tuple(texts if ordered else sorted(texts)), ordered=ordered)


def _is_category(values: pd.Series, source: str) -> bool:
    """Return whether complete ``values`` are labels, and not numbers, without being asked.

    Raises ``UserError`` for dates, and for text of many values.
    """
    if values.empty or values.dtype.kind == "f" or values.dtype == "category":
        return values.dtype == "category"
    words = values.astype(str)
    rows = words.value_counts().head(SOME)
    distinct = rows.index.to_series()
    is_number = np.any([*_readings(distinct).values()], axis=0)
    if values.dtype == object and rows[is_number].sum() >= rows.sum() / 2:
        return False  # the others are mistakes
    if values.dtype != object or _are_dates(distinct):
        problem = "is a date: write the days since the first, or leave the column out"
    elif words.nunique() > MOST_LABELS:
        wanted = quote(f"{values.name}=category")
        problem = (
            f"is text, of {words.nunique()} values in all: --column {wanted} learns them as "
            "labels, or leave the column out"
        )
    else:
        return True
    raise UserError(
        f"{source}: column {values.name}, row {values.index[0]} holds {words.iloc[0]!r}, which "
        f"{problem}: --drop {quote(str(values.name))}"
    )


def _are_dates(words: pd.Series) -> bool:
    """Return whether pandas reads most of the words as dates."""
    if guess_datetime_format(words.iloc[0]) is None:  # "May" and "T1" are read as dates, too
        return False
    dates = pd.to_datetime(words, errors="coerce", format="mixed", utc=True)
    return bool(dates.notna().mean() > 0.5)


def _readings(words: pd.Series) -> dict[str, Any]:
    """Return which words are numbers that are written in another way, ``(n,)``, by the remedy."""
    readings: dict[str, Any] = {}
    for sign, plain, remedy in SIGNS:
        bare = words.str.replace(sign, plain, regex=True)
        for options, other in FORMATS.items():
            key = remedy.format(options)
            readings[key] = readings.get(key, False) | np.isfinite(as_numbers(bare, other))
    return readings


def _text(label: Any) -> str:
    """Return the text that a label is known by, in whatever file: 4, 4.0 and "4" are one."""
    text = str(label)
    if re.fullmatch(r"-?(0|[1-9]\d*)\.0", text):
        return text[:-2]
    return text.capitalize() if text.lower() in ("true", "false") else text


def _codes(table: Table, column: Column) -> Array:
    places = {_text(label): code for code, label in enumerate(column.labels)}
    which, distinct = pd.factorize(table.frame[column.name].astype(object))
    codes = [places.get(_text(value), -1) for value in distinct]
    return np.array([*codes, np.nan])[which]  # pandas says -1 for what is missing


def _floats(table: Table, column: Column) -> Array:
    values = table.frame[column.name]
    found = as_numbers(values)
    if values.dtype == object:  # text is left only where the file's format did not read it
        found = np.where([isinstance(value, str) for value in values], np.nan, found)
    is_missing = values.isna().to_numpy()
    for row, value in values[~np.isfinite(found) & ~is_missing][:1].items():
        remedy = "every value must be finite"
        if not isinstance(value, float):
            readings = _readings(values[np.isnan(found) & ~is_missing].astype(str).head(SOME))
            remedy = max(readings, key=lambda each: readings[each].sum())
            if not readings[remedy].any():
                wanted = quote(f"{column.name}=category")
                remedy = f"every value must be a number; a fit with --column {wanted} takes labels"
        place = f"{table.source}: column {column.name}, row {row}"
        raise UserError(f"{place} holds {value!r}; {remedy}")
    return found
