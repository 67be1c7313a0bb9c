"""Rows that are copies of others, as where a table was pasted together twice."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flows.core.arrays import Array, Whole
from flows.core.steps import DISTINCT, has_step

MOST_COPIES = 5  # of a row, in the mean; values that recur more often are of a discrete table


def first_copies(values: Array) -> Whole:
    """Return for each of the rows ``(n, D)`` the place of the first that it is a copy of, ``(n,)``.

    Equal rows are copies where a column is continuous, or where hardly more pairs of rows agree in
    all columns but one. Else they are equal by chance, as whole numbers of few values are, and each
    is the first of itself, as are rows that equal no other.
    """
    n, dim = values.shape
    frame = pd.DataFrame(values)

    def groups(without: int | None = None) -> Whole:
        columns = [d for d in range(dim) if d != without]
        return frame.groupby(columns, sort=False).ngroup().to_numpy()

    def pairs(group: Whole) -> float:
        counts = np.bincount(group).astype(float)
        return float((counts * (counts - 1)).sum())

    group = groups()
    different = int(group.max()) + 1
    if dim == 1 or not different < n <= MOST_COPIES * different:
        return np.arange(n)
    distinct = [np.unique(x) for x in values.T]
    continuous = any(len(x) >= DISTINCT * different and not has_step(x) for x in distinct)
    if continuous or all(pairs(groups(d)) < 2 * pairs(group) for d in range(dim)):
        return np.unique(group, return_index=True)[1][group]
    return np.arange(n)
