"""The references: what a fitted Gaussian mixture and a kernel density make of the same training rows.

Both choose their one setting by cross-validation inside the training rows, as honest a chance as the flows get.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture as ScikitMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity
from threadpoolctl import threadpool_limits

from flows.core.arrays import Array
from flows.core.mixture import Mixture
from flows.core.reference import GaussianMixture


def truth(target: Mixture) -> GaussianMixture:
    """The truth itself as a model."""
    return GaussianMixture(target.weights, target.means, target.covariances)


def fit_gmm(standardized: Array, mean: Array, deviation: Array, *, components: Sequence[int], folds: int, seed: int) -> GaussianMixture:
    """A mixture with full covariances by expectation maximisation, its number of components by cross-validated likelihood.

    ``standardized`` ``(n, D)``, with the ``mean`` and ``deviation`` ``(D,)`` that take the result back to the user's units.
    """
    settings = {"covariance_type": "full", "reg_covar": 1e-4, "max_iter": 300, "random_state": seed}
    with threadpool_limits(1):  # on so few rows threads only wait for each other, and one thread's sums are always the same
        chosen = _choose(ScikitMixture(**settings), {"n_components": list(components)}, standardized, folds, seed)
        best = ScikitMixture(**settings, **chosen, n_init=10).fit(standardized)
    return _in_user_units(best.weights_, best.means_, best.covariances_, mean, deviation)


def bandwidths(count: int) -> list[float]:
    """``count`` bandwidths to choose from, evenly in the logarithm, from 0.02 to 1 standard deviation of the data."""
    return np.geomspace(0.02, 1.0, count).tolist()


def fit_kde(standardized: Array, mean: Array, deviation: Array, *, bandwidths: Sequence[float], folds: int, seed: int) -> GaussianMixture:
    """A Gaussian kernel density, its bandwidth (in standard deviations of the data) by cross-validated likelihood."""
    chosen = _choose(KernelDensity(kernel="gaussian"), {"bandwidth": list(bandwidths)}, standardized, folds, seed)
    n, dim = standardized.shape
    covariances = np.broadcast_to(chosen["bandwidth"] ** 2 * np.eye(dim), (n, dim, dim))
    return _in_user_units(np.full(n, 1 / n), standardized, covariances, mean, deviation)


def _choose(estimator: Any, grid: dict[str, list[Any]], rows: Array, folds: int, seed: int) -> dict[str, Any]:
    """The setting in ``grid`` with the best log-likelihood on the folds left out."""
    splitter = KFold(folds, shuffle=True, random_state=seed)
    return GridSearchCV(estimator, grid, cv=splitter, refit=False).fit(rows).best_params_


def _in_user_units(weights: Array, means: Array, covariances: Array, mean: Array, deviation: Array) -> GaussianMixture:
    scaled = covariances * np.outer(deviation, deviation)
    return GaussianMixture(weights, mean + deviation * means, scaled)
