"""Mixtures of the folds, which are stacked together with the networks.

A candidate has one mixture per fold: with the fold's margins, or without. The mixtures of a
candidate share the number of components and the ridge, which have the best out-of-fold likelihood.
Expectation maximisation learns from at most ``FITTED`` training rows of the fold.

The mixtures are mixtures of Gaussians. In a table with labels, they are mixtures of latent classes
(``flows/mixtures/latent_classes.py``), which know the labels as labels, and which integrate missing
values out.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Generic, TypeVar

import numpy as np
import torch

from flows.core.arrays import Array, Whole, as_points, as_rows, subsample
from flows.core.rows import Rows
from flows.mixtures.completion import few_rows
from flows.mixtures.fitting import components, fit_mixture, search, to_nine_digits
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.latent_class_mixture import LatentClassMixture, codes_of, numbers_and_labels
from flows.mixtures.latent_classes import LatentClasses
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population
from flows.networks.preprocessing import Preprocessing
from flows.training.automatic.limit import Limit, SearchLimit
from flows.training.automatic.prepared_fold import ROWS_AT_ONCE, PreparedFold

NAMES = ("margins", "raw")  # preprocessings
MOST = 24  # components of a mixture
SEARCHED, FITTED = 1_500, 5_000  # rows that the search and the last fit learn from, at most
STARTS = 3  # starts of the last fit
Fitted = TypeVar("Fitted", Mixture, LatentClasses)
HeldOut = TypeVar("HeldOut")  # held-out rows, as ``scores`` takes them


@dataclass(frozen=True)
class FoldMixtures:
    """A candidate: one mixture per fold, with the same settings.

    Args:
        name: the preprocessing, ``"margins"`` or ``"raw"``.
        component: what a component is, ``"Gaussian"`` or ``"class"``.
        components: the number of components of each mixture.
        ridge: the number added to the variances.
        models: the mixtures in the user's units, one per fold.
        scores: the log-density of each row under the mixture of its fold, ``(n,)``; ``NaN`` for a
            row that is not held out.
    """

    name: str
    component: str
    components: int
    ridge: float
    models: list[Population]
    scores: Array

    def __str__(self) -> str:
        plural = {"Gaussian": "Gaussians", "class": "classes"}[self.component]
        count = f"1 {self.component}" if self.components == 1 else f"{self.components} {plural}"
        return f"{self.name}, {count}, ridge {self.ridge:g}"


def fit_mixtures(
    prepared: Mapping[str, Sequence[PreparedFold]],
    rows: Array,
    label_counts: Sequence[int],
    count: int,
    limit: Limit,
) -> tuple[list[FoldMixtures], list[int]]:
    """Fit all candidates, and return the ``count`` candidates with the best out-of-fold scores.

    Also return the number of settings that the search for each candidate evaluated; 0 for a
    candidate that the ``limit`` left out.

    Args:
        prepared: the folds after each preprocessing, by its name.
        rows: the rows of the table in the user's units, ``(n, D)``, with ``NaN`` in gaps.
        label_counts: the number of labels of each column, 0 for numbers; may be empty.
        count: the number of candidates to return.
        limit: what ends the searches.
    """
    fitted: list[FoldMixtures | None] = []
    searches: list[SearchLimit] = []
    for place, name in enumerate(NAMES):
        folds = [each.fold for each in prepared[name]]
        fitting = STARTS * np.mean([_ratio(len(f.train), FITTED, SEARCHED) for f in folds])
        scoring = sum(len(f.held_out) for f in folds) / sum(len(f.checked) for f in folds)
        searches.append(limit.search(place, len(NAMES), float(fitting), scoring))
        if any(label_counts):
            classes = [_ClassesOfFold(each, name, rows, label_counts) for each in prepared[name]]
            fitted.append(_candidate(classes, name, len(rows), searches[-1]))
        else:
            gaussians = [_GaussiansOfFold(each, name) for each in prepared[name]]
            fitted.append(_candidate(gaussians, name, len(rows), searches[-1]))
    found = [each for each in fitted if each is not None]
    pairs = zip(fitted, searches, strict=True)
    evaluated = [0 if each is None else search.evaluated for each, search in pairs]
    return sorted(found, key=lambda each: -np.nanmean(each.scores))[:count], evaluated


def _ratio(rows: int, most: int, few: int) -> float:
    """Return the number of ``rows`` up to ``most`` as a multiple of the number up to ``few``."""
    return min(rows, most) / min(rows, few)


class _OfFold(ABC, Generic[Fitted, HeldOut]):
    """The rows of a fold after a preprocessing, and how mixtures are fitted to them."""

    component: str

    def __init__(self, prepared: PreparedFold, name: str) -> None:
        self.prepared, self.fold = prepared, prepared.fold
        self.preprocessing = copy.deepcopy(prepared.preprocessing)
        self.preprocessing.whiten = None
        if name != "margins":
            self.preprocessing.margins = None

    @abstractmethod
    def fit(self, count: int, ridge: float, most: int, starts: int = 1) -> Fitted:
        """Fit a mixture of ``count`` components to at most ``most`` of the training rows."""

    @abstractmethod
    def points(self, places: Whole) -> HeldOut:
        """Return the held-out rows with the indices ``places`` ``(m,)``, for ``scores``."""

    @abstractmethod
    def scores(self, mixture: Fitted, points: HeldOut) -> Array:
        """Return the log-densities of held-out rows in the user's units, ``(m,)``.

        For a row with gaps, this is the log-density of the known values.
        """

    @abstractmethod
    def model(self, mixture: Fitted) -> Population:
        """Return the mixture as a model in the user's units."""

    @cached_property
    def checked(self) -> list[HeldOut]:
        """The held-out rows that checks use."""
        return self.pieces(self.fold.checked)

    def pieces(self, places: Whole) -> list[HeldOut]:
        """Return the held-out rows with the indices ``places``, in pieces of limited size."""
        size = ROWS_AT_ONCE // self.fold.completions
        starts = range(0, len(places), size)
        return [self.points(places[start : start + size]) for start in starts]


