"""A candidate of the recipe: what is fitted to all folds, and how held-out rows are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flows.core.arrays import Array, Whole
from flows.networks.densities import Densities
from flows.networks.population import Population
from flows.recipe.clock import Clock
from flows.recipe.ensemble import Ensemble
from flows.recipe.fold import Fold


@dataclass(frozen=True)
class Fitted:
    """What a candidate fitted: a member for each of C settings and F folds.

    Args:
        settings: the C settings.
        parts: populations with C F members in all. Member c F + f, counted over the parts, has
            setting c, and did not learn from fold f. In a table with labels, they are densities of
            the numbers given the labels.
        steps: the steps after which the weights of the members were kept, ``(C F,)``; empty for
            members that are not trained in steps.
        record: what the candidate adds to the record of the recipe.
    """

    settings: Sequence[Mapping[str, Any]]
    parts: Sequence[Population]
    steps: Sequence[int] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    def kept(self, places: Sequence[int]) -> Fitted:
        """Return the settings with the indices ``places``; each part must be one member."""
        count = len(self.parts) // len(self.settings)
        parts = [part for c in places for part in self.parts[c * count : (c + 1) * count]]
        return Fitted([self.settings[c] for c in places], parts, (), self.record)


class Candidate(ABC):
    """A kind of members.

    ``keep`` is the largest number of its settings that the ensemble keeps, those with the best
    held-out scores; ``None`` for all.
    """

    keep: int | None = None

    def prepare(self, folds: Sequence[Fold], clock: Clock) -> None:
        """Set what all candidates use of the folds, before they are fitted; by default, nothing.

        ``learn`` calls this method once, before ``fit`` of any candidate.

        Args:
            folds: the folds.
            clock: ends the parts of the fit.
        """
        return

    @abstractmethod
    def fit(self, folds: Sequence[Fold], clock: Clock) -> Fitted:
        """Return members for each fold; none if the clock leaves no time.

        Args:
            folds: the folds.
            clock: ends the parts of the fit.
        """


def held_out_scores(fitted: Fitted, folds: Sequence[Fold], rows: int) -> Array:
    """Return the log-densities of held-out rows in the user's units, ``(rows, C)``.

    For each setting, the member that did not learn from a row scores the row. Rows in no fold have
    ``NaN``.

    Args:
        fitted: the members of a candidate.
        folds: the folds.
        rows: the number of all rows.
    """
    scores, first = np.full((rows, len(fitted.settings)), np.nan), 0
    for part in fitted.parts:
        places = range(first, first + part.members)
        own = [folds[m % len(folds)] for m in places]
        every = [np.arange(len(fold.held_out)) for fold in own]
        found = score_unseen(ensemble_of([part], own), own, every)
        for m, fold, values in zip(places, own, found, strict=True):
            scores[fold.held_out, m // len(folds)] = values
        first += part.members
    return scores


def ensemble_of(
    parts: Sequence[Population], folds: Sequence[Fold], weights: Array | None = None
) -> Ensemble:
    """Return the ensemble of members that did not learn from their folds.

    In a table with labels, a member has the density of the labels of its fold.

    Args:
        parts: the populations, with M members in all.
        folds: the fold of each member, M folds.
        weights: the weights of the members, ``(M,)``; by default equal.
    """
    weights = np.full(len(folds), 1 / len(folds)) if weights is None else weights
    labels = [fold.label_density for fold in folds if fold.label_density is not None]
    return Ensemble(parts, weights, labels, folds[0].to_real if labels else None)


def score_unseen(part: Densities, folds: Sequence[Fold], places: Sequence[Whole]) -> list[Array]:
    """Return log-densities of held-out rows under the members of a population, ``(h_m,)`` each.

    For a row with gaps, it is the log-density of its known values. Members that do not score gaps
    get K completions x_k, drawn from r; with x_o the known values::

        log q(x_o) ~ log 1/K sum_k q(x_o, x_k) / r(x_k | x_o)

    The estimate is unbiased, so the expectation of its logarithm is at most log q(x_o). Source:
    Owen 2013, chapter 9. With constraints, completions that break one have no density, unless all
    completions of a row do.

    Args:
        part: the members.
        folds: the fold of each member.
        places: for each member, the indices into the held-out rows of its fold.
    """
    recipe, most = folds[0].recipe, max(map(len, places))
    gaps = any(np.isnan(fold.unseen).any() for fold in folds)
    possible = folds[0].possible
    are_filled = gaps and (possible is not None or not part.scores_gaps)
    count = recipe.completions(max(len(fold.checked) for fold in folds)) if are_filled else 1
    # A smaller fold repeats its first rows, which are then scored twice
    padded = np.stack([np.resize(each, most) for each in places])
    found = []
    size = max(1, recipe.piece_rows // count)
    for own in np.split(padded, range(size, most, size), axis=1):
        rows = [fold.unseen[each] for fold, each in zip(folds, own, strict=True)]
        log_r = np.zeros((len(folds), own.shape[1], 1))
        if are_filled:
            drawn = [fold.complete(each, count) for fold, each in zip(folds, rows, strict=True)]
            rows, log_r = [each for each, _ in drawn], np.stack([each for _, each in drawn])
        log_q = part.score(np.stack(rows, axis=1)).T.reshape(*log_r.shape)
        if are_filled and possible is not None:
            inside = np.stack([possible(each) for each in rows]).reshape(log_q.shape)
            inside |= ~inside.any(axis=-1, keepdims=True)
            log_q = np.where(inside, log_q, -np.inf)
        with np.errstate(invalid="ignore"):
            log_weight = log_q - log_r - np.log(count)
        # A draw so far out that its density underflows has no weight
        log_weight[np.isnan(log_weight)] = -np.inf
        found.append(np.logaddexp.reduce(log_weight, axis=-1))
    scores = np.concatenate(found, axis=1)
    return [row[: len(each)] for row, each in zip(scores, places, strict=True)]
