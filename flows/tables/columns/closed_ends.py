"""Closed ends: whether whole numbers end at their smallest or largest value by definition.

A month ends at 12, and a count of children has no end, although both tables show a largest value.
The frequencies tell them apart: those of a count fall towards its largest value, and those of a
month do not.

Let a be the number of rows in the w values at an end, b in the next w values inward, and c in the
w values after those. If the frequencies went on beyond the end with the same bend, as those of a
Gaussian do, the w values beyond would have::

    min(a, a r min(1, r / s)) rows,    r = a / b,  s = b / c

None are there, so the end is closed if this number is large, and a is not small beside the rows of
other values. ``studies/tables/ends.md`` has the columns that the constants were chosen on, and the
score on others.
"""

from __future__ import annotations

import numpy as np

from flows.core.arrays import Array, Whole
from flows.tables.columns.order import DISTINCT
from flows.tables.columns.rounding import are_many, is_peak

# Rows that are expected beyond a closed end, at least, and the rows of its window, at least, as a
# share of the mean over all windows: for columns that hold every value between their ends, and for
# others. Amounts and measures leave out values.
EVERY, OTHERS = (5, 0.05), (8, 0.25)
# Columns that leave out values end only at a peak if they have more than FEW_VALUES different ones,
# or if their range exceeds SPREAD times the number of these. So do columns of distinct values.
FEW_VALUES, SPREAD = 31, 5
LARGEST = 1e15  # larger numbers have no closed ends: a user's word has 15 digits
WINDOWS = 8  # windows of the values, at least


def closed_ends(x: Array, step: float) -> tuple[bool, bool]:
    """Return whether the smallest and the largest of whole numbers are closed ends.

    A smallest value of 1 is also closed if many rows hold it (``are_many``), or if the largest
    value is closed, because numbers, ranks and scales start at 1.

    Args:
        x: the known values ``(n,)``.
        step: the step that divides all values.
    """
    values, counts = np.unique(x, return_counts=True)
    if len(values) < 2 or np.abs(values[[0, -1]]).max() > LARGEST:
        return False, False
    holds_every = (values[-1] - values[0]) / step == len(values) - 1
    are_distinct = len(values) >= DISTINCT * len(x)
    if are_distinct or are_far(values, step) or (not holds_every and len(values) > FEW_VALUES):
        low, high = (is_peak(x, end) for end in values[[0, -1]])
    else:
        low, high = (_is_closed(each, holds_every=holds_every) for each in (counts, counts[::-1]))
    return low or (bool(values[0] == 1) and (high or are_many(x, 1))), high


def are_far(values: Array, step: float) -> bool:
    """Return whether distinct ``values``, sorted, leave out most multiples of the step."""
    return bool((values[-1] - values[0]) / step > SPREAD * len(values))


def _is_closed(counts: Whole, *, holds_every: bool) -> bool:
    """Return whether an end is closed.

    Args:
        counts: the number of rows of each value, from the end on.
        holds_every: whether no value is left out. Only then do several values make a window.
    """
    least, share = EVERY if holds_every else OTHERS
    width = 1
    while width == 1 or (holds_every and WINDOWS * width <= len(counts)):
        last, before, inner = (counts[k * width : (k + 1) * width].sum() for k in range(3))
        if last >= share * width * counts.mean() and _expected(last, before, inner) >= least:
            return True
        width *= 2
    return False


def _expected(last: float, before: float, inner: float) -> float:
    """Return how many rows would be beyond an end if frequencies went on with the same bend."""
    ratio = last / before
    bend = min(1.0, ratio * inner / before) if inner else 1.0
    return float(min(last, last * ratio * bend))
