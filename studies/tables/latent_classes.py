"""Peers for tables of numbers, labels and missing values: mixtures of latent classes.

``flows/mixtures/latent_classes.py`` has their density and its fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.model_selection import KFold

from flows.bijections import Margins
from flows.bijections.margins import normal_scores
from flows.core.arrays import Array, Whole, choose
from flows.mixtures import fitting
from flows.mixtures.conditional_mixture import ConditionalMixture, patterns
from flows.mixtures.latent_classes import LatentClasses, Rows
from studies.tables.normal_scores import rows_of, scores_of

MOST = 24  # classes
FOLDS, STACKED_FOLDS = 3, 5  # of the cross-validation, and of the stacked ensemble
STARTS = 5  # of the last fit


@dataclass(frozen=True)
class Fitted:
    """Classes of the numbers, or of their normal scores if there are ``margins``."""

    classes: LatentClasses
    margins: Margins | None = None

    def log_prob(self, rows: Rows) -> Array:
        z, log_slope = scored(rows, self.margins)
        return self.classes.log_prob(z) + log_slope

    def draw(self, rows: Rows, rng: np.random.Generator) -> Array:
        """Draw the missing numbers of each row given its known values; return ``(n, D)``."""
        z = scored(rows, self.margins)[0]
        chosen = drawn_parts(self.classes.log_terms(z), rng)
        drawn = z.numbers.copy()
        for unknown, places in patterns(z.numbers, len(drawn)):
            u = np.flatnonzero(unknown)
            given = ConditionalMixture.of(self.classes.mixture, z.numbers[places], unknown)
            noise = rng.standard_normal((len(places), len(u)))
            means = given.means[np.arange(len(places)), chosen[places]]
            own = np.einsum("nuv,nv->nu", given.factors[chosen[places]], noise)
            drawn[places[:, None], u] = means + own
        if self.margins is not None:
            drawn = rows_of(self.margins, drawn)
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


def margins_of(rows: Rows) -> Margins:
    """Return the map of each column of numbers to normal scores, fitted to its known values."""
    margins = Margins(1, rows.numbers.shape[1])
    for d, column in enumerate(rows.numbers.T):
        margins.knots[d, 0] = torch.from_numpy(normal_scores(column[~np.isnan(column)]))
    return margins


def scored(rows: Rows, margins: Margins | None) -> tuple[Rows, Array]:
    """Return the rows with normal scores, and the sums of log dz/dx over known numbers, ``(n,)``.

    Without ``margins``, they are the rows themselves and 0.
    """
    if margins is None:
        return rows, np.zeros(len(rows.numbers))
    gaps = np.isnan(rows.numbers)
    x = np.where(gaps, 0.0, rows.numbers)
    z, log_slope = scores_of(margins, x)
    numbers = np.where(gaps, np.nan, z)
    return rows._replace(numbers=numbers), np.where(gaps, 0.0, log_slope).sum(axis=1)


def search(folds: Sequence[tuple[Rows, Rows]]) -> tuple[int, float]:
    """Return the number of classes and the ridge with the best likelihood of held-out rows.

    ``folds`` are pairs of rows to learn from and rows held out. The ridge is chosen for the best
    number of classes.
    """

    def score(classes: int, ridge: float) -> float:
        fits = [(LatentClasses.fit(learned, classes, ridge), held) for learned, held in folds]
        return float(np.concatenate([fitted.log_prob(held) for fitted, held in fits]).mean())

    fewest = min(len(learned.numbers) for learned, _ in folds)
    return fitting.search(score, fitting.components(MOST, fewest))


def split(rows: Rows, folds: int) -> list[tuple[Whole, Whole]]:
    places = np.arange(len(rows.numbers))
    return list(KFold(folds, shuffle=True, random_state=0).split(places))


def independent(rows: Rows) -> Peer:
    """Fit independent columns: a Gaussian per number, and frequencies of labels."""
    return Fitted(LatentClasses.independent(rows))


def gaussian(rows: Rows) -> Peer:
    """Fit one Gaussian of the numbers, and independent frequencies of labels."""
    return Fitted(LatentClasses.fit(rows, 1, fitting.RIDGE))


def mixture(rows: Rows, *, margins: bool = False) -> Peer:
    """Fit a mixture of classes; cross-validation chooses their number and the ridge.

    With ``margins``, every number is first mapped to about a standard normal, as for the flows.
    """
    scores = margins_of(rows) if margins else None
    z = scored(rows, scores)[0]
    folds = [(z.take(learned), z.take(held)) for learned, held in split(z, FOLDS)]
    return Fitted(LatentClasses.fit(z, *search(folds), STARTS), scores)


def stacked(rows: Rows) -> Peer:
    """Fit mixtures with the treatment of our flows: margins, folds, an ensemble, and stacking.

    There are two candidates, with and without margins. Each has one mixture per fold. The number of
    classes, the ridge and the weights of the candidates have the best likelihood of held-out rows.
    """
    places = split(rows, STACKED_FOLDS)
    parts: list[Fitted] = []
    scores = np.empty((2, len(rows.numbers)))
    for k, behind in enumerate((True, False)):
        maps = [margins_of(rows.take(learned)) if behind else None for learned, _ in places]
        folds = [
            (scored(rows.take(learned), each)[0], scored(rows.take(held), each)[0])
            for each, (learned, held) in zip(maps, places, strict=True)
        ]
        chosen = search(folds)
        for each, (learned, _), (_, held) in zip(maps, folds, places, strict=True):
            parts.append(Fitted(LatentClasses.fit(learned, *chosen, STARTS), each))
            scores[k, held] = parts[-1].log_prob(rows.take(held))
    weights = stacking_weights(scores) / STACKED_FOLDS
    kept = weights.repeat(STACKED_FOLDS) > 0
    return Stacked(
        [each for each, keep in zip(parts, kept, strict=True) if keep],
        weights.repeat(STACKED_FOLDS)[kept],
    )


def stacking_weights(log_q: Array) -> Array:
    """Return the weights of densities with the best likelihood of the held-out rows.

    ``log_q`` ``(A, n)`` has one row per density. Source: Smyth and Wolpert 1999 (Linearly
    combining density estimators via stacking).
    """
    weights = np.full(len(log_q), 1 / len(log_q))
    for _ in range(1_000):
        with np.errstate(divide="ignore"):
            terms = log_q + np.log(weights)[:, None]
        weights = np.exp(terms - logsumexp(terms, axis=0)).mean(axis=1)
    weights = np.where(weights < 1e-6, 0.0, weights)
    return weights / weights.sum()


FITS: dict[str, Callable[[Rows], Peer]] = {
    "independent": independent,
    "gaussian": gaussian,
    "mixture": mixture,
    "margins": partial(mixture, margins=True),
    "stacked": stacked,
}
