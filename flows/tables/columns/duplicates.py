"""Copies of rows, for example in a table that lists some records twice."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy
from scipy.special import pdtrc

from flows.core.arrays import Array, Whole
from flows.core.rows import equal_rows
from flows.tables.columns.order import DISTINCT
from flows.tables.columns.rounding import has_step

MOST_COPIES = 5  # largest mean number of equal rows; rows of a discrete table recur more often
LEVEL = 0.001  # the probability that rows that are equal by chance count as copies
NEAR = 10  # pairs of near rows; fewer would tell too little about chance


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
    edges = scipy.sparse.coo_array((np.ones(len(rows)), (rows, nodes)), shape=(size, size))
    return scipy.sparse.csgraph.connected_components(edges, directed=False)[1][:n].astype(np.int64)


def first_copies(values: Array) -> Whole:
    """Return the index of the first copy of each row, ``(n,)``.

    ``values`` are ``(n, D)``. A row without copies gets its own index. Equal rows are copies if
    they have a value in a continuous column. In a table without a continuous column, they are
    copies if more rows recur than chance explains. If R of the different rows recur, however
    often, the rule is::

        P(Poisson(C) >= R) < 0.001,    C = max(C_0, C_1, ..., C_D)
        C_d = M_d a_d / (1 - a_d)
        C_0 = N_k / (r^k - 1)

    C estimates how many rows recur by chance. Pairs of rows are counted in a table that holds each
    row at most twice, where R pairs are equal.

    C_d assumes that column d depends on no other: M_d pairs of rows differ in this column alone,
    and a share a_d of all pairs agrees in it. If no column depends on another, C_d estimates the
    number of pairs times a_1 a_2 ... a_D.

    C_0 extrapolates from near rows to equal rows, and the columns may depend on each other. A round
    makes one value of each two neighbours among the sorted values of a column. It does so in the
    column in which the fewest pairs agree, and where less than twice as many do. After k rounds,
    N_k more pairs of rows are equal. A round multiplies the number of pairs that are equal by
    chance by r, and leaves the number of copies. k is the first round with N_k >= ``NEAR``, and
    r = N_k / (N_(k - 1) + 1), or N_2 / N_1 - 1 if k is 1. C_0 is infinite if r is at most 1.

    Labels have no neighbours. So a table has no copies if its rows occur more than ``MOST_COPIES``
    times on average.

    Source of r: Grassberger and Procaccia 1983 (log2 r is the correlation dimension).
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
        comparable = np.full(n, _are_copies(values, group))
    return np.where(comparable, np.unique(group, return_index=True)[1][group], np.arange(n))


def _is_continuous(x: Array, different: int) -> bool:
    """Return whether a column ``(n,)`` of a table with ``different`` distinct rows is continuous.

    A continuous column has few repeated values and no common step between its values.
    """
    known = x[~np.isnan(x)]
    distinct = np.unique(known)
    return len(distinct) >= DISTINCT * different * (len(known) / len(x)) and not has_step(distinct)


def _are_copies(values: Array, group: Whole) -> bool:
    """Return whether more rows of a table without a continuous column recur than by chance.

    ``group`` are the numbers of the groups of equal rows, ``(n,)``.
    """
    order = np.argsort(group, kind="stable")
    is_third = np.concatenate([[False, False], group[order[2:]] == group[order[:-2]]])
    few = np.ascontiguousarray(values[order[~is_third]].T)  # at most two of equal rows
    codes = np.stack([np.unique(x, return_inverse=True)[1] for x in few])
    found = int((np.bincount(group) > 1).sum())
    expected = max(_of_one_column(codes, found), _of_near_rows(codes, found))
    return found > expected and bool(pdtrc(found - 1, expected) < LEVEL)


def _of_one_column(codes: Whole, found: int) -> float:
    """Return the largest C_d of ``first_copies`` for ``codes`` ``(D, m)``; R is ``found``."""
    keys, pairs = _keys(codes), math.comb(codes.shape[1], 2)
    every, largest = keys.sum(axis=0), 0.0
    for code, key in zip(codes, keys, strict=True):
        share = _equal_pairs(code) / pairs
        if share < 1:
            differ = _equal_pairs(every - key) - found
            largest = max(largest, share / (1 - share) * differ)
    return largest


def _of_near_rows(codes: Whole, found: int) -> float:
    """Return C_0 of ``first_copies`` for ``codes`` ``(D, m)``; R is ``found``."""
    least = min(NEAR, math.comb(codes.shape[1], 2) - found)
    rounds = (_equal_pairs(_keys(each).sum(axis=0)) - found for each in _joined(codes))
    near = [next(rounds, 0.0)]
    while near[-1] < least:
        near.append(next(rounds))
    k = len(near)
    growth = near[-1] / (near[-2] + 1) if k > 1 else next(rounds, near[0]) / near[0] - 1
    return near[-1] / (growth**k - 1) if growth > 1 else math.inf


def _joined(codes: Whole) -> Iterator[Whole]:
    """Yield ``codes`` ``(D, m)`` after each round that joins neighbours (``first_copies``)."""
    codes = codes.copy()
    while codes.any():
        agree = np.array([_equal_pairs(code) for code in codes])  # some, because rows recur
        codes[agree < 2 * agree.min()] >>= 1
        yield codes


def _keys(codes: Whole) -> Whole:
    """Return random numbers for ``codes`` ``(D, m)``, of the same shape.

    Equal codes of a column have equal numbers. Sums over columns are equal for equal rows, and for
    other rows only by chance (Zobrist 1970).
    """
    numbers = np.random.default_rng(0).integers(-(2**63), 2**63, (len(codes), codes.max() + 1))
    return np.take_along_axis(numbers, codes, axis=1)


def _equal_pairs(keys: Whole) -> float:
    """Return the number of pairs of equal ``keys`` ``(m,)``."""
    counts = np.unique(keys, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1)).sum() / 2)
