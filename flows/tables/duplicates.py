"""Copies of rows, for example in a table that lists some records twice."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from flows.core.arrays import Array, Mask, Whole
from flows.core.rows import equal_rows
from flows.tables.rounding import DISTINCT, has_step

MOST_COPIES = 5  # largest mean number of equal rows; rows of a discrete table recur more often


def merged_groups(*groupings: Whole) -> Whole:
    """Return the number of the group of each row, ``(n,)``, if rows share any of several groups.

    Args:
        groupings: numbers of groups, each ``(n,)``. A row is in one group with all rows that share
            its number in any grouping, with all rows that share one with these, and so on.
    """
    n = len(groupings[0])
    rows = np.tile(np.arange(n), len(groupings))
    codes = [np.unique(groups, return_inverse=True)[1] for groups in groupings]
    nodes = np.concatenate([n * (k + 1) + each for k, each in enumerate(codes)])
    size = n * (len(groupings) + 1)
    edges = coo_array((np.ones(len(rows)), (rows, nodes)), shape=(size, size))
    return connected_components(edges, directed=False)[1][:n].astype(np.int64)


def first_copies(values: Array) -> Whole:
    """Return the index of the first copy of each row, ``(n,)``.

    ``values`` are ``(n, D)``. A row without copies gets its own index. Equal rows are copies if
    they have a value in a continuous column. In a table without a continuous column, rows may be
    equal by chance, and then many more pairs of rows agree in D - 1 columns than in all D. Equal
    rows are copies there if, for each choice of D - 1 columns, fewer than twice as many pairs agree
    in these columns as in all.
    """
    n, dim = values.shape
    group = equal_rows(values)
    different = int(group.max()) + 1
    if dim == 1 or not different < n <= MOST_COPIES * different:
        return np.arange(n)
    continuous = [_is_continuous(x, different) for x in values.T]
    if any(continuous):
        comparable = ~np.isnan(values[:, continuous]).all(axis=1)
    else:
        comparable = np.full(n, not _are_equal_by_chance(values, group))
    return np.where(comparable, np.unique(group, return_index=True)[1][group], np.arange(n))


def _is_continuous(x: Array, different: int) -> bool:
    """Return whether a column ``(n,)`` of a table with ``different`` distinct rows is continuous.

    A continuous column has few repeated values and no common step between its values.
    """
    known = x[~np.isnan(x)]
    distinct = np.unique(known)
    return len(distinct) >= DISTINCT * different * (len(known) / len(x)) and not has_step(distinct)


def _are_equal_by_chance(values: Array, group: Whole) -> bool:
    """Return whether the equal rows of a table without a continuous column are equal by chance."""
    dim = values.shape[1]
    others: list[Mask] = [np.arange(dim) != d for d in range(dim)]
    return any(_pairs(equal_rows(values[:, other])) >= 2 * _pairs(group) for other in others)


def _pairs(group: Whole) -> float:
    """Return the number of ordered pairs of different rows in the same group."""
    counts = np.bincount(group).astype(float)
    return float((counts * (counts - 1)).sum())
