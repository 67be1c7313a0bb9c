"""Whole numbers and multiples of a step: integers and counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from flows.core.arrays import Array, ArrayOrTensor, Mask
from flows.tables.columns.closed_ends import are_far, closed_ends
from flows.tables.columns.field import Choice
from flows.tables.columns.kinds.continuous import Number, as_numbers
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, SetKind, TableError, leave_out
from flows.tables.columns.order import DISTINCT, LEAST_NUMBERED, YEARS
from flows.tables.columns.rounding import (
    CLEAR,
    ROUNDING,
    Peak,
    decimal_steps,
    find_peak,
    is_alone,
    is_peak,
)
from flows.tables.columns.types import LARGEST_WHOLE

if TYPE_CHECKING:
    from flows.tables.columns.lines import Line, Rise

FEW_CODES = 10  # different numbers far from each other, which may be codes, at most
CODES = "hold few whole numbers, far from each other"
ENDS = "have closed ends, which no sample passes"
EDGE = 0.5  # cells from a closed end within which the map bends
BESIDE = 10  # cells at an end, where the density of the values may change fast


@dataclass(frozen=True)
class Whole(Number):
    """Multiples of a step, which may have closed ends.

    Args:
        step: the step. It is 1 unless a user names another, or the values have decimals.
        low: the smallest value, if there is one. The bounds lie half a cell beyond the ends.
        high: the largest value, if there is one.
        multiple: the multiple of the step that divides all values of the fitted table, such as
            1,000 for incomes. Samples are multiples of this number; new rows may hold any multiple
            of the step. ``None`` means the step.
        farthest: the value of the fitted table that is farthest from the only bound, beyond which
            the map to the line bends. ``None`` for a map that is a logarithm everywhere.
        peak: a value that many rows hold, far from all others.
        edge: the distance from a closed end within which the map to the line bends; elsewhere the
            map is straight. ``None`` for other maps: a logit between two ends, as in files of
            version 0.4.0, and about the square root of the distance from one end.
    """

    step: float | None = 1.0
    low: float | None = None
    high: float | None = None
    multiple: float | None = None
    farthest: float | None = None
    peak: Peak | None = None
    edge: float | None = None

    is_discrete: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.peak is not None:  # a file holds a list
            object.__setattr__(self, "peak", Peak(*self.peak))

    def fitted(self, x: Array, *, is_rounded: bool) -> Self:
        ends = [end for end in self.ends if math.isfinite(end)]
        cell = self.cell
        found = replace(self, peak=find_peak(x, cell, ends))
        if len(ends) == 2:
            return replace(found, edge=EDGE * cell)
        if len(ends) == 1:
            farthest = float(x.max() if ends[0] == self.ends[0] else x.min())
            found = replace(found, farthest=farthest)
            if abs(ends[0]) > cell:  # counts and ranks start at 0 or 1
                return replace(found, edge=EDGE * cell)
        return found

    def about_samples(self, x: Array, *, is_rounded: bool) -> list[Notice]:
        return []

    @property
    def is_whole(self) -> bool:
        return (self.step or 0) % 1 == 0 or self.decimals == 0

    @property
    def cell(self) -> float:
        return self.multiple or self.step or 1.0

    @property
    def ends(self) -> tuple[float, float]:
        low = -math.inf if self.low is None else self.low
        return low, math.inf if self.high is None else self.high

    @property
    def bounds(self) -> tuple[float, float]:
        half = self.cell / 2  # a value stands for its cell
        return self.ends[0] - half, self.ends[1] + half

    @property
    def peak_cell(self) -> tuple[float, float] | None:
        if self.peak is None:
            return None
        half = self.cell / 2
        return self.peak.value - half, self.peak.value + half

    @property
    def breaks(self) -> tuple[float, ...]:
        from flows.tables.columns.lines import Around

        found, cell, (low, high), line = set[float](), self.cell, self.bounds, self.line
        if isinstance(line, Around):
            found |= {*line.breaks}
        elif self.peak is not None and self.peak_cell is not None:
            (start, end), gap = self.peak_cell, self.peak.gap
            found |= {start - gap, start, end, end + gap}
        if math.isfinite(low) and math.isfinite(high):  # many rows may hold an end
            found |= {low + cell, low + BESIDE * cell, high - BESIDE * cell, high - cell}
        return tuple(sorted(x for x in found if low < x < high))

    @property
    def line(self) -> Line:
        from flows.tables.columns.lines import (
            Around,
            Between,
            BetweenFromPeak,
            FromPeak,
            HalfLine,
            Logarithm,
            SoftRise,
            SquareRoot,
            Straight,
            StraightBetween,
        )

        (low, high), cell = self.bounds, self.cell
        at_end = self.peak is not None and self.peak.value in self.ends
        line: Line = Straight()
        if math.isfinite(low) and math.isfinite(high):
            line = Between(low, high)
            if self.edge is not None:
                line = StraightBetween(low, high, self.edge)
                if self.peak is not None and at_end:
                    line = BetweenFromPeak(low, high, self.peak, cell, self.edge)
        elif math.isfinite(low) or math.isfinite(high):
            bound, is_upper = (high, True) if math.isinf(low) else (low, False)
            if self.farthest is None:  # not fitted to a table
                return HalfLine(Logarithm(), bound, is_upper)
            rise: Rise = SoftRise(self.edge) if self.edge else SquareRoot(cell)
            if self.peak is not None and at_end:
                rise = FromPeak(self.peak, cell)
            top = bound - self.farthest if is_upper else self.farthest - bound
            line = HalfLine(rise, bound, is_upper, top)
        return line if self.peak is None or at_end else Around(line, self.peak, cell)

    def holds(self, x: Array) -> Mask:
        (low, high), steps = self.ends, count_steps(x, self.step or 1.0)
        return super().holds(x) & (low <= x) & (x <= high) & (steps == np.round(steps))

    @property
    def allowed(self) -> str:
        low, high = self.ends
        numbers = "whole numbers" if self.step == 1 else f"multiples of {self.step:.15g}"
        if math.isinf(low):
            return numbers if math.isinf(high) else f"{numbers} of at most {high:.15g}"
        if math.isinf(high):
            return f"{numbers} of at least {low:.15g}"
        return f"{numbers} from {low:.15g} to {high:.15g}"

    def computed(self, x: Array) -> Array:
        return super().computed(np.asarray(self._on_steps(x)))

    def _on_steps(self, x: Any) -> Any:
        """Return numbers rounded to multiples of the cell, an array or a tensor."""
        cell = self.cell
        # + 0.0 turns -0.0 into 0.0
        count, inverse = (x / cell).round() + 0.0, round(1 / cell)
        # 3 / 10 is 0.3; 3 * 0.1 is 0.30000000000000004
        return count / inverse if inverse * cell == 1 else count * cell

    def round(self, x: ArrayOrTensor) -> ArrayOrTensor:
        found = self._on_steps(x)
        low, high = self.ends
        if math.isinf(low) and math.isinf(high):
            return found
        return found.clip(max(low, -LARGEST_WHOLE), min(high, LARGEST_WHOLE))

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        cell = self.cell
        first, last = count_steps(np.array([low, high]), cell)
        return super().range_of((np.ceil(first) - 0.5) * cell, (np.floor(last) + 0.5) * cell)

    def cells_of(self, x: Array) -> Array:
        multiples = count_steps(x, self.cell)
        for value in x[multiples != np.round(multiples)][:1]:
            given = f"{value:.15g}" if self.is_numeric else self.text(value)
            why = f"is given as {given}, and samples are multiples of {self.cell:.15g}"
            why += ", so its probability is 0; give a range"
            raise TableError([Notice(why, self.name)])
        half = self.cell / 2
        return np.array([[value - half, value + half] for value in np.unique(x)])

    def within(self, low: float, high: float) -> Integer:
        """Return the field with ends, unless its own are nearer.

        Args:
            low: the smallest value.
            high: the largest value, perhaps infinite.
        """
        least, most = max(low, self.ends[0]), min(high, self.ends[1])
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        ends = {"low": least, "high": most if math.isfinite(most) else None}
        return Integer(**{**own, **ends})

    @property
    def closed(self) -> str:
        return " and ".join(f"{each:.15g}" for each in self.ends if math.isfinite(each) and each)

    @property
    def details(self) -> str:
        return f", samples are multiples of {self.multiple:g}" if self.multiple else ""


@dataclass(frozen=True)
class Count(Whole):
    """Multiples of a step of at least 0."""

    low: float | None = 0.0

    kind: ClassVar[str] = "count"
    words: ClassVar[tuple[str, ...]] = ("count", "count:STEP")

    @classmethod
    def named(cls, name: str, texts: Sequence[str]) -> Count | None:
        if not texts:
            return cls(name)
        match as_numbers(texts):
            case [step] if 0 < step < math.inf:
                return cls(name, step)
        return None

    @classmethod
    def choose(cls, known: pd.Series) -> Choice | None:
        """Take whole numbers, and numbers with decimals of which many rows hold one value.

        They are integers if one is below 0, if they have a closed end, or if they are years.
        """
        return _chosen(known)

    @property
    def word(self) -> str:
        return "count" if self.step == 1 else f"count:{self.step:.15g}"


@dataclass(frozen=True)
class Integer(Whole):
    """Multiples of a step, perhaps with closed ends."""

    kind: ClassVar[str] = "integer"
    words: ClassVar[tuple[str, ...]] = (
        "integer",
        "integer:STEP",
        "integer:LOW:HIGH",
        "integer:LOW:",
        "integer::HIGH",
        "integer:LOW:HIGH:STEP",
    )

    @classmethod
    def named(cls, name: str, texts: Sequence[str]) -> Integer | None:
        if not texts:
            return cls(name)
        if len(texts) == 1:
            found = as_numbers(texts)
            return cls(name, found[0]) if found and 0 < found[0] < math.inf else None
        ends = [text for text in texts[:2] if text]  # an end may be left out, but not be NaN
        known, step = np.array(as_numbers(ends)), as_numbers(texts[2:] or ["1"])
        if not len(known) or len(step) != 1 or not 0 < step[0] < math.inf:
            return None
        steps = count_steps(known, step[0])
        are_on_steps = np.isfinite(known).all() and (steps == np.round(steps)).all()
        if not are_on_steps or (len(known) == 2 and known[0] >= known[1]):
            return None
        left = iter(known.tolist())
        low, high = (next(left) if text else None for text in texts[:2])
        return cls(name, step[0], low, high)

    @property
    def word(self) -> str:
        if self.low is None and self.high is None:
            return "integer" if self.step == 1 else f"integer:{self.step:.15g}"
        low, high = ("" if end is None else f"{end:.15g}" for end in (self.low, self.high))
        return f"integer:{low}:{high}" + ("" if self.step == 1 else f":{self.step:.15g}")

    @property
    def without_ends(self) -> Whole:
        """The field without closed ends."""
        known = np.array([end for end in self.ends if math.isfinite(end)])
        is_count = self.low is not None and self.low >= 0 and not are_years(known)
        return (Count if is_count else Integer)(self.name, self.step, multiple=self.multiple)

    def refusal(self, x: float) -> str:
        clause = super().refusal(x)
        for wider in (self.without_ends, Integer(self.name, self.step)):
            if wider.word != self.word and wider.holds(np.array([x]))[0]:
                return f"{clause}; the kind {wider.word} allows it"
        return clause


def count_steps(x: Array, step: float) -> Array:
    """Return values ``x`` of any shape in steps, whole for a multiple of the step.

    The rounding errors of a few sums and products are ignored, as in ``rounding.count_decimals``.
    """
    steps = x / step
    whole = np.round(steps)
    with np.errstate(invalid="ignore"):  # infinities
        size = np.abs(steps)
        # 0.3 / 0.1 is 2.9999999999999996
        error = np.maximum(1e-15 * size, np.minimum(ROUNDING * size, CLEAR))
        near = np.abs(steps - whole) < 1e-6 + error
    return np.where(near, whole, steps)


def are_whole(x: Array) -> bool:
    """Return whether the numbers ``x`` ``(n,)`` are whole."""
    return bool(len(x)) and bool((np.abs(x) <= LARGEST_WHOLE).all()) and not (x % 1).any()


def increase_by_little(x: Array) -> bool:
    """Return whether numbers ``x`` ``(n,)`` increase from row to row, by less than 2 on average."""
    steps = np.diff(x)
    return len(x) >= LEAST_NUMBERED and bool((steps > 0).all()) and steps.mean() < 2


def are_years(x: Array) -> bool:
    """Return whether whole numbers ``x`` ``(n,)`` lie where years do."""
    return bool(YEARS[0] <= x.min() and x.max() <= YEARS[1])


def _chosen(known: pd.Series) -> Choice | None:
    """Return the integers or the counts for numbers; ``None`` for numbers with other decimals."""
    x, name = known.to_numpy(np.float64) + 0.0, str(known.name)  # -0.0 becomes 0.0
    if not are_whole(x):
        distinct = np.unique(x)
        steps = decimal_steps(distinct)
        found = _of_decimals(name, x, distinct)
        if steps is None or found is None:
            return None
        step, multiple = steps
        found = replace(found, step=step, multiple=multiple if multiple > step else None)
        # Small differences of large numbers may have an error that is too large for them
        return Choice(found) if found.holds(x).all() else None
    if increase_by_little(x):  # others identify the rows
        return _as_years(name, x)
    distinct = np.unique(x)
    multiple = float(np.gcd.reduce(distinct.astype(np.int64)))
    if not multiple:
        return None
    ends = closed_ends(x, multiple)
    if len(distinct) >= DISTINCT * len(x) and not any(ends):
        return _as_years(name, x) if are_years(x) else None
    return _of_whole_numbers(name, multiple if multiple > 1 else None, x, ends)


def _as_years(name: str, x: Array) -> Choice:
    """Return the kind of years, of which each row has another one."""
    problem = f"is taken as years, {x.min():.0f} to {x.max():.0f}"
    together = "are taken as years"
    notice = Notice(problem, name, advice=(leave_out(name),), together=together)
    return Choice(Integer(name), notice)


def _of_whole_numbers(
    name: str, multiple: float | None, x: Array, closed: tuple[bool, bool]
) -> Choice:
    """Return the kind of whole numbers ``x`` ``(n,)``: integers with closed ends, or counts.

    ``closed`` says which ends are closed. Counts start at 0; years, and numbers of which one is
    below 0, are no counts.
    """
    low, high = float(x.min()), float(x.max())
    start = low if low != 0 and closed[0] else None
    end = high if closed[1] else None
    is_count = low >= 0 and not are_years(x)
    if start is None and end is None:
        notice, distinct = None, np.unique(x)
        if len(distinct) <= FEW_CODES and are_far(distinct, multiple or 1.0):
            problem = f"holds {len(distinct)} different whole numbers, far from each other"
            advice = (("learn labels", SetKind(name, "category")),)
            notice = Notice(problem, name, advice=advice, together=CODES)
        cls = Count if is_count else Integer
        return Choice(cls(name, multiple=multiple), notice)
    first = 0.0 if is_count else None
    found = Integer(name, low=first if start is None else start, high=end, multiple=multiple)
    shown = [
        f"{verb} {value:.15g}, which {(x == value).sum()} of {len(x)} rows hold"
        for verb, value in (("starts at", start), ("ends at", end))
        if value is not None
    ]
    beyond = [word for word, own in (("smaller", start), ("larger", end)) if own is not None]
    problem = f"{', and '.join(shown)}; no sample is {' or '.join(beyond)}"
    wider = SetKind(name, found.without_ends.word)
    notice = Notice(problem, name, advice=(("allow others", wider),), together=ENDS)
    return Choice(found, notice)


def _of_decimals(name: str, x: Array, distinct: Array) -> Whole | None:
    """Return the kind of numbers with decimals ``x`` ``(n,)``, of which many rows hold one value.

    Samples of the kind hold this value as often as rows. The result is ``None`` for other numbers.
    """
    if distinct[0] == 0 or distinct[-1] == 0:
        own = Count(name) if distinct[0] == 0 else Integer(name, high=0.0)
        return own if is_peak(x, 0.0) else None
    if distinct[0] > 0:
        return None
    values, counts = np.unique(x, return_counts=True)
    return Integer(name) if is_alone(x, values[counts.argmax()]) else None
