"""Noise with the shape of the data, which the automatic recipe adds for regularisation.

Each class is fitted to ``points`` ``(n, D)``, and its ``visit`` returns points with new noise. If a
row has several adjacent ``completions``, the first one determines the shape of its noise.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import KDTree

from flows.core.arrays import Array, Whole, subsample
from flows.mixtures.fitting import select_mixture

NEIGHBOURS = 20
REFERENCE_ROWS = 20_000  # rows among which neighbours are searched, at most
MOST_TREE_COLUMNS = 15  # with more, a search tree is slower than all distances
# Numbers of components to choose from, with at least ten rows per component
COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
RIDGE = 1e-4  # added to the variances
ROWS = 1_500  # rows that a mixture is fitted to, at most


class NeighbourNoise:
    """Noise with the shape of the neighbourhood of each point.

    Isotropic noise as wide as the bandwidth of a kernel density hides the narrow ridges of a table
    with more than a few columns. Here, at level h, a visit moves row x_i within its neighbourhood::

        x_i + (h^2 / 2) mean_j d_j + h sum_j a_j d_j / sqrt(k)
        d_j = x_nn(j) - x_i over its k nearest neighbours,  a_j ~ N(0, 1)

    This is a draw from N(x_i + (h^2 / 2) m_i, h^2 C_i), with the mean m_i and the second moments
    C_i of the differences: a manifold Parzen kernel (Vincent and Bengio 2003). The shift
    compensates the widening (data sharpening, Choi and Hall 1999).
    """

    def __init__(self, points: Array, completions: int = 1) -> None:
        rows = points[::completions]
        reference = subsample(rows, REFERENCE_ROWS)
        self.points, self.reference = points.astype(np.float32), reference.astype(np.float32)
        self.count = min(NEIGHBOURS, len(rows) - 1)
        # The row itself may be among its neighbours, with a difference of 0
        if points.shape[1] <= MOST_TREE_COLUMNS:
            nearest = KDTree(reference).query(points, self.count + 1, workers=-1)[1]
        else:
            from sklearn.neighbors import NearestNeighbors

            search = NearestNeighbors(n_neighbors=self.count + 1, algorithm="brute")
            nearest = search.fit(reference).kneighbors(points, return_distance=False)
        self.nearest = nearest.astype(np.int32)

    def visit(self, order: Whole, level: float, generator: np.random.Generator) -> Array:
        """Return the points with the indices ``order`` and new noise, in single precision."""
        points, nearest = self.points[order], self.nearest[order]
        normal = generator.standard_normal(nearest.shape).astype(np.float32)
        weights = level / np.sqrt(self.count) * normal + level**2 / (2 * self.count)
        return points + np.einsum(
            "nk,nkd->nd", weights.astype(np.float32), self.reference[nearest] - points[:, None]
        )


class ComponentNoise:
    """Noise with the shape of each point's component of a mixture of Gaussians.

    In a table of clusters, a mixture estimates the shape of a cluster from all of its rows, while
    ``NeighbourNoise`` estimates it from twenty rows. A visit to row x_i of a component with mean
    m and covariance C is a draw from::

        N(m + sqrt(1 - h^2) (x_i - m), h^2 C),    0 < h <= 1

    This preserves the mean and the covariance of every component: it is the shrunk smoothed
    bootstrap (Silverman and Young 1987), applied to each component. At h = 1, it is a draw from the
    mixture itself. The number of components has the best cross-validated likelihood. The component
    of a row is drawn with the responsibilities of the components as probabilities.
    """

    def __init__(self, points: Array, completions: int = 1) -> None:
        # Imported here because the fixed recipe does not need it
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
        """Return the points with the indices ``order`` and new noise, in single precision."""
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
