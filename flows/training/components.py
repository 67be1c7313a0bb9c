"""Component noise: noise of the shape that a row's component of a Gaussian mixture has.

Where a table is made of clusters, a mixture knows the shape of each from all of its rows, and neighbours know it from twenty. A visit to
row x_i of a component with mean m and covariance C is a draw from::

    N(m + sqrt(1 - h^2) (x_i - m), h^2 C),    0 < h <= 1

which leaves the mean and the covariance of every component as they are: the shrunk smoothed bootstrap (Silverman and Young 1987), a
component at a time. At h = 1 it is the mixture itself, as many draws of it as training asks for. The number of components is the one with
the best cross-validated likelihood; a row's component is drawn by how likely each is for it.
"""

from __future__ import annotations

import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from flows.core.arrays import Array
from flows.training.smoothing import Noise

COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # with ten rows for each
ROWS = 1_500  # as many are enough to fit it by
FOLDS = 3
STARTS = 5
RIDGE = 1e-4  # on the diagonals of the covariances


def noise(points: Array) -> Noise:
    """Component noise of ``points`` ``(n, D)`` at every level h."""
    from sklearn.exceptions import ConvergenceWarning  # here: training by the fixed recipe needs none of it
    from sklearn.mixture import GaussianMixture
    from sklearn.model_selection import GridSearchCV

    some = points[:: -(-len(points) // ROWS)]
    counts = [count for count in COMPONENTS if count == 1 or 10 * count <= len(some)]
    search = GridSearchCV(GaussianMixture(reg_covar=RIDGE, random_state=0), {"n_components": counts}, cv=FOLDS, refit=False)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is not quite the likeliest mixture will do
        mixture = GaussianMixture(**search.fit(some).best_params_, reg_covar=RIDGE, random_state=0, n_init=STARTS).fit(some)
        shares = mixture.predict_proba(points).cumsum(axis=1)
    component = (shares[:, :-1] < np.random.default_rng(0).uniform(size=(len(points), 1))).sum(axis=1)
    mean, factor = mixture.means_[component], np.linalg.cholesky(mixture.covariances_)[component]
    return lambda level: (mean + np.sqrt(1 - level**2) * (points - mean), level * factor)
