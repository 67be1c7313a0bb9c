"""The size of a mixture, and the simple models that a flow has to beat.

``search`` chooses the number of components and the ridge. ``fit_filler`` fits the mixture that
fills gaps. Both use our EM (``expectation.py``).

``fit_gaussian``, ``fit_gmm`` and ``fit_kde`` fit the reference models. The EM of scikit-learn fits
``fit_gmm``, so that the reference is the usual one; it is imported at the first call, because the
import takes a second. Numbers are rounded to nine digits, which are the same on every machine.

All rows are standardised, so ridges and bandwidths are in standard deviations of the columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from flows.core.arrays import Array, Whole, subsample
from flows.core.progress import progress
from flows.core.rows import Rows
from flows.core.settings import Recipe
from flows.core.threads import one_thread
from flows.mixtures import expectation
from flows.mixtures.bandwidth import cross_validated_bandwidth
from flows.mixtures.mixture import Mixture

# Numbers of components to choose from, about evenly spaced in the logarithm
COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 54)
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # of references; those of the recipe are in its settings
FIRST_RIDGE = 1e-3  # with which ``search`` chooses the number of components
PATIENCE = 3  # ``search`` ends after three numbers of components in a row without a better score
ENOUGH = 10  # rows per component and column of a filler, at least


def fit_mixture(
    rows: Array,
    components: int,
    *,
    ridge: float,
    starts: int = 1,
    iterations: int = 100,
    seed: int = 0,
) -> Mixture:
    """Fit a mixture with full covariances to ``rows`` ``(n, D)`` by the EM of scikit-learn.

    EM starts from k-means and maximises the likelihood, with ``ridge`` added to every variance.
    There is no warning if EM has not converged, because a rough mixture is good enough.

    Args:
        rows: the rows ``(n, D)``, without missing values.
        components: the number of components K.
        ridge: the number added to the diagonal of every covariance, in squared units of the rows.
        starts: the number of starts; the most likely fit is kept.
        iterations: the largest number of iterations per start.
        seed: the seed of k-means.

    Raises ``ValueError`` for fewer rows than components, and if a covariance is singular despite
    the ridge. Source: Dempster, Laird and Rubin 1977.

    Examples:
        >>> import numpy as np
        >>> from flows.mixtures.fitting import fit_mixture
        >>> rows = np.array([[-2.1], [-2.0], [-1.9], [1.9], [2.0], [2.1]])
        >>> mixture = fit_mixture(rows, components=2, ridge=1e-3)
        >>> np.sort(mixture.means.ravel()).round(2), mixture.weights.round(2)
        (array([-2.,  2.]), array([0.5, 0.5]))
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    em = GaussianMixture(
        components, reg_covar=ridge, n_init=starts, max_iter=iterations, random_state=seed
    )
    # The sums of one thread are reproducible, and on so few rows more threads wait for each other
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        em.fit(rows)
    return Mixture(em.weights_, em.means_, em.covariances_)


def search(
    score: Callable[[int, float], float],
    components: Sequence[int],
    goes_on: Callable[[], bool] = lambda: True,
    ridges: Sequence[float] = (),
    *,
    patience: int = PATIENCE,
) -> tuple[int, float]:
    """Return the number of components and the ridge with the best score.

    The numbers of components are tried in order, with ``FIRST_RIDGE``, until ``patience`` numbers
    in a row bring no better score. The other ridges are then tried with the best number.

    Args:
        score: the score of a number of components with a ridge; higher is better.
        components: the numbers to try.
        goes_on: whether a further setting may be evaluated; the first always is.
        ridges: the ridges to try.
        patience: the numbers of components in a row without a better score that end the search.
    """
    chosen, best, waited = components[0], score(components[0], FIRST_RIDGE), 0
    for count in components[1:]:
        if waited == patience or not goes_on():
            break
        waited += 1
        if (value := score(count, FIRST_RIDGE)) > best:
            chosen, best, waited = count, value, 0
    by_ridge = {FIRST_RIDGE: best}
    for ridge in ridges:
        if ridge != FIRST_RIDGE and goes_on():
            by_ridge[ridge] = score(chosen, ridge)
    return chosen, max(by_ridge, key=lambda ridge: by_ridge[ridge])


def bayesian_information(mixture: Mixture, rows: Rows) -> float:
    """Return Schwarz's criterion (BIC) of a ``mixture`` for ``rows``; lower is better::

        BIC = -2 sum_i log p(x_i) + P log n
        P   = K - 1 + K D + K D (D + 1) / 2 + K sum_j (L_j - 1)

    L_j are the numbers of labels. Source: Schwarz 1978 (Estimating the dimension of a model).
    """
    count, dim = mixture.means.shape
    of_labels = sum(size - 1 for size in mixture.sizes)
    parameters = count - 1 + count * (dim + dim * (dim + 1) / 2 + of_labels)
    log_q = mixture.log_prob(rows.numbers, rows.codes)
    return float(parameters * np.log(len(log_q)) - 2 * log_q.sum())


def fit_filler(rows: Rows, recipe: Recipe) -> Mixture:
    """Fit the mixture that fills gaps to about ``recipe.filler_rows`` of the ``rows``.

    The number of components grows through ``recipe.filler_components`` while Schwarz's criterion
    improves. The ridge is nearly 0 for many rows, because rows may lie near a plane, and larger if
    there are few rows per column.
    """
    rows = rows.take(few_rows(rows.numbers, recipe.filler_rows))
    n, width = len(rows.codes), rows.numbers.shape[1] + len(rows.sizes)
    ridge = max(expectation.RIDGE, min(1.0, width / n) ** 4)
    counts = [k for k in recipe.filler_components if ENOUGH * k * width <= n] or [1]
    fits: dict[int, Mixture] = {}

    def score(count: int, _: float) -> float:
        fits[count] = expectation.fit(rows, count, ridge)
        return -bayesian_information(fits[count], rows)

    return fits[search(score, counts, ridges=(), patience=1)[0]].to_nine_digits()


