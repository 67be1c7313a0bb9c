"""Associations of pairs of columns of numbers and of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from flows.core.arrays import Array, subsample

MOST_ROWS = 10_000  # rows whose associations are computed, at most


def associations(values: Array, sizes: Sequence[int], pairs: Sequence[tuple[int, int]]) -> Array:
    """Return the association of each pair of columns, ``(P,)``.

    It is the rank correlation of two columns of numbers, from -1 to 1. With a column of labels, it
    is the correlation ratio of ranks; of two such columns, Cramer's V; both from 0 to 1. All are
    the same formula ``|U_a' U_b| / sqrt(min(k_a, k_b))`` of the scaled columns U and their ranks k
    as matrices (``_scaled``). A missing value counts as the mean.

    Args:
        values: the rows of a table, ``(n, D)``, with codes for labels and ``NaN`` for gaps. At most
            ``MOST_ROWS`` evenly spaced rows are used.
        sizes: the number of labels of each column, D numbers; 0 for a column of numbers.
        pairs: the indices of both columns of each pair.
    """
    few = values[subsample(np.arange(len(values)), MOST_ROWS)]
    parts, ranks = zip(*map(_scaled, sizes, few.T), strict=True)
    widths = np.array([part.shape[1] for part in parts])
    together, first = np.concatenate(parts, axis=1), widths.cumsum() - widths
    products = together.T @ together
    squares = np.add.reduceat(np.add.reduceat(products**2, first, axis=0), first, axis=1)
    found = np.zeros(len(pairs))
    for k, (a, b) in enumerate(pairs):
        if least := min(ranks[a], ranks[b]):
            are_numbers = not (sizes[a] or sizes[b])
            whole = products[first[a], first[b]] if are_numbers else np.sqrt(squares[a, b])
            found[k] = whole / np.sqrt(least)
    return found


def _scaled(size: int, x: Array) -> tuple[Array, int]:
    """Return the values ``x`` ``(n,)`` of a column as a matrix U, and the rank of U.

    U has the ranks of numbers, ``(n, 1)``, with mean 0 and norm 1; or an indicator of each of the
    K labels, ``(n, K)``, with mean 0, divided by the root of the number of its rows. All singular
    values of U are 0 or 1.
    """
    known = ~np.isnan(x)
    if size:
        is_label = x[:, None] == np.arange(size)
        counts = is_label.sum(axis=0)
        centred = is_label - known[:, None] * counts / max(1, known.sum())
        return centred / np.sqrt(np.maximum(counts, 1)), max(0, int((counts > 0).sum()) - 1)
    u, ordered = np.zeros((len(x), 1)), scipy.stats.rankdata(x[known])
    if not known.any() or np.ptp(ordered) == 0:
        return u, 0
    u[known, 0] = ordered - ordered.mean()
    return u / np.linalg.norm(u), 1
