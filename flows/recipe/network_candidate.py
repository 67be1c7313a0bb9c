"""Networks of the folds: ways to regularise race each other (successive halving).

1. *Successive halving.* Every regularisation has one member per fold. Twice, only the
   regularisations whose mixture makes the held-out rows most likely are kept.
2. *Stopping.* Training at the full learning rate ends when the members hardly gain any more.
3. *Cooling.* The learning rate then falls to 0.

Sources: Jamieson and Talwalkar 2016 (successive halving); Hu et al. 2024 (MiniCPM, the cooling).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from flows.core.arrays import Array
from flows.core.progress import announce, peak_memory, progress, show_state
from flows.core.settings import TrainingSettings
from flows.networks.network_population import DensityPopulation
from flows.recipe import stacking
from flows.recipe.candidate import Candidate, Fitted
from flows.recipe.clock import Clock, Part
from flows.recipe.fold import Fold
from flows.recipe.fold_trainer import FoldTrainer
from flows.recipe.regularisation import REGULARISATIONS, TARGET_REGULARISATIONS

TIMED = 6  # checks after which the time of the training is estimated


class NetworkCandidate(Candidate):
    """A population of networks, of which all members are trained in one batched computation.

    Args:
        build: returns the untrained population with the argument ``members``.
        kept: the number of regularisations that are trained to the end.
        settings: the settings of the training.
        test: rows ``(n', D)`` in the user's units, for the curves; ``None`` for none.
        name: the name of the population in messages.
    """

    def __init__(
        self,
        build: Callable[..., DensityPopulation],
        kept: int,
        settings: TrainingSettings,
        test: Array | None = None,
        name: str = "model",
    ) -> None:
        self.build, self.kept, self.settings, self.test = build, kept, settings, test
        self.name = name

    def fit(self, folds: Sequence[Fold], clock: Clock) -> Fitted:
        recipe = self.settings.numbers
        chosen = TARGET_REGULARISATIONS if folds[0].context else REGULARISATIONS
        with progress(self.name, round((1 + recipe.cooling) * recipe.most_steps), "step") as bar:
            show_state(bar, "fitting margins, finding neighbours")
            trainer = FoldTrainer(self.build, folds, chosen, self.settings, self.test)
            for member in trainer.members:
                _ = member.prepared.noise  # before epochs are timed
            self._race(trainer, clock, bar)
        trainer.optimizer.parameters.copy_(trainer.best)
        logged = list(trainer.curves["train_nll"])
        trainer.population.history = {
            "epoch": np.array([trainer.epochs(step) for step in logged], dtype=np.float64),
            **{key: np.stack([*curve.values()]) for key, curve in trainer.curves.items()},
        }
        settings = [each.settings for each in trainer.regularisations]
        steps = trainer.best_step.tolist()
        return Fitted(settings, [trainer.population.eval()], steps, {"steps": trainer.step})

    def _race(self, trainer: FoldTrainer, clock: Clock, bar: tqdm) -> None:
        """Train all regularisations, halve their number twice, and train the rest to the end."""
        recipe = self.settings.numbers
        spare = max(recipe.spare * self.kept, 4)
        seconds: dict[int, float] = {}

        def on_check() -> None:
            seconds[trainer.step] = time.monotonic()
            if len(seconds) == TIMED:
                announce(bar, f"{self.name}: {self._expected(trainer, seconds, spare, clock)}")
            count, best = len(trainer.regularisations), -trainer.best_nll.min()
            show_state(bar, f"{count} regularisations, held-out {best:.3f}")
            bar.update(trainer.step - bar.n)
            if (
                trainer.step // recipe.log
                > max(trainer.curves["train_nll"], default=0) // recipe.log
            ):
                trainer.log()

        rounds = (
            ("first", recipe.halving_steps[0], spare),
            ("second", recipe.halving_steps[1], self.kept),
            ("training", recipe.most_steps, None),
        )
        for name, most, count in rounds:
            part, cooling = clock.round(name), recipe.cooling if count is None else 0.0
            self._train(trainer, part, most, cooling, on_check)
            clock.ended["rounds"].append(trainer.step)
            if count is not None:
                best = stacking.chosen(trainer.scores(), count)
                trainer.keep([trainer.regularisations[c] for c in best])
        until = trainer.step + part.left(round(recipe.cooling * trainer.step))
        if clock.cuts is not None:
            until = clock.cuts.rounds[3]
        clock.ended["rounds"].append(until)
        end = clock.cooling()
        trainer.train(until, on_check, is_over=lambda: end.is_over(trainer.step), cool=True)
        if trainer.step < until:
            clock.ended["cooled"] = trainer.step
        trainer.log()

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

    def _expected(
        self, trainer: FoldTrainer, seconds: dict[int, float], spare: int, clock: Clock
    ) -> str:
        """Return the expected time, from the time of the first checks, and the memory.

        The time per step is proportional to the number of regularisations: all, ``spare``, then
        ``kept``.
        """

        def steps(halved: int, last: int) -> float:
            first = count * recipe.halving_steps[0] + spare * (halved - recipe.halving_steps[0])
            return first + self.kept * ((1 + recipe.cooling) * last - halved)

        recipe = self.settings.numbers
        (start, begun), *_, (step, now) = seconds.items()
        count = len(trainer.regularisations)
        share = (now - begun) / (step - start) / count
        least = min(clock.seconds, share * steps(recipe.least_overfitted, recipe.least_overfitted))
        most = min(clock.seconds, share * steps(recipe.halving_steps[1], recipe.most_steps))
        rows = sum(len(fold.held_out) for fold in trainer.folds)
        return (
            f"{rows:,} rows of {trainer.folds[0].learned.shape[1]} columns: training will take "
            f"{least:.0f} to {most:.0f} s, and about {peak_memory():.1f} GB of memory"
        )
