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
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array, as_points, subsample
from flows.core.seeds import Generators, numpy_generators
from flows.core.settings import TrainingSettings
from flows.networks import building
from flows.networks.network_population import DensityPopulation
from flows.recipe.fold import Fold, PreparedFold
from flows.recipe.record import DECIMALS
from flows.recipe.regularisation import Regularisation, first_layers, shrink
from flows.training.optimizer import ClippedAdam

# Of fits that gain: steps at the full learning rate for a number of rows, and the least gain in
# nats per column in the second half of the steps before the first halving
LONG_STEPS, LONG_ROWS, SMALL_GAIN = 2_250, 400, 0.035


class WeightedPoints(NamedTuple):
    """Completions of rows after the preprocessing of each member, with importance weights.

    A row has K completions; without a gap, all are the row itself. With x a completion, z the point
    after the preprocessing, r the density that its gaps were drawn from, and P the probability of
    its labels, if labels have a density of their own::

        log_weight = log |det dz/dx| + log P - log r - log K
        log q(known values of a row) = log sum_k exp(log q(z_k) + log_weight_k)

    The second line is an estimate; ``candidate.py`` has its source.

    Attributes:
        z: the points ``(M, D, n K)`` in the members' precision; points of a row are adjacent.
        log_weight: the logarithms of the weights, ``(M, n, K)``, in double precision.
    """

    z: Tensor
    log_weight: Tensor


@dataclass(frozen=True)
class Member:
    """A member: its regularisation, its preprocessed fold, and the key of its random stream."""

    regularisation: Regularisation
    prepared: PreparedFold
    stream: int


