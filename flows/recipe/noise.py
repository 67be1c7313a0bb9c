"""Noise with the shape of the data, which the automatic recipe adds for regularisation."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import scipy

from flows.core.arrays import IN_CACHE, Array, Whole, subsample

NEIGHBOURS = 20
REFERENCE_ROWS = 20_000  # rows among which neighbours are searched, at most
MOST_TREE_COLUMNS = 15  # with more, a search tree is slower than all distances
KEPT = 1_000_000  # numbers in the differences that are kept, at most; others are computed anew


class NeighbourNoise:
    """Noise with the shape of the neighbourhood of each point.

    Isotropic noise as wide as the bandwidth of a kernel density hides the narrow ridges of a table
    with more than a few columns. Here, at level h, a visit moves row x_i within its neighbourhood::

        x_i + (h^2 / 2) mean_j d_j + h sum_j a_j d_j / sqrt(k)
        d_j = x_nn(j) - x_i over its k nearest neighbours,  a_j ~ N(0, 1)

    This is a draw from N(x_i + (h^2 / 2) m_i, h^2 C_i), with the mean m_i and the second moments
    C_i of the differences: a manifold Parzen kernel (Vincent and Bengio 2003). The shift
    compensates the widening (data sharpening, Choi and Hall 1999). The search finds k + 1
    rows. One is mostly the row itself, which adds nothing; a row that is not among the sampled
    ``REFERENCE_ROWS`` has k + 1 differences, whose sum is still divided by k.

    Args:
        points: the points ``(n, D)``.
        among: the indices of the points among which neighbours are searched: one completion of each
            row, without copies of rows. By default, all points.
        fixed: the number of first columns that do not move, such as inputs.
        left_out: the number of first columns in which neighbours may be far from each other.
    """

    def __init__(
        self, points: Array, among: Whole | None = None, fixed: int = 0, left_out: int = 0
    ) -> None:
        self.fixed = fixed
        rows = points if among is None else points[among]
        reference = subsample(rows, REFERENCE_ROWS)
        own, there = points[:, left_out:], reference[:, left_out:]
        self.points, self.reference = points.astype(np.float32), reference.astype(np.float32)
        self.count = min(NEIGHBOURS, len(rows) - 1)
        # k + 1, because the nearest neighbour of most rows is the row itself
        if own.shape[1] <= MOST_TREE_COLUMNS:
            nearest = scipy.spatial.KDTree(there).query(own, self.count + 1, workers=-1)[1]
        else:
            from sklearn.neighbors import NearestNeighbors

            search = NearestNeighbors(n_neighbors=self.count + 1, algorithm="brute")
            nearest = search.fit(there).kneighbors(own, return_distance=False)
        self.nearest = nearest.astype(np.int32)
        self.differences: Array | None = None
        if self.nearest.size * (points.shape[1] - fixed) <= KEPT:
            self.differences = self._differences(self.points, self.nearest)

    def visit(self, order: Whole, level: float, generator: np.random.Generator) -> Array:
        """Return the points with the indices ``order`` and new noise, in single precision."""
        points, nearest = self.points[order], self.nearest[order]
        normal = generator.standard_normal(nearest.shape).astype(np.float32)
        weights = level / np.sqrt(self.count) * normal + level**2 / (2 * self.count)
        # Parts whose arrays stay in the cache
        size = max(1, IN_CACHE // (nearest.shape[1] * points.shape[1]))
        for start in range(0, len(order), size):
            own = slice(start, start + size)
            if self.differences is None:
                differences = self._differences(points[own], nearest[own])
            else:
                differences = self.differences[order[own]]
            moved = np.einsum("nk,nkd->nd", _short(weights[own]), differences)
            points[own, self.fixed :] += moved
        return cast(Array, points)

    def _differences(self, points: Any, nearest: Whole) -> Array:
        """Return d_j of the columns that move, ``(n, k + 1, D - fixed)``."""
        return _short(self.reference[nearest, self.fixed :] - points[:, None, self.fixed :])


def _short(x: Array) -> Array:
    """Return numbers of 12 bits in single precision (Veltkamp's splitting).

    Their products are exact. So a sum of products is the same on processors that compute a product
    and a sum as one operation.
    """
    x = x.astype(np.float32)
    large = x * np.float32(2**12 + 1)
    return cast(Array, large - (large - x))


class PointNoise:
    """Noise of the points y given the inputs x, for a conditional density::

        (x_i, y_i + h s a),    a ~ N(0, 1)

    h is the level, and s ``(D,)`` are the standard deviations of y after the preprocessing.

    Args:
        points: the rows (x, y) after the preprocessing, ``(n, d + D)``.
        inputs: the number of columns d of x.
    """

    def __init__(self, points: Array, inputs: int) -> None:
        self.points, self.inputs = points.astype(np.float32), inputs
        self.deviation = points[:, inputs:].std(axis=0).astype(np.float32)

    def visit(self, order: Whole, level: float, generator: np.random.Generator) -> Array:
        """Return the rows with the indices ``order`` and new noise, in single precision."""
        rows = self.points[order]
        own = rows[:, self.inputs :]
        own += level * self.deviation * generator.standard_normal(own.shape).astype(np.float32)
        return cast(Array, rows)
