"""Training with early stopping on folds: one member per fold and regularisation.

All members are trained in one batched population. A member learns from the training rows of its
fold (``fold.py``). It is scored and stopped on the held-out rows of the fold, from which it does
not learn. Its result is the average of its weights over its last steps (Polyak and Juditsky 1992),
at the step at which the held-out rows were most likely (Prechelt 1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array, Whole, subsample
from flows.core.seeds import Generators, numpy_generators
from flows.core.settings import TrainingSettings
from flows.mixtures.completion import count_completions
from flows.networks import building
from flows.networks.network_population import DensityPopulation
from flows.training.automatic.candidates import Candidate
from flows.training.automatic.fold import CHECK_ROWS, Fold
from flows.training.automatic.lasso import first_layers, shrink
from flows.training.automatic.prepared_fold import ROWS_AT_ONCE, PreparedFold, WeightedPoints
from flows.training.optimizer import ClippedAdam

BATCH = 128  # rows per step, at most: as good as 256 on tables, in half the time
EPOCH = 25  # steps per epoch, at most, to bound the memory
# Steps between two checks on the held-out rows: a tenth of the steps so far, within these limits
LEAST_INTERVAL, MOST_INTERVAL = 5, 50
# Training has converged if, in the last third of its steps, the members gained less than 0.001 nat
# per row and column
LAST, GAIN = 1 / 3, 0.001
LEAST_STEPS = 500
# Training also ends if no member had its best step in the last two thirds of the steps
LEAST_OVERFITTED, OVERFITTED = 300, 3
WARM_UP_STEPS = 50  # steps over which the learning rate rises
TARGET_RATE = 3  # learning rate of networks with a context, as a multiple of the settings' rate
AVERAGE = 0.99  # decay, per step, of the moving average of a member's weights


@dataclass(frozen=True)
class Member:
    """A member: its regularisation, its preprocessed fold, and the key of its random stream."""

    candidate: Candidate
    prepared: PreparedFold
    stream: int


class FoldTrainer:
    """The trainer of a population like ``population`` with one member per candidate and fold.

    Args:
        population: a population of ``flows.build``, which is not changed.
        rows: rows ``(n, D)`` in the user's units. A gap is ``NaN`` (``completion.py``).
        test: rows ``(n', D)`` in the user's units, without gaps, or ``None``. Only the curves use
            them.
        candidates: the regularisations to train.
        fold_of: the number of the fold in which each row is held out, ``(n,)``; -1 for none.
        settings: the settings of training.
        copies: the row that each row repeats, ``(n,)``, if rows are repeated by their weights.
    """

    def __init__(
        self,
        population: DensityPopulation,
        rows: Array,
        test: Array | None,
        candidates: Sequence[Candidate],
        fold_of: Whole,
        settings: TrainingSettings,
        copies: Whole | None = None,
    ) -> None:
        self.settings, self.shape = settings, rows.shape
        self.rate = settings.learning_rate * (TARGET_RATE if population.context else 1)
        self.folds = [
            Fold(population, rows, fold_of, number, settings.seed, copies)
            for number in range(fold_of.max() + 1)
        ]
        names = dict.fromkeys(candidate.preprocessing for candidate in candidates)
        self.prepared = {
            name: [PreparedFold(f, population, name) for f in self.folds] for name in names
        }
        pairs = [
            (candidate, p)
            for candidate in candidates
            for p in self.prepared[candidate.preprocessing]
        ]
        self.members = [Member(*pair, stream) for stream, pair in enumerate(pairs)]
        states = [member.prepared.preprocessing.state_dict() for member in self.members]
        self.population = population = self._population(population)
        population.preprocessing.load_state_dict(
            {name: torch.cat([state[name] for state in states]) for name in states[0]}
        )
        count = min(len(f.train) for f in self.folds)
        batch = min(BATCH, settings.batch_size, count)
        # Points and steps per epoch; an epoch visits all rows of a small table
        self.rows_of_a_member, self.visits = count, min(count, EPOCH * batch)
        self.steps = math.ceil(self.visits / batch)
        most = max(len(f.checked) for f in self.folds)
        self.completions = count_completions(rows, most)  # per scored row
        # Checks and curves use these rows; a fold with fewer rows repeats its first rows
        learned = subsample(np.arange(count), CHECK_ROWS)
        self.scored = {
            "train": self._weighted({f: f.train_rows[learned] for f in self.folds}),
            "held_out": self._weighted(
                {f: f.held_out_rows[np.resize(f.checked, most)] for f in self.folds}
            ),
        }
        if test is not None:
            few = subsample(test, CHECK_ROWS)
            self.scored["test"] = self._weighted({f: f.scale(few) for f in self.folds})
        places = subsample(np.arange(count), EPOCH * BATCH)
        prepared_folds = [member.prepared for member in self.members]
        population.initialize(
            torch.stack([p.points[:, places * p.fold.completions] for p in prepared_folds])
        )
        self.optimizer = ClippedAdam(population.flatten(), settings.clip, population.betas)
        self.average = self.optimizer.parameters.clone()
        self.best = self.optimizer.parameters.clone()
        self.best_nll = np.full(len(self.members), np.inf)
        self.best_step = np.zeros(len(self.members), dtype=int)
        self.progress: dict[int, Array] = {}  # best_nll by the step of each check
        self.curves: dict[str, dict[int, Array]] = {f"{key}_nll": {} for key in self.scored}
        self.step = 0
        # The untrained flow can be the best: it is a Gaussian after whitening, and has independent
        # columns after margins
        self.check()

    def _population(self, like: DensityPopulation) -> DensityPopulation:
        """Return an untrained population like ``like``, with the members ``self.members``."""
        description = {**like.description, "members": [0, len(self.members)]}
        return cast(DensityPopulation, building.build_described(description, like.to_real))

    def _weighted(self, rows: Mapping[Fold, Array]) -> WeightedPoints:
        """Return weighted completions of the scaled ``rows`` of each fold, for all members."""
        completed = {fold: fold.complete(own, self.completions) for fold, own in rows.items()}
        prepared = dict.fromkeys(member.prepared for member in self.members)
        points = {each: each.weighted(*completed[each.fold]) for each in prepared}
        z, log_weight = zip(*(points[member.prepared] for member in self.members), strict=True)
        return WeightedPoints(torch.cat(z), torch.cat(log_weight))

    def points(self, generators: Generators) -> Tensor:
        """Return the points that an epoch visits, ``(M, D, N)``."""
        visited = [
            member.prepared.visit(member.candidate, self.visits, generator)
            for member, generator in zip(self.members, generators, strict=True)
        ]
        return torch.stack(visited)

    def train(
        self,
        until: int,
        on_check: Callable[[], None],
        goes_on: Callable[[], bool] = lambda: True,
        *,
        cool: bool = False,
    ) -> None:
        """Train at the full learning rate until convergence, or until ``until`` steps in total.

        Training also ends before an epoch if ``goes_on()`` is false.
        With ``cool``, the learning rate falls to 0, and training continues until ``until``.
        """
        start = self.step
        strengths = torch.tensor([member.candidate.lasso for member in self.members])
        shrunk = first_layers(self.population) if strengths.any() else []
        while self.step < until and (cool or not self.converged) and goes_on():
            streams = [member.stream for member in self.members]
            generators = numpy_generators(
                self.settings.seed, "train", streams, self.step // self.steps
            )
            points = self.points(generators)
            objective = self.population.objective(points, generators)
            for batch in points.tensor_split(self.steps, dim=-1):
                _, gradient = objective(batch)
                share = (self.step + 1) / WARM_UP_STEPS
                if cool:
                    share = (until - self.step) / (until - start)
                rate = self.rate * min(1.0, max(0.0, share))
                self.optimizer.step(gradient, rate)
                for weights in shrunk:
                    shrink(weights, rate * strengths)
                self.average.lerp_(
                    self.optimizer.parameters, 1 - min(AVERAGE, (self.step + 1) / (self.step + 10))
                )
                self.step += 1
                if self.step >= self.next_check:
                    self.check()
                    on_check()

    def epochs(self, step: int) -> int:
        """Return the number of passes of a member over its rows after ``step`` steps."""
        return step * self.visits // (self.steps * self.rows_of_a_member)

    @property
    def converged(self) -> bool:
        """Whether the members hardly gain any more, or only overfit."""
        if self.step >= max(LEAST_OVERFITTED, OVERFITTED * self.best_step.max()):
            return True
        before = max(step for step in self.progress if step <= (1 - LAST) * self.step)
        gain = (self.progress[before] - self.best_nll).mean()
        return self.step >= LEAST_STEPS and gain < GAIN * self.population.event_shape.numel()

    def check(self) -> None:
        """Keep the average weights of every member with its best held-out likelihood so far."""
        nll = self.nll("held_out")
        better = nll < self.best_nll
        self.best_nll[better], self.best_step[better] = nll[better], self.step
        self.best[better] = self.average[better]
        self.progress[self.step] = self.best_nll.copy()
        self.next_check = self.step + min(MOST_INTERVAL, max(LEAST_INTERVAL, self.step // 10))

    @torch.no_grad()
    def log_density(self, parameters: Tensor, points: WeightedPoints) -> Array:
        """Return the log-densities ``(M, n)`` of rows, in the user's units.

        The members have these ``parameters`` ``(M, P)``. For a row with gaps, this is the
        log-density of the known values.
        """
        z, log_weight = points
        with self.population.parameters_from(parameters):
            log_q = self.population.log_density(z).double().reshape(log_weight.shape) + log_weight
        return np.logaddexp.reduce(log_q.numpy(), axis=-1)

    def nll(self, key: str) -> Array:
        """Return the members' mean negative log-likelihoods of the rows ``key``, ``(M,)``."""
        log_q = [*self.log_density(self.average, self.scored[key])]
        if key == "held_out":  # without the repeated rows
            counts = [len(member.prepared.fold.checked) for member in self.members]
            log_q = [x[:count] for x, count in zip(log_q, counts, strict=True)]
        return np.array([-each.mean() for each in log_q])

    @property
    def candidates(self) -> list[Candidate]:
        """The C candidates that are in training."""
        return list(dict.fromkeys(member.candidate for member in self.members))

    def scores(self, *, every_row: bool = False) -> Array:
        """Return the out-of-fold log-densities of all rows, in the user's units, ``(n, C)``.

        For each candidate, the member that did not learn from a row scores the row. Rows in no fold
        have ``NaN``; without ``every_row``, rows that checks do not use also have ``NaN``.
        """
        scores = np.full((self.shape[0], len(self.candidates)), np.nan)
        places = {
            fold: np.arange(len(fold.held_out)) if every_row else fold.checked
            for fold in self.folds
        }
        most = max(map(len, places.values()))
        # A smaller fold repeats its first rows, which are then scored twice
        places = {fold: np.resize(own, most) for fold, own in places.items()}
        size = ROWS_AT_ONCE // self.completions
        for start in range(0, most, size):
            piece = {fold: own[start : start + size] for fold, own in places.items()}
            points = self._weighted({fold: fold.held_out_rows[own] for fold, own in piece.items()})
            log_q = self.log_density(self.best, points)
            for member, values in zip(self.members, log_q, strict=True):
                fold = member.prepared.fold
                scored = fold.held_out[piece[fold]]
                scores[scored, self.candidates.index(member.candidate)] = values
        return scores

    def log(self) -> None:
        """Add the present step to all ``curves``."""
        for key in self.scored:
            self.curves[f"{key}_nll"][self.step] = self.nll(key)

    def keep(self, candidates: Sequence[Candidate]) -> None:
        """Keep only the members of these ``candidates``."""
        kept = [m for m, member in enumerate(self.members) if member.candidate in candidates]
        self.members = [self.members[m] for m in kept]
        state = self.population.state_dict()
        population = self._population(self.population)
        population.load_state_dict({key: x[kept] if x.ndim else x for key, x in state.items()})
        optimizer = ClippedAdam(population.flatten(), self.settings.clip, population.betas)
        optimizer.first = self.optimizer.first[kept]
        optimizer.second = self.optimizer.second[kept]
        optimizer.steps = self.optimizer.steps
        self.population, self.optimizer = population, optimizer
        for name in ("average", "best", "best_nll", "best_step"):
            setattr(self, name, getattr(self, name)[kept])
        self.scored = {
            key: WeightedPoints(points.z[kept], points.log_weight[kept])
            for key, points in self.scored.items()
        }
        for by_step in (self.progress, *self.curves.values()):
            by_step.update({step: values[kept] for step, values in by_step.items()})
