"""Clock times that are written as numbers, HHMM, learned as minutes since midnight."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from flows.core.arrays import Array, Mask
from flows.tables.columns.field import Choice, Field, Label
from flows.tables.columns.kinds.whole import Whole, are_years
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, SetKind, TableError
from flows.tables.columns.types import cast
from flows.tables.columns.values import to_floats

HOUR, DAY = 60.0, 1440.0  # minutes
TEXT = r"\d{4}|\d{1,2}:\d\d"  # times in text, such as 0517 and 5:17
# Numbers are clock times if they are so many different ones, over so many hours: by chance, 30
# numbers have digits below 60 at their end with a probability of 2e-7. This share of them is in the
# second half of an hour: numbers such as 101, 102, 201 count things in groups
LEAST_TIMES, LEAST_HOURS, LEAST_LATE = 30, 6, 0.25
COARSE = 25  # multiples of 25 may be any numbers


@dataclass(frozen=True)
class Time(Whole):
    """Clock times HHMM, such as 517 or 1430. A number of the column is the minutes since midnight.

    A table may write midnight as 0 or as 2400, and a sample is written as the table does.

    Args:
        low: the first time, in minutes.
        high: the last time, in minutes.
        mark: what stands between the hour and the minute in text, such as ``":"``; ``None`` for
            numbers.
    """

    low: float | None = 0.0
    high: float | None = DAY - 1
    mark: str | None = None

    kind: ClassVar[str] = "time"
    words: ClassVar[tuple[str, ...]] = ("time",)
    is_numeric: ClassVar[bool] = False

    @classmethod
    def choose(cls, known: pd.Series) -> Choice | None:
        """Take text such as 0517 and 05:17 that ``are_clock_times``.

        Numbers are taken later (``of_numbers``), because they may be in an equation.
        """
        if known.dtype != object or not all(isinstance(value, str) for value in known):
            return None
        texts = known.astype(str)
        if not texts.str.fullmatch(TEXT).all():
            return None
        if not are_clock_times(texts.str.replace(":", "").to_numpy(np.float64)):
            return None
        found = cls(str(known.name)).with_values(known)
        return Choice(found, found.about("category"))

    @classmethod
    def of_numbers(cls, field: Field, x: Array) -> Self | None:
        """Return the field for numbers ``x`` that ``are_clock_times``, and ``None`` for others.

        Args:
            field: the kind that the column has otherwise.
            x: the known numbers as the table writes them, ``(n,)``.
        """
        if not are_clock_times(x):
            return None
        found = cls(field.name, decimals=0, text_is_missing=field.text_is_missing)
        return found._with_ends(x)

    def about(self, other: str) -> Notice:
        """Return the notice that the column is taken as clock times, not as another kind."""
        problem = "is taken as clock times, HHMM, and learned as minutes"
        aim = "learn labels" if other == "category" else "learn the numbers"
        advice = ((aim, SetKind(self.name, other)),)
        together = "are taken as clock times, HHMM, and learned as minutes"
        return Notice(problem, self.name, advice=advice, together=together)

    def with_values(self, known: pd.Series) -> Self:
        """Return the field with the ends and the spelling of its known values.

        Raises ``TableError`` for values that are not clock times.
        """
        texts = [value for value in known if isinstance(value, str)]
        mark = ":" if any(":" in text for text in texts) else ""
        found = self._with_ends(self._digits(known, is_fit=True))
        return replace(found, mark=mark if texts else None)

    def _with_ends(self, x: Array) -> Self:
        """Return the field for digits ``x`` ``(n,)``: its ends, and the multiple of all times.

        Midnight is 0 or 2400, or both, as in the table. A multiple divides an hour.
        """
        minutes = to_minutes(x)
        step = float(np.gcd.reduce(np.unique(minutes).astype(np.int64))) if len(x) else 1.0
        step = step if step and HOUR % step == 0 else 1.0
        has_end = bool((minutes == DAY).any())
        low = step if has_end and not (minutes == 0).any() else 0.0
        high = DAY if has_end else DAY - step
        return replace(self, low=low, high=high, multiple=step if step > 1 else None)

    def fitted(self, x: Array, *, is_rounded: bool) -> Self:
        found = super().fitted(x, is_rounded=is_rounded)
        # A smooth density reaches beyond midnight by many cells, which must not end in one
        return found if found.peak else replace(found, edge=HOUR)

    def about_values(self, x: Array) -> list[Notice]:
        return []

    def numbers(self, values: pd.Series, *, is_fit: bool = False) -> Array:
        """Return clock times as minutes since midnight, ``(n,)``.

        Midnight is 0 or 1440. Raises ``TableError`` for a value that is not a clock time.
        """
        return to_minutes(self._digits(values, is_fit=is_fit))

    def _digits(self, values: pd.Series, *, is_fit: bool) -> Array:
        """Return clock times as numbers HHMM, ``(n,)``; the text 12:30 is 1230."""
        if values.dtype == object:
            values = values.map(_as_number)
        x = to_floats(values, self.name, is_fit=is_fit)
        wrong = np.flatnonzero(~np.isnan(x) & ~are_clock_digits(x))
        if len(wrong):
            problem = f"holds {x[wrong[0]]:g}, which is not a clock time such as 517 or 1430"
            raise TableError([Notice(problem, self.name, values.index[wrong[0]])])
        return x

    @property
    def allowed(self) -> str:
        return f"clock times from {self.text(self.ends[0])} to {self.text(self.ends[1])}"

    def shown(self, x: Array) -> Array:
        return x

    def computed(self, x: Array) -> Array:
        """Return computed minutes as they are written, and ``NaN`` outside of a day."""
        found = super().computed(x)
        return np.where((found >= 0) & (found <= DAY), found, np.nan)

    def restored(
        self, x: Array, generator: np.random.Generator, rare: Set[Label] | None = None
    ) -> pd.Series:
        if self.mark is not None:
            return cast(pd.Series([self.text(each) for each in x], dtype=object), self.dtype)
        return super().restored(to_digits(x), generator, rare)

    def points(self, x: Array, *, is_distance: bool = False) -> pd.Series:
        """Return means and quantiles as clock times, to the minute, and distances in minutes."""
        return pd.Series(x if is_distance else to_digits(np.round(x)))

    def text(self, x: float) -> str:
        hour, minute = divmod(round(x), int(HOUR))
        if self.mark is None:
            return f"{100 * hour + minute}"
        return f"{hour:02d}{self.mark}{minute:02d}"

    def short_text(self, x: float) -> str:
        hour, minute = divmod(round(x), int(HOUR))
        return f"{hour:02d}:{minute:02d}"

    @property
    def ticks(self) -> Callable[[float], str]:
        return self.short_text

    @property
    def closed(self) -> str:
        return ""

    @property
    def details(self) -> str:
        step = f", samples are multiples of {self.multiple:g} minutes" if self.multiple else ""
        return f", HHMM{step}"


def are_clock_digits(x: Array) -> Mask:
    """Return which numbers ``x`` ``(n,)`` are HHMM, from 0 to 2400."""
    return (x % 1 == 0) & (x % 100 < HOUR) & (x >= 0) & (x <= 2400)


def are_clock_times(x: Array) -> bool:
    """Return whether known numbers ``x`` ``(n,)`` are clock times, as their digits tell.

    All are HHMM. They are at least 30 different times over at least six hours, of which at least a
    quarter is in the second half of an hour. They are no years, and not only multiples of 25.
    """
    if not len(x) or not are_clock_digits(x).all() or are_years(x):
        return False
    different = np.unique(x)
    minutes, hours = different % 100, np.unique(different // 100)
    is_late = minutes >= HOUR / 2
    return bool(
        len(different) >= LEAST_TIMES
        and len(hours) >= LEAST_HOURS
        and is_late.mean() >= LEAST_LATE
        and (minutes % COARSE).any()
    )


def to_minutes(x: Array) -> Array:
    """Return clock times ``x``, HHMM, as minutes since midnight, ``(n,)``."""
    return HOUR * np.floor(x / 100) + x % 100


def to_digits(minutes: Array) -> Array:
    """Return whole minutes since midnight as clock times, HHMM, ``(n,)``."""
    return 100 * np.floor(minutes / HOUR) + minutes % HOUR


def _as_number(value: Any) -> Any:
    """Return a text such as 0517 or 5:17 as the number 517, and other values as they are."""
    found = re.fullmatch(r"(\d{1,2}):?(\d\d)", value) if isinstance(value, str) else None
    return float(found[1] + found[2]) if found else value
