"""Expectation maximisation (EM) of mixtures, which integrates missing values out exactly.

The *E-step* computes for each row and component k the responsibility r_k, and for missing numbers
the mean and covariance given the known values. The *M-step*, with the sums over rows i and F the
frequencies of the labels in the table::

    N_k = sum_i r_ik,    w_k = N_k / n,    mu_k = sum_i r_ik E_k[x_i] / N_k
    Sigma_k = sum_i r_ik E_k[(x_i - mu_k) (x_i - mu_k)^T] / N_k + ridge I
    pi_kj(c) = (sum_i r_ik [c_ij = c] + PRIOR F_j(c)) / sum_c (same)

Sources: Dempster, Laird and Rubin 1977; Ghahramani and Jordan 1994 (missing values).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.core.rows import Rows
from flows.core.threads import one_thread
from flows.mixtures.mixture import Mixture, patterns

ITERATIONS = 100
# Gain of an iteration, in nats per row, below which EM ends, as in scikit-learn. With gaps it is
# smaller, because the values in gaps follow the parameters of the iteration before
TOLERANCE, WITH_GAPS = 1e-3, 3e-4
ROWS = 1_000  # of an E-step at a time, whose arrays stay in the cache
DECIMALS = 10  # of means and covariances, and of the likelihoods that are compared
PRIOR = 1.0  # rows with the frequencies of the table, which are added to the labels of each class
# Added to variances, at least, because rows may not vary in some direction
RIDGE = 1e-6
# From points (n, D) and a number to the cluster of each point, (n,)
Clusters = Callable[[Array, int], Whole]


class Filled(NamedTuple):
    """The rows with gaps, with the expectations of their missing numbers.

    Args:
        places: the indices of the G rows.
        values: the rows under each component, ``(K, G, D)``.
        spreads: for each group of rows with one pattern of gaps, the indices of the U columns and
            of the rows, and the covariances of the missing numbers under each component,
            ``(K, U, U)``.
    """

    places: Whole
    values: Array
    spreads: list[tuple[Whole, Whole, Array]]


def independent(rows: Rows) -> Mixture:
    """Return one component with independent columns, fitted to the known values."""
    mean = np.nanmean(rows.numbers, axis=0, keepdims=True)
    covariance = np.diag(np.nanvar(rows.numbers, axis=0) + RIDGE)
    shares = [each[None] for each in rows.frequencies()]
    return Mixture(np.ones(1), mean, covariance[None], shares)


def fit(
    rows: Rows,
    components: int,
    ridge: float,
    starts: int = 1,
    iterations: int = ITERATIONS,
    least: float = 0.0,
    *,
    k_means: bool = True,
) -> Mixture:
    """Fit a mixture by EM.

    EM starts from clusters of the numbers, with means for gaps, and the labels as indicators.

    Args:
        rows: the rows, with gaps.
        components: the number of components K.
        ridge: the number added to the diagonal of every covariance, in squared units of the rows.
        starts: the number of starts; the most likely fit is kept.
        iterations: the largest number of iterations per start.
        least: the rows that a component has to hold; smaller components are left out at the end.
        k_means: whether the clusters are those of k-means. If not, the first K rows are their
            centres, which is enough for many rows in random order; all starts are then equal.

    Raises ``ValueError`` if a covariance is singular despite the ridge.

    Examples:
        >>> import numpy as np
        >>> from flows.core.rows import Rows
        >>> from flows.mixtures.expectation import fit
        >>> rows = Rows.of_numbers(np.array([[-2.1], [-2.0], [-1.9], [1.9], [2.0], [np.nan]]))
        >>> np.sort(fit(rows, components=2, ridge=1e-3).means.ravel()).round(2)
        array([-2.  ,  1.95])
    """
    state = np.random.RandomState(0)  # scikit-learn takes no numpy.random.Generator
    clusters = partial(_k_means, state=state) if k_means else _nearest
    # The sums of one thread are reproducible
    with one_thread("sklearn.cluster" if k_means else "numpy"):
        fits = [_fit_once(rows, components, ridge, clusters, iterations) for _ in range(starts)]
        fits = [_without_small(each, least / len(rows.numbers)) for each in fits]
        if len(fits) == 1:
            return fits[0]
        scores = [each.log_prob(rows.numbers, rows.codes).mean() for each in fits]
        # Starts often differ in the order of the components alone: then the first one is kept
        return fits[int(np.argmax(np.round(scores, DECIMALS)))]


def _fit_once(
    rows: Rows, components: int, ridge: float, clusters: Clusters, iterations: int
) -> Mixture:
    one, groups = independent(rows), list(patterns(rows.numbers, ROWS))
    start = Mixture.stacked([one] * components, np.full(components, 1 / components))
    _, filled = _expected(start, rows, groups)
    numbers = np.where(np.isnan(rows.numbers), one.means, rows.numbers)
    which = clusters(np.column_stack([numbers, *rows.indicators()]), components)
    responsibilities = (which == np.arange(components)[:, None]).astype(np.float64)
    frequencies = [PRIOR * each for each in rows.frequencies()]
    indicators = [each.astype(np.float64) for each in rows.indicators()]
    before, tolerance = -np.inf, WITH_GAPS if len(filled.places) else TOLERANCE
    for _ in range(iterations):
        counts = [responsibilities @ each for each in indicators]
        labels = [count + prior for count, prior in zip(counts, frequencies, strict=True)]
        mixture = _maximised(rows.numbers, responsibilities, filled, labels, ridge)
        log_terms, filled = _expected(mixture, rows, groups)
        log_q = np.logaddexp.reduce(log_terms, axis=0)
        if log_q.mean() - before < tolerance:
            break
        before, responsibilities = log_q.mean(), np.exp(log_terms - log_q)
    # Of a number near 0, the last digits are errors
    means, covariances = mixture.means.round(DECIMALS), mixture.covariances.round(DECIMALS)
    return replace(mixture, means=means, covariances=covariances)


def _without_small(mixture: Mixture, least: float) -> Mixture:
    """Return a mixture without components of a weight below ``least``, unless all are smaller."""
    kept = mixture.weights >= least
    if kept.all() or not kept.any():
        return mixture
    weights = mixture.weights[kept] / mixture.weights[kept].sum()
    shares = [each[kept] for each in mixture.shares]
    return Mixture(weights, mixture.means[kept], mixture.covariances[kept], shares)


def _nearest(points: Array, count: int) -> Whole:
    """Return which of the first ``count`` points is nearest to each point, ``(n,)``."""
    centers = points[:count]
    return np.asarray(np.argmin((centers**2).sum(axis=1) - 2 * points @ centers.T, axis=1))


def _k_means(points: Array, count: int, state: np.random.RandomState) -> Whole:
    """Return the cluster of each point, ``(n,)``, by the k-means of scikit-learn."""
    from sklearn.cluster import KMeans  # takes a second
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than components
        found = KMeans(count, n_init=1, random_state=state).fit_predict(points)
    return np.asarray(found, np.int64)


def _expected(
    mixture: Mixture, rows: Rows, groups: Sequence[tuple[Mask, Whole]]
) -> tuple[Array, Filled]:
    """Return log w_k + log p(row | k), ``(K, n)``, and the rows with gaps: the E-step.

    ``groups`` are the ``patterns`` of all rows.
    """
    count, spreads = len(mixture.weights), list[tuple[Whole, Whole, Array]]()
    log_terms = np.empty((count, len(rows.numbers)))
    places = np.flatnonzero(np.isnan(rows.numbers).any(axis=1))
    values = rows.numbers[places][None].repeat(count, axis=0)
    for unknown, own in groups:
        x, codes, u = rows.numbers[own], rows.codes[own], np.flatnonzero(unknown)
        if not len(u):
            log_terms[:, own] = mixture.log_terms(x, codes)
            continue
        given = mixture.conditional(x, unknown, codes)
        log_terms[:, own] = (given.log_weights + given.log_evidence[:, None]).T
        inside = np.searchsorted(places, own)
        values[:, inside[:, None], u] = given.means.transpose(1, 0, 2)
        spreads.append((u, own, given.covariances))
    return log_terms, Filled(places, values, spreads)


def _maximised(
    x: Array, responsibilities: Array, filled: Filled, labels: Sequence[Array], ridge: float
) -> Mixture:
    """Return the mixture of the M-step.

    Args:
        x: the numbers ``(n, D)``, ``NaN`` in gaps.
        responsibilities: the responsibilities of the components, ``(K, n)``.
        filled: the rows with gaps.
        labels: for each column of L labels, their smoothed counts in each component, ``(K, L)``.
        ridge: the number added to the variances.
    """
    dim, total = x.shape[1], responsibilities.sum(axis=1) + 1e-10
    means = np.empty((len(total), dim))
    covariances = np.zeros((len(total), dim, dim))
    for u, own, spread in filled.spreads:
        share = responsibilities[:, own].sum(axis=1)
        covariances[:, u[:, None], u] += share[:, None, None] * spread
    complete = x.copy()
    for k, own in enumerate(responsibilities):
        complete[filled.places] = filled.values[k]
        means[k] = own @ complete / total[k]
        centred = complete - means[k]
        covariances[k] += (own[:, None] * centred).T @ centred
    covariances = covariances / total[:, None, None] + ridge * np.eye(dim)
    covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
    shares = [each / each.sum(axis=1, keepdims=True) for each in labels]
    return Mixture(total / total.sum(), means, covariances, shares)
