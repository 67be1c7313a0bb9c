"""Dates as numbers: the days, or the seconds, since 1970-01-01."""

from __future__ import annotations

import datetime
import re
import warnings
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from flows.core.arrays import Array
from flows.tables.columns.field import Choice, Label
from flows.tables.columns.kinds.whole import Whole
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, SetKind, TableError
from flows.tables.columns.types import cast
from flows.tables.columns.values import label_text

DAY = 86_400  # seconds
STEPS = (3_600, 60, 1)  # of times of day, in seconds: hours, minutes, seconds
GUESSED = 20  # different texts from which formats are guessed
# Samples beyond these dates become the nearer one; pandas has nanoseconds in this range only
EARLIEST, LATEST = np.datetime64("1678-01-01", "s"), np.datetime64("2262-01-01", "s")


@dataclass(frozen=True)
class Date(Whole):
    """Dates, in one format.

    Args:
        unit: ``"days"`` or ``"seconds"``: a number is the time since 1970-01-01 in this unit.
        form: the format of dates in text, as of ``strftime``; ``None`` for dates of pandas.
    """

    unit: str | None = None
    form: str | None = None

    kind: ClassVar[str] = "date"
    words: ClassVar[tuple[str, ...]] = ("date",)
    is_numeric: ClassVar[bool] = False

    @classmethod
    def choose(cls, known: pd.Series) -> Choice | None:
        """Take dates of pandas, and text of which each value is a date in one format."""
        if not are_dates(known):
            return None
        name = str(known.name)
        found = cls(name).with_values(known)
        problem = "is taken as dates" + (f" in the format {found.form}" if found.form else "")
        advice = (("learn labels", SetKind(name, "category")),)
        return Choice(found, Notice(problem, name, advice=advice, together="are taken as dates"))

    def with_values(self, known: pd.Series) -> Self:
        """Return the field with the unit, the step and the format of its known values.

        The unit is a day if no value has a time of day, and else a second; the step is then an
        hour, a minute or a second. Raises ``TableError`` for values that are not dates.
        """
        if known.dtype.kind == "f":  # such as 20250131
            known = known.map(label_text).astype(object)
        form = None
        if known.dtype == object and len(known) and isinstance(known.iloc[0], str):
            form = find_format(known)
            if form is None:
                read = pd.to_datetime(known, errors="coerce", format="mixed", utc=True)
                wrong = [*np.flatnonzero(read.isna()), 0][0]
                what = f"holds {known.iloc[wrong]!r}; no format of dates, such as 2026-01-31 or "
                what += "31.01.2026, fits all values"
                raise TableError([Notice(what, self.name, known.index[wrong])])
        found = replace(self, unit="seconds", form=form)
        seconds = found.numbers(known)
        if not (seconds % DAY).any():
            return replace(found, unit="days")
        step = next((step for step in STEPS if not (seconds % step).any()), 1)
        return replace(found, step=float(step))

    def fitted(self, x: Array, *, is_rounded: bool) -> Self:
        return self

    def about_values(self, x: Array) -> list[Notice]:
        return []

    def numbers(self, values: pd.Series, *, is_fit: bool = False) -> Array:
        """Return dates as numbers in the unit of the column, ``(n,)``.

        Text is read in the format of the column, or else as an ISO date. Raises ``TableError`` for
        a value that is not a date.
        """
        if values.dtype.kind == "f":
            values = values.map(label_text, na_action="ignore").astype(object)
        read = pd.to_datetime(values, format=self.form, errors="coerce", utc=True)
        if (unread := read.isna() & values.notna()).any():
            iso = pd.to_datetime(values[unread], format="ISO8601", errors="coerce", utc=True)
            read[unread] = iso
        wrong = np.flatnonzero(read.isna() & values.notna())
        if len(wrong):
            problem = f"holds {values.iloc[wrong[0]]!r}, which is not a date"
            if self.form:
                problem += f" in the format {self.form}"
            raise TableError([Notice(problem, self.name, values.index[wrong[0]])])
        seconds = read.dt.tz_localize(None).to_numpy("datetime64[s]")
        found = seconds.astype(np.int64).astype(np.float64)
        return np.where(np.isnat(seconds), np.nan, found / (DAY if self.unit == "days" else 1))

    def misread(self, text: str) -> str:
        if re.fullmatch(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?", text.strip()):
            return ""
        try:
            datetime.datetime.strptime(text.strip(), self.form or "")
        except ValueError:
            return "which is neither a date in the format of the column nor like 2026-01-31"
        return ""

    def shown(self, x: Array) -> Array:
        return x

    def restored(
        self, x: Array, generator: np.random.Generator, rare: Set[Label] | None = None
    ) -> pd.Series:
        return cast(self.dates(x, self.form), self.dtype)

    def natural_types(self) -> tuple[str, ...]:
        return ()

    def points(self, x: Array, *, is_distance: bool = False) -> pd.Series:
        return pd.Series(x) if is_distance else self.dates(x, self.form)

    def text(self, x: float) -> str:
        return str(self.dates(np.array([x]), self.form)[0])

    def short_text(self, x: float) -> str:
        return str(self.dates(np.array([x]), "%Y-%m-%d")[0])

    @property
    def scale(self) -> float:
        return 1.0 if self.unit == "days" else 1 / DAY

    @property
    def ticks(self) -> Callable[[float], str]:
        return self.short_text

    def dates(self, x: Array, form: str | None) -> pd.Series:
        """Return numbers ``(n,)`` as text in a format, or as dates of pandas.

        A number that is ``NaN`` becomes a missing value.
        """
        seconds = np.round(x * (DAY if self.unit == "days" else 1))
        missing = np.isnan(seconds)
        limits = EARLIEST.astype(np.int64), LATEST.astype(np.int64)
        whole = np.where(missing, 0, seconds).clip(*limits).astype(np.int64)
        dates = pd.Series(whole.astype("datetime64[s]")).mask(missing)
        if form is None:
            return dates
        shown = dates.dt.tz_localize("UTC") if "%z" in form else dates
        return shown.dt.strftime(form).astype(object)


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
                form = pd.tseries.api.guess_datetime_format(word, dayfirst=day_first)
            if form is None or form == "%Y":  # a year is a number
                continue
            if form.endswith("%z") and words.str.endswith("Z").all():
                form = form.removesuffix("%z") + "Z"  # as samples show it
            if pd.to_datetime(words, format=form, errors="coerce", utc=True).notna().all():
                return form
    return None
