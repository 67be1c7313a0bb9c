"""Missing values, or gaps, of training rows: a gap is drawn several times, not filled once.

A mixture of Gaussians is fitted to the rows. The draws are from this mixture, given the known
values of the row (multiple imputation, Rubin 1987). A *training* row has several completions, and
each visit uses a random one. The score of a *held-out* row is the log-density of
its known values ``x_o``, estimated with importance sampling (Owen 2013, chapter 9)::

    q(x_o) ~ 1/K sum_k q(x_o, x_k) / r(x_k | x_o),      x_k ~ r( . | x_o)

The estimate is unbiased, so the expectation of its logarithm is at most log q(x_o). Rows are
``(n, D)``, standardised, with ``NaN`` for a gap.
"""

from __future__ import annotations

import numpy as np

from flows.core.arrays import Array, Whole, subsample
from flows.core.settings import Recipe
from flows.core.threads import one_thread
from flows.mixtures.conditional_mixture import ConditionalMixture, patterns
from flows.mixtures.fitting import bayesian_information, fit_mixture
from flows.mixtures.mixture import Mixture

ENOUGH = 10  # rows per component and column, at least
# Added to the variances, at least; more is added for few rows. Columns that are nearly linearly
# dependent form a narrow ridge
RIDGE = 1e-8
NUMBERS = 10_000_000  # numbers in the matrices of a chunk of rows, to bound the memory


def few_rows(rows: Array, most: int) -> Whole:
    """Return the indices of ``most`` evenly spaced rows, or of all if there are fewer.

    A column that has no value in these rows adds evenly spaced rows with a value.
    """
    places = subsample(np.arange(len(rows)), most)
    lacking = np.isnan(rows[places]).all(axis=0)
    for x in rows[:, lacking].T:
        places = np.union1d(places, subsample(np.flatnonzero(~np.isnan(x)), most))
    return places


def fit_with_missing(rows: Array, generator: np.random.Generator, recipe: Recipe) -> Mixture:
    """Fit a mixture to rows by stochastic expectation maximisation (Celeux and Diebolt 1985).

    The mixture is fitted to at most ``recipe.filler_rows`` of the ``rows`` ``(n, D)``. Each fit
    uses completions that are drawn from the previous mixture, given the known values. The number of
    components grows through ``recipe.filler_components`` while Schwarz's criterion (BIC) improves;
    with one component, there are ``recipe.filler_rounds`` fits, and fewer with more.
    """
    rows = rows[few_rows(rows, recipe.filler_rows)]
    ridge = max(RIDGE, min(1.0, rows.shape[1] / len(rows)) ** 4)
    completed, least = _start(rows, generator), np.inf
    with one_thread():  # also for the draws, on which the next fit depends
        for count in recipe.filler_components:
            if count > 1 and ENOUGH * count * rows.shape[1] > len(rows):
                break
            for _ in range(max(1, recipe.filler_rounds // count)):
                mixture = fit_mixture(completed, count, ridge=ridge)
                completed, _ = draw_missing(mixture, rows, generator)
            if (criterion := bayesian_information(mixture, completed)) > least:
                break
            least, best = criterion, mixture
    return best


def _start(rows: Array, generator: np.random.Generator) -> Array:
    """Return the complete rows or, if these are few, all rows with gaps filled at random."""
    complete = rows[~np.isnan(rows).any(axis=1)]
    if len(complete) >= 2 * rows.shape[1]:
        return complete
    filled = rows.copy()
    for column in filled.T:
        gap = np.isnan(column)
        column[gap] = generator.choice(column[~gap], gap.sum())
    return filled


def draw_missing(
    mixture: Mixture, rows: Array, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Return ``rows`` with draws in their gaps, and the log-density of the draws, ``(n,)``."""
    completed, log_r = rows.copy(), np.zeros(len(rows))
    for unknown, own in patterns(rows, max(1, NUMBERS // rows.shape[1] ** 2)):
        given = ConditionalMixture.of(mixture, rows[own], unknown)
        normal = generator.standard_normal((len(own), int(unknown.sum())))
        drawn = given.sample(generator.random(len(own)), normal)
        completed[np.ix_(own, unknown)] = drawn
        log_r[own] = given.log_prob(drawn)
    return completed, log_r


def log_prob(mixture: Mixture, rows: Array) -> Array:
    """Return the log-density of the known values of ``rows``, ``(n,)``."""
    if not np.isnan(rows).any():
        return mixture.log_prob(rows)
    log_q = np.empty(len(rows))
    for unknown, own in patterns(rows, max(1, NUMBERS // rows.shape[1] ** 2)):
        log_q[own] = ConditionalMixture.of(mixture, rows[own], unknown).log_evidence
    return log_q
