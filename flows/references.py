"""The references: what simple models make of the same training rows.

They are the floors, which a flow has to beat.

A mixture and a kernel density choose their one setting by cross-validation inside the training
rows, as honest a chance as the flows get.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from flows.core.arrays import Array, rounded
from flows.core.columns import Column
from flows.core.mixture import Mixture
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.network import Floor

COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 54)
ROWS = 4_000  # as many are enough to choose a bandwidth by, whose cost is quadratic
RIDGES = [1e-4, 1e-3, 1e-2, 1e-1]
# Added to the variances, in standardised units, of rows that may have no spread in some direction
RIDGE = 1e-6


def truth(target: Mixture) -> GaussianMixture:
    """The truth itself as a model."""
    return GaussianMixture(target.weights, target.means, target.covariances)


def of_table(
    columns: Sequence[Column],
    rows: Array,
    mixture: Callable[[Array, Array, Array], GaussianMixture],
    *,
    margins: bool = False,
) -> Floor:
    """What ``mixture`` makes of the user's ``rows`` ``(n, D)`` behind the door of a table.

    ``mixture`` is of standardised rows, mean 0 and deviation 1.

    ``margins``: with every margin made about normal first, as the flows have them.
    """
    return Floor(columns, margins).fit(rows, lambda z: mixture(z, np.zeros(1), np.ones(1)))


def fit_gaussian(
    standardized: Array, mean: Array, deviation: Array, *, correlated: bool
) -> GaussianMixture:
    """One Gaussian by maximum likelihood; without correlations, a Gaussian a column.

    The arrays as for ``fit_gmm``.
    """
    with threadpool_limits(1):
        covariance = np.cov(standardized, rowvar=False, bias=True).reshape(
            2 * standardized.shape[1:]
        )
    covariance = (covariance if correlated else np.diag(np.diag(covariance))) + RIDGE * np.eye(
        len(covariance)
    )
    return _in_user_units(
        np.ones(1), standardized.mean(axis=0, keepdims=True), covariance[None], mean, deviation
    )


def fit_gmm(
    standardized: Array,
    mean: Array,
    deviation: Array,
    *,
    components: Sequence[int],
    folds: int,
    seed: int,
    ridges: Sequence[float] = (1e-4,),
) -> GaussianMixture:
    """A mixture with full covariances by expectation maximisation.

    Its number of components and its ridge are by cross-validated likelihood.

    ``standardized`` ``(n, D)``, with the ``mean`` and ``deviation`` ``(D,)`` that take the result
    back to the user's units.
    """
    # Here: it takes as long to import as most references take
    from sklearn.mixture import GaussianMixture as ScikitMixture

    settings = {"covariance_type": "full", "max_iter": 300, "random_state": seed}
    # On so few rows threads only wait for each other, and one thread's sums are always the same
    with threadpool_limits(1):
        chosen = _choose(
            ScikitMixture(**settings),
            {"n_components": list(components), "reg_covar": list(ridges)},
            standardized,
            folds,
            seed,
        )
        best = ScikitMixture(**settings, **chosen, n_init=10).fit(standardized)
    return _in_user_units(best.weights_, best.means_, best.covariances_, mean, deviation)


def components(most: int, rows: int) -> list[int]:
    """How many components a mixture of a table may have.

    About evenly in the logarithm up to ``most``, with five ``rows`` for each.
    """
    return [count for count in COMPONENTS if count == 1 or count <= min(most, rows // 5)]


def bandwidths(count: int) -> list[float]:
    """``count`` bandwidths to choose from, evenly in the logarithm.

    From 0.02 to 1 standard deviation of the data.
    """
    return np.geomspace(0.02, 1.0, count).tolist()


def fit_kde(
    standardized: Array,
    mean: Array,
    deviation: Array,
    *,
    bandwidths: Sequence[float],
    folds: int,
    seed: int,
) -> GaussianMixture:
    """A Gaussian kernel density, its bandwidth by cross-validated likelihood.

    The bandwidth is in standard deviations of the data; on some of many rows.
    """
    from sklearn.neighbors import KernelDensity

    n, dim = standardized.shape
    some = standardized[:: -(-n // ROWS)]
    bandwidth = _choose(
        KernelDensity(kernel="gaussian"), {"bandwidth": list(bandwidths)}, some, folds, seed
    )["bandwidth"]
    bandwidth *= (len(some) / n) ** (1 / (dim + 4))  # it shrinks as n^(-1/(D+4))
    covariances = np.broadcast_to(bandwidth**2 * np.eye(dim), (n, dim, dim))
    return _in_user_units(np.full(n, 1 / n), standardized, covariances, mean, deviation)


def _choose(
    estimator: Any, grid: dict[str, list[Any]], rows: Array, folds: int, seed: int
) -> dict[str, Any]:
    """The setting in ``grid`` with the best log-likelihood on the folds left out."""
    from sklearn.model_selection import GridSearchCV, KFold

    splitter = KFold(folds, shuffle=True, random_state=seed)
    return GridSearchCV(estimator, grid, cv=splitter, refit=False).fit(rows).best_params_


def _in_user_units(
    weights: Array, means: Array, covariances: Array, mean: Array, deviation: Array
) -> GaussianMixture:
    weights, means, covariances = rounded(weights), rounded(means), rounded(covariances)
    return GaussianMixture(
        weights / weights.sum(),
        mean + deviation * means,
        covariances * np.outer(deviation, deviation),
    )
