"""A race: members on different folds, regularised in different ways.

They are trained side by side in one batched population.

A member learns from the rows outside of its fold, and is scored and stopped on those inside, which
it never sees. What counts of it is the average of its weights over its last steps (Polyak and
Juditsky 1992), at the step where its fold likes it best (Prechelt 1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array
from flows.core.seeds import normal, numpy_generators
from flows.core.settings import TrainingSettings
from flows.networks.network import DensityNetwork
from flows.training.candidates import NOISES, Candidate
from flows.training.optimizer import ClippedAdam

BATCH = 128  # rows a step, at most: as good as 256 on tables, in half the time
# Steps between two looks at the held-out rows: a tenth of those before, but not fewer and not more
# than this
CHECK = (5, 50)
# A race is over when in the last third of its steps the members gained less than this, in nats a
# row and column
PATIENCE, GAIN = (1 / 3, 0.001)
LEAST_STEPS = 1_000
WARM_UP = 50  # steps over which the learning rate rises
AVERAGE = 0.99  # of a member's weights: what is left of the average a step later


@dataclass(frozen=True)
class Member:
    candidate: Candidate
    fold: int


class Race:
    """A population of one member a candidate and fold, and how far each has come.

    ``fold`` ``(n,)`` is where each of the ``rows`` ``(n, D)`` is held out, -1 where nowhere;
    ``test`` rows are for the curves alone.
    """

    def __init__(
        self,
        model: DensityNetwork,
        rows: Tensor,
        test: Tensor | None,
        members: Sequence[Member],
        fold: Array,
        settings: TrainingSettings,
    ) -> None:
        self.model, self.settings, self.members, self.fold = model, settings, list(members), fold
        own = [np.flatnonzero(fold != member.fold) for member in members]
        count = min(map(len, own))  # folds may differ by a row
        train = torch.stack([rows[places[:count]] for places in own], dim=1)
        self.unseen = [np.flatnonzero(fold == member.fold) for member in members]
        most = max(map(len, self.unseen))
        # The first again, to equal length
        held_out = torch.stack([rows[np.resize(places, most)] for places in self.unseen], dim=1)
        model.furnish(
            **{
                door: [m for m, member in enumerate(members) if member.candidate.door != door]
                for door in ("margins", "whiten")
            }
        )
        model.initialize_door(train)
        self.seen = {
            key: model.standardized(part)
            for key, part in (("train", train), ("held_out", held_out), ("test", test))
            if part is not None
        }
        model.initialize(self.seen["train"][0])
        self.visits = self._visits()
        self.numbers = list(range(len(members)))  # of their random streams
        self.optimizer = ClippedAdam(model.flatten(), settings.clip, model.betas)
        self.average, self.best = (
            self.optimizer.parameters.clone(),
            self.optimizer.parameters.clone(),
        )
        self.best_nll, self.best_step = (
            np.full(len(members), np.inf),
            np.zeros(len(members), dtype=int),
        )
        self.marks: list[tuple[int, float]] = []  # the step and the mean of best_nll at every check
        self.step = 0
        self.steps = math.ceil(count / min(BATCH, settings.batch_size, count))  # of an epoch
        # An untrained flow behind whitening is a Gaussian, and behind margins it is independent
        # columns: not every table has more
        self.check()

    def _visits(self) -> list[tuple[Tensor, Tensor]]:
        """The centres ``(N, D)`` that every member visits.

        And the factors of the noise there.
        """
        visits, known = [], {}  # members of one fold behind the same door have the same neighbours
        for member, points in zip(
            self.members, self.seen["train"][0].double().numpy(), strict=True
        ):
            way = member.candidate
            place = way.door, way.noise, member.fold
            if place not in known:
                known[place] = NOISES[way.noise](points.T)
            centres, factors = known[place](way.level)
            visits.append((torch.from_numpy(centres).float(), torch.from_numpy(factors).float()))
        return visits

    def points(self, generators: Sequence[np.random.Generator]) -> Tensor:
        """What an epoch visits, ``(M, D, N)``."""
        epoch = []
        for (centres, factors), generator in zip(self.visits, generators, strict=True):
            order = torch.from_numpy(generator.permutation(len(centres)))
            noise = normal(generator, *centres.shape, 1).float()
            epoch.append(
                (
                    centres[order]
                    + ((factors[order] if len(factors) > 1 else factors) @ noise)[:, :, 0]
                ).T
            )
        return torch.stack(epoch)

    def run(self, until: int, on_check: Callable[[], None], *, cool: bool = False) -> None:
        """Train on, up to ``until`` steps, at the full learning rate, or ``cool`` down to 0.

        It stops before that where it doesn't pay any more.
        """
        start = self.step
        while self.step < until and (cool or not self.stopped):
            generators = numpy_generators(
                self.settings.seed, "train", self.numbers, self.step // self.steps
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
    def stopped(self) -> bool:
        before = [nll for step, nll in self.marks if step <= (1 - PATIENCE) * self.step]
        return (
            self.step >= LEAST_STEPS
            and len(before) > 0
            and before[-1] - self.best_nll.mean() < GAIN * self.model.event_shape.numel()
        )

    def check(self) -> None:
        """Keep what the held-out rows like better than before."""
        nll = np.array([-log_q.mean() for log_q in self.held_out(self.average)])
        better = nll < self.best_nll
        self.best_nll[better], self.best_step[better] = nll[better], self.step
        self.best[better] = self.average[better]
        self.marks.append((self.step, float(self.best_nll.mean())))
        self.next_check = self.step + min(CHECK[1], max(CHECK[0], self.step // 10))

    @torch.no_grad()
    def log_density(self, parameters: Tensor, key: str) -> Array:
        """Log-densities ``(M, N)`` in the user's units of the rows ``key``.

        With these ``parameters`` ``(M, P)``.
        """
        z, log_det = self.seen[key]
        now = self.optimizer.parameters.clone()
        self.optimizer.parameters.copy_(parameters)
        log_q = (self.model.log_density(z).double() + log_det).numpy()
        self.optimizer.parameters.copy_(now)
        return log_q

    def held_out(self, parameters: Tensor) -> list[Array]:
        """Of every member the log-densities of its held-out rows, in their order."""
        return [
            log_q[: len(places)]
            for log_q, places in zip(
                self.log_density(parameters, "held_out"), self.unseen, strict=True
            )
        ]

    @property
    def candidates(self) -> list[Candidate]:
        return list(dict.fromkeys(member.candidate for member in self.members))

    def scores(self) -> Array:
        """Of every row in a fold and every candidate, a log-density.

        By the member that did not see it: ``(n, C)``, ``NaN`` in no fold.
        """
        scores = np.full((len(self.fold), len(self.candidates)), np.nan)
        for member, places, log_q in zip(
            self.members, self.unseen, self.held_out(self.best), strict=True
        ):
            scores[places, self.candidates.index(member.candidate)] = log_q
        return scores

    def curves(self) -> dict[Member, dict[str, float]]:
        """What is kept of every member.

        Its mean negative log-likelihood on what it learns from, on what it does not see, and on the
        test rows.
        """
        log_q = {
            key: self.held_out(self.average)
            if key == "held_out"
            else self.log_density(self.average, key)
            for key in self.seen
        }
        return {
            member: {f"{key}_nll": float(-each[m].mean()) for key, each in log_q.items()}
            for m, member in enumerate(self.members)
        }

    def keep(self, candidates: Sequence[Candidate], model: DensityNetwork) -> None:
        """Go on with these ``candidates`` alone, in ``model``.

        It has as many members as they have.
        """
        kept = [m for m, member in enumerate(self.members) if member.candidate in candidates]
        state = {
            name: value[kept] if value.ndim else value
            for name, value in self.model.state_dict().items()
        }
        model.furnish()
        model.load_state_dict(state)
        optimizer = ClippedAdam(model.flatten(), self.settings.clip, model.betas)
        optimizer.first, optimizer.second, optimizer.steps = (
            self.optimizer.first[kept],
            self.optimizer.second[kept],
            self.optimizer.steps,
        )
        self.model, self.optimizer = model, optimizer
        for name in ("average", "best", "best_nll", "best_step"):
            setattr(self, name, getattr(self, name)[kept])
        self.seen = {key: (z[kept], log_det[kept]) for key, (z, log_det) in self.seen.items()}
        for name in ("members", "unseen", "visits", "numbers"):
            setattr(self, name, [getattr(self, name)[m] for m in kept])
        self.marks = []
