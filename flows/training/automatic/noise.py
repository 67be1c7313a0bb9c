"""Noise with the shape of the rows, by which the automatic recipe regularises.

A kind of noise is made of ``points`` ``(n, D)``, and gives the moved points of a visit. Where there
are several ``completions`` of a row, side by side, its shape is that of the first.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import KDTree

from flows.core.arrays import Array, Whole, subsample
from flows.mixtures.fitting import select_mixture

NEIGHBOURS = 20
REFERENCE_ROWS = 20_000  # rows that neighbours are looked for among, at most
MOST_TREE_COLUMNS = 15  # in more, a search tree is slower than all distances
COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # with ten rows for each
RIDGE = 1e-4  # added to the variances
ROWS = 1_500  # rows that a mixture is fitted to, at most


class NeighbourNoise:
    """Noise with the shape of the neighbourhood of each point.

    Isotropic noise as wide as a kernel density's bandwidth drowns every ridge of a table with more
    than a few columns. Here, at level h, a visit to row x_i moves only within its neighbourhood::

        x_i + (h^2 / 2) mean_j d_j + h sum_j a_j d_j / sqrt(k)
        d_j = x_nn(j) - x_i over its k nearest neighbours,  a_j ~ N(0, 1)

    It is a draw from N(x_i + (h^2 / 2) m_i, h^2 C_i), with m_i the mean and C_i the second moments
    of the differences: a manifold Parzen kernel (Vincent and Bengio 2003), of which the shift takes
    back the widening (data sharpening, Choi and Hall 1999).
    """

    def __init__(self, points: Array, completions: int = 1) -> None:
        rows = points[::completions]
        reference = subsample(rows, REFERENCE_ROWS)
        self.points, self.reference = points.astype(np.float32), reference.astype(np.float32)
        self.count = min(NEIGHBOURS, len(rows) - 1)
        # The row itself may be among them, as a difference of 0
        if points.shape[1] <= MOST_TREE_COLUMNS:
            nearest = KDTree(reference).query(points, self.count + 1, workers=-1)[1]
        else:
            from sklearn.neighbors import NearestNeighbors

            search = NearestNeighbors(n_neighbors=self.count + 1, algorithm="brute")
            nearest = search.fit(reference).kneighbors(points, return_distance=False)
        self.nearest = nearest.astype(np.int32)

    def visit(self, order: Whole, level: float, generator: np.random.Generator) -> Array:
        """Return the points at the places ``order``, moved by fresh noise, in single precision."""
        points, nearest = self.points[order], self.nearest[order]
        normal = generator.standard_normal(nearest.shape).astype(np.float32)
        weights = level / np.sqrt(self.count) * normal + level**2 / (2 * self.count)
        return points + np.einsum(
            "nk,nkd->nd", weights.astype(np.float32), self.reference[nearest] - points[:, None]
        )


class ComponentNoise:
    """Noise with the shape of each point's component of a mixture of Gaussians.

    Where a table is made of clusters, a mixture knows the shape of each from all of its rows, and
    neighbours know it from twenty. A visit to row x_i of a component with mean m and covariance C
    is a draw from::

        N(m + sqrt(1 - h^2) (x_i - m), h^2 C),    0 < h <= 1

    This leaves the mean and the covariance of every component as they are: it is the shrunk
    smoothed bootstrap (Silverman and Young 1987), a component at a time. At h = 1 it is the mixture
    itself, as many draws of it as training asks for. The number of components is the one with the
    best cross-validated likelihood; a row's component is drawn by how likely each is for it.
    """

    def __init__(self, points: Array, completions: int = 1) -> None:
        # Imported here, as training by the fixed recipe doesn't need it
        from sklearn.model_selection import KFold

        rows = subsample(points[::completions], ROWS)
        mixture = select_mixture(
            rows,
            components=[count for count in COMPONENTS if count == 1 or 10 * count <= len(rows)],
            ridges=[RIDGE],
            splitter=KFold(3),
            patience=3,
            restarts=5,
        )
        shares = mixture.responsibilities(points).cumsum(axis=1)
        drawn = np.random.default_rng(0).uniform(size=(len(points), 1))
        self.points = points.astype(np.float32)
        self.component = (shares[:, :-1] < drawn).sum(axis=1)
        self.means = mixture.means.astype(np.float32)
        self.factors = np.linalg.cholesky(mixture.covariances).astype(np.float32)

    def visit(self, order: Whole, level: float, generator: np.random.Generator) -> Array:
        """Return the points at the places ``order``, moved by fresh noise, in single precision."""
        points, component = self.points[order], self.component[order]
        normal = generator.standard_normal(points.shape).astype(np.float32)
        noise = np.empty_like(points)
        for own in np.unique(component):
            rows = component == own
            noise[rows] = np.einsum("nd,cd->nc", normal[rows], self.factors[own])
        mean = self.means[component]
        return mean + math.sqrt(1 - level**2) * (points - mean) + level * noise


Noise = NeighbourNoise | ComponentNoise
NOISES: dict[str, type[Noise]] = {"neighbours": NeighbourNoise, "components": ComponentNoise}
