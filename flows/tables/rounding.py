"""Rounded values: the steps of a column, and the noise that gives the values a density."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Array, Whole
from flows.tables.columns import Column

DISTINCT = 0.9  # a column with a smaller share of distinct values is rounded
NARROW, NARROWEST = 0.15, 0.45  # the deviation of narrow noise, and its largest distance
COMMON = 0.1  # a gap with a larger share of all gaps between values is the step of the column


def has_step(distinct: Array) -> bool:
    """Return whether one gap between sorted distinct values is common."""
    gaps, _, counts = _spacings(distinct)
    return bool(len(gaps) and counts.max() > max(1, COMMON * len(gaps)))


def common_step(distinct: Array) -> float:
    """Return the most common gap between sorted distinct values.

    If no gap occurs twice, as in a column with many zeros, return the median gap.
    """
    gaps, place, counts = _spacings(distinct)
    return float(np.median(gaps[place == counts.argmax()] if counts.max() > 1 else gaps))


def _spacings(distinct: Array) -> tuple[Array, Whole, Whole]:
    """Return the gaps between sorted distinct values, in groups of equal gaps.

    Also return the group of each gap, and the sizes of the groups.
    """
    gaps = np.diff(distinct)
    rounding = 32 * np.finfo(float).eps * np.abs(distinct).max()
    _, place, counts = np.unique(np.round(gaps / rounding), return_inverse=True, return_counts=True)
    return gaps, place, counts


def dequantise(
    columns: Sequence[Column],
    values: Array,
    copies: Whole,
    seed: int,
    *,
    narrow_labels: bool = False,
) -> Array:
    """Return ``values`` ``(n, D)`` with uniform noise of the width of the step added::

        x + step u,  u uniform on (-1/2, 1/2)

    Near a bound of the column the noise is narrower, so values stay within the bounds. The numbers
    ``u`` depend only on ``seed`` and the shape, so a table gets the same noise for every model.
    Copies of a row get the same noise and remain copies: ``copies`` ``(n,)`` is the result of
    ``first_copies``.

    With ``narrow_labels``, the noise of codes of labels is normal with the deviation ``NARROW`` and
    keeps a distance from the ends of the cells. A flow with a smooth density can then give a label
    a probability near 1; uniform noise would need a jump at the end of the cell.
    """
    steps = np.array([column.step or 0.0 for column in columns])
    if not steps.any():
        return values
    u = np.random.default_rng(seed).uniform(-0.5, 0.5, values.shape)[copies]
    if narrow_labels:
        from scipy.special import ndtri  # here, because reading tables does not need it

        is_label = np.array([bool(column.labels) for column in columns])
        normal = np.clip(NARROW * ndtri(u + 0.5), -NARROWEST, NARROWEST)
        u = np.where(is_label & (steps > 0), normal, u)
    low, high = np.array([column.bounds for column in columns]).T
    return values + u * np.minimum(steps, 2 * np.minimum(values - low, high - values))
