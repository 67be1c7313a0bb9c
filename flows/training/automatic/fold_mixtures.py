"""Mixtures of Gaussians of the folds, which are stacked together with the networks.

A candidate has one mixture per fold: with the fold's margins, or without. The mixtures of a
candidate share the number of components and the ridge, which have the best out-of-fold likelihood.
Expectation maximisation learns from the same rows as the networks of the fold.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flows.core.arrays import Array, Whole, subsample
from flows.mixtures.fitting import fit_mixture, to_nine_digits
from flows.mixtures.mixture import Mixture
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.preprocessing import Preprocessing
from flows.training.automatic.prepared_fold import ROWS_AT_ONCE, PreparedFold

NAMES = ("margins", "raw")  # preprocessings
COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
PATIENCE = 3  # the search ends after three numbers of components in a row without a better score
LEAST_ROWS = 5  # rows per component
FIRST_RIDGE, RIDGES = 1e-3, (1e-4, 1e-2, 1e-1)  # the others are tried for the best number
SEARCHED, FITTED = 1_500, 5_000  # rows that the search and the last fit learn from, at most
RESTARTS = 3  # starts of the last fit


@dataclass(frozen=True)
class FoldMixtures:
    """A candidate: one mixture per fold, with the same settings.

    Args:
        name: the preprocessing, ``"margins"`` or ``"raw"``.
        components: the number of Gaussians of each mixture.
        ridge: the number added to the variances.
        models: the mixtures in the user's units, one per fold.
        scores: the log-density of each row under the mixture of its fold, ``(n,)``; ``NaN`` for a
            row that is not held out.
    """

    name: str
    components: int
    ridge: float
    models: list[GaussianMixture]
    scores: Array

    def __str__(self) -> str:
        count = "1 Gaussian" if self.components == 1 else f"{self.components} Gaussians"
        return f"{self.name}, {count}, ridge {self.ridge:g}"


def fit_mixtures(
    prepared: Mapping[str, Sequence[PreparedFold]], rows: int, count: int
) -> list[FoldMixtures]:
    """Fit all candidates, and return the ``count`` candidates with the best out-of-fold scores.

    Args:
        prepared: the folds after each preprocessing, by its name.
        rows: the number of rows of the table.
        count: the number of candidates to return.
    """
    fitted = [_candidate(prepared[name], name, rows) for name in NAMES]
    return sorted(fitted, key=lambda each: -np.nanmean(each.scores))[:count]


def _candidate(folds: Sequence[PreparedFold], name: str, rows: int) -> FoldMixtures:
    fewest = min(each.points.shape[1] // each.fold.completions for each in folds)
    components, ridge = _search(folds, [k for k in COMPONENTS if k * LEAST_ROWS <= fewest])
    fitted = [_fit(each, components, ridge, FITTED, RESTARTS) for each in folds]
    scores = np.full(rows, np.nan)
    for each, mixture in zip(folds, fitted, strict=True):
        scores[each.fold.held_out] = _scores(each, mixture, np.arange(len(each.fold.held_out)))
    models = [
        GaussianMixture.of(mixture, _preprocessing(each, name))
        for each, mixture in zip(folds, fitted, strict=True)
    ]
    return FoldMixtures(name, components, ridge, models, scores)


def _search(folds: Sequence[PreparedFold], components: Sequence[int]) -> tuple[int, float]:
    """Return the number of components and the ridge with the best out-of-fold likelihood."""

    def score(count: int, ridge: float) -> float:
        try:
            fitted = [_fit(each, count, ridge, SEARCHED) for each in folds]
        except ValueError:  # a covariance is singular despite the ridge
            return -np.inf
        pairs = zip(folds, fitted, strict=True)
        return float(
            np.concatenate([_scores(*pair, pair[0].fold.checked) for pair in pairs]).mean()
        )

    chosen, best, waited = components[0], -np.inf, 0
    for count in components:
        waited += 1
        if (value := score(count, FIRST_RIDGE)) > best:
            chosen, best, waited = count, value, 0
        if waited == PATIENCE:
            break
    by_ridge = {FIRST_RIDGE: best, **{ridge: score(chosen, ridge) for ridge in RIDGES}}
    return chosen, max(by_ridge, key=lambda ridge: by_ridge[ridge])


def _fit(
    prepared: PreparedFold, components: int, ridge: float, most: int, restarts: int = 1
) -> Mixture:
    """Fit a mixture to at most ``most`` of the training points of a fold."""
    points = subsample(prepared.points.double().numpy().T, most)
    return to_nine_digits(fit_mixture(points, components, ridge=ridge, restarts=restarts))


def _scores(prepared: PreparedFold, mixture: Mixture, places: Whole) -> Array:
    """Return the log-densities of held-out rows in the user's units, ``(m,)``.

    For a row with gaps, this is the log-density of the known values. ``places`` ``(m,)`` are
    indices into the held-out rows.
    """
    fold = prepared.fold
    parts = []
    for start in range(0, len(places), ROWS_AT_ONCE // fold.completions):
        rows = fold.held_out_rows[places[start : start + ROWS_AT_ONCE // fold.completions]]
        z, log_weight = prepared.weighted(*fold.complete(rows, fold.completions))
        log_q = mixture.log_prob(z[0].T.double().numpy()).reshape(log_weight.shape[1:])
        parts.append(np.logaddexp.reduce(log_q + log_weight[0].numpy(), axis=-1))
    return np.concatenate(parts)


def _preprocessing(prepared: PreparedFold, name: str) -> Preprocessing:
    """Return the preprocessing of a fold without the steps that ``name`` does not fit."""
    preprocessing = copy.deepcopy(prepared.preprocessing)
    preprocessing.whiten = None
    if name != "margins":
        preprocessing.margins = None
    return preprocessing
