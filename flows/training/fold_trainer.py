"""Training with early stopping on folds, of members that differ in fold and in regularisation.

They are trained side by side in one batched population. A member learns from the rows outside of
its fold, and is scored and stopped on those inside, which it never sees. Its result is the average
of its weights over its last steps (Polyak and Juditsky 1992), at the step where the rows of its
fold were most likely (Prechelt 1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array
from flows.core.scaler import Scaler
from flows.core.seeds import Generators, normal, numpy_generators
from flows.core.settings import TrainingSettings
from flows.networks.network import DensityNetwork, Seen
from flows.training.candidates import NOISES, Candidate
from flows.training.optimizer import ClippedAdam

BATCH = 128  # rows a step, at most: as good as 256 on tables, in half the time
# Steps between two checks on the held-out rows: a tenth of those before, within these limits
LEAST_INTERVAL, MOST_INTERVAL = 5, 50
# Training has converged when in this last share of its steps the members gained less than this, in
# nats a row and column
LAST, GAIN = 1 / 3, 0.001
LEAST_STEPS = 1_000
WARM_UP = 50  # steps over which the learning rate rises
AVERAGE = 0.99  # decay, per step, of the moving average of a member's weights


@dataclass(frozen=True)
class Member:
    """A network: how it is regularised, and the fold that it does not see."""

    candidate: Candidate
    fold: int


class FoldTrainer:
    """The trainer of a population with one member for each candidate and fold.

    ``rows`` ``(n, D)`` are scaled by ``scaler``; ``fold`` ``(n,)`` is the fold in which each is
    held out, or -1 for none. ``test``, scaled rows ``(n', 1, D)``, are used only for the curves.
    """

    def __init__(
        self,
        model: DensityNetwork,
        rows: Array,
        scaler: Scaler,
        test: Array | None,
        members: Sequence[Member],
        fold: Array,
        settings: TrainingSettings,
    ) -> None:
        self.model, self.settings, self.members, self.fold = model, settings, list(members), fold
        places = [np.flatnonzero(fold != member.fold) for member in members]
        count = min(map(len, places))  # folds may differ by a row
        train = np.stack([rows[own[:count]] for own in places], axis=1)
        self.held_out = [np.flatnonzero(fold == member.fold) for member in members]
        most = max(map(len, self.held_out))
        # The first rows are repeated to equal length
        held_out = np.stack([rows[np.resize(own, most)] for own in self.held_out], axis=1)
        self.seen = self._preprocessed(scaler, {"train": train, "held_out": held_out, "test": test})
        model.initialize(self.seen["train"][0])
        self.visits = self._visits()
        self.streams = list(range(len(members)))  # numbers of the members' random streams
        self.optimizer = ClippedAdam(model.flatten(), settings.clip, model.betas)
        self.average = self.optimizer.parameters.clone()
        self.best = self.optimizer.parameters.clone()
        self.best_nll = np.full(len(members), np.inf)
        self.best_step = np.zeros(len(members), dtype=int)
        self.progress: list[tuple[int, float]] = []  # a step and the mean of best_nll, a check
        self.step = 0
        self.steps = math.ceil(count / min(BATCH, settings.batch_size, count))  # of an epoch
        # An untrained flow is a Gaussian after whitening, and independent columns after margins,
        # which no step may improve on.
        self.check()

    def _preprocessed(self, first: Scaler, parts: dict[str, Array | None]) -> dict[str, Seen]:
        """Fit the members' preprocessing to the training rows, and return all parts after it."""
        preprocessing = self.model.preprocessing
        train = parts["train"]
        assert train is not None
        own = Scaler.fit(train)  # of each member's fold

        def without(name: str) -> list[int]:
            candidates = [member.candidate for member in self.members]
            return [m for m, each in enumerate(candidates) if each.preprocessing != name]

        preprocessing.add_margins(without("margins"))
        preprocessing.add_whitening(without("whiten"))
        scaled = {
            key: torch.from_numpy(own.scale(part))
            for key, part in parts.items()
            if part is not None
        }
        preprocessing.fit(self.model.features_first(scaled["train"]), own.after(first))
        return {key: self.model.preprocess_scaled(part) for key, part in scaled.items()}

    def _visits(self) -> list[tuple[Tensor, Tensor]]:
        """Return every member's centres ``(N, D)`` of visits, and the factors ``(N, D, D)``."""
        visits, known = [], {}  # members of one fold and preprocessing have the same neighbours
        points = self.seen["train"][0].double().numpy()
        for member, own in zip(self.members, points, strict=True):
            candidate = member.candidate
            key = candidate.preprocessing, candidate.noise, member.fold
            if key not in known:
                known[key] = NOISES[candidate.noise](own.T)
            centres, factors = known[key](candidate.level)
            visits.append((torch.from_numpy(centres).float(), torch.from_numpy(factors).float()))
        return visits

    def points(self, generators: Generators) -> Tensor:
        """Return the points that an epoch visits, ``(M, D, N)``."""
        epoch = []
        for (centres, factors), generator in zip(self.visits, generators, strict=True):
            order = torch.from_numpy(generator.permutation(len(centres)))
            noise = normal(generator, *centres.shape, 1).float()
            epoch.append((centres[order] + (factors[order] @ noise)[:, :, 0]).T)
        return torch.stack(epoch)

    def train(self, until: int, on_check: Callable[[], None], *, cool: bool = False) -> None:
        """Train up to ``until`` steps in all, or to convergence, at the full learning rate.

        With ``cool``, the learning rate falls to 0 instead, and training goes on up to ``until``.
        """
        start = self.step
        while self.step < until and (cool or not self.converged):
            generators = numpy_generators(
                self.settings.seed, "train", self.streams, self.step // self.steps
            )
            points = self.points(generators)
            objective = self.model.objective(points, generators)
            for batch in points.tensor_split(self.steps, dim=-1):
                _, gradient = objective(batch)
                share = (
                    max(0.0, (until - self.step) / (until - start))
                    if cool
                    else min(1.0, (self.step + 1) / WARM_UP)
                )
                self.optimizer.step(gradient, self.settings.learning_rate * share)
                self.average.lerp_(
                    self.optimizer.parameters, 1 - min(AVERAGE, (self.step + 1) / (self.step + 10))
                )
                self.step += 1
                if self.step >= self.next_check:
                    self.check()
                    on_check()

    @property
    def converged(self) -> bool:
        before = [nll for step, nll in self.progress if step <= (1 - LAST) * self.step]
        return (
            self.step >= LEAST_STEPS
            and len(before) > 0
            and before[-1] - self.best_nll.mean() < GAIN * self.model.event_shape.numel()
        )

    def check(self) -> None:
        """Keep the average of every member whose held-out rows are likelier than before."""
        nll = np.array([-log_q.mean() for log_q in self.log_density_held_out(self.average)])
        better = nll < self.best_nll
        self.best_nll[better], self.best_step[better] = nll[better], self.step
        self.best[better] = self.average[better]
        self.progress.append((self.step, float(self.best_nll.mean())))
        self.next_check = self.step + min(MOST_INTERVAL, max(LEAST_INTERVAL, self.step // 10))

    @torch.no_grad()
    def log_density(self, parameters: Tensor, key: str) -> Array:
        """Return log-densities ``(M, N)`` of the rows ``key`` in the user's units.

        The members have these ``parameters`` ``(M, P)``.
        """
        z, log_det = self.seen[key]
        now = self.optimizer.parameters.clone()
        self.optimizer.parameters.copy_(parameters)
        log_q = (self.model.log_density(z).double() + log_det).numpy()
        self.optimizer.parameters.copy_(now)
        return log_q

    def log_density_held_out(self, parameters: Tensor) -> list[Array]:
        """Return for every member the log-densities of its held-out rows, in their order."""
        log_q = self.log_density(parameters, "held_out")
        return [each[: len(own)] for each, own in zip(log_q, self.held_out, strict=True)]

    @property
    def candidates(self) -> list[Candidate]:
        return list(dict.fromkeys(member.candidate for member in self.members))

    def scores(self) -> Array:
        """Return the log-density of every row by each candidate's member that did not see it.

        It is ``(n, C)``, and ``NaN`` for a row in no fold.
        """
        scores = np.full((len(self.fold), len(self.candidates)), np.nan)
        log_q = self.log_density_held_out(self.best)
        for member, own, values in zip(self.members, self.held_out, log_q, strict=True):
            scores[own, self.candidates.index(member.candidate)] = values
        return scores

    def curves(self) -> dict[Member, dict[str, float]]:
        """Return for every member its mean negative log-likelihoods.

        They are those of the rows that it learns from, of those held out from it, and of the test
        rows.
        """
        log_q = {
            key: self.log_density_held_out(self.average)
            if key == "held_out"
            else self.log_density(self.average, key)
            for key in self.seen
        }
        return {
            member: {f"{key}_nll": float(-each[m].mean()) for key, each in log_q.items()}
            for m, member in enumerate(self.members)
        }

    def keep(self, candidates: Sequence[Candidate], model: DensityNetwork) -> None:
        """Go on with only these ``candidates``, in ``model``, which has as many members."""
        kept = [m for m, member in enumerate(self.members) if member.candidate in candidates]
        state = {
            name: value[kept] if value.ndim else value
            for name, value in self.model.state_dict().items()
        }
        model.preprocessing.add_margins()
        model.preprocessing.add_whitening()
        model.load_state_dict(state)
        optimizer = ClippedAdam(model.flatten(), self.settings.clip, model.betas)
        optimizer.first, optimizer.second = (
            self.optimizer.first[kept],
            self.optimizer.second[kept],
        )
        optimizer.steps = self.optimizer.steps
        self.model, self.optimizer = model, optimizer
        for name in ("average", "best", "best_nll", "best_step"):
            setattr(self, name, getattr(self, name)[kept])
        self.seen = {key: (z[kept], log_det[kept]) for key, (z, log_det) in self.seen.items()}
        for name in ("members", "held_out", "visits", "streams"):
            setattr(self, name, [getattr(self, name)[m] for m in kept])
        self.progress = []
