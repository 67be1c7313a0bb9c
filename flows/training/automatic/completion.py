"""Rows with gaps in the automatic recipe: what is missing is drawn anew, not filled in once.

The values come from a mixture of Gaussians of the fold's own training rows, given what is known of
a row (multiple imputation, Rubin 1987). A *training* row has several completions, of which each
visit takes one at random. A *held-out* row is scored by what is known of it, by importance sampling
(Owen 2013, chapter 9)::

    q(x_o) ~ 1/K sum_k q(x_o, x_k) / r(x_k | x_o),      x_k ~ r( . | x_o)

This is right in the mean, so its logarithm is too low, if anything. Rows are ``(n, D)``, scaled,
with ``NaN`` for a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from flows.core.arrays import Array, Whole, subsample
from flows.core.scaler import Scaler
from flows.core.seeds import numpy_generator
from flows.mixtures.conditional_mixture import ConditionalMixture, patterns
from flows.mixtures.fitting import bayesian_information, fit_mixture
from flows.mixtures.mixture import Mixture
from flows.networks.network import DensityNetwork
from flows.networks.preprocessing import Preprocessing

COUNTS = (1, 2, 4, 8, 16)  # numbers of components to choose from
ENOUGH = 10  # rows of each component and column
ROUNDS = 16  # of fits and draws with one component, and fewer with more
ROWS = 1_500  # rows that a mixture is fitted to, at most
# Added to the variances, and more where rows are few. Columns that nearly add up are a narrow ridge
RIDGE = 1e-8
NUMBERS = 10_000_000  # of the matrices of a piece of rows: bounds the memory
DRAWS, TOGETHER = 16, 16_000  # of a row, and of all rows, but one each at least


@dataclass(frozen=True, eq=False)
class Completion:
    """Draws what rows lack by what the rows outside of a fold tell.

    ``rows`` ``(n, D)`` of the table of ``model`` are scaled by ``scaler``; ``fold`` ``(n,)`` is the
    fold of each, and ``number`` the one that is left out. Nothing is fitted before there is a gap
    to fill.
    """

    rows: Array
    scaler: Scaler
    model: DensityNetwork
    fold: Whole
    number: int
    seed: int

    @cached_property
    def units(self) -> Preprocessing:
        """The maps from the user's units to scaled rows."""
        units = Preprocessing(self.model.event_shape, 1, self.model.columns)
        units.standardize.set(self.scaler)
        return units

    @cached_property
    def mixture(self) -> Mixture:
        train = self.rows[self.fold != self.number]
        return fit(train, numpy_generator(self.seed, "completion", self.number))

    def draw(self, rows: Array, count: int) -> tuple[Array, Array]:
        """Return ``count`` completions of each of ``rows``, side by side, ``(n count, D)``.

        With them comes the log-density of what was drawn, in the user's units, ``(n, count)``.
        Both are the same at every call.
        """
        completed, log_r = rows.repeat(count, axis=0), np.zeros(len(rows) * count)
        if (unknown := np.isnan(completed)).any():
            generator = numpy_generator(self.seed, "completion", self.number, 1)
            completed, log_r = draw(self.mixture, completed, generator)
            log_slopes = self.units.log_slopes(torch.from_numpy(completed.T.copy())[None])
            log_r += (unknown * log_slopes[0].numpy().T).sum(axis=1)
        return completed, log_r.reshape(-1, count)


def draws(rows: Array, count: int) -> int:
    """Return how many completions each of ``count`` rows has: one, where no ``rows`` have gaps."""
    return max(1, min(DRAWS, TOGETHER // count)) if np.isnan(rows).any() else 1


def fit(rows: Array, generator: np.random.Generator) -> Mixture:
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
                completed, _ = draw(mixture, rows, generator)
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


def draw(mixture: Mixture, rows: Array, generator: np.random.Generator) -> tuple[Array, Array]:
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
