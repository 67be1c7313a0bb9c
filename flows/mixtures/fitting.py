"""Fits of mixtures of Gaussians: by expectation maximisation, and the simple reference models.

Expectation maximisation (EM) is that of scikit-learn, which is imported where it is called, because
the import takes a second. ``fit_mixture`` runs it once, ``select_mixture`` chooses the components
and the ridge. ``fit_gaussian``, ``fit_gmm`` and ``fit_kde`` fit the references that a flow has to
beat. Their numbers are rounded to nine digits, which are the same on every machine.

All rows are ``(n, D)`` and standardised, so ridges and bandwidths are in standard deviations of the
columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from flows.core.arrays import Array, Whole, rounded
from flows.mixtures.bandwidth import cross_validated_bandwidth
from flows.mixtures.mixture import Mixture

if TYPE_CHECKING:
    from sklearn.model_selection import KFold

# Numbers of components to choose from, about evenly spaced in the logarithm
COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 54)
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
# Added to the variances of one Gaussian, as rows may have no spread in some direction
RIDGE = 1e-6


def fit_mixture(
    rows: Array,
    components: int,
    *,
    ridge: float,
    restarts: int = 1,
    iterations: int = 100,
    seed: int = 0,
) -> Mixture:
    """Fit a mixture with full covariances to ``rows`` ``(n, D)`` by EM.

    EM starts from k-means and maximises the likelihood, with ``ridge`` added to every variance. A
    fit that has not converged is not reported: a rough mixture is good enough for every caller.

    Args:
        rows: the rows ``(n, D)``, without gaps.
        components: the number of components K.
        ridge: what is added to the diagonal of every covariance, in units of the rows squared.
        restarts: the number of starts, of which the likeliest fit is kept.
        iterations: the largest number of iterations of a start.
        seed: the seed of k-means.

    Raises ``ValueError`` for fewer rows than components, and where a covariance is singular in
    spite of the ridge. Source: Dempster, Laird and Rubin 1977.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    em = GaussianMixture(
        components, reg_covar=ridge, n_init=restarts, max_iter=iterations, random_state=seed
    )
    # The sums of one thread are reproducible, and on so few rows more threads wait for each other
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        em.fit(rows)
    return Mixture(em.weights_, em.means_, em.covariances_)


def select_mixture(
    rows: Array,
    *,
    components: Sequence[int],
    ridges: Sequence[float],
    splitter: KFold,
    patience: int | None = None,
    restarts: int = 1,
    iterations: int = 100,
    seed: int = 0,
) -> Mixture:
    """Fit a mixture whose number of components and ridge have the best cross-validated likelihood.

    Every setting is fitted with one start for each fold. The best setting is then fitted to all
    rows with ``restarts`` starts.

    Args:
        rows: the rows ``(n, D)``, without gaps.
        components: the numbers of components to choose from, in the order in which they are tried.
        ridges: the ridges to choose from.
        splitter: scikit-learn's splitter, which cuts the rows into folds.
        patience: the number of successive entries of ``components`` without a better score after
            which the search stops; ``None`` tries all.
        restarts: as in ``fit_mixture``, of the last fit.
        iterations: as in ``fit_mixture``.
        seed: as in ``fit_mixture``.

    Raises ``ValueError`` where the splitter can't cut the rows, or no setting can be fitted.
    """
    folds = list(splitter.split(rows))
    chosen, best, waited = (components[0], ridges[0]), -np.inf, 0
    for count in components:
        waited += 1
        for ridge in ridges:
            score = _held_out_likelihood(rows, folds, count, ridge, iterations, seed)
            if score > best:
                chosen, best, waited = (count, ridge), score, 0
        if waited == patience:
            break
    count, ridge = chosen
    return fit_mixture(
        rows, count, ridge=ridge, restarts=restarts, iterations=iterations, seed=seed
    )


def _held_out_likelihood(
    rows: Array,
    folds: Sequence[tuple[Whole, Whole]],
    components: int,
    ridge: float,
    iterations: int,
    seed: int,
) -> float:
    """Return the mean over ``folds`` of the mean log-likelihood of the rows that are left out.

    It is minus infinity where EM fails, so that such a setting is not chosen.
    """
    scores = []
    for train, held_out in folds:
        try:
            fitted = fit_mixture(
                rows[train], components, ridge=ridge, iterations=iterations, seed=seed
            )
        except ValueError:
            return -np.inf
        scores.append(fitted.log_prob(rows[held_out]).mean())
    return float(np.mean(scores))


def bayesian_information(mixture: Mixture, rows: Array) -> float:
    """Return Schwarz's criterion (BIC) of a ``mixture`` of ``rows`` ``(n, D)``; lower is better::

        BIC = -2 sum_i log p(x_i) + P log n,    P = K - 1 + K D + K D (D + 1) / 2

    Source: Schwarz 1978 (Estimating the dimension of a model).
    """
    count, dim = mixture.means.shape
    parameters = count - 1 + count * dim + count * dim * (dim + 1) / 2
    return float(parameters * np.log(len(rows)) - 2 * mixture.log_prob(rows).sum())


def fit_gaussian(rows: Array, *, correlated: bool) -> Mixture:
    """Fit one Gaussian to ``rows`` ``(n, D)`` by maximum likelihood.

    Without ``correlated``, the covariance is diagonal: the columns are independent.
    """
    dim = rows.shape[1]
    with threadpool_limits(1):
        covariance = np.cov(rows, rowvar=False, bias=True).reshape(dim, dim)
    if not correlated:
        covariance = np.diag(np.diag(covariance))
    covariance = covariance + RIDGE * np.eye(dim)
    return _rounded(Mixture(np.ones(1), rows.mean(axis=0, keepdims=True), covariance[None]))


def fit_gmm(
    rows: Array,
    *,
    components: Sequence[int],
    folds: int,
    seed: int,
    ridges: Sequence[float] = RIDGES[:1],
) -> Mixture:
    """Fit the reference ``gmm`` to ``rows`` ``(n, D)``: ``select_mixture`` on shuffled folds.

    The fold of a row and the starts of EM depend on ``seed``. Raises ``ValueError`` as
    ``select_mixture`` does.
    """
    from sklearn.model_selection import KFold

    best = select_mixture(
        rows,
        components=components,
        ridges=ridges,
        splitter=KFold(folds, shuffle=True, random_state=seed),
        restarts=10,
        iterations=300,
        seed=seed,
    )
    return _rounded(best)


def components(most: int, rows: int) -> list[int]:
    """Return the numbers of components that a mixture of a table may have.

    They are those of ``COMPONENTS`` up to ``most`` that leave at least five of the ``rows`` for
    each component. One component is always among them.
    """
    return [count for count in COMPONENTS if count == 1 or count <= min(most, rows // 5)]


def fit_kde(rows: Array, *, bandwidths: Sequence[float], folds: int, seed: int) -> Mixture:
    """Fit the reference ``kde`` to ``rows`` ``(n, D)``: a Gaussian kernel at every row.

    ``cross_validated_bandwidth`` chooses one of the ``bandwidths``. Raises ``ValueError`` for fewer
    rows than ``folds``.
    """
    bandwidth = cross_validated_bandwidth(rows, bandwidths=bandwidths, folds=folds, seed=seed)
    return _rounded(Mixture.isotropic(rows, bandwidth))


def _rounded(mixture: Mixture) -> Mixture:
    """Return the mixture with numbers of nine digits, which are the same on every machine."""
    weights = rounded(mixture.weights)
    return Mixture(weights / weights.sum(), rounded(mixture.means), rounded(mixture.covariances))
