"""Rounded values: their steps, their decimals, and values that many rows hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Whole

DISTINCT = 0.9  # a column with a smaller share of distinct values is rounded
COMMON = 0.1  # a gap with a larger share of all gaps between values is the step of the column
MOST_DECIMALS = 9  # of numbers that were written with decimals
PEAK_ROWS, PEAK_SHARE, PEAK_FACTOR = 10, 0.05, 2  # of a value that many rows hold (``is_peak``)
NEAREST, FAR = 0.05, 10  # quantile of the nearest other values, and their range in cells
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
    no gap occurs twice, it is the median gap. It is the last decimal if no gap is common, and the
    values are equal because many rows hold 0.
    """
    distinct = np.unique(x)
    decimals = count_decimals(distinct)
    if decimals is not None and not has_step(distinct) and is_peak(x, 0.0, 10.0**-decimals):
        return float(10.0**-decimals)
    gaps, place, counts = _spacings(distinct)
    step = float(np.median(gaps[place == counts.argmax()] if counts.max() > 1 else gaps))
    if decimals is not None and np.isclose(nearest := round(step, decimals), step, 1e-9, 0):
        return nearest
    return step


def count_decimals(x: Array) -> int | None:
    """Return how many decimals the numbers ``x`` ``(n,)`` have; ``None`` for more than nine."""
    known = x[np.isfinite(x)]
    for decimals in range(MOST_DECIMALS + 1):
        if (np.round(known, decimals) == known).all():
            return decimals
    return None


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


def is_peak(x: Array, value: float, step: float) -> bool:
    """Return whether many rows hold a ``value``: more than hold the values next to it.

    At least ten rows and 5% of the rows hold it, and more than twice as many as hold either of the
    values one ``step`` away.

    Args:
        x: the known values ``(n,)``.
        value: the value.
        step: the distance to the next values.
    """
    beside = max(np.isclose(x, value + sign * step, 0, step / 4).sum() for sign in (-1, 1))
    count = (x == value).sum()
    return bool(count >= max(PEAK_ROWS, PEAK_SHARE * len(x)) and count > PEAK_FACTOR * beside)


def find_peak(x: Array, cell: float, ends: Sequence[float] = ()) -> Peak | None:
    """Return the peak of ``x`` ``(n,)``, or ``None``.

    A peak is a value that many rows hold (``is_peak``) and that most other values are many cells
    away from. It lies at the only end of the column, or the column has no end.

    Args:
        x: the known values ``(n,)``.
        cell: the width of a cell.
        ends: the smallest and the largest value of the column, if it has them.
    """
    distinct, counts = np.unique(x, return_counts=True)
    value = float(distinct[counts.argmax()])
    away = np.abs(x[x != value] - value)
    if [*ends] not in ([], [value]) or not len(away) or not is_peak(x, value, cell):
        return None
    near, middle = np.quantile(away, [NEAREST, 0.5])
    if middle - near < FAR * cell:
        return None
    return Peak(value, gap=float(max(near - cell, cell)), spread=float((middle - near) / 2))


def _spacings(distinct: Array) -> tuple[Array, Whole, Whole]:
    """Return the gaps between sorted distinct values, in groups of equal gaps.

    Also return the group of each gap, and the sizes of the groups.
    """
    gaps = np.diff(distinct)
    rounding = 32 * np.finfo(float).eps * np.abs(distinct).max()
    _, place, counts = np.unique(np.round(gaps / rounding), return_inverse=True, return_counts=True)
    return gaps, place, counts
