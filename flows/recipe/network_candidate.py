"""Networks of the folds: ways to regularise race each other (successive halving).

1. *Successive halving.* Every regularisation has one member per fold. Twice, only the
   regularisations whose mixture makes the held-out rows most likely are kept.
2. *Stopping.* Training at the full learning rate ends when the members hardly gain any more.
3. *Cooling.* The learning rate then falls to 0.

Sources: Jamieson and Talwalkar 2016 (successive halving); Hu et al. 2024 (MiniCPM, the cooling).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from flows.core.arrays import Array, subsample
from flows.core.progress import announce, peak_memory, progress, show_state
from flows.core.settings import TrainingSettings
from flows.networks.network_population import DensityPopulation
from flows.networks.population import Population
from flows.recipe import stacking
from flows.recipe.candidate import Candidate, Fitted
from flows.recipe.clock import Clock, Part
from flows.recipe.fold import Fold
from flows.recipe.fold_trainer import FoldTrainer
from flows.recipe.regularisation import (
    REGULARISATIONS,
    TARGET_REGULARISATIONS,
    Regularisation,
)


class Family(NamedTuple):
    """Networks of one architecture.

    Args:
        build: returns the untrained population with the argument ``members``.
        regularisations: the ways to regularise that race each other; ``None`` for those of the
            recipe, with a context or without.
        settings: what the record adds to the settings of a member.
    """

    build: Callable[..., DensityPopulation]
    regularisations: Sequence[Regularisation] | None = None
    settings: Mapping[str, Any] = MappingProxyType({})


class NetworkCandidate(Candidate):
    """Populations of networks, each of which trains all its members in one batched computation.

    Args:
        families: the architectures, which race each other.
        kept: the number of regularisations that are trained to the end, of all families together.
        settings: the settings of the training.
        test: rows ``(n', D)`` in the user's units, for the curves; ``None`` for none.
        name: the name of the population in messages.
    """

    def __init__(
        self,
        families: Sequence[Family],
        kept: int,
        settings: TrainingSettings,
        test: Array | None = None,
        name: str = "model",
    ) -> None:
        self.families, self.kept, self.settings = families, kept, settings
        self.test, self.name = test, name

    def fit(self, folds: Sequence[Fold], clock: Clock) -> Fitted:
        if folds[0].labels and folds[0].label_density is None:
            raise ValueError(
                "networks learn numbers given labels; a MixtureCandidate beside them fits the "
                "density of the labels"
            )
        recipe = self.settings.numbers
        usual = TARGET_REGULARISATIONS if folds[0].context else REGULARISATIONS
        if not folds[0].process_points:
            usual = tuple(each for each in usual if each.preprocessing != "process")
        raced = max(recipe.raced, recipe.spared(self.kept))
        begin = time.monotonic()
        steps = len(self.families) * round((1 + recipe.cooling) * recipe.most_steps)
        with progress(self.name, steps, "step") as bar:
            show_state(bar, "fitting margins, finding neighbours")
            trainers = []
            for family in self.families:
                own = spread(family.regularisations or usual, raced)
                trainers.append(FoldTrainer(family.build, folds, own, self.settings, self.test))
                for member in trainers[-1].members:
                    # Before epochs are timed
                    member.prepared.noise_of(member.regularisation)
            kept = self._race(trainers, begin, clock, bar)
        settings: list[Mapping[str, Any]] = []
        parts: list[Population] = []
        for family, trainer in zip(self.families, trainers, strict=True):
            if trainer in kept:
                settings += [
                    {**family.settings, **each.settings} for each in trainer.regularisations
                ]
                parts.append(trained(trainer))
        ended = [step for trainer in kept for step in trainer.best_step.tolist()]
        return Fitted(settings, parts, ended, {"steps": max(each.step for each in kept)})

    def _race(
        self, trainers: Sequence[FoldTrainer], begin: float, clock: Clock, bar: tqdm
    ) -> list[FoldTrainer]:
        """Train all regularisations, halve their number twice, and train the rest to the end.

        Args:
            trainers: the trainers of all families.
            begin: when their preparation began, as ``time.monotonic`` counts.
            clock: ends the parts of the fit.
            bar: shows the steps.

        Return the trainers whose members are trained to the end.
        """
        recipe = self.settings.numbers
        spare = recipe.spared(self.kept)
        left, prepared = list(trainers), time.monotonic()
        raced = sum(len(each.regularisations) for each in left)

        def on_check(trainer: FoldTrainer) -> None:
            count = sum(len(each.regularisations) for each in left)
            best = -min(each.best_nll.min() for each in left)
            show_state(bar, f"{count} regularisations, held-out {best:.3f}")
            bar.update(sum(each.step for each in trainers) - bar.n)
            logged = max(trainer.curves["train_nll"], default=0)
            if trainer.step // recipe.log > logged // recipe.log:
                trainer.log()

        rounds = (
            ("first", recipe.halving_steps[0], spare),
            ("second", recipe.halving_steps[1], self.kept),
            ("training", recipe.most_steps, None),
        )
        ended: list[list[int]] = [[] for _ in trainers]
        parts: dict[FoldTrainer, Part] = {}
        for name, most, count in rounds:
            cooling = recipe.cooling if count is None else 0.0
            for k, trainer in enumerate(trainers):
                if trainer in left:
                    place = left.index(trainer)
                    parts[trainer] = part = clock.round(name, 4 * k, len(left) - place)
                    self._train(trainer, part, most, cooling, partial(on_check, trainer))
                ended[k].append(trainer.step)
            if count is not None:
                best = stacking.chosen(np.column_stack([each.scores() for each in left]), count)
                left = _kept(left, best)
            if name == "first":
                seconds = prepared - begin, time.monotonic() - prepared
                said = self._expected(left, raced, seconds, clock)
                announce(bar, f"{self.name}: {said}")
        for k, trainer in enumerate(trainers):
            until = trainer.step
            if trainer in left:
                until += parts[trainer].left(round(recipe.cooling * trainer.step))
                if clock.cuts is not None:
                    until = clock.cuts.rounds[4 * k + 3]
                end = clock.cooling()
                self._cool(trainer, until, end, partial(on_check, trainer))
                if trainer.step < until:
                    clock.ended["cooled"] = trainer.step
                trainer.log()
            ended[k].append(until)
        clock.ended["rounds"] += [step for each in ended for step in each]
        return left

    def _train(
        self,
        trainer: FoldTrainer,
        part: Part,
        most: int,
        cooling: float,
        on_check: Callable[[], None],
    ) -> None:
        """Train until convergence, for ``most`` steps in total, or until the end of the ``part``.

        The time of the cooling is left, ``cooling`` times that of all steps. At least one step is
        trained.
        """
        first = trainer.step

        def goes_on() -> bool:
            ahead = trainer.steps + cooling * (trainer.step + trainer.steps)
            is_first = trainer.step == first and part.recorded is None
            return part.goes_on(trainer.step, ahead) or is_first

        trainer.train(most, on_check, goes_on, lambda: part.is_over(trainer.step))
        part.measure(trainer.step)

    def _cool(
        self, trainer: FoldTrainer, until: int, end: Part, on_check: Callable[[], None]
    ) -> None:
        """Train with a falling learning rate for ``until`` steps in total, or until the ``end``."""
        trainer.train(until, on_check, is_over=lambda: end.is_over(trainer.step), cool=True)

    def _expected(
        self, left: Sequence[FoldTrainer], count: int, seconds: Sequence[float], clock: Clock
    ) -> str:
        """Return the expected time of the fit, and the memory, after the first halving.

        The time of a step is proportional to the number of regularisations. Without a context,
        mixtures and scores follow, which take about as long as the preparation of the networks.

        Args:
            left: the trainers that are left.
            count: the number of regularisations before the halving.
            seconds: the time of the preparation, and of the steps before the halving.
            clock: the clock of the fit.
        """
        recipe, folds = self.settings.numbers, left[0].folds
        first, second = recipe.halving_steps
        steps = max(trainer.expected_steps() for trainer in left)
        second = max(first, min(second, steps))
        later = recipe.spared(self.kept) * (second - first)
        units = later + self.kept * max(0.0, (1 + recipe.cooling) * steps - second)
        preparation, trained = seconds
        expected = clock.passed() + trained * units / (count * first)
        expected += 0.0 if folds[0].context else preparation
        rows = sum(len(fold.held_out) for fold in folds)
        return (
            f"{rows:,} rows of {folds[0].learned.shape[1]} columns: the fit will take "
            f"about {min(expected, clock.seconds):.0f} s and {peak_memory():.1f} GB of memory"
        )


def trained(trainer: FoldTrainer) -> DensityPopulation:
    """Return the population with the best weights of its members, and its history."""
    trainer.optimizer.parameters.copy_(trainer.best)
    logged = list(trainer.curves["train_nll"])
    trainer.population.history = {
        "epoch": np.array([trainer.epochs(step) for step in logged], dtype=np.float64),
        **{key: np.stack([*curve.values()]) for key, curve in trainer.curves.items()},
    }
    return trainer.population.eval()


def spread(regularisations: Sequence[Regularisation], most: int) -> Sequence[Regularisation]:
    """Return at most ``most`` regularisations, at even distances in their list."""
    places = subsample(np.arange(len(regularisations)), most)
    return [regularisations[k] for k in places.tolist()]


def _kept(trainers: Sequence[FoldTrainer], best: Sequence[int]) -> list[FoldTrainer]:
    """Keep the regularisations with the indices ``best``, counted over all trainers.

    Return the trainers that have one.
    """
    kept, first = [], 0
    for trainer in trainers:
        own = trainer.regularisations
        wanted = [own[c - first] for c in best if first <= c < first + len(own)]
        first += len(own)
        if wanted:
            trainer.keep(wanted)
            kept.append(trainer)
    return kept
