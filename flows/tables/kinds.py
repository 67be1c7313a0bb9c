"""The kind of a column: the kind that the user names, or the kind that its values suggest.

Unless the user names a kind, the first rule that fits holds:

- dates of pandas, and text of which each value is a date in one format, are a ``date``;
- two different numbers are a ``category``;
- whole numbers that increase from row to row and use half of all numbers between are years, and an
  ``integer``, if all lie between 1500 and 2100; otherwise they identify the rows, and are not
  learned;
- whole numbers of which fewer than 90% are distinct, or of which many rows hold the smallest or the
  largest (``is_peak``), are an ``integer`` if one is below 0, and else a ``count``. Samples are
  multiples of the largest number that divides all of them, and do not go beyond the smallest or
  the largest if many rows hold it;
- numbers with decimals are a ``count`` in steps of their last decimal if 0 is the smallest and many
  rows hold it, and an ``integer`` in such steps if some are below 0 and many rows hold one value;
- other numbers above 0 are ``positive`` if the largest is more than ten times the median;
- all other numbers are ``real``;
- booleans, ordered categories of pandas, and text or categories with at most 20 different values
  are a ``category``;
- text with more than 20 different values, among them numbers in at least half of the rows, has the
  kind of these numbers, and its other text counts as missing;
- text of which 90% of the values are distinct identifies the rows, and is not learned;
- all other text is a ``category`` in which rare labels are pooled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from flows.core.arrays import Array
from flows.tables.columns import LARGEST_WHOLE, Column, Label
from flows.tables.dates import are_dates, date_column
from flows.tables.notices import Notice, ReadAsMissing, SetKind, leave_out
from flows.tables.rounding import DISTINCT, PEAK_ROWS, PEAK_SHARE, decimal_steps, is_peak
from flows.tables.values import SOME, are_numbers, label_text

MOST_LABELS = 20  # a column of text with at most this many labels is a category by default
SKEWED = 10  # the largest of skewed numbers above 0 is more than this many times their median
LEAST_NUMBERED = 10  # fewer increasing numbers do not identify rows
OTHERS = 5  # a peak has more rows than this many times the mean of the other values
YEARS = (1500, 2100)  # increasing whole numbers between these do not identify rows


@dataclass(frozen=True)
class Choice:
    """What becomes of a column.

    Args:
        column: the column with its kind; ``None`` for a column that identifies rows.
        notice: what is said about the choice.
        refusal: the fault that a strict fit reports instead.
        is_text_missing: whether text among numbers counts as missing.
    """

    column: Column | None
    notice: Notice | None = None
    refusal: Notice | None = None
    is_text_missing: bool = False


def choose(values: pd.Series, word: str | None = None) -> Choice:
    """Choose what becomes of a column of parsed ``values``; ``NaN`` is a missing value.

    Raises ``ValueError`` for a ``word`` that is not a kind, and ``TableError`` for dates that
    cannot be read.
    """
    known, name = values.dropna(), str(values.name)
    if word:
        column = Column.parse(name, word)
        if word == "category":
            return Choice(with_labels(known, column))
        return Choice(date_column(known, column) if word == "date" else column)
    if are_dates(known):
        column = date_column(known, Column(name, "date", step=1.0))
        problem = "is taken as dates" + (f" in the format {column.form}" if column.form else "")
        return Choice(column, Notice(problem, name, advice=(("learn labels", _labels(name)),)))
    if known.empty and known.dtype != "category":  # all values are in rows that are left out
        return Choice(Column(name))
    if known.dtype.kind == "f":
        return _of_numbers(known, name)
    return _of_labels(known, name)


def with_labels(known: pd.Series, column: Column) -> Column:
    """Return a ``column`` with the labels of ``known`` values, sorted unless they are ordered."""
    ordered = bool(getattr(known.dtype, "ordered", False))
    labels = known.cat.remove_unused_categories().cat.categories if ordered else known.unique()
    texts = list(dict.fromkeys(map(label_text, labels)))
    found: list[Any] = list(texts)
    if {*texts} <= {"True", "False"}:
        found = [text == "True" for text in texts]
    elif all(isinstance(each, Real) for each in labels):
        found = [_number(text) for text in texts]
    return replace(column, labels=tuple(found if ordered else sorted(found)), ordered=ordered)


def _number(text: str) -> Label:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _labels(name: str) -> SetKind:
    return SetKind(name, "category")


def _category(name: str) -> Column:
    return Column(name, "category", step=1.0)


def _taken_as_category(column: Column) -> Notice | None:
    """Return the notice on a category; none for a single label, which another notice names."""
    if len(column.labels) == 1:
        return None
    return Notice(f"is taken as a category of {len(column.labels)} labels", column.name)


def _of_numbers(known: pd.Series, name: str) -> Choice:
    """Choose the kind of a column of numbers."""
    x = known.to_numpy(np.float64)
    distinct = np.unique(x)
    if len(distinct) == 2 and np.isfinite(x).all():
        column = with_labels(known, _category(name))
        return Choice(column, _taken_as_category(column))
    if are_whole(x):
        if _number_the_rows(x):
            if YEARS[0] <= x[0] and x[-1] <= YEARS[1]:
                return _of_years(x, name)
            problem = f"numbers the rows ({x[0]:.0f}, {x[1]:.0f}, ...)"
            return _identifier(name, problem, "learn the numbers", SetKind(name, "integer"))
        multiple = float(np.gcd.reduce(distinct.astype(np.int64)))
        ends = [len(distinct) > 1 and is_peak(x, end, multiple) for end in distinct[[0, -1]]]
        if multiple and (len(distinct) < DISTINCT * len(x) or any(ends)):
            column = Column(name, step=1.0, multiple=multiple if multiple > 1 else None)
            return _of_whole_numbers(column, x, ends)
    elif (steps := decimal_steps(distinct)) and (kind := _kind_of_decimals(x, distinct, steps[1])):
        step, multiple = steps
        return Choice(Column(name, kind, step=step, multiple=multiple if multiple > step else None))
    is_skewed = distinct[0] > 0 and distinct[-1] > SKEWED * np.median(x)
    return Choice(Column(name, "positive" if is_skewed else "real"))


def _of_whole_numbers(column: Column, x: Array, ends: Sequence[bool]) -> Choice:
    """Return the kind of whole numbers ``x`` ``(n,)``, which may start or end at a value of theirs.

    ``ends`` says whether many rows hold the smallest and the largest value. Counts start at 0, or
    at 1 if 1 is the smallest value and enough rows hold it.
    """
    low, high = float(x.min()), float(x.max())
    starts_at_1 = low == 1 and (x == 1).sum() >= max(PEAK_ROWS, PEAK_SHARE * len(x))
    start = low if low != 0 and (ends[0] or starts_at_1) else None
    end = high if ends[1] else None
    if start is None and end is None:
        return Choice(replace(column, kind="integer" if low < 0 else "count"))
    first = None if low < 0 else 0.0
    column = replace(column, kind="integer", low=first if start is None else start, high=end)
    shown = [
        f"{verb} {value:.15g}, which {(x == value).sum()} of {len(x)} rows hold"
        for verb, value in (("starts at", start), ("ends at", end))
        if value is not None
    ]
    problem = f"{' and '.join(shown)}; no sample lies beyond"
    wider = SetKind(column.name, column.without_ends.word)
    return Choice(column, Notice(problem, column.name, advice=(("allow others", wider),)))


def _kind_of_decimals(x: Array, distinct: Array, step: float) -> str | None:
    """Return the kind of numbers with decimals ``x`` ``(n,)``, of which many rows hold one value.

    Samples of the kind hold this value as often as rows. The result is ``None`` for other numbers.
    """
    if distinct[0] >= 0:
        return "count" if distinct[0] == 0 and is_peak(x, 0.0, step) else None
    values, counts = np.unique(x, return_counts=True)
    most = counts.max()
    # In rounded numbers without a peak, neighbours of the most frequent value may be rare by chance
    others = (len(x) - most) / (len(values) - 1)
    is_alone = most > OTHERS * others and is_peak(x, values[counts.argmax()], step)
    return "integer" if is_alone else None


def _of_years(x: Array, name: str) -> Choice:
    """Return the choice for whole numbers ``x`` ``(n,)`` that increase like years."""
    problem = f"is taken as years, {x[0]:.0f} to {x[-1]:.0f}"
    notice = Notice(problem, name, advice=(leave_out(name),))
    return Choice(Column(name, "integer", step=1.0), notice)


def are_whole(x: Array) -> bool:
    """Return whether the numbers ``x`` ``(n,)`` are whole."""
    return bool(len(x)) and bool((np.abs(x) <= LARGEST_WHOLE).all()) and not (x % 1).any()


def _number_the_rows(x: Array) -> bool:
    """Return whether whole numbers ``x`` ``(n,)`` increase by less than 2 on average."""
    steps = np.diff(x)
    return len(x) >= LEAST_NUMBERED and bool((steps > 0).all()) and steps.mean() < 2


def _identifier(name: str, problem: str, aim: str, remedy: SetKind) -> Choice:
    consequence = "so it is excluded as an identifier; samples number their rows from 1 instead"
    advice = ((aim, remedy), leave_out(name))
    notice = Notice(f"{problem}, {consequence}", name, advice=advice[:1])
    return Choice(None, notice, Notice(f"{problem}, as an identifier does", name, advice=advice))


def _of_labels(known: pd.Series, name: str) -> Choice:
    """Choose the kind of a column of text, booleans, or text among numbers."""
    counts = _label_counts(known)
    if known.dtype == object:
        rows = counts.head(SOME)
        numeric = are_numbers(rows.index.to_series())
        if rows[numeric].sum() >= rows.sum() / 2:
            return _of_numbers_and_text(known, counts, name)
    ordered = bool(getattr(known.dtype, "ordered", False))
    if ordered or len(counts) <= MOST_LABELS:
        column = with_labels(known, _category(name))
        return Choice(column, _taken_as_category(column))
    first, row = label_text(known.iloc[0]), known.index[0]
    text = f"holds {first!r}, which is text; the column holds {len(counts)} different texts"
    advice = (("learn them as labels", _labels(name)), leave_out(name))
    refusal = Notice(text, name, row, advice)
    if len(counts) >= DISTINCT * len(known):
        problem = f"holds {len(counts)} different texts in {len(known)} rows"
        return replace(_identifier(name, problem, "learn labels", _labels(name)), refusal=refusal)
    column = _pooled(counts, name)
    most, rare = len(column.labels) - 1, len(column.pooled)
    problem = (
        f"holds {len(counts)} different texts; the {most} most frequent are labels of a category, "
        f"and the other {rare} are pooled in one label, from which samples draw"
    )
    return Choice(column, Notice(problem, name, advice=advice[:1]), refusal)


def _label_counts(known: pd.Series) -> pd.Series:
    """Return the number of rows of each label, by its text, the most frequent first."""
    values = known.value_counts()  # of a category of pandas, labels without rows too
    values = values[values > 0]
    texts = [label_text(label) for label in values.index]
    return values.groupby(texts).sum().sort_values(ascending=False, kind="stable")


def _pooled(counts: pd.Series, name: str) -> Column:
    """Return a category with the most frequent texts as labels, and one label for all others."""
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    frequent = sorted(text for text, _ in ranked[: MOST_LABELS - 1])
    rare = sorted((str(text), int(count)) for text, count in ranked[MOST_LABELS - 1 :])
    pool = f"{len(rare)} others"
    while pool in frequent:
        pool += " "
    return replace(_category(name), labels=(*frequent, pool), pooled=tuple(rare))


def _of_numbers_and_text(known: pd.Series, counts: pd.Series, name: str) -> Choice:
    """Choose what becomes of numbers with some text among them."""
    is_text = np.array([isinstance(value, str) for value in known])
    if not is_text.any() or are_numbers(pd.Series(known[is_text].unique()).astype(str)).any():
        return Choice(Column(name))  # numbers in another format: the fault names the format
    text, row = known[is_text].iloc[0], known.index[is_text][0]
    problem = f"holds {text!r}, which is not a number"
    advice: Sequence[Any] = [("learn labels", _labels(name))]
    refusal = Notice(problem, name, row, tuple(advice))
    if len(counts) <= MOST_LABELS:
        column = with_labels(known, _category(name))
        said = f"{problem}; the column is taken as a category of {len(column.labels)} labels"
        return Choice(column, Notice(said, name, row), refusal)
    advice = [("mark missing values", ReadAsMissing(text)), *advice]
    rows = f"in {is_text.sum()} row{'s' * int(is_text.sum() > 1)}"
    said = f"holds text among numbers {rows}, such as {text!r}, which counts as a missing value"
    numbers = _of_numbers(known[~is_text].astype(np.float64), name)
    return Choice(numbers.column, Notice(said, name, advice=tuple(advice)), refusal, True)
