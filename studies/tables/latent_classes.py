"""Peers for tables of numbers, labels and missing values: mixtures of latent classes.

``flows/mixtures/mixture.py`` has their density, and ``expectation.py`` their fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.model_selection import KFold

from flows.bijections import Margins
from flows.bijections.margins import normal_scores
from flows.core.arrays import Array, Whole, as_points, as_rows, choose
from flows.core.rows import Rows
from flows.mixtures import expectation, fitting
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal
from flows.recipe import candidate as recipe_candidate
from flows.recipe.clock import Clock
from flows.recipe.fold import Fold, Learned
from flows.recipe.mixture_candidate import MixtureCandidate
from flows.recipe.recipe import learn

MOST = 24  # classes
FOLDS = 3  # of the cross-validation
STARTS = 5  # of the last fit


@dataclass(frozen=True)
class Fitted:
    """A mixture of the numbers after ``maps``, or of the numbers themselves, and of the labels."""

    mixture: Mixture
    maps: Preprocessing | None = None

    def log_prob(self, rows: Rows) -> Array:
        z, log_slope = scored(rows, self.maps)
        return self.mixture.log_prob(z.numbers, z.codes) + log_slope

    def draw(self, rows: Rows, rng: np.random.Generator) -> Array:
        """Draw the missing numbers of each row given its known values; return ``(n, D)``."""
        drawn = self.mixture.draw_missing(scored(rows, self.maps)[0], rng)[0].numbers
        if self.maps is not None:
            drawn = as_rows(self.maps.inverse(as_points(drawn))[0])
        return np.where(np.isnan(rows.numbers), drawn, rows.numbers)


@dataclass(frozen=True)
class Stacked:
    """A weighted mean of densities."""

    parts: Sequence[Fitted]
    weights: Array

    def log_terms(self, rows: Rows) -> Array:
        log_q = np.stack([each.log_prob(rows) for each in self.parts])
        return log_q + np.log(self.weights)[:, None]

    def log_prob(self, rows: Rows) -> Array:
        found: Array = logsumexp(self.log_terms(rows), axis=0)
        return found

    def draw(self, rows: Rows, rng: np.random.Generator) -> Array:
        chosen = drawn_parts(self.log_terms(rows), rng)
        drawn = np.stack([each.draw(rows, rng) for each in self.parts])
        return drawn[chosen, np.arange(len(rows.numbers))]


Peer = Fitted | Stacked


def drawn_parts(terms: Array, rng: np.random.Generator) -> Whole:
    """Draw a part per row, with probabilities proportional to the exponentials of ``terms``.

    ``terms`` ``(K, n)`` has a row per part; the numbers of the parts are ``(n,)``.
    """
    shares = np.exp(terms - logsumexp(terms, axis=0)).T
    return choose(shares, rng.random(len(shares)))


def margins_of(rows: Rows) -> Preprocessing:
    """Return the map of each column of numbers to normal scores, fitted to its known values."""
    maps = Preprocessing((rows.numbers.shape[1],), 1)
    maps.margins = Margins(rows.numbers.shape[1], 1)
    for d, column in enumerate(rows.numbers.T):
        maps.margins.knots[0, d] = torch.from_numpy(normal_scores(column[~np.isnan(column)]))
    return maps


def scored(rows: Rows, maps: Preprocessing | None) -> tuple[Rows, Array]:
    """Return the rows after ``maps``, and the sums of log dz/dx over known numbers, ``(n,)``.

    Without ``maps``, they are the rows themselves and 0.
    """
    if maps is None:
        return rows, np.zeros(len(rows.numbers))
    z, log_slopes = maps.map_known(rows.numbers)
    return rows._replace(numbers=z), np.nansum(log_slopes, axis=1)


def search(folds: Sequence[tuple[Rows, Rows]]) -> tuple[int, float]:
    """Return the number of classes and the ridge with the best likelihood of held-out rows.

    ``folds`` are pairs of rows to learn from and rows held out. The ridge is chosen for the best
    number of classes.
    """

    def score(classes: int, ridge: float) -> float:
        fits = [Fitted(expectation.fit(learned, classes, ridge)) for learned, _ in folds]
        pairs = zip(fits, folds, strict=True)
        return float(np.concatenate([fit.log_prob(held) for fit, (_, held) in pairs]).mean())

    fewest = min(len(learned.numbers) for learned, _ in folds)
    return fitting.search(score, fitting.components(MOST, fewest))


def split(rows: Rows, folds: int) -> list[tuple[Whole, Whole]]:
    places = np.arange(len(rows.numbers))
    return list(KFold(folds, shuffle=True, random_state=0).split(places))


def independent(rows: Rows) -> Peer:
    """Fit independent columns: a Gaussian per number, and frequencies of labels."""
    return Fitted(expectation.independent(rows))


def gaussian(rows: Rows) -> Peer:
    """Fit one Gaussian of the numbers, and independent frequencies of labels."""
    return Fitted(expectation.fit(rows, 1, expectation.RIDGE))


def mixture(rows: Rows, *, margins: bool = False) -> Peer:
    """Fit a mixture of classes; cross-validation chooses their number and the ridge.

    With ``margins``, every number is first mapped to about a standard normal, as for the flows.
    """
    scores = margins_of(rows) if margins else None
    z = scored(rows, scores)[0]
    folds = [(z.take(learned), z.take(held)) for learned, held in split(z, FOLDS)]
    return Fitted(expectation.fit(z, *search(folds), STARTS), scores)


class JointMixtures(MixtureCandidate):
    """Mixtures as densities of whole rows, with their own probabilities of labels."""

    def prepare(self, folds: Sequence[Fold], clock: Clock) -> None:
        pass

    def fit(self, folds: Sequence[Fold], clock: Clock) -> recipe_candidate.Fitted:
        return self.fit_all(folds, clock)


def stacked(rows: Rows) -> Peer:
    """Fit mixtures with the treatment of our flows: margins, folds, an ensemble, and stacking.

    They are the mixtures that the automatic recipe fits beside our networks, with and without
    margins, and one per fold.
    """
    codes = np.where(rows.codes < 0, np.nan, rows.codes.astype(np.float64))
    matrix = np.column_stack([codes, rows.numbers])
    to_real = ToReal()
    to_real.label_counts = [*rows.sizes, *[0] * rows.numbers.shape[1]]
    learned = Learned(matrix, to_real, given=len(rows.sizes))
    ensemble, _ = learn(learned, [JointMixtures()])
    parts = cast(Iterable[GaussianMixture], ensemble.parts)
    fitted = [Fitted(part.mixture, part.preprocessing) for part in parts]
    weights = ensemble.weights.numpy()
    kept = np.flatnonzero(weights > 1e-6)
    return Stacked([fitted[k] for k in kept], weights[kept] / weights[kept].sum())


FITS: dict[str, Callable[[Rows], Peer]] = {
    "independent": independent,
    "gaussian": gaussian,
    "mixture": mixture,
    "margins": partial(mixture, margins=True),
    "stacked": stacked,
}
