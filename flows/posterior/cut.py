"""The intervals of one number in which rows meet constraints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flows.core.arrays import Array, Mask, Whole

BISECTIONS = 60  # steps to the end of an interval

# From indices of rows (r,) and values (r, K) to which rows meet the constraints, (r, K)
Met = Callable[[Whole, Array], Mask]


def intervals_met(met: Met, grid: Array, ends: tuple[float, float]) -> tuple[Whole, Array, Array]:
    """Return the intervals in which rows meet the constraints.

    The constraints are checked at the values of a grid, and the ends of intervals are found by
    bisection. An interval between two values of the grid is missed.

    Args:
        met: tells which rows meet the constraints.
        grid: the values at which the constraints are checked, sorted, ``(n, G)``.
        ends: the lower and the upper end of all values.

    Returns the row of each interval ``(S,)``, sorted, and the lower and upper ends ``(S,)``.
    """
    inside = met(np.arange(len(grid)), grid)
    row, place = np.nonzero(inside[:, 1:] != inside[:, :-1])
    low, high, leaves = grid[row, place], grid[row, place + 1], inside[row, place]
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        is_low = met(row, middle[:, None])[:, 0] == leaves
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    end = np.where(leaves, low, high)  # the side that meets the constraints
    first, last = np.flatnonzero(inside[:, 0]), np.flatnonzero(inside[:, -1])
    starts, start_rows = end[~leaves], row[~leaves]
    starts = np.concatenate([np.full(len(first), ends[0]), starts])
    stops = np.concatenate([end[leaves], np.full(len(last), ends[1])])
    start_rows, stop_rows = np.concatenate([first, start_rows]), np.concatenate([row[leaves], last])
    by_start, by_stop = np.lexsort((starts, start_rows)), np.lexsort((stops, stop_rows))
    return start_rows[by_start], starts[by_start], stops[by_stop]
