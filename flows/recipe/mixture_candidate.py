"""Mixtures of the folds, which are stacked together with the networks.

A mixture is fitted behind the fold's margins, or without. The mixtures of the folds share their
settings: the number of components and the ridge, which have the best held-out scores. Expectation
maximisation learns from at most ``recipe.fitted_rows`` training rows of the fold, and integrates
missing values out.

In a table with labels, the components are latent classes, which know the labels as labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from flows.core.arrays import Array, subsample
from flows.core.progress import progress, show_state
from flows.core.rows import Rows
from flows.core.settings import Recipe
from flows.mixtures import expectation
from flows.mixtures.fitting import components, few_rows, fit_frequencies, search
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population
from flows.recipe import stacking
from flows.recipe.candidate import Candidate, Fitted, score_unseen
from flows.recipe.clock import Clock, Part
from flows.recipe.fold import Fold

NAMES = ("margins", "raw")  # preprocessings
GROWTH = 1.5  # a setting is expected to take this many times as long as the one before
LONGER = 1.5  # and the final fits this many times as long as their rows and starts suggest

STRENGTHS = (0.3, 3.0)  # rows of the frequencies of all labels that a label's own are mixed with

# Rows of a component, at least: one of fewer rows would remember them, and samples repeat them
LEAST = 2.5

Setting = Mapping[str, Any]  # such as {"components": 3, "ridge": 0.01}


class MixtureCandidate(Candidate):
    """Mixtures, with margins and without, and the density of the labels.

    In a table with labels, the mixtures are fitted before the other candidates, and so are mixtures
    of the labels alone. The density of the labels of a fold is a weighted mean of these, whose
    weights are fitted to the labels of held-out rows. As members, the mixtures then give the
    numbers given the labels.

    A subclass may fit other densities to tables without labels: it overrides ``fit_fold`` and, for
    settings of its own, ``search``.

    Args:
        keep: the number of preprocessings that are kept, those with the best held-out scores.
    """

    def __init__(self, keep: int = len(NAMES)) -> None:
        self.keep = keep
        self._learned: dict[tuple[Fold, str, bool], Rows] = {}
        self._found = Fitted((), ())

    def prepare(self, folds: Sequence[Fold], clock: Clock) -> None:
        """Fit the mixtures of a table with labels, and set the density of the labels of each fold.

        Args:
            folds: the folds.
            clock: ends the parts of the fit.

        Raises ``ValueError`` for a table with labels if a subclass overrides ``fit_fold``.
        """
        if not folds[0].labels:
            return
        if type(self).fit_fold is not MixtureCandidate.fit_fold:
            raise ValueError(f"{type(self).__name__} is a candidate for tables without labels")
        if _has_numbers(folds):
            self._found = self.fit_all(folds, clock)
        by_setting = [_labels_alone(folds), *_given_a_label(folds)]
        for first in range(0, len(self._found.parts), len(folds)):
            own = cast("list[GaussianMixture]", self._found.parts[first : first + len(folds)])
            by_setting.append([part.mixture.marginal(0) for part in own])
        scores = [
            np.column_stack([_log_labels(each[f], fold) for each in by_setting])
            for f, fold in enumerate(folds)
        ]
        log_p = np.concatenate(scores)
        weights = stacking.without_small(log_p, stacking.weights(log_p))
        for f, fold in enumerate(folds):
            fold.label_density = Mixture.stacked([each[f] for each in by_setting], weights)

    def fit(self, folds: Sequence[Fold], clock: Clock) -> Fitted:
        if not folds[0].labels:
            return self.fit_all(folds, clock)
        if _has_numbers(folds):
            return self._found
        densities = [fold.label_density for fold in folds if fold.label_density is not None]
        members = [GaussianMixture.of(density) for density in densities]
        return Fitted([{"components": len(densities[0].weights)}], members)

    def fit_all(self, folds: Sequence[Fold], clock: Clock) -> Fitted:
        """Return a member per preprocessing and fold, as densities of whole rows."""
        settings: list[dict[str, Any]] = []
        members: list[Population] = []
        with progress("mixtures", None, "fit") as bar:
            for place, name in enumerate(NAMES):
                own = _Search(self, folds, name, clock.search(place, len(NAMES)), bar)
                setting = own.best()
                clock.ended["searches"].append(own.scored if setting else 0)
                if setting:
                    settings.append({"preprocessing": name, **setting})
                    members += own.fitted(setting, is_last=True)
        return Fitted(settings, members)

    def fit_fold(self, fold: Fold, name: str, setting: Setting, *, is_last: bool) -> Population:
        """Return the member of a fold, a population of one member in the user's units.

        Args:
            fold: the fold.
            name: the preprocessing.
            setting: the setting.
            is_last: whether the member is kept; otherwise a quick fit to rows with filled gaps
                compares settings.

        Raises ``ValueError`` if the setting cannot be fitted.
        """
        of_numbers = fold.prepared(name).by_column()
        if (key := (fold, name, is_last)) not in self._learned:
            train = fold.learned[few_rows(fold.learned, fold.recipe.fitted_rows)]
            if not is_last:
                train, _ = fold.complete(train, 1)
            self._learned[key], _ = fold.mapped(train, of_numbers)
        most, starts = _effort(fold.recipe, is_last=is_last)
        rows = self._learned[key]
        learned = rows.take(few_rows(rows.numbers, most))
        own = learned, setting["components"], setting["ridge"], starts
        mixture = expectation.fit(*own, least=LEAST)
        return GaussianMixture.of(mixture.to_nine_digits(), of_numbers)

    def search(
        self,
        score: Callable[..., float],
        fewest: int,
        recipe: Recipe,
        goes_on: Callable[[], bool],
    ) -> Setting:
        """Return the setting with the best score.

        Args:
            score: the mean held-out score of a setting's quick fits; minus infinity if they fail.
            fewest: the number of training rows of the smallest fold.
            recipe: the numbers of the recipe.
            goes_on: whether a further setting may be scored; the first always is.
        """

        def score_of(count: int, ridge: float) -> float:
            return score({"components": count, "ridge": ridge})

        counts = components(recipe.components, fewest)
        count, ridge = search(score_of, counts, goes_on, recipe.ridges)
        return {"components": count, "ridge": ridge}


class _Search:
    """The search for the best setting behind a preprocessing, within a part of the fit.

    Attributes:
        scored: the number of settings that were scored.
    """

    def __init__(
        self,
        candidate: MixtureCandidate,
        folds: Sequence[Fold],
        name: str,
        part: Part,
        bar: tqdm,
    ) -> None:
        self.candidate, self.folds, self.name = candidate, folds, name
        self.part, self.bar = part, bar
        self.scored, recipe = 0, folds[0].recipe
        rows = np.array([len(fold.train) for fold in folds])
        ratios = np.minimum(rows, recipe.fitted_rows) / np.minimum(rows, recipe.searched_rows)
        # Of the last fits, as a multiple of the quick fits of a setting
        self.last = LONGER * recipe.starts * float(ratios.mean())

    def best(self) -> Setting | None:
        """Return the chosen setting; ``None`` if no time is left for its last fits."""
        if not self.part.goes_on(0):
            return None
        fewest = min(len(fold.train) for fold in self.folds)
        recipe, ahead = self.folds[0].recipe, GROWTH * (1 + self.last)
        chosen = self.candidate.search(
            self.score, fewest, recipe, lambda: self.part.goes_on(self.scored, ahead)
        )
        in_time = self.part.recorded is not None or self.part.goes_on(self.scored, self.last)
        return chosen if in_time else None

    def score(self, setting: Setting) -> float:
        """Return the mean held-out score of quick fits; minus infinity if a fit fails."""
        self.scored += 1
        try:
            members = self.fitted(setting, is_last=False)
        except ValueError:  # a covariance is singular despite the ridge
            return -np.inf
        pairs = zip(members, self.folds, strict=True)
        scores = [score_unseen(member, [fold], [fold.checked])[0] for member, fold in pairs]
        return float(np.concatenate(scores).mean())

    def fitted(self, setting: Setting, *, is_last: bool) -> list[Population]:
        """Return the member of each fold with a setting (``MixtureCandidate.fit_fold``)."""
        show_state(self.bar, ", ".join(f"{name} {value}" for name, value in setting.items()))
        members = []
        for fold in self.folds:
            members.append(self.candidate.fit_fold(fold, self.name, setting, is_last=is_last))
            self.bar.update()
        return members


def _has_numbers(folds: Sequence[Fold]) -> bool:
    return folds[0].learned.shape[1] > folds[0].labels


def _labels_alone(folds: Sequence[Fold]) -> list[Mixture]:
    """Return mixtures of the labels alone, whatever the clock; their size scores best held out."""
    recipe, fewest = folds[0].recipe, min(len(fold.train) for fold in folds)

    def fitted(fold: Fold, count: int, most: int, starts: int) -> Mixture:
        codes = fold.codes(fold.learned)
        rows = Rows.of_labels(codes, fold.sizes)
        few = rows.take(subsample(np.arange(len(codes)), most))
        return expectation.fit(few, count, 0.0, starts)

    def score(count: int, ridge: float) -> float:
        each = [_log_labels(fitted(f, count, *_effort(recipe, is_last=False)), f) for f in folds]
        return float(np.concatenate(each).mean())

    counts = components(recipe.components, fewest)
    count, _ = search(score, counts, ridges=())
    last = [fitted(fold, count, *_effort(recipe, is_last=True)) for fold in folds]
    return [each.to_nine_digits() for each in last]


def _given_a_label(folds: Sequence[Fold]) -> Iterator[list[Mixture]]:
    """Yield the frequencies of all labels given each label of a column (``fit_frequencies``)."""
    sizes, codes = folds[0].sizes, [fold.codes(fold.learned) for fold in folds]
    for root in range(len(sizes) if len(sizes) > 1 else 0):
        for strength in STRENGTHS:
            yield [fit_frequencies(own, sizes, root, strength) for own in codes]


def _log_labels(mixture: Mixture, fold: Fold) -> Array:
    """Return the log-probabilities of the known labels of the held-out rows, ``(h,)``."""
    return mixture.log_labels(fold.codes(fold.unseen))


def _effort(recipe: Recipe, *, is_last: bool) -> tuple[int, int]:
    """Return the largest number of rows that a mixture is fitted to, and the number of starts."""
    return (recipe.fitted_rows, recipe.starts) if is_last else (recipe.searched_rows, 1)
