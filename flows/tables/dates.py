"""Dates as numbers: the days, or the seconds, since 1970-01-01."""

from __future__ import annotations

import datetime
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

from flows.core.arrays import Array
from flows.tables.columns import Column
from flows.tables.notices import Notice, TableError
from flows.tables.values import label_text

DAY = 86_400  # seconds
STEPS = (3_600, 60, 1)  # of times of day, in seconds: hours, minutes, seconds
GUESSED = 20  # different texts from which formats are guessed
# Samples beyond these dates become the nearer one; pandas has nanoseconds in this range only
EARLIEST, LATEST = np.datetime64("1678-01-01", "s"), np.datetime64("2262-01-01", "s")


def are_dates(values: pd.Series) -> bool:
    """Return whether the known ``values`` of a column, none of which is missing, are dates."""
    if values.dtype.kind == "M":
        return True
    if values.dtype != object or values.empty:
        return False
    first = values.iloc[0]
    if isinstance(first, datetime.date):
        return all(isinstance(value, datetime.date) for value in values)
    return isinstance(first, str) and find_format(values) is not None


def find_format(values: pd.Series) -> str | None:
    """Return the first format, as of ``strftime``, in which all texts are dates, or ``None``.

    Formats are guessed from the first texts, with the month before the day and the other way round.
    """
    words = pd.Series(values.astype(str).unique())
    for day_first in (False, True):
        for word in words.head(GUESSED):
            with warnings.catch_warnings():  # that a word has its day first after all
                warnings.simplefilter("ignore", UserWarning)
                form = guess_datetime_format(word, dayfirst=day_first)
            if form is None or form == "%Y":  # a year is a number
                continue
            if pd.to_datetime(words, format=form, errors="coerce", utc=True).notna().all():
                return form
    return None


def date_column(values: pd.Series, column: Column) -> Column:
    """Return a date ``column`` with the unit, the step and the format of its known ``values``.

    The unit is a day if no value has a time of day, and else a second; the step is then an hour, a
    minute or a second. Raises ``TableError`` for values that are not dates.
    """
    if values.dtype.kind == "f":  # such as 20250131
        values = values.map(label_text).astype(object)
    form = None
    if values.dtype == object and len(values) and isinstance(values.iloc[0], str):
        form = find_format(values)
        if form is None:
            read = pd.to_datetime(values, errors="coerce", format="mixed", utc=True)
            wrong = [*np.flatnonzero(read.isna()), 0][0]
            problem = f"holds {values.iloc[wrong]!r}, which is not a date in the format of others"
            raise TableError([Notice(problem, column.name, values.index[wrong])])
    column = replace(column, unit="seconds", form=form)
    seconds = to_times(values, column)
    if not (seconds % DAY).any():
        return replace(column, unit="days")
    step = next((step for step in STEPS if not (seconds % step).any()), 1)
    return replace(column, step=float(step))


def to_times(values: pd.Series, column: Column) -> Array:
    """Return dates as numbers in the unit of their ``column``, ``(n,)``; ``NaN`` if missing.

    Text is read in the format of the column, or else as an ISO date. Raises ``TableError`` for a
    value that is not a date.
    """
    if values.dtype.kind == "f":
        values = values.map(label_text, na_action="ignore").astype(object)
    read = pd.to_datetime(values, format=column.form, errors="coerce", utc=True)
    if (unread := read.isna() & values.notna()).any():
        read[unread] = pd.to_datetime(values[unread], format="ISO8601", errors="coerce", utc=True)
    wrong = np.flatnonzero(read.isna() & values.notna())
    if len(wrong):
        problem = f"holds {values.iloc[wrong[0]]!r}, which is not a date"
        if column.form:
            problem += f" in the format {column.form}"
        raise TableError([Notice(problem, column.name, values.index[wrong[0]])])
    seconds = read.dt.tz_localize(None).to_numpy("datetime64[s]")
    found = seconds.astype(np.int64).astype(np.float64)
    return np.where(np.isnat(seconds), np.nan, found / (DAY if column.unit == "days" else 1))


def from_times(x: Array, column: Column) -> pd.Series:
    """Return numbers ``(n,)`` as dates: text in the format of the ``column``, or dates of pandas.

    A number that is ``NaN`` becomes a missing value.
    """
    seconds = np.round(x * (DAY if column.unit == "days" else 1))
    missing = np.isnan(seconds)
    limits = EARLIEST.astype(np.int64), LATEST.astype(np.int64)
    whole = np.where(missing, 0, seconds).clip(*limits).astype(np.int64)
    dates = pd.Series(whole.astype("datetime64[s]")).mask(missing)
    if column.form is None:
        return dates
    shown = dates.dt.tz_localize("UTC") if "%z" in column.form else dates
    return shown.dt.strftime(column.form).astype(object)
