"""The steps of rounded values."""

from __future__ import annotations

import numpy as np

from flows.core.arrays import Array, Whole

DISTINCT = 0.9  # a column with a smaller share of distinct values is rounded
COMMON = 0.1  # share of the gaps between values from which one gap is the step of the column


def has_step(distinct: Array) -> bool:
    """Return whether one gap between sorted distinct values is common."""
    gaps, _, counts = _gaps(distinct)
    return bool(len(gaps) and counts.max() > max(1, COMMON * len(gaps)))


def common_step(distinct: Array) -> float:
    """Return the most common gap between sorted distinct values.

    If no gap occurs twice, as in a column with many zeros, return the median gap.
    """
    gaps, place, counts = _gaps(distinct)
    return float(np.median(gaps[place == counts.argmax()] if counts.max() > 1 else gaps))


def _gaps(distinct: Array) -> tuple[Array, Whole, Whole]:
    """Return the gaps between sorted distinct values, the number of each, and their counts."""
    gaps = np.diff(distinct)
    rounding = 32 * np.finfo(float).eps * np.abs(distinct).max()
    _, place, counts = np.unique(np.round(gaps / rounding), return_inverse=True, return_counts=True)
    return gaps, place, counts