def fit_frequencies(codes: Whole, sizes: Sequence[int], root: int, strength: float) -> Mixture:
    """Return the frequencies of labels given the label of one column, the root::

        p(c) = p(c_root) prod_j p(c_j | c_root)
        p(c_j | c_root) = (n(c_j, c_root) + strength p(c_j)) / (n(c_root) + strength)

    It is a mixture with a class for each label of the root. n counts rows. Source: naive Bayes with
    a Dirichlet prior, as in Friedman, Geiger and Goldszmidt 1997 (Bayesian network classifiers).

    Args:
        codes: the codes of the labels ``(n, C)``, -1 in gaps.
        sizes: the numbers of labels of the columns.
        root: the index of the root.
        strength: the number of rows of the frequencies p(c_j) that are added.
    """
    frequencies, shares = [*Rows.of_labels(codes, sizes).frequencies()], list[Array]()
    for j, (size, p) in enumerate(zip(sizes, frequencies, strict=True)):
        if j == root:
            shares.append(np.eye(size))
            continue
        known = codes[(codes[:, root] >= 0) & (codes[:, j] >= 0)]
        counts = np.zeros((sizes[root], size))
        np.add.at(counts, (known[:, root], known[:, j]), 1)
        shares.append((counts + strength * p) / (counts.sum(axis=1, keepdims=True) + strength))
    return Mixture.of_labels(frequencies[root], shares)


def few_rows(rows: Array, most: int) -> Whole:
    """Return the indices of ``most`` evenly spaced rows, or of all if there are fewer.

    For each column that has no value in these rows, up to ``most`` rows with a value are added.
    """
    places = subsample(np.arange(len(rows)), most)
    lacking = np.isnan(rows[places]).all(axis=0)
    for x in rows[:, lacking].T:
        places = np.union1d(places, subsample(np.flatnonzero(~np.isnan(x)), most))
    return places


def fit_gaussian(rows: Array, *, correlated: bool) -> Mixture:
    """Fit one Gaussian to ``rows`` ``(n, D)`` by maximum likelihood.

    Without ``correlated``, the covariance is diagonal: the columns are independent.
    """
    dim = rows.shape[1]
    with one_thread():
        covariance = np.cov(rows, rowvar=False, bias=True).reshape(dim, dim)
    if not correlated:
        covariance = np.diag(np.diag(covariance))
    covariance = covariance + expectation.RIDGE * np.eye(dim)
    return Mixture(np.ones(1), rows.mean(axis=0, keepdims=True), covariance[None]).to_nine_digits()


def fit_gmm(
    rows: Array,
    *,
    components: Sequence[int],
    folds: int,
    seed: int,
    ridges: Sequence[float] = RIDGES[:1],
) -> Mixture:
    """Fit the reference ``gmm`` to ``rows`` ``(n, D)``.

    The number of components and the ridge have the best cross-validated likelihood: every setting
    is fitted with one start per fold, and the best setting with ten starts to all rows. The fold of
    a row and the starts of EM depend on ``seed``. If no setting can be fitted to the folds, the
    first is fitted to all rows. Raises ``ValueError`` if this fit fails, and for fewer rows than
    ``folds``.
    """
    from sklearn.model_selection import KFold

    how: dict[str, int] = {"iterations": 300, "seed": seed}
    splits = list(KFold(folds, shuffle=True, random_state=seed).split(rows))
    chosen, best = (components[0], ridges[0]), -np.inf
    settings = list(product(components, ridges))
    with progress("mixture", len(settings), "setting") as bar:
        for count, ridge in settings:
            bar.update()
            try:
                fits = [fit_mixture(rows[train], count, ridge=ridge, **how) for train, _ in splits]
            except ValueError:
                continue
            pairs = zip(fits, splits, strict=True)
            score = np.mean([fit.log_prob(rows[held_out]).mean() for fit, (_, held_out) in pairs])
            if score > best:
                chosen, best = (count, ridge), float(score)
    count, ridge = chosen
    return fit_mixture(rows, count, ridge=ridge, starts=10, **how).to_nine_digits()


def components(most: int, rows: int) -> list[int]:
    """Return the candidate numbers of components for a table with ``rows`` rows.

    These are the numbers of ``COMPONENTS`` up to ``most`` with at least five rows per component,
    and always 1.
    """
    return [count for count in COMPONENTS if count == 1 or count <= min(most, rows // 5)]


def fit_kde(rows: Array, *, bandwidths: Sequence[float], folds: int, seed: int) -> Mixture:
    """Fit the reference ``kde`` to ``rows`` ``(n, D)``: a Gaussian kernel at every row.

    ``cross_validated_bandwidth`` chooses one of the ``bandwidths``. Raises ``ValueError`` for fewer
    rows than ``folds``.

    Examples:
        >>> import numpy as np
        >>> from flows.mixtures.fitting import fit_kde
        >>> rows = np.random.default_rng(0).standard_normal((200, 1))
        >>> kde = fit_kde(rows, bandwidths=[0.1, 0.3, 0.9], folds=5, seed=0)
        >>> kde.log_prob(np.array([[0.0], [2.0]])).round(2)
        array([-0.98, -3.  ])
    """
    bandwidth = cross_validated_bandwidth(rows, bandwidths=bandwidths, folds=folds, seed=seed)
    return Mixture.isotropic(rows, bandwidth).to_nine_digits()
