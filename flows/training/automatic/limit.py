"""What ends the parts of the automatic recipe: their own rules, a clock, or recorded cuts.

The parts that train networks are numbered: 0 and 1 are the rounds of successive halving, 2 is the
training at the full learning rate, 3 is the cooling. The search for mixtures and the scores of
held-out rows follow. A limit of time is shared out like this:

- Time is reserved for the mixtures (``MIXTURES``), for scores of held-out rows with labels or with
  rounded targets (``RESCORING``), and for everything else (``SLACK``). The time in which the
  networks score all held-out rows is estimated from the scores at the halvings.
- The rounds of halving end after shares (``ROUNDS``) of the other time, and have an epoch at least.
- Training ends if a further epoch and its cooling would not fit. An epoch takes as long as the last
  one, per network.
- The search for a mixture ends if a further setting and the last fits would not fit. If the last
  fits with one component would not fit, there is no mixture.
- Held-out rows are scored like new rows while time remains, 50 rows at least.

The steps and numbers at which the parts ended are recorded (``Cuts``), and give the same fit again
without the clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from flows.core.arrays import Array
from flows.core.settings import Cuts
from flows.training.automatic import stacking

if TYPE_CHECKING:
    from flows.training.automatic.fold_trainer import FoldTrainer

COOLING = 0.25  # steps of the cooling, as a share of the steps before
MIXTURES, RESCORING, SLACK = 0.2, 0.25, 0.05  # reserves, as shares of the limit
ROUNDS = (0.3, 0.55)  # ends of the rounds of halving, as shares of the time for training
GROWTH = 1.5  # the next setting of a search is expected to take this many times as long as the last
LONGER = 1.5  # the last fits of mixtures may take this many times as long as estimated
RESCORED = 2_000  # largest number of training rows that are scored like new rows
TOLERANCE = 1.1  # a fit that takes more than this many times its limit gets a notice
TRIED = 50  # rows that are scored to measure the time; at least as many are rescored


class SearchLimit:
    """No limit of the search for the mixtures with one preprocessing."""

    evaluated = 0  # settings that were evaluated

    def goes_on(self) -> bool:
        """Return whether a further setting may be evaluated."""
        return True

    def ends_in_time(self) -> bool:
        """Return whether there is time for the last fits."""
        return True

    def lap(self, part: str) -> None:
        """Note that the ``"fit"`` or the ``"score"`` of a setting has just ended."""


class Limit:
    """No limit: every part of the recipe ends by its own rules."""

    is_recorded = False  # whether the record of the training keeps the cuts
    seconds = math.inf

    def reserve_rescoring(self) -> None:
        """Reserve time for the scores of held-out rows that are scored like new rows."""

    def start(self, trainer: FoldTrainer, kept: int, mixtures: int) -> None:
        """Note that training starts, with the final numbers of candidates and of mixtures."""

    def until(self, part: int, most: int, trainer: FoldTrainer) -> int:
        """Return the step that ends a ``part``; ``most`` is the step that its own rules allow."""
        return most

    def goes_on(self, part: int, trainer: FoldTrainer) -> bool:
        """Return whether a further epoch may be trained in a ``part`` before the cooling."""
        return True

    def scores(self, trainer: FoldTrainer) -> Array:
        """Return ``trainer.scores()``."""
        return trainer.scores()

    def search(self, place: int, places: int, fitting: float, scoring: float) -> SearchLimit:
        """Return the limit of the search for the mixtures with a preprocessing.

        Args:
            place: the index of the preprocessing.
            places: the number of preprocessings.
            fitting: the expected time of the last fits, in times of the fits of the search.
            scoring: the expected time of the last scores, in times of the scores of the search.
        """
        return SearchLimit()

    def rescored(self, score: Callable[[int], object]) -> int:
        """Return how many rows are scored like new rows; ``score(n)`` scores n of these rows."""
        return RESCORED

    def late(self) -> str:
        """Return a sentence if the fit took longer than the limit, and otherwise nothing."""
        return ""


class Recorded(Limit):
    """The cuts of an earlier fit."""

    is_recorded = True

    def __init__(self, cuts: Cuts) -> None:
        self.cuts = cuts

    def until(self, part: int, most: int, trainer: FoldTrainer) -> int:
        return self.cuts.rounds[part]

    def search(self, place: int, places: int, fitting: float, scoring: float) -> SearchLimit:
        return _RecordedSearch([*self.cuts.searches, 0, 0][place])

    def rescored(self, score: Callable[[int], object]) -> int:
        return self.cuts.rescored or RESCORED


class _RecordedSearch(SearchLimit):
    def __init__(self, most: int) -> None:
        self.most = most

    def goes_on(self) -> bool:
        return self.evaluated < self.most


class Clock(Limit):
    """A limit of time, which counts from now.

    Args:
        seconds: the limit.
    """

    is_recorded = True

    def __init__(self, seconds: float) -> None:
        self.seconds, self.begun = seconds, time.monotonic()
        self.end = self.begun + (1 - SLACK) * seconds
        self.mixtures_end = self.end  # when all mixtures must be fitted

    def reserve_rescoring(self) -> None:
        self.mixtures_end -= RESCORING * self.seconds

    def start(self, trainer: FoldTrainer, kept: int, mixtures: int) -> None:
        for member in trainer.members:
            _ = member.prepared.noise  # finds the neighbours, before epochs are timed
        if mixtures:
            import sklearn.mixture  # noqa: F401 (before searches are timed)
        self.training_end = self.mixtures_end - (MIXTURES * self.seconds if mixtures else 0)
        self.networks = kept * len(trainer.folds)
        self.part, self.scoring, self.network_epoch = -1, 0.0, 0.0
        self.started = self.last = time.monotonic()
        self.step = trainer.step

    def until(self, part: int, most: int, trainer: FoldTrainer) -> int:
        if part < 3:
            return most
        self._measure(trainer)
        epoch = len(trainer.members) * self.network_epoch
        epochs = (self.training_end - self.scoring - self.last) / epoch
        steps = max(1, round(epochs)) * trainer.steps
        return min(most, trainer.step + steps)

    def goes_on(self, part: int, trainer: FoldTrainer) -> bool:
        self._measure(trainer)
        is_first, self.part = part != self.part, part
        epoch = len(trainer.members) * self.network_epoch
        if part < 2:
            end = self.started + ROUNDS[part] * (self.training_end - self.started)
            return is_first or self.last + epoch < end
        cooling = COOLING * (trainer.step / trainer.steps + 1)  # epochs
        return self.last + (1 + cooling) * epoch < self.training_end - self.scoring

    def _measure(self, trainer: FoldTrainer) -> None:
        """Measure the seconds that an epoch of one network takes."""
        now = time.monotonic()
        if trainer.step > self.step:
            epochs = (trainer.step - self.step) / trainer.steps
            self.network_epoch = (now - self.last) / epochs / len(trainer.members)
        self.last, self.step = now, trainer.step

    def scores(self, trainer: FoldTrainer) -> Array:
        self._measure(trainer)
        scores = trainer.scores()
        scored = time.monotonic()
        checked = scores[~np.isnan(scores[:, 0])]
        stacking.weights(checked)
        stacked = time.monotonic()
        every = max(len(fold.held_out) for fold in trainer.folds)
        some = max(len(fold.checked) for fold in trainer.folds)
        networks = self.networks / len(trainer.members)
        self.scoring = (scored - self.last) * networks * every / some
        self.scoring += 2 * (stacked - scored) * len(scores) / len(checked)  # with mixtures, too
        self.last = stacked
        return scores

    def search(self, place: int, places: int, fitting: float, scoring: float) -> SearchLimit:
        now = time.monotonic()
        return _TimedSearch(now + (self.mixtures_end - now) / (places - place), fitting, scoring)

    def rescored(self, score: Callable[[int], object]) -> int:
        before = time.monotonic()
        score(TRIED)
        now = time.monotonic()
        return max(TRIED, min(RESCORED, int(TRIED * (self.end - now) / (now - before))))

    def late(self) -> str:
        taken = time.monotonic() - self.begun
        if taken <= TOLERANCE * self.seconds:
            return ""
        return f"the fit took {taken:.1f} s, more than its limit of {self.seconds:g} s"


class _TimedSearch(SearchLimit):
    def __init__(self, end: float, fitting: float, scoring: float) -> None:
        self.end, self.fitting, self.scoring = end, fitting, scoring
        self.last = time.monotonic()
        self.laps = {"fit": 0.0, "score": 0.0}

    def goes_on(self) -> bool:
        self.last = time.monotonic()
        return self._needs(GROWTH, GROWTH * sum(self.laps.values())) < self.end

    def ends_in_time(self) -> bool:
        self.last = time.monotonic()
        return self._needs(1, 0) < self.end

    def lap(self, part: str) -> None:
        now = time.monotonic()
        self.laps[part], self.last = now - self.last, now

    def _needs(self, growth: float, before: float) -> float:
        """Return when the last fits and scores end, if they start ``before`` seconds from now."""
        fits = LONGER * self.fitting * self.laps["fit"]
        return self.last + before + growth * (fits + self.scoring * self.laps["score"])