class FoldTrainer:
    """The trainer of a population with one member per regularisation and fold.

    Args:
        build: returns the untrained population with the argument ``members``.
        folds: the folds.
        regularisations: the regularisations to train.
        settings: the settings of training.
        test: rows ``(n', D)`` in the user's units, without gaps, or ``None``. Only the curves use
            them.
    """

    def __init__(
        self,
        build: Callable[..., DensityPopulation],
        folds: Sequence[Fold],
        regularisations: Sequence[Regularisation],
        settings: TrainingSettings,
        test: Array | None = None,
    ) -> None:
        self.build, self.folds, self.settings = build, folds, settings
        self.recipe = folds[0].recipe
        pairs = [(each, f.prepared(each.preprocessing)) for each in regularisations for f in folds]
        self.members = [Member(*pair, stream) for stream, pair in enumerate(pairs)]
        states = [member.prepared.preprocessing.state_dict() for member in self.members]
        self.population = population = build(members=len(self.members))
        population.preprocessing.load_state_dict(
            {name: torch.cat([state[name] for state in states]) for name in states[0]}
        )
        is_separate = regularisations[0].is_separate
        self.rate = settings.learning_rate * (self.recipe.target_rate if is_separate else 1)
        count = min(len(f.train) for f in folds)
        batch = min(self.recipe.batch, settings.batch_size, count)
        # Points and steps per epoch; an epoch visits all rows of a small table
        self.rows_of_a_member, self.visits = count, min(count, self.recipe.epoch * batch)
        self.steps = math.ceil(self.visits / batch)
        most = max(len(f.checked) for f in folds)
        gaps = any(np.isnan(rows).any() for f in folds for rows in (f.learned, f.unseen))
        self.completions = self.recipe.completions(most) if gaps else 1
        # Checks and curves use these rows; a fold with fewer rows repeats its first rows
        some = subsample(np.arange(count), self.recipe.check_rows)
        self.scored = {
            "train": self._weighted({f: f.learned[some] for f in folds}),
            "held_out": self._weighted({f: f.unseen[np.resize(f.checked, most)] for f in folds}),
        }
        if test is not None:
            self.scored["test"] = self._weighted(
                dict.fromkeys(folds, subsample(test, self.recipe.check_rows))
            )
        places = subsample(np.arange(count), self.recipe.epoch * self.recipe.batch)
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

    def _weighted(self, rows: Mapping[Fold, Array]) -> WeightedPoints:
        """Return weighted completions of the ``rows`` of each fold, for all members."""
        completed = {fold: fold.complete(own, self.completions) for fold, own in rows.items()}
        prepared = dict.fromkeys(member.prepared for member in self.members)
        points = {each: self._points(each, *completed[each.fold]) for each in prepared}
        z, log_weight = zip(*(points[member.prepared] for member in self.members), strict=True)
        return WeightedPoints(torch.cat(z), torch.cat(log_weight))

    def _points(self, prepared: PreparedFold, completed: Array, log_r: Array) -> WeightedPoints:
        """Return K completions of each of n rows, ``(n K, D)``, as weighted points with M = 1.

        ``log_r`` ``(n, K)`` are the log-densities of the draws in the gaps.
        """
        z, log_det = [], []
        size = self.recipe.piece_rows
        for start in range(0, len(completed), size):
            piece = as_points(completed[start : start + size])
            points, slopes = prepared.preprocessing(piece)
            z.append(points.to(self.population.dtype))
            log_det.append(slopes.expand(1, points.shape[-1]))
        log_weight = torch.cat(log_det, dim=1).reshape(1, *log_r.shape)
        log_r = log_r - prepared.fold.log_labels(completed).reshape(log_r.shape)
        log_weight = log_weight - torch.from_numpy(log_r + np.log(log_r.shape[1]))
        # A draw so far out that its density underflows has no weight
        log_weight[log_weight.isnan()] = -math.inf
        return WeightedPoints(torch.cat(z, dim=2), log_weight)

    def points(self, generators: Generators) -> Tensor:
        """Return the points that an epoch visits, ``(M, D, N)``."""
        visited = [
            member.prepared.visit(member.regularisation, self.visits, generator)
            for member, generator in zip(self.members, generators, strict=True)
        ]
        return torch.stack(visited)

    def train(
        self,
        until: int,
        on_check: Callable[[], None],
        goes_on: Callable[[], bool] = lambda: True,
        is_over: Callable[[], bool] = lambda: False,
        *,
        cool: bool = False,
    ) -> None:
        """Train at the full learning rate until convergence.

        Args:
            until: the number of steps in total after which training ends, at the end of the epoch.
            on_check: called after each check.
            goes_on: asked before each epoch; training ends if it is false.
            is_over: asked after each step; training ends if it is true.
            cool: whether the learning rate falls to 0 until ``until``, whatever the convergence.
        """
        start = self.step
        maps = self.population.preprocessing
        of_members = [member.regularisation.groups(maps) for member in self.members]
        groups, strengths = (torch.stack(each) for each in zip(*of_members, strict=True))
        shrunk = first_layers(self.population) if strengths.any() else []
        change = torch.empty_like(self.average)
        while self.step < until and (cool or not self.converged) and goes_on():
            # An epoch that the clock cut starts anew, with the same order and noise
            streams = [member.stream for member in self.members]
            generators = numpy_generators(
                self.settings.seed, "train", streams, self.step // self.steps
            )
            points = self.points(generators)
            objective = self.population.objective(points, generators)
            for batch in points.tensor_split(self.steps, dim=-1):
                _, gradient = objective(batch)
                share = (self.step + 1) / self.recipe.warm_up_steps
                if cool:
                    share = (until - self.step) / (until - start)
                rate = self.rate * min(1.0, max(0.0, share))
                self.optimizer.step(gradient, rate)
                for weights in shrunk:
                    own = slice(weights.shape[-1])
                    shrink(weights, rate * strengths[:, own], groups[:, own])
                moved = 1 - min(self.recipe.average, (self.step + 1) / (self.step + 10))
                # Not ``lerp_``, whose product and sum are one operation on some processors
                torch.sub(self.optimizer.parameters, self.average, out=change)
                self.average += change.mul_(moved)
                self.step += 1
                if self.step >= self.next_check:
                    self.check()
                    on_check()
                if is_over():
                    return

    def epochs(self, step: int) -> int:
        """Return the number of passes of a member over its rows after ``step`` steps."""
        return step * self.visits // (self.steps * self.rows_of_a_member)

    @property
    def converged(self) -> bool:
        """Whether the members hardly gain any more, or only overfit."""
        if self.step >= max(
            self.recipe.least_overfitted, self.recipe.overfitted * self.best_step.max()
        ):
            return True
        before = max(step for step in self.progress if step <= (1 - self.recipe.last) * self.step)
        gain = (self.progress[before] - self.best_nll).mean()
        return (
            self.step >= self.recipe.least_steps
            and gain < self.recipe.gain * self.population.event_shape.numel()
        )

    def expected_steps(self) -> int:
        """Return how many steps at the full learning rate will be trained, roughly.

        Members that overfit, or hardly gain, end as soon as they may. Others need more steps for
        more rows: the numbers are those of fits of ``benchmarks.fits``.
        """
        recipe = self.recipe
        if recipe.overfitted * self.best_step.max() <= recipe.least_overfitted:
            return min(recipe.least_overfitted, recipe.most_steps)
        before = max(step for step in self.progress if step <= self.step / 2)
        gain = (self.progress[before] - self.best_nll).mean()
        steps = LONG_STEPS * (self.rows_of_a_member / LONG_ROWS) ** (1 / 3)
        if gain < SMALL_GAIN * self.population.event_shape.numel():
            steps = recipe.least_steps
        return round(min(steps, recipe.most_steps))

    def check(self) -> None:
        """Keep the average weights of every member with its best held-out likelihood so far."""
        nll = self.nll("held_out")
        better = nll < self.best_nll
        self.best_nll[better], self.best_step[better] = nll[better], self.step
        self.best[better] = self.average[better]
        self.progress[self.step] = self.best_nll.copy()
        least, most = self.recipe.intervals
        self.next_check = self.step + min(most, max(least, self.step // 10))

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
        return np.array([-each.mean() for each in log_q]).round(DECIMALS)

    @property
    def regularisations(self) -> list[Regularisation]:
        """The C regularisations that are in training."""
        return list(dict.fromkeys(member.regularisation for member in self.members))

    def scores(self) -> Array:
        """Return the log-densities of the rows that checks use, in the user's units, ``(n, C)``.

        For each regularisation, the member that did not learn from a row scores the row.
        """
        log_q = self.log_density(self.best, self.scored["held_out"])
        count = len(self.folds)
        checked = [len(fold.checked) for fold in self.folds]
        return np.column_stack(
            [
                np.concatenate([log_q[c + f, :n] for f, n in enumerate(checked)])
                for c in range(0, len(self.members), count)
            ]
        )

    def log(self) -> None:
        """Add the present step to all ``curves``."""
        for key in self.scored:
            self.curves[f"{key}_nll"][self.step] = self.nll(key)

    def keep(self, regularisations: Sequence[Regularisation]) -> None:
        """Keep only the members of these ``regularisations``."""
        wanted = {*regularisations}
        kept = [m for m, member in enumerate(self.members) if member.regularisation in wanted]
        self.members = [self.members[m] for m in kept]
        population = self.build(members=len(kept))
        population.load_state_dict(building.state_of_members(self.population, kept))
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
