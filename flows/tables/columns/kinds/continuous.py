"""Numbers with decimals: real, positive, and between two bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from flows.core.arrays import Array, rounded
from flows.tables.columns.closed_ends import are_far
from flows.tables.columns.field import Choice, Field, Label
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Advice, Notice, ReadAsMissing, SetKind, leave_out
from flows.tables.columns.rounding import common_step, decimal_steps
from flows.tables.columns.types import LARGEST_WHOLE, are_seconds, cast, to_durations
from flows.tables.columns.values import are_same_in_single, to_floats

if TYPE_CHECKING:
    from flows.tables.columns.lines import Line, Rise

NINES = "hold a number of nines, far from all other values"
ROUNDED = "are rounded, so training adds uniform noise to them"
NUMBERED = "hold a different whole number in each row, as identifiers do"
ZEROS = "hold 0 and no other sign, but samples may have both signs"
PER_LABEL = 20  # rows of each value of a column that may be a category, on average
FEW = 20  # values of a column about which there are notices, at least
FACTOR = 5  # numbers above 0 are positive if the largest is more than this many times the smallest
SKEWED = 10  # the largest of skewed numbers above 0 is more than this many times their median
# Of less skewed numbers, the range above the median is more than LONG times the range below
LONG = 2
MORE = 2  # decimals of means and quantiles with a sign, beyond those of the values
NEAR = 0.1  # share of the median below which the map of positive numbers is a logarithm, at least


@dataclass(frozen=True)
class Number(Field):
    """Numbers: what all kinds but labels and dates share.

    Args:
        step: the step of rounded values; ``None`` if the values are not rounded.
    """

    step: float | None = None

    is_numeric: ClassVar[bool] = True
    may_be_whole: ClassVar[bool] = True  # whether whole numbers, which have no bounds, may do

    def numbers(self, values: pd.Series, *, is_fit: bool = False) -> Array:
        x = to_floats(values, self.name, is_fit=is_fit)
        if self.decimals is None:
            return x
        # New rows of a column that was read as it was written (``as_written``)
        written = np.round(x, self.decimals)
        return np.where(are_same_in_single(written, x), written, x)

    def fitted(self, x: Array, *, is_rounded: bool) -> Self:
        return replace(self, step=common_step(x)) if is_rounded else self

    def about_values(self, x: Array) -> list[Notice]:
        """Return a notice on a number of nines, such as -999, that is far from all others."""
        distinct, counts = np.unique(x, return_counts=True)
        for mark, count, others in (
            (distinct[0], counts[0], distinct[1:]),
            (distinct[-1], counts[-1], distinct[:-1]),
        ):
            gap = np.abs(others - mark).min()
            if set(f"{abs(mark):g}") == {"9"} and gap > np.ptp(others):
                rows = f"{count} row{'s' * int(count > 1)}"
                problem = f"holds {mark:g} in {rows}, far from all other values"
                advice = (("read it as missing", ReadAsMissing(f"{mark:g}")),)
                return [Notice(problem, self.name, advice=advice, together=NINES)]
        return []

    def about_samples(self, x: Array, *, is_rounded: bool) -> list[Notice]:
        if not is_rounded:
            return []
        distinct = np.unique(x)
        advice: Advice = ()
        problem = f"holds {len(distinct)} distinct values in {len(x)} rows"
        if whole := self._as_whole(x):
            problem += f", in steps of {whole.cell:g}"
            if self.may_be_whole:
                to_steps = SetKind(self.name, whole.word)
                advice = ((f"draw samples in steps of {whole.cell:g}", to_steps),)
                if PER_LABEL * len(distinct) <= len(x) and are_far(distinct, whole.cell):
                    advice += (("draw only these values", SetKind(self.name, "category")),)
        problem += "; equal values have no density, so training adds uniform noise to them"
        return [Notice(problem, self.name, advice=advice, together=ROUNDED)]

    def _as_whole(self, x: Array) -> Field | None:
        """Return the kind of multiples of a step that holds all values ``x`` ``(n,)``, if any.

        The kind keeps the sign: samples of an integer may be below and above 0.
        """
        steps = [float(rounded(self.step, 6))] if self.step else []
        if decimal := decimal_steps(np.unique(x)):
            steps.append(decimal[1])
        for step in steps:
            word = f"count:{step!r}" if x.min() >= 0 else f"integer:{step!r}"
            if x.max() <= 0:
                word = f"integer::0:{step!r}"
            whole = Field.parse(self.name, word)
            if whole.holds(x).all():
                return whole
        return None

    @property
    def cell(self) -> float:
        return self.step or 0.0

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        # Values that rows hold are multiples of the step, and noise spreads them over their cells
        below, above = (self.cell / 2 if self._is_on_step(end) else 0.0 for end in (low, high))
        return super().range_of(low - below, high + above)

    def _is_on_step(self, x: float) -> bool:
        """Return whether a value is a multiple of the step of rounded values."""
        if self.is_discrete or not self.step or not math.isfinite(x):
            return False  # whole numbers have their own cells
        return math.isclose(round(x / self.step) * self.step, x, rel_tol=1e-9)

    def shown(self, x: Array) -> Array:
        if self.decimals is None:
            return x
        nearest, unit = np.round(x, self.decimals), 10.0**-self.decimals
        low, high = self.bounds
        nearest = np.where(nearest <= low, np.round(nearest + unit, self.decimals), nearest)
        nearest = np.where(nearest >= high, np.round(nearest - unit, self.decimals), nearest)
        return np.where((low < nearest) & (nearest < high), nearest, x)

    def computed(self, x: Array) -> Array:
        return x if self.decimals is None else np.round(x, self.decimals)

    @property
    def is_whole(self) -> bool:
        """Whether samples are whole numbers."""
        return self.decimals == 0

    def restored(
        self, x: Array, generator: np.random.Generator, rare: Set[Label] | None = None
    ) -> pd.Series:
        is_text = isinstance(self.dtype, str) and self.dtype.startswith("str")
        if self.is_whole and is_text:  # 7 and not 7.0
            whole = pd.Series(x).clip(-LARGEST_WHOLE, LARGEST_WHOLE).astype("Int64")
            return cast(whole, self.dtype)
        if self.is_whole and self.dtype is None and not np.isnan(x).any():
            return pd.Series(x.clip(-LARGEST_WHOLE, LARGEST_WHOLE).astype(np.int64))
        return cast(x, self.dtype)

    def points(self, x: Array, *, is_distance: bool = False) -> pd.Series:
        if self.spelling is not None:
            return self.spelling.write(pd.Series(x), more=MORE)
        return to_durations(x) if are_seconds(self.dtype) else pd.Series(x)

    def natural_types(self) -> tuple[str, ...]:
        return ("int64", "int64[pyarrow]") if self.is_whole else ("float64", "double[pyarrow]")

    @property
    def details(self) -> str:
        return f", with noise of width {self.step:.3g}" if self.step else ""


@dataclass(frozen=True)
class Real(Number):
    """Any numbers."""

    kind: ClassVar[str] = "real"
    words: ClassVar[tuple[str, ...]] = ("real",)

    @classmethod
    def choose(cls, known: pd.Series) -> Choice | None:
        """Take all numbers that no other kind takes.

        A notice names the remedy for numbers that may be identifiers.
        """
        name = str(known.name)
        if not may_identify(known):
            return Choice(cls(name))
        problem = "holds a different whole number in each row, as an identifier does"
        notice = Notice(problem, name, advice=(leave_out(name),), together=NUMBERED)
        return Choice(cls(name), notice)

    def about_samples(self, x: Array, *, is_rounded: bool) -> list[Notice]:
        """Also return a notice on numbers that end at 0, such as amounts of money."""
        notices = super().about_samples(x, is_rounded=is_rounded)
        rows = int((x == 0).sum())
        whole = self._as_whole(x) if rows and 0 in (x.min(), x.max()) else None
        if whole is None:
            return notices
        side = "below" if x.min() == 0 else "above"
        problem = f"holds 0 in {rows} of {len(x)} rows and no value {side} 0"
        problem += ", but samples may be"
        advice = ((f"draw no sample {side} 0", SetKind(self.name, whole.word)),)
        return [*notices, Notice(problem, self.name, advice=advice, together=ZEROS)]


@dataclass(frozen=True)
class Positive(Number):
    """Numbers above 0, learned as logarithms, about as square roots, or about as they are.

    Args:
        farthest: the largest value of the fitted table, beyond which the map to the line bends.
            ``None`` for a map that is a logarithm everywhere.
        bend: the distance from 0 within which the map bends: the smallest value of the table, or a
            tenth of the median if that is larger. ``None`` for a logarithm up to the largest value.
        is_straight: whether the map is straight beyond ``bend``, and not about the square root.
    """

    farthest: float | None = None
    bend: float | None = None
    is_straight: bool = False

    kind: ClassVar[str] = "positive"
    words: ClassVar[tuple[str, ...]] = ("positive",)

    @classmethod
    def choose(cls, known: pd.Series) -> Choice | None:
        """Take numbers above 0 of which the largest is more than five times the smallest.

        Numbers that may be identifiers are left to ``Real``.
        """
        x = known.to_numpy(np.float64)
        if not 0 < FACTOR * x.min() < x.max() or may_identify(known):
            return None
        return Choice(cls(str(known.name)).with_values(known))

    def with_values(self, known: pd.Series) -> Self:
        x = self.numbers(known, is_fit=True)
        if not len(x) or x.min() <= 0 or x.max() > SKEWED * np.median(x):
            return self
        least, middle = x.min(), np.median(x)
        is_straight = bool(x.max() - middle <= LONG * (middle - least))
        bend = float(max(least, NEAR * middle))
        return replace(self, bend=bend, is_straight=is_straight)

    def fitted(self, x: Array, *, is_rounded: bool) -> Self:
        return replace(super().fitted(x, is_rounded=is_rounded), farthest=float(x.max()))

    @property
    def without_ends(self) -> Number:
        """Any numbers, unless these are skewed: a given column has no samples."""
        return self if self.bend is None else Real(self.name)

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, math.inf

    @property
    def line(self) -> Line:
        from flows.tables.columns.lines import HalfLine, Logarithm, SoftRise, SquareRoot

        rise: Rise = Logarithm()
        if self.bend is not None:
            rise = SoftRise(self.bend) if self.is_straight else SquareRoot(self.bend)
        return HalfLine(rise, 0.0, top=math.inf if self.farthest is None else self.farthest)


@dataclass(frozen=True)
class Interval(Number):
    """Numbers strictly between two bounds, which only a user names.

    Args:
        low: the lower bound.
        high: the upper bound.
    """

    low: float = -math.inf
    high: float = math.inf

    kind: ClassVar[str] = "interval"
    words: ClassVar[tuple[str, ...]] = ("interval:LOW:HIGH",)
    may_be_whole: ClassVar[bool] = False

    @classmethod
    def named(cls, name: str, texts: Sequence[str]) -> Interval | None:
        match as_numbers(texts):
            case [low, high] if -math.inf < low < high < math.inf:
                return cls(name, low=low, high=high)
        return None

    @property
    def word(self) -> str:
        return f"interval:{self.low:.15g}:{self.high:.15g}"

    @property
    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def line(self) -> Line:
        from flows.tables.columns.lines import Between

        return Between(self.low, self.high)


def may_identify(known: pd.Series) -> bool:
    """Return whether numbers may identify the rows: they are whole, distinct and close together."""
    x = known.to_numpy(np.float64)
    x = x[np.isfinite(x)]
    are_distinct = len(x) >= FEW and known.is_unique and not (x % 1).any()
    return bool(are_distinct and np.ptp(x) < 2 * len(x))


def as_numbers(texts: Sequence[str]) -> list[float]:
    """Return the parts of a word as numbers; an empty list if one is no number."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        return []
