"""Mixtures of the folds, which are stacked together with the networks.

A mixture is fitted behind the fold's margins, or without. The mixtures of the folds share their
settings, such as the number of components and the ridge, which have the best held-out scores.
Expectation maximisation learns from at most ``recipe.fitted_rows`` training rows of the fold.

The mixtures are mixtures of Gaussians. In a table with labels, they are mixtures of latent classes
(``flows/mixtures/latent_classes.py``), which know the labels as labels, and which integrate missing
values out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from flows.core.arrays import subsample
from flows.core.rows import Rows
from flows.core.settings import Recipe
from flows.mixtures.completion import few_rows
from flows.mixtures.fitting import components, fit_mixture, search, to_nine_digits
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.latent_class_mixture import LatentClassMixture, codes_of, numbers_and_labels
from flows.mixtures.latent_classes import LatentClasses
from flows.networks.population import Population
from flows.networks.preprocessing import Preprocessing
from flows.recipe.candidate import Candidate, Fitted, score_unseen
from flows.recipe.clock import Clock, Part
from flows.recipe.fold import Fold

NAMES = ("margins", "raw")  # preprocessings
GROWTH = 1.5  # a setting is expected to take this many times as long as the one before
LONGER = 1.5  # and the final fits this many times as long as their rows and starts suggest

Setting = Mapping[str, Any]  # such as {"components": 3, "ridge": 0.01}


class MixtureCandidate(Candidate):
    """Mixtures of Gaussians, with margins and without.

    A subclass may fit other densities: it overrides ``fit_fold`` and, for settings of its own,
    ``search``.

    Args:
        keep: the number of preprocessings that are kept, those with the best held-out scores.
    """

    parts: ClassVar[str] = "components"  # what the record calls the parts of a mixture

    def __init__(self, keep: int = len(NAMES)) -> None:
        self.keep = keep

    def fit_fold(self, fold: Fold, name: str, setting: Setting, *, is_last: bool) -> Population:
        """Return the member of a fold, a population of one member in the user's units.

        Args:
            fold: the fold.
            name: the preprocessing.
            setting: the setting.
            is_last: whether the member is kept; otherwise a quick fit compares settings.

        Raises ``ValueError`` if the setting cannot be fitted.
        """
        prepared = fold.prepared(name)
        most, starts = _effort(fold.recipe, is_last=is_last)
        points = subsample(prepared.points.double().numpy().T, most)
        mixture = fit_mixture(points, setting[self.parts], ridge=setting["ridge"], starts=starts)
        return GaussianMixture.of(to_nine_digits(mixture), prepared.by_column)

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
            return score({self.parts: count, "ridge": ridge})

        counts = components(recipe.components, fewest)
        count, ridge = search(score_of, counts, goes_on, recipe.ridges)
        return {self.parts: count, "ridge": ridge}

    def fit(self, folds: Sequence[Fold], clock: Clock) -> Fitted:
        settings: list[dict[str, Any]] = []
        members: list[Population] = []
        for place, name in enumerate(NAMES):
            search = _Search(self, folds, name, clock.search(place, len(NAMES)))
            setting = search.best()
            clock.ended["searches"].append(search.scored if setting else 0)
            if setting:
                settings.append({"preprocessing": name, **setting})
                members += [self.fit_fold(f, name, setting, is_last=True) for f in folds]
        return Fitted(settings, members)


class _Search:
    """The search for the best setting behind a preprocessing, within a part of the fit.

    Attributes:
        scored: the number of settings that were scored.
    """

    def __init__(
        self, candidate: MixtureCandidate, folds: Sequence[Fold], name: str, part: Part
    ) -> None:
        self.candidate, self.folds, self.name, self.part = candidate, folds, name, part
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
            fit = self.candidate.fit_fold
            members = [fit(fold, self.name, setting, is_last=False) for fold in self.folds]
        except ValueError:  # a covariance is singular despite the ridge
            return -np.inf
        pairs = zip(members, self.folds, strict=True)
        scores = [score_unseen(member, [fold], [fold.checked])[0] for member, fold in pairs]
        return float(np.concatenate(scores).mean())


class ClassCandidate(MixtureCandidate):
    """Mixtures of latent classes of rows with gaps.

    Args:
        label_counts: the number of labels of each column, 0 for numbers.
        keep: the number of preprocessings that are kept.
    """

    parts = "classes"

    def __init__(self, label_counts: Sequence[int], keep: int = len(NAMES)) -> None:
        super().__init__(keep)
        self.label_counts = label_counts
        self.numbers, self.labels = numbers_and_labels(label_counts)
        self._learned: dict[tuple[Fold, str], tuple[Rows, Preprocessing | None]] = {}

    def fit_fold(self, fold: Fold, name: str, setting: Setting, *, is_last: bool) -> Population:
        if (key := (fold, name)) not in self._learned:
            self._learned[key] = self._rows_of(fold, name)
        rows, of_numbers = self._learned[key]
        most, starts = _effort(fold.recipe, is_last=is_last)
        learned = rows.take(few_rows(rows.numbers, most))
        fitted = LatentClasses.fit(learned, setting[self.parts], setting["ridge"], starts)
        return LatentClassMixture(fitted.to_nine_digits(), self.label_counts, of_numbers)

    def _rows_of(self, fold: Fold, name: str) -> tuple[Rows, Preprocessing | None]:
        """Return training rows with preprocessed numbers, and the preprocessing of the numbers."""
        train = fold.learned[few_rows(fold.learned, fold.recipe.fitted_rows)]
        sizes = tuple(self.label_counts[d] for d in self.labels)
        codes = codes_of(train[:, self.labels], sizes)
        if not self.numbers:
            return Rows(np.empty((len(train), 0)), codes, sizes), None
        of_numbers = fold.prepared(name).by_column.part(self.numbers)
        return Rows(of_numbers.map_known(train[:, self.numbers])[0], codes, sizes), of_numbers


def _effort(recipe: Recipe, *, is_last: bool) -> tuple[int, int]:
    """Return the largest number of rows that a mixture is fitted to, and the number of starts."""
    return (recipe.fitted_rows, recipe.starts) if is_last else (recipe.searched_rows, 1)
