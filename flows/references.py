"""References: simple models of the same training rows, which a flow has to beat.

A mixture and a kernel density choose their one setting by cross-validation inside the training
rows. Every fit takes standardised rows ``(n, D)`` and returns a ``Mixture``; ``reference`` makes a
model of one, in the user's units.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from flows.core.arrays import Array, rounded
from flows.core.scaler import Scaler
from flows.mixtures.mixture import Mixture
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.preprocessing import Preprocessing
from flows.tables.columns import Column

COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 54)
ROWS = 4_000  # rows that a bandwidth is chosen on, at most: the cost is quadratic
RIDGES: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1)
# Added to the variances, in standardised units, of rows that may have no spread in some direction
RIDGE = 1e-6


def truth(target: Mixture) -> GaussianMixture:
    """Return the truth itself as a model."""
    return GaussianMixture(target.weights, target.means, target.covariances)


def reference(
    fit: Callable[[Array], Mixture],
    scaled: Array,
    scaler: Scaler,
    columns: Sequence[Column] = (),
    *,
    margins: bool = False,
) -> GaussianMixture:
    """Fit a mixture to scaled rows ``(n, D)`` by ``fit``; return it as a model in the user's units.

    The rows are scaled by ``scaler``, and ``columns`` are those of a table. With ``margins``, every
    column is first mapped to about a standard normal.
    """
    preprocessing = Preprocessing(scaled.shape[1:], 1, columns)
    if margins:
        preprocessing.add_margins()
    points = torch.from_numpy(scaled.T.copy())[None]
    preprocessing.fit(points, scaler)
    z = preprocessing.from_scaled(points)[0]
    mixture = fit(np.ascontiguousarray(z[0].T.numpy()))
    return GaussianMixture(mixture.weights, mixture.means, mixture.covariances, preprocessing)


def fit_gaussian(rows: Array, *, correlated: bool) -> Mixture:
    """Fit one Gaussian by maximum likelihood; without correlations, a Gaussian a column."""
    dim = rows.shape[1]
    with threadpool_limits(1):
        covariance = np.cov(rows, rowvar=False, bias=True).reshape(dim, dim)
    if not correlated:
        covariance = np.diag(np.diag(covariance))
    covariance = covariance + RIDGE * np.eye(dim)
    return _rounded(np.ones(1), rows.mean(axis=0, keepdims=True), covariance[None])


def fit_gmm(
    rows: Array,
    *,
    components: Sequence[int],
    folds: int,
    seed: int,
    ridges: Sequence[float] = RIDGES[:1],
) -> Mixture:
    """Fit a mixture with full covariances by expectation maximisation.

    Its number of components and its ridge are chosen by cross-validated likelihood.
    """
    # Imported here, as that takes as long as most references take to fit
    from sklearn.mixture import GaussianMixture as ScikitMixture

    settings: dict[str, Any] = {"covariance_type": "full", "max_iter": 300, "random_state": seed}
    grid: dict[str, list[Any]] = {"n_components": [*components], "reg_covar": [*ridges]}
    # The sums of one thread are reproducible, and on so few rows more threads wait for each other
    with threadpool_limits(1):
        chosen = _choose(ScikitMixture(**settings), grid, rows, folds, seed)
        best = ScikitMixture(**settings, **chosen, n_init=10).fit(rows)
    return _rounded(best.weights_, best.means_, best.covariances_)


def components(most: int, rows: int) -> list[int]:
    """Return the numbers of components that a mixture of a table may have.

    They are spaced about evenly in the logarithm up to ``most``, with at least five ``rows`` for
    each component.
    """
    return [count for count in COMPONENTS if count == 1 or count <= min(most, rows // 5)]


def bandwidths(count: int) -> list[float]:
    """Return ``count`` bandwidths, evenly in the logarithm, from 0.02 to 1 standard deviation."""
    return np.geomspace(0.02, 1.0, count).tolist()


def fit_kde(rows: Array, *, bandwidths: Sequence[float], folds: int, seed: int) -> Mixture:
    """Fit a Gaussian kernel density, with a component at every row.

    Its bandwidth is chosen by cross-validated likelihood, on at most ``ROWS`` of the rows.
    """
    from sklearn.neighbors import KernelDensity

    n, dim = rows.shape
    some = rows[:: -(-n // ROWS)]
    grid = {"bandwidth": list(bandwidths)}
    chosen = _choose(KernelDensity(kernel="gaussian"), grid, some, folds, seed)
    # The best bandwidth shrinks as n^(-1/(D+4))
    bandwidth = chosen["bandwidth"] * (len(some) / n) ** (1 / (dim + 4))
    covariances = np.broadcast_to(bandwidth**2 * np.eye(dim), (n, dim, dim))
    return _rounded(np.full(n, 1 / n), rows, covariances)


def _choose(
    estimator: Any, grid: dict[str, list[Any]], rows: Array, folds: int, seed: int
) -> dict[str, Any]:
    """Return the setting in ``grid`` with the best log-likelihood on the folds left out."""
    from sklearn.model_selection import GridSearchCV, KFold

    splitter = KFold(folds, shuffle=True, random_state=seed)
    return GridSearchCV(estimator, grid, cv=splitter, refit=False).fit(rows).best_params_


def _rounded(weights: Array, means: Array, covariances: Array) -> Mixture:
    """Return the mixture with numbers of nine digits, which are the same on every machine."""
    weights = rounded(weights)
    return Mixture(weights / weights.sum(), rounded(means), rounded(covariances))
