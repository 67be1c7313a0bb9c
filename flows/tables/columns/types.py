"""The types of columns in data frames, as JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flows.core.arrays import plain
from flows.tables.columns.lazy import pd
from flows.tables.columns.values import are_durations, label_text

LARGEST_WHOLE = 2.0**53  # larger whole numbers are not all floating-point numbers
DURATION = "timedelta64[ns]"  # the type of durations of Python in samples
# The beginnings of the types of durations and of dates, also of Arrow
DURATIONS = ("timedelta", "duration")
DATES = ("date", "timestamp")


def type_of(values: pd.Series) -> Any:
    """Return the type of a column as JSON can hold it; ``cast`` reads it."""
    kind = values.dtype
    if isinstance(kind, pd.CategoricalDtype):
        labels = [each if isinstance(each, str) else _plain(each) for each in kind.categories]
        return {"categories": labels, "ordered": bool(kind.ordered)}
    return DURATION if kind.kind == "O" and are_durations(values) else str(kind)


def to_durations(seconds: Any) -> pd.Series:
    """Return numbers of seconds as durations of pandas, and ``NaN`` as a missing value."""
    return pd.to_timedelta(pd.Series(seconds, dtype=np.float64), unit="s")


def _plain(label: Any) -> Any:
    """Return a label as JSON can hold it: a number or a boolean as it is, others as text."""
    label = plain(label)
    return label if isinstance(label, int | float | bool) else str(label)


def cast(values: Any, kind: Any) -> pd.Series:
    """Return values as a column of the type ``kind``, which ``type_of`` returned.

    Values that do not fit the type, such as fractions in a column of whole numbers, become the
    nearest that do. ``None`` keeps the type that the values have.
    """
    series = pd.Series(values)
    if kind is None:
        return series
    if isinstance(kind, Mapping):
        places = {label_text(label): k for k, label in enumerate(kind["categories"])}
        codes = [places.get(label_text(each), -1) for each in series]
        return pd.Series(
            pd.Categorical.from_codes(codes, kind["categories"], ordered=kind["ordered"])
        )
    if are_seconds(kind):
        return to_durations(series).astype(kind)
    dtype = pd.api.types.pandas_dtype(kind)
    if dtype.kind in "iu" and series.dtype.kind == "f":
        numpy_type = np.dtype(getattr(dtype, "numpy_dtype", dtype.type))
        limits = np.iinfo(numpy_type)
        series = series.round().clip(
            max(limits.min, -LARGEST_WHOLE), min(limits.max, LARGEST_WHOLE)
        )
        if series.isna().any():
            return series  # a column that holds no value
    if dtype.kind == "M" and getattr(dtype, "tz", None) is not None:
        series = series.dt.tz_localize("UTC")
    return series.astype(dtype)


def are_times(kind: Any) -> bool:
    """Return whether a column of the type ``kind`` holds dates or durations."""
    return isinstance(kind, str) and kind.startswith((*DATES, *DURATIONS))


def are_seconds(kind: Any) -> bool:
    """Return whether numbers of a column of the type ``kind`` are the seconds of durations."""
    return isinstance(kind, str) and kind.startswith(DURATIONS)
