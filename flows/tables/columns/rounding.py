"""Rounded values: their steps, their decimals, and values that many rows hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Whole

COMMON = 0.1  # a gap with a larger share of all gaps between values is the step of the column
DIGITS = range(6, 13)  # significant digits of numbers that a program rounded
MOST_DECIMALS = 9  # of numbers that were written with decimals
PEAK_ROWS, PEAK_SHARE, PEAK_FACTOR = 10, 0.05, 2  # of a value that many rows hold (``is_peak``)
NEAREST = 0.05  # quantile of the nearest other values
# Half the least range of the values beside a peak, in cells, at an end and elsewhere. Flows learn a
# value among few others without help.
FAR_AT_END, FAR = 1, 20
OTHERS = 5  # a peak has more rows than this many times the mean of the other values
ROUNDING = 32 * np.finfo(float).eps  # relative to the largest value of a column
CLEAR = 0.01  # a decimal is clear if the errors of rounding are below this share of its unit
MOST_STEPS = 2.0**53  # a larger number of steps is not exact


class Peak(NamedTuple):
    """A value that many rows hold, far from all others, such as 0 among amounts of money.

    Args:
        value: the value.
        gap: the distance from the cell of the value to the nearest other values.
        spread: half the range of most other values.
    """

    value: float
    gap: float
    spread: float


def has_step(distinct: Array) -> bool:
    """Return whether one gap between sorted distinct values is common."""
    gaps, _, counts = _spacings(distinct)
    return bool(len(gaps) and counts.max() > max(1, COMMON * len(gaps)))


def common_step(x: Array) -> float:
    """Return the step of the rounded values ``x`` ``(n,)``.

    It is the most common gap between different values, without the error of their last decimal. If
    no gap occurs twice, it is the median gap. If no gap is common and many rows hold 0, it is the
    last decimal.
    """
    distinct = np.unique(x)
    decimals = count_decimals(distinct)
    if decimals is not None and not has_step(distinct) and is_peak(x, 0.0):
        return float(10.0**-decimals)
    gaps, place, counts = _spacings(distinct)
    step = float(np.median(gaps[place == counts.argmax()] if counts.max() > 1 else gaps))
    if decimals is not None and np.isclose(nearest := round(step, decimals), step, 1e-9, 0):
        return nearest
    return step


def count_decimals(x: Array) -> int | None:
    """Return how many decimals the numbers ``x`` ``(n,)`` have; ``None`` for more than nine.

    The rounding errors of sums, differences and products are ignored: 0.1 + 0.2 has one decimal.
    """
    known = x[np.isfinite(x)]
    noise = ROUNDING * np.abs(known).max(initial=0)
    for decimals in range(MOST_DECIMALS + 1):
        error = np.abs(np.round(known, decimals) - known).max(initial=0)
        if error == 0 or error <= noise <= CLEAR * 10.0**-decimals:
            return decimals
    return None


def count_digits(x: Array) -> int | None:
    """Return with how many significant digits the numbers ``x`` ``(n,)`` are written.

    The result is ``None`` for more or fewer than programs round to (``DIGITS``).
    """
    size = np.abs(x[(x != 0) & np.isfinite(x)])
    for digits in DIGITS if len(size) else ():
        units = size / last_digit(size, digits)
        if (np.abs(units - np.round(units)) <= ROUNDING * units).all():
            return digits
    return None


def last_digit(x: Array, digits: int) -> Array:
    """Return the unit of the last significant digit of numbers ``x`` of any shape; 0 for 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 ** (np.floor(np.log10(np.abs(x))) + 1 - digits))


def decimal_steps(distinct: Array) -> tuple[float, float] | None:
    """Return the last decimal of sorted distinct values, and the multiple that divides them all.

    The result is ``None`` for values of more than nine decimals, or too large to be counted in
    steps, and if all values are 0.
    """
    decimals = count_decimals(distinct)
    if decimals is None or np.abs(distinct).max() * 10.0**decimals > MOST_STEPS:
        return None
    multiple = int(np.gcd.reduce(np.round(distinct * 10**decimals).astype(np.int64)))
    return (1 / 10**decimals, multiple / 10**decimals) if multiple else None


def many_rows(n: int) -> float:
    """Return how many of ``n`` rows are many: ten rows, and 5% of the rows."""
    return max(PEAK_ROWS, PEAK_SHARE * n)


def are_many(x: Array, value: float) -> bool:
    """Return whether many rows (``many_rows``) of ``x`` ``(n,)`` hold a value."""
    return bool((x == value).sum() >= many_rows(len(x)))


def is_peak(x: Array, value: float) -> bool:
    """Return whether many rows hold a ``value`` (``are_many``), and few hold the values beside it.

    More than twice as many rows hold the value as hold the nearest smaller value, or the nearest
    larger value.

    Args:
        x: the known values ``(n,)``.
        value: the value.
    """
    if not are_many(x, value):
        return False
    distinct, counts = np.unique(x, return_counts=True)
    place = int(np.searchsorted(distinct, value))
    beside = [*counts[max(place - 1, 0) : place], *counts[place + 1 : place + 2]]
    return bool(beside) and bool(counts[place] > PEAK_FACTOR * max(beside))


def is_alone(x: Array, value: float) -> bool:
    """Return whether ``is_peak`` holds, and not by chance.

    In rounded numbers without a peak, the values beside the most frequent value may be rare by
    chance. So the value must have more than five times as many rows as the others on average.
    """
    if not is_peak(x, value):
        return False
    most = (x == value).sum()
    others = len(np.unique(x)) - 1
    return bool(most > OTHERS * (len(x) - most) / others)


def find_peak(x: Array, cell: float, ends: Sequence[float] = ()) -> Peak | None:
    """Return the peak of ``x`` ``(n,)``, or ``None``.

    The peak is the most frequent value, if ``is_alone`` holds and most other values spread over
    enough cells: twice ``FAR_AT_END`` at an end of the column, and twice ``FAR`` elsewhere.

    Args:
        x: the known values ``(n,)``.
        cell: the width of a cell.
        ends: the smallest and the largest value of the column, if it has them.
    """
    distinct, counts = np.unique(x, return_counts=True)
    value = float(distinct[counts.argmax()])
    away, at_end = np.abs(x[x != value] - value), value in ends
    if not len(away) or not is_alone(x, value):
        return None
    near, middle = np.quantile(away, [NEAREST, 0.5])
    if middle - near < (FAR_AT_END if at_end else FAR) * cell:
        return None
    return Peak(value, gap=float(max(near - cell, cell)), spread=float((middle - near) / 2))


def _spacings(distinct: Array) -> tuple[Array, Whole, Whole]:
    """Return the gaps between sorted distinct values, in groups of equal gaps.

    Also return the group of each gap, and the sizes of the groups.
    """
    gaps = np.diff(distinct)
    rounding = ROUNDING * np.abs(distinct).max()
    _, place, counts = np.unique(np.round(gaps / rounding), return_inverse=True, return_counts=True)
    return gaps, place, counts
