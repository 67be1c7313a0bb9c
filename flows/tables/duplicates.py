"""Rows that are copies of others, as where a table was pasted together twice."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from flows.core.arrays import Array, Whole
from flows.tables.rounding import DISTINCT, has_step

MOST_COPIES = 5  # of a row, in the mean; values that recur more often are of a discrete table


def equal_rows(values: Array, columns: Sequence[int] | None = None) -> Whole:
    """Return the number of a group for each of the rows ``(n, D)``; equal rows share one, ``(n,)``.

    Groups are numbered from 0 in the order of their first rows. Only ``columns`` count, or all.
    Gaps (``NaN``) are equal.
    """
    by = range(values.shape[1]) if columns is None else columns
    return pd.DataFrame(values).groupby(list(by), sort=False, dropna=False).ngroup().to_numpy()


def first_copies(values: Array) -> Whole:
    """Return for each of the rows ``(n, D)`` the place of the first that it is a copy of, ``(n,)``.

    Equal rows are copies where they have a value of a continuous column, or where no column is
    continuous and hardly more pairs of rows agree in all columns but one. Else they are equal by
    chance, as whole numbers of few values are, and each is the first of itself, as are rows that
    equal no other.
    """
    n, dim = values.shape

    def pairs(group: Whole) -> float:
        counts = np.bincount(group).astype(float)
        return float((counts * (counts - 1)).sum())

    group = equal_rows(values)
    different = int(group.max()) + 1
    if dim == 1 or not different < n <= MOST_COPIES * different:
        return np.arange(n)

    def is_continuous(x: Array) -> bool:
        known = x[~np.isnan(x)]
        distinct = np.unique(known)
        many = len(distinct) >= DISTINCT * different * (len(known) / n)
        return many and not has_step(distinct)

    others = ([k for k in range(dim) if k != d] for d in range(dim))
    continuous = [is_continuous(x) for x in values.T]
    if any(continuous):
        comparable = ~np.isnan(values[:, continuous]).all(axis=1)
    elif all(pairs(equal_rows(values, each)) < 2 * pairs(group) for each in others):
        comparable = np.full(n, True)
    else:
        comparable = np.full(n, False)
    return np.where(comparable, np.unique(group, return_index=True)[1][group], np.arange(n))
