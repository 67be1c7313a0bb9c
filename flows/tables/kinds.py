"""The kind of a column: the kind that the user names, or the kind that its values suggest."""

from __future__ import annotations

import re
from dataclasses import replace
from numbers import Real
from typing import Any

import pandas as pd
from pandas.tseries.api import guess_datetime_format

from flows.tables.columns import Column, Label
from flows.tables.notices import Notice, SetKind, TableError, leave_out
from flows.tables.values import SOME, are_numbers, label_text

MOST_LABELS = 20  # a column of text with at most this many labels is a category by default


def declare(values: pd.Series, word: str | None = None) -> Column:
    """Return the column of parsed ``values``, of the kind ``word``.

    Without ``word``, text, booleans and categories of pandas are a category, and numbers are real.
    Missing values are ignored. Raises ``ValueError`` for a word that is not a kind, and
    ``TableError`` for dates and for text with many distinct values.
    """
    values, name = values.dropna(), str(values.name)
    word = word or ("category" if _is_category(values, name) else "real")
    column = Column.parse(name, word)
    if word != "category":
        return column
    ordered = bool(getattr(values.dtype, "ordered", False))
    labels = values.cat.remove_unused_categories().cat.categories if ordered else values.unique()
    texts = list(dict.fromkeys(map(label_text, labels)))
    found: list[Any] = list(texts)
    if {*texts} <= {"True", "False"}:
        found = [text == "True" for text in texts]
    elif all(isinstance(each, Real) for each in labels):
        found = [_number(text) for text in texts]
    return replace(column, labels=tuple(found if ordered else sorted(found)), ordered=ordered)


def _number(text: str) -> Label:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _is_category(values: pd.Series, name: str) -> bool:
    """Return whether ``values``, none of which is missing, are labels and not numbers.

    Raises ``TableError`` for dates, and for text with many distinct values.
    """
    if values.empty or values.dtype.kind == "f" or values.dtype == "category":
        return values.dtype == "category"
    words = values.astype(str)
    counts = words.value_counts()
    rows = counts.head(SOME)
    distinct = rows.index.to_series()
    if values.dtype == object and rows[are_numbers(distinct)].sum() >= rows.sum() / 2:
        return False  # the other values are mistakes
    problem, advice = "", [leave_out(name)]
    if values.dtype.kind == "m":
        problem = "which is a duration; write it as a number"
    elif values.dtype != object or _are_dates(distinct):
        problem = "which is a date; write the days since the first date"
    elif len(counts) > MOST_LABELS:
        problem = f"which is text; the column holds {len(counts)} different texts"
        advice = [("learn them as labels", SetKind(name, "category")), *advice]
    if not problem:
        return True
    fault = Notice(f"holds {words.iloc[0]!r}, {problem}", name, values.index[0], tuple(advice))
    raise TableError([fault])


def _are_dates(words: pd.Series) -> bool:
    """Return whether pandas reads most of the words as dates."""
    if guess_datetime_format(words.iloc[0]) is None:  # pandas also reads "May" and "T1" as dates
        return False
    dates = pd.to_datetime(words, errors="coerce", format="mixed", utc=True)
    return bool(dates.notna().mean() > 0.5)
