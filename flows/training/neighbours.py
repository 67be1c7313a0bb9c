"""Neighbour noise: noise of the shape that the rows around a row have.

Isotropic noise as wide as a kernel density's bandwidth drowns every ridge of a table with more than a few columns. Here a visit to row
x_i moves within its neighbourhood alone::

    x_i + (h^2 / 2) mean_j d_j + h sum_j a_j d_j / sqrt(k),    d_j = x_nn(j) - x_i over its k nearest neighbours,  a_j ~ N(0, 1)

that is, a draw from N(x_i + (h^2 / 2) m_i, h^2 C_i) with m_i the mean and C_i the second moments of the differences: a manifold Parzen
kernel (Vincent and Bengio 2003), of which the shift takes back the widening (data sharpening, Choi and Hall 1999).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from flows.core.arrays import Array
from flows.training.smoothing import Noise

NEIGHBOURS = 20


def noise(points: Array) -> Noise:
    """Neighbour noise of ``points`` ``(n, D)`` at every level h."""
    count = min(NEIGHBOURS, len(points) - 1)
    _, nearest = KDTree(points).query(points, count + 1, workers=-1)
    differences = points[nearest] - points[:, None]  # the row itself is among them, as a difference of 0
    second = np.einsum("nki,nkj->nij", differences, differences) / count
    values, vectors = np.linalg.eigh(second)
    mean, factor = differences.sum(axis=1) / count, vectors * np.sqrt(values.clip(min=0))[:, None, :]
    return lambda level: (points + level**2 / 2 * mean, level * factor)
