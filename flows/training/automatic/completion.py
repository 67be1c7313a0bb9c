"""Rows with gaps in the automatic recipe: a missing value is drawn several times, not filled once.

The draws come from a mixture of Gaussians that is fitted to the training rows of a fold, given the
known values of the row (multiple imputation, Rubin 1987). A *training* row has several completions,
and each visit takes one of them at random. A *held-out* row is scored by its known values ``x_o``,
by importance sampling (Owen 2013, chapter 9)::

    q(x_o) ~ 1/K sum_k q(x_o, x_k) / r(x_k | x_o),      x_k ~ r( . | x_o)

The estimate has the right mean, so the expectation of its logarithm is at most log q(x_o). Rows are
``(n, D)``, scaled by the scaler of their fold (``fold.py``), with ``NaN`` for a gap.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from flows.core.arrays import Array, subsample
from flows.mixtures.conditional_mixture import ConditionalMixture, patterns
from flows.mixtures.fitting import bayesian_information, fit_mixture
from flows.mixtures.mixture import Mixture

COUNTS = (1, 2, 4, 8, 16)  # numbers of components to choose from
ENOUGH = 10  # rows of each component and column
ROUNDS = 16  # of fits and draws with one component, and fewer with more
ROWS = 1_500  # rows that a mixture is fitted to, at most
# Added to the variances, and more where rows are few. Columns that nearly add up are a narrow ridge
RIDGE = 1e-8
NUMBERS = 10_000_000  # of the matrices of a piece of rows: bounds the memory
DRAWS, TOGETHER = 16, 16_000  # of a row, and of all rows, but one each at least


def count_completions(rows: Array, count: int) -> int:
    """Return how many completions each of ``count`` rows has: one, where no ``rows`` have gaps."""
    return max(1, min(DRAWS, TOGETHER // count)) if np.isnan(rows).any() else 1


def fit_with_missing(rows: Array, generator: np.random.Generator) -> Mixture:
    """Fit a mixture to ``rows`` by stochastic expectation maximisation (Celeux and Diebolt 1985).

    It is fitted to complete rows, which are drawn from the mixture before, given what is known. The
    number of components doubles as long as Schwarz's criterion (BIC) gains.
    """
    rows = subsample(rows, ROWS)
    ridge = max(RIDGE, min(1.0, rows.shape[1] / len(rows)) ** 4)
    completed, least = _start(rows, generator), np.inf
    with threadpool_limits(1):  # of the draws too, by which the next fit changes
        for count in COUNTS:
            if count > 1 and ENOUGH * count * rows.shape[1] > len(rows):
                break
            for _ in range(ROUNDS // count):
                mixture = fit_mixture(completed, count, ridge=ridge)
                completed, _ = draw_missing(mixture, rows, generator)
            if (criterion := bayesian_information(mixture, completed)) > least:
                break
            least, best = criterion, mixture
    return best


def _start(rows: Array, generator: np.random.Generator) -> Array:
    """Return the complete rows or, where they are few, all with other values of their columns."""
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
    """Return ``rows`` with draws in their gaps, and the log-density of what was drawn, ``(n,)``."""
    completed, log_r = rows.copy(), np.zeros(len(rows))
    for unknown, own in patterns(rows, max(1, NUMBERS // rows.shape[1] ** 2)):
        given = ConditionalMixture.of(mixture, rows[own], unknown)
        normal = generator.standard_normal((len(own), int(unknown.sum())))
        drawn = given.sample(generator.random(len(own)), normal)
        completed[np.ix_(own, unknown)] = drawn
        log_r[own] = given.log_prob(drawn)
    return completed, log_r


def log_prob(mixture: Mixture, rows: Array) -> Array:
    """Return the log-density of what is known of ``rows``, ``(n,)``."""
    if not np.isnan(rows).any():
        return mixture.log_prob(rows)
    log_q = np.empty(len(rows))
    for unknown, own in patterns(rows, max(1, NUMBERS // rows.shape[1] ** 2)):
        log_q[own] = ConditionalMixture.of(mixture, rows[own], unknown).log_evidence
    return log_q
