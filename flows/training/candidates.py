"""The candidates of the automatic recipe: ways to regularise by noise adapted to a table."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree
from threadpoolctl import threadpool_limits

from flows.core.arrays import Array

NEIGHBOURS = 20
COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # with ten rows for each
ROWS = 1_500  # rows that a mixture is fitted to, at most

# From a level to the centres (n, D) that training visits, and the factors (n, D, D) of the noise
# around each
Noise = Callable[[float], tuple[Array, Array]]


def neighbours(points: Array) -> Noise:
    """Return noise of ``points`` ``(n, D)`` with the shape of the neighbourhood of each.

    Isotropic noise as wide as a kernel density's bandwidth drowns every ridge of a table with more
    than a few columns. Here, at level h, a visit to row x_i moves only within its neighbourhood::

        x_i + (h^2 / 2) mean_j d_j + h sum_j a_j d_j / sqrt(k)
        d_j = x_nn(j) - x_i over its k nearest neighbours,  a_j ~ N(0, 1)

    It is a draw from N(x_i + (h^2 / 2) m_i, h^2 C_i), with m_i the mean and C_i the second moments
    of the differences: a manifold Parzen kernel (Vincent and Bengio 2003), of which the shift takes
    back the widening (data sharpening, Choi and Hall 1999).
    """
    count = min(NEIGHBOURS, len(points) - 1)
    _, nearest = KDTree(points).query(points, count + 1, workers=-1)
    # The row itself is among them, as a difference of 0
    differences = points[nearest] - points[:, None]
    second = np.einsum("nki,nkj->nij", differences, differences) / count
    values, vectors = np.linalg.eigh(second)
    mean = differences.sum(axis=1) / count
    factor = vectors * np.sqrt(values.clip(min=0))[:, None, :]
    return lambda level: (points + level**2 / 2 * mean, level * factor)


def components(points: Array) -> Noise:
    """Return noise of ``points`` ``(n, D)`` with the shape of each one's mixture component.

    Where a table is made of clusters, a mixture knows the shape of each from all of its rows, and
    neighbours know it from twenty. A visit to row x_i of a component with mean m and covariance C
    is a draw from::

        N(m + sqrt(1 - h^2) (x_i - m), h^2 C),    0 < h <= 1

    This leaves the mean and the covariance of every component as they are: it is the shrunk
    smoothed bootstrap (Silverman and Young 1987), a component at a time. At h = 1 it is the mixture
    itself, as many draws of it as training asks for. The number of components is the one with the
    best cross-validated likelihood; a row's component is drawn by how likely each is for it.
    """
    # Imported here, as training by the fixed recipe doesn't need it
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from sklearn.model_selection import GridSearchCV

    some = points[:: -(-len(points) // ROWS)]
    counts = [count for count in COMPONENTS if count == 1 or 10 * count <= len(some)]
    settings = {"reg_covar": 1e-4, "random_state": 0}
    search = GridSearchCV(GaussianMixture(**settings), {"n_components": counts}, cv=3, refit=False)
    with threadpool_limits(1), warnings.catch_warnings():
        # A mixture that is not quite the likeliest will do
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(**search.fit(some).best_params_, **settings, n_init=5).fit(some)
        shares = mixture.predict_proba(points).cumsum(axis=1)
    component = (shares[:, :-1] < np.random.default_rng(0).uniform(size=(len(points), 1))).sum(
        axis=1
    )
    mean, factor = mixture.means_[component], np.linalg.cholesky(mixture.covariances_)[component]
    return lambda level: (mean + np.sqrt(1 - level**2) * (points - mean), level * factor)


NOISES = {"neighbours": neighbours, "components": components}


@dataclass(frozen=True)
class Candidate:
    """A way to regularise: the preprocessing, the kind of noise, and its level."""

    preprocessing: str  # "margins" or "whiten", or "raw" for neither
    noise: str  # of NOISES
    level: float

    def __str__(self) -> str:
        return f"{self.preprocessing}, {self.noise} noise {self.level:g}"


CANDIDATES = (
    *(Candidate("margins", "neighbours", level) for level in (1.2, 0.8, 0.5, 0.35, 0.2, 0.12)),
    *(Candidate("whiten", "neighbours", level) for level in (1.0, 0.7, 0.35)),
    Candidate("raw", "neighbours", 0.5),
    *(Candidate("raw", "components", level) for level in (1.0, 0.9)),
)
