"""Rows with gaps in the automatic recipe: what is missing is drawn, and never filled once.

The values come from a mixture of the fold's own training rows, behind margins or as they stand,
given what is known of a row (multiple imputation, Rubin 1987):

- A *training* row has several completions, of which each visit takes one at random. After each
  round of the recipe they are weighted by q / r, so that they follow the density q of those that
  learn from them, as in a Monte Carlo EM algorithm (Wei and Tanner 1990).
- A *held-out* row is scored by what is known of it, by importance sampling (Owen 2013, chapter 9)::

      q(x_o) ~ 1/K sum_k q(x_o, x_k) / r(x_k | x_o),      x_k ~ r( . | x_o)

  This is right in the mean, so its logarithm is too low, if anything.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from flows.core.arrays import Array, Whole
from flows.core.scaler import Scaler
from flows.core.seeds import numpy_generator
from flows.networks.network import DensityNetwork
from flows.networks.preprocessing import Preprocessing
from flows.training import incomplete_mixture

PIECE = 10_000  # completions that are drawn at a time: bounds the memory
VERSIONS, MOST_VERSIONS = 10, 50_000  # of a training row, and of all, but one each at least
# The weight of a standard normal in each component's moments, in rows, with margins and without.
# Only without them a ridge is straight, as that of shares that sum to 1, and it must stay narrow.
PRIORS = {True: 1.0, False: 1e-5}
# Draws of a held-out row, at least and at most, and of all rows together
CHECK, FINAL = (4, 16, 8_000), (16, 128, 500_000)


class Completion:
    """Completions of rows by what the training ``rows`` ``(n, D)`` of a fold tell of them.

    Rows are scaled by ``first``, and hold ``NaN`` for a gap. ``points`` ``(N, D)`` are complete:
    each row once, in order, and then the other versions of those with gaps.
    """

    def __init__(
        self, rows: Array, first: Scaler, model: DensityNetwork, seed: int, fold: int
    ) -> None:
        self.seed, self.fold = seed, fold
        self.own = Scaler.fit(rows)
        generator = numpy_generator(seed, "completion", fold)
        scaled = torch.from_numpy(self.own.scale(rows).T.copy())[None]
        most = -np.inf
        for margins, prior in PRIORS.items():
            preprocessing = Preprocessing(model.event_shape, 1, model.columns)
            if margins:
                preprocessing.add_margins()
            preprocessing.fit(scaled, self.own.after(first))
            z = self._scores(preprocessing, incomplete_mixture.some(rows))
            mixture, score = incomplete_mixture.fit_best(z, prior, generator)
            log_slopes = preprocessing.log_slopes(torch.from_numpy(z.T.copy())[None])
            score += float(log_slopes.nansum()) / len(z)
            if score > most:  # by what is known of rows that were left out
                most, self.preprocessing, self.mixture = score, preprocessing, mixture
        self.gaps = has_gaps(rows)
        gappy = np.flatnonzero(self.gaps)
        versions = int(np.clip(MOST_VERSIONS // max(1, len(gappy)), 1, VERSIONS))
        drawn, self.log_r = self.draw(rows[gappy], versions, generator)
        complete = rows.copy()
        complete[gappy] = drawn[:, 0]
        self.points = np.concatenate([complete, *drawn[:, 1:].swapaxes(0, 1)])
        # Of each row with gaps, the places of its versions among the points, and how frequent they
        # are, summed up
        others = np.arange(len(rows), len(self.points)).reshape(versions - 1, len(gappy)).T
        self.places = np.column_stack([gappy, others])
        self.shares = np.full(self.log_r.shape, 1 / versions).cumsum(axis=1)

    def weigh(self, log_q: Array) -> None:
        """Make each of the ``points`` as frequent as its log-density ``log_q`` ``(N,)`` says."""
        self.shares = softmax(log_q[self.places] - self.log_r, axis=1).cumsum(axis=1)

    def choose(self, order: Whole, generator: np.random.Generator) -> Whole:
        """Return the place among ``points`` of a random version of each row in ``order``."""
        chosen, is_gappy = order.copy(), self.gaps[order]
        row = (self.gaps.cumsum() - 1)[order[is_gappy]]
        level = generator.random((len(row), 1))
        chosen[is_gappy] = self.places[row, (self.shares[row, :-1] < level).sum(axis=1)]
        return chosen

    def draw(self, rows: Array, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        """Draw ``count`` completions of each of ``rows``, ``(n, count, D)``.

        With them comes the log-density of what was drawn, in the user's units, ``(n, count)``.
        """
        size = max(1, PIECE // count)
        pieces = [rows[start : start + size] for start in range(0, max(1, len(rows)), size)]
        completed, log_r = zip(
            *(self._draw(each, count, generator) for each in pieces), strict=True
        )
        return np.concatenate(completed), np.concatenate(log_r)

    def _draw(self, rows: Array, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        dim = rows.shape[1]
        known = ~np.isnan(rows)[:, None]
        drawn, log_r = incomplete_mixture.draw(
            self.mixture, self._scores(self.preprocessing, rows), count, generator
        )
        points = torch.from_numpy(drawn.reshape(-1, dim).T.copy())[None]
        log_slopes = self.preprocessing.log_slopes(points)[0].numpy().T.reshape(drawn.shape)
        log_r += np.where(known, 0.0, log_slopes).sum(axis=2)
        margins = self.preprocessing.margins
        scaled = points if margins is None else margins.inverse(points)[0]
        completed = self.own.restore(scaled[0].numpy().T).reshape(drawn.shape)
        return np.where(known, rows[:, None], completed), log_r

    def _scores(self, preprocessing: Preprocessing, rows: Array) -> Array:
        """Return ``rows`` ``(n, D)`` as the mixture sees them; gaps stay."""
        scaled = torch.from_numpy(self.own.scale(rows).T.copy())[None]
        return preprocessing.from_scaled(scaled)[0][0].numpy().T

    def expand(self, rows: Array, count: int) -> tuple[Array, Array, Whole]:
        """Return ``rows`` ``(n, D)`` with ``count`` completions in place of each that has gaps.

        With them come their log-weights ``(N,)``, ``-log r - log K``, and the place of the first
        completion of each row, ``(n,)``. The draws are the same at every call.
        """
        gaps = has_gaps(rows)
        counts = np.where(gaps, count, 1)
        expanded, log_weight = rows.repeat(counts, axis=0), np.zeros(counts.sum())
        generator = numpy_generator(self.seed, "completion", self.fold, 1)
        drawn, log_r = self.draw(rows[gaps], count, generator)
        expanded[gaps.repeat(counts)] = drawn.reshape(-1, rows.shape[1])
        log_weight[gaps.repeat(counts)] = -log_r.ravel() - np.log(count)
        return expanded, log_weight, counts.cumsum() - counts


def allowed(draws: tuple[int, int, int], rows: int) -> int:
    """Return how many ``draws`` each of so many rows has: at least, at most, or its share."""
    least, most, together = draws
    return max(least, min(most, together // rows))


def has_gaps(rows: Array) -> NDArray[np.bool_]:
    """Return which of ``rows`` ``(n, D)`` lack a value, ``(n,)``."""
    return np.any(np.isnan(rows), axis=1)
