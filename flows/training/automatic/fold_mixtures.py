"""Mixtures of Gaussians of the folds, which are stacked together with the networks.

A candidate has one mixture per fold: with the fold's margins, or without. The mixtures of a
candidate share the number of components and the ridge, which have the best out-of-fold likelihood.
Expectation maximisation learns from the same rows as the networks of the fold.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from flows.core.arrays import Array, Whole, subsample
from flows.mixtures.fitting import components, fit_mixture, search, to_nine_digits
from flows.mixtures.mixture import Mixture
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.preprocessing import Preprocessing
from flows.training.automatic.prepared_fold import ROWS_AT_ONCE, PreparedFold

NAMES = ("margins", "raw")  # preprocessings
MOST = 24  # components of a mixture
SEARCHED, FITTED = 1_500, 5_000  # rows that the search and the last fit learn from, at most
RESTARTS = 3  # starts of the last fit
HeldOut = list[tuple[Array, Array]]  # see ``_held_out``


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
    checked = [_held_out(each, each.fold.checked) for each in folds]
    score = partial(_out_of_fold, folds, checked)
    count, ridge = search(score, components(MOST, fewest))
    fitted = [_fit(each, count, ridge, FITTED, RESTARTS) for each in folds]
    scores = np.full(rows, np.nan)
    for each, mixture in zip(folds, fitted, strict=True):
        every = _held_out(each, np.arange(len(each.fold.held_out)))
        scores[each.fold.held_out] = _scores(every, mixture)
    models = [
        GaussianMixture.of(mixture, _preprocessing(each, name))
        for each, mixture in zip(folds, fitted, strict=True)
    ]
    return FoldMixtures(name, count, ridge, models, scores)


def _out_of_fold(
    folds: Sequence[PreparedFold], checked: Sequence[HeldOut], count: int, ridge: float
) -> float:
    """Return the mean out-of-fold score of quick fits; minus infinity if a fit fails."""
    try:
        fitted = [_fit(each, count, ridge, SEARCHED) for each in folds]
    except ValueError:  # a covariance is singular despite the ridge
        return -np.inf
    pairs = zip(checked, fitted, strict=True)
    return float(np.concatenate([_scores(*pair) for pair in pairs]).mean())


def _fit(prepared: PreparedFold, count: int, ridge: float, most: int, restarts: int = 1) -> Mixture:
    """Fit a mixture to at most ``most`` of the training points of a fold."""
    points = subsample(prepared.points.double().numpy().T, most)
    return to_nine_digits(fit_mixture(points, count, ridge=ridge, restarts=restarts))


def _held_out(prepared: PreparedFold, places: Whole) -> HeldOut:
    """Return pieces of the held-out rows with the indices ``places`` ``(m,)``.

    A piece has the points ``(n K, D)`` of K completions of n rows, and their log-weights ``(n, K)``
    (``WeightedPoints``).
    """
    fold, pieces = prepared.fold, []
    size = ROWS_AT_ONCE // fold.completions
    for start in range(0, len(places), size):
        rows = fold.held_out_rows[places[start : start + size]]
        z, log_weight = prepared.weighted(*fold.complete(rows, fold.completions))
        pieces.append((z[0].T.double().numpy(), log_weight[0].numpy()))
    return pieces


def _scores(held_out: HeldOut, mixture: Mixture) -> Array:
    """Return the log-densities of held-out rows in the user's units, ``(m,)``.

    For a row with gaps, this is the log-density of the known values.
    """
    parts = [
        np.logaddexp.reduce(mixture.log_prob(z).reshape(log_weight.shape) + log_weight, axis=-1)
        for z, log_weight in held_out
    ]
    return np.concatenate(parts)


def _preprocessing(prepared: PreparedFold, name: str) -> Preprocessing:
    """Return the preprocessing of a fold without the steps that ``name`` does not fit."""
    preprocessing = copy.deepcopy(prepared.preprocessing)
    preprocessing.whiten = None
    if name != "margins":
        preprocessing.margins = None
    return preprocessing