class _GaussiansOfFold(_OfFold[Mixture, tuple[Array, Array]]):
    """Mixtures of Gaussians of the completed rows.

    The points of n held-out rows are their K completions ``(n K, D)``, and the log-weights of the
    completions ``(n, K)`` (``WeightedPoints``).
    """

    component = "Gaussian"

    def fit(self, count: int, ridge: float, most: int, starts: int = 1) -> Mixture:
        points = subsample(self.prepared.points.double().numpy().T, most)
        return to_nine_digits(fit_mixture(points, count, ridge=ridge, starts=starts))

    def points(self, places: Whole) -> tuple[Array, Array]:
        rows = self.fold.held_out_rows[places]
        completed = self.fold.complete(rows, self.fold.completions)
        z, log_weight = self.prepared.weighted(*completed)
        return z[0].T.double().numpy(), log_weight[0].numpy()

    def scores(self, mixture: Mixture, points: tuple[Array, Array]) -> Array:
        z, log_weight = points
        log_q = mixture.log_prob(z).reshape(log_weight.shape)
        return np.logaddexp.reduce(log_q + log_weight, axis=-1)

    def model(self, mixture: Mixture) -> GaussianMixture:
        return GaussianMixture.of(mixture, self.preprocessing)


class _ClassesOfFold(_OfFold[LatentClasses, tuple[Rows, Array]]):
    """Mixtures of latent classes of the rows with their gaps.

    The points of n held-out rows are ``Rows``, and the logarithms of the slopes of their known
    numbers, ``(n,)``. Labels have probabilities.
    """

    component = "class"

    def __init__(
        self, prepared: PreparedFold, name: str, rows: Array, label_counts: Sequence[int]
    ) -> None:
        super().__init__(prepared, name)
        self.rows, self.label_counts = rows, label_counts
        self.numbers, self.labels = numbers_and_labels(label_counts)
        self.of_numbers: Preprocessing | None = None
        if self.numbers:
            self.of_numbers = self.preprocessing.part(self.numbers)

    def fit(self, count: int, ridge: float, most: int, starts: int = 1) -> LatentClasses:
        learned = self.learned.take(few_rows(self.learned.numbers, most))
        return LatentClasses.fit(learned, count, ridge, starts).to_nine_digits()

    @cached_property
    def learned(self) -> Rows:
        """The training rows."""
        train = self.rows[self.fold.train]
        return self._known(train[few_rows(train, FITTED)])[0]

    def points(self, places: Whole) -> tuple[Rows, Array]:
        return self._known(self.rows[self.fold.held_out[places]])

    def scores(self, mixture: LatentClasses, points: tuple[Rows, Array]) -> Array:
        rows, log_slope = points
        return mixture.log_prob(rows) + log_slope

    def model(self, mixture: LatentClasses) -> LatentClassMixture:
        return LatentClassMixture(mixture, self.label_counts, self.of_numbers)

    def _known(self, rows: Array) -> tuple[Rows, Array]:
        """Return rows of the table as ``Rows``, and the sums of log dz/dx of their numbers."""
        sizes = tuple(self.label_counts[d] for d in self.labels)
        codes = codes_of(rows[:, self.labels], sizes)
        if self.of_numbers is None:
            return Rows(np.empty((len(rows), 0)), codes, sizes), np.zeros(len(rows))
        scaled = self.of_numbers.scale(rows[:, None, self.numbers])[:, 0]
        z, _ = self.of_numbers.from_scaled(as_points(np.nan_to_num(scaled)))
        z[0].T[torch.from_numpy(np.isnan(scaled))] = np.nan
        log_slopes = self.of_numbers.log_slopes(z)[0].nansum(0)
        return Rows(as_rows(z), codes, sizes), log_slopes.numpy()


def _candidate(
    folds: Sequence[_OfFold[Fitted, HeldOut]], name: str, rows: int, limit: SearchLimit
) -> FoldMixtures | None:
    """Return a candidate, or ``None`` if the limit of the search leaves no time for it."""
    if not limit.goes_on():
        return None
    fewest = min(len(each.fold.train) for each in folds)
    score = partial(_out_of_fold, folds, limit)
    count, ridge = search(score, components(MOST, fewest), limit.goes_on)
    if not limit.ends_in_time():
        return None
    fitted = [each.fit(count, ridge, FITTED, STARTS) for each in folds]
    scores = np.full(rows, np.nan)
    for each, mixture in zip(folds, fitted, strict=True):
        every = each.pieces(np.arange(len(each.fold.held_out)))
        scores[each.fold.held_out] = np.concatenate([each.scores(mixture, part) for part in every])
    models = [each.model(mixture) for each, mixture in zip(folds, fitted, strict=True)]
    return FoldMixtures(name, folds[0].component, count, ridge, models, scores)


def _out_of_fold(
    folds: Sequence[_OfFold[Fitted, HeldOut]], limit: SearchLimit, count: int, ridge: float
) -> float:
    """Return the mean out-of-fold score of quick fits; minus infinity if a fit fails."""
    limit.evaluated += 1
    try:
        fitted = [each.fit(count, ridge, SEARCHED) for each in folds]
    except ValueError:  # a covariance is singular despite the ridge
        return -np.inf
    limit.lap("fit")
    pairs = zip(folds, fitted, strict=True)
    parts = [each.scores(mixture, part) for each, mixture in pairs for part in each.checked]
    limit.lap("score")
    return float(np.concatenate(parts).mean())
