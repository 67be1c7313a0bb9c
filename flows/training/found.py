"""The found recipe: how much a table is to be regularised, and in which way, is read off its own training rows.

1. *Folds.* The rows are cut into five. A member learns from four fifths and is scored on the fifth that it never sees.
2. *A race.* Every candidate of ``CANDIDATES`` (what is taken out first, the margins or all correlation; which noise, and how much) has a
   member a fold, all in one batched population. Twice the race halts, and only the candidates go on whose mixture the held-out rows like
   best (``stacking.chosen``).
3. *Stopping.* Of every member the average of its weights over its last steps counts, where its held-out rows like it best. The race ends
   when the members gain next to nothing any more.
4. *Stacking.* The ensemble's weights maximise the likelihood of the held-out rows (``stacking.weights``).

So nothing of it is chosen by hand, and no row is used to judge a member that learned from it. Sources: cross-validated early stopping,
Prechelt 1998; averages of weights, Polyak and Juditsky 1992; dropping the losers early, Jamieson and Talwalkar 2016 (successive halving).
``studies/tuning`` has what each part is worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor
from tqdm import tqdm

from flows.core.arrays import Array
from flows.core.seeds import numpy_generator, torch_generators
from flows.core.settings import TrainingSettings
from flows.networks import registry
from flows.networks.network import DensityNetwork, Seen
from flows.training import stacking
from flows.training.neighbours import neighbourhoods
from flows.training.optimizer import ClippedAdam
from flows.training.smoothing import likelihood_bandwidth, sharpen

FOLDS = 5
BATCH = 128  # rows a step, at most: as good as 256 on tables, in half the time
ROUNDS = (125, 400)  # steps after which candidates are dropped
SPARE = 2  # of the first round, so many times the candidates that are kept at last
CHECK = 25  # steps between two looks at the held-out rows
LOG = 200  # steps between two rows of the history
PATIENCE, GAIN = 1 / 3, 0.005  # the race ends when in the last third of its steps the members gained less than this, in nats a row
LEAST_STEPS, MOST_STEPS = 1_000, 5_000
COOLING = 0.25  # then the learning rate falls to 0, in so many of the steps before
WARM_UP = 50  # steps over which the learning rate rises
AVERAGE = 0.99  # of a member's weights: what is left of the average a step later


@dataclass(frozen=True)
class Candidate:
    """A way to regularise: what is taken out first, which noise, and how much of it."""

    door: str  # "margins" or "whiten", or "raw" for neither
    noise: str  # "neighbours": a multiple of the neighbourhood (neighbours.py); "sharpened": of the best bandwidth (smoothing.py)
    level: float

    def __str__(self) -> str:
        return f"{self.door}, {self.noise} noise {self.level:g}"

    def visits(self, points: Array) -> tuple[Tensor, Tensor]:
        """What training visits for ``points`` ``(n, D)``: centres ``(n, D)``, and factors of the noise, ``(n, D, D)`` or ``(1, D, D)``."""
        if self.noise == "neighbours":
            mean, factor = neighbourhoods(points)
            return torch.from_numpy(points + self.level**2 / 2 * mean).float(), torch.from_numpy(self.level * factor).float()
        level = self.level * likelihood_bandwidth(points)
        return torch.from_numpy(sharpen(points, level, 1.0)).float(), level * torch.eye(points.shape[1])[None]


CANDIDATES = (
    *(Candidate("margins", "neighbours", level) for level in (1.2, 0.8, 0.5, 0.35, 0.2, 0.12)),
    *(Candidate("whiten", "neighbours", level) for level in (1.0, 0.7, 0.35)),
    Candidate("raw", "neighbours", 0.5),
    Candidate("raw", "sharpened", 1.5),
)


@dataclass(frozen=True)
class Member:
    candidate: Candidate
    fold: int


def layout(members: int) -> tuple[int, int]:
    """How many folds, and how many candidates to keep, make so many members. Raises ``ValueError``."""
    most = FOLDS * len(CANDIDATES)
    if members > most or (members > FOLDS and members % FOLDS):
        raise ValueError(f"members = {members}: the found recipe keeps 1 to {FOLDS} networks, or a multiple of {FOLDS} up to {most}")
    return min(members, FOLDS), max(1, members // FOLDS)


class Race:
    """A population of one member a candidate and fold, and how far each has come."""

    def __init__(self, model: DensityNetwork, rows: Tensor, members: Sequence[Member], fold: Array, settings: TrainingSettings) -> None:
        self.settings, self.members, self.fold = settings, list(members), fold
        own = [np.flatnonzero(fold != member.fold) for member in members]
        count = min(map(len, own))  # folds may differ by a row
        train = torch.stack([rows[places[:count]] for places in own], dim=1)
        unseen = [np.flatnonzero(fold == member.fold) for member in members]
        self.unseen = unseen
        held_out = torch.stack([rows[np.resize(places, max(map(len, unseen)))] for places in unseen], dim=1)  # the first again, to equal length
        model.furnish()
        others = {door: [m for m, member in enumerate(members) if member.candidate.door != door] for door in ("margins", "whiten")}
        model.initialize_door(train, without=list(others.items()))
        self.model = model
        self.train, self.held_out = model.standardized(train), model.standardized(held_out)
        model.initialize(self.train[0])
        self.visits = self._visits()
        self.generators = torch_generators(settings.seed, "train", range(len(members)))
        self.optimizer = ClippedAdam(model.flatten(), settings.clip, model.betas)
        self.average, self.best = self.optimizer.parameters.clone(), self.optimizer.parameters.clone()
        self.best_nll, self.best_step = np.full(len(members), np.inf), np.zeros(len(members), dtype=int)
        self.marks: list[float] = []  # the mean of best_nll at every check
        self.step = 0
        self.steps = math.ceil(count / min(BATCH, settings.batch_size, count))  # of an epoch
        self.check()  # an untrained flow behind whitening is a Gaussian, and behind margins it is independent columns: not every table has more

    def _visits(self) -> list[tuple[Tensor, Tensor]]:
        return [member.candidate.visits(points.T.double().numpy()) for member, points in zip(self.members, self.train[0], strict=True)]

    def points(self) -> Tensor:
        """What an epoch visits, ``(M, D, N)``."""
        epoch = []
        for (centres, factors), generator in zip(self.visits, self.generators, strict=True):
            order = torch.randperm(len(centres), generator=generator)
            noise = torch.randn(*centres.shape, 1, generator=generator)
            epoch.append((centres[order] + ((factors[order] if len(factors) > 1 else factors) @ noise)[:, :, 0]).T)
        return torch.stack(epoch)

    def run(self, until: int, on_check: Callable[[], None], *, cool: bool = False) -> None:
        """Train on, up to ``until`` steps, at the full learning rate, or let it ``cool`` down to 0; before that where it doesn't pay any more."""
        start = self.step
        while self.step < until and (cool or not self.stopped):
            points = self.points()
            objective = self.model.objective(points, self.generators)
            for batch in points.tensor_split(self.steps, dim=-1):
                _, gradient = objective(batch)
                share = max(0.0, (until - self.step) / (until - start)) if cool else min(1.0, (self.step + 1) / WARM_UP)
                self.optimizer.step(gradient, self.settings.learning_rate * share)
                self.average.lerp_(self.optimizer.parameters, 1 - min(AVERAGE, (self.step + 1) / (self.step + 10)))
                self.step += 1
                if self.step % CHECK == 0:
                    self.check()
                    on_check()

    @property
    def stopped(self) -> bool:
        before = self.marks[: int((1 - PATIENCE) * len(self.marks))]
        return self.step >= LEAST_STEPS and len(before) > 0 and before[-1] - self.best_nll.mean() < GAIN

    def check(self) -> None:
        """Keep what the held-out rows like better than before."""
        log_q = self.log_density(self.average)
        nll = np.array([-row[: len(places)].mean() for row, places in zip(log_q, self.unseen, strict=True)])
        better = nll < self.best_nll
        self.best_nll[better], self.best_step[better] = nll[better], self.step
        self.best[better] = self.average[better]
        self.marks.append(self.best_nll.mean())

    @torch.no_grad()
    def log_density(self, parameters: Tensor, points: Seen | None = None) -> Array:
        """Log-densities ``(M, N)`` in the user's units, by default of the held-out rows, with these ``parameters`` ``(M, P)``."""
        z, log_det = self.held_out if points is None else points
        now = self.optimizer.parameters.clone()
        self.optimizer.parameters.copy_(parameters)
        log_q = (self.model.log_density(z).double() + log_det).numpy()
        self.optimizer.parameters.copy_(now)
        return log_q

    @property
    def candidates(self) -> list[Candidate]:
        return list(dict.fromkeys(member.candidate for member in self.members))

    def scores(self) -> Array:
        """Of every row in a fold and every candidate, the log-density by the member that did not see it: ``(n, C)``, ``NaN`` in no fold."""
        scores = np.full((len(self.fold), len(self.candidates)), np.nan)
        for member, places, log_q in zip(self.members, self.unseen, self.log_density(self.best), strict=True):
            scores[places, self.candidates.index(member.candidate)] = log_q[: len(places)]
        return scores

    def curves(self, test: Tensor | None) -> list[tuple[Member, dict[str, float]]]:
        """What is kept of every member: its mean negative log-likelihood on what it learns from, on what it does not see, and on the test rows."""
        points = {"train": self.train, "held_out": self.held_out, **({} if test is None else {"test": self.model.standardized(test)})}
        found = {f"{key}_nll": -self.log_density(self.average, seen).mean(axis=1) for key, seen in points.items()}
        return [(member, {key: float(value[m]) for key, value in found.items()}) for m, member in enumerate(self.members)]

    def keep(self, candidates: Sequence[Candidate], model: DensityNetwork) -> None:
        """Go on with these ``candidates`` alone, in ``model``, which has as many members as they have."""
        kept = [m for m, member in enumerate(self.members) if member.candidate in candidates]
        state = {name: value[kept] if value.ndim else value for name, value in self.model.state_dict().items()}
        model.furnish()
        model.load_state_dict(state)
        optimizer = ClippedAdam(model.flatten(), self.settings.clip, model.betas)
        optimizer.first, optimizer.second, optimizer.steps = self.optimizer.first[kept], self.optimizer.second[kept], self.optimizer.steps
        self.model, self.optimizer = model, optimizer
        self.train, self.held_out = ((z[kept], log_det[kept]) for z, log_det in (self.train, self.held_out))
        self.average, self.best, self.best_nll, self.best_step = (part[kept] for part in (self.average, self.best, self.best_nll, self.best_step))
        self.marks = []
        self.members, self.unseen, self.visits, self.generators = (
            [part[m] for m in kept] for part in (self.members, self.unseen, self.visits, self.generators)
        )


def fit_found(
    model: DensityNetwork,
    rows: Tensor,
    test: Tensor | None,
    settings: TrainingSettings,
    on_log: Callable[[int, dict[str, Array]], None] | None,
    name: str,
) -> None:
    """Train ``model`` on the ``rows`` ``(n, 1, D)`` by the recipe above; its members are the networks that are kept.

    Raises ``ValueError`` for a number of members that no folds make.
    """
    folds, kept = layout(model.members)
    about = model.description
    if not about or model.member_range.start or rows.shape[1] != 1:
        raise ValueError("the found recipe trains a whole population of flows.build, on rows that all members share")

    def population(candidates: int) -> DensityNetwork:
        arguments = {"members": candidates * folds, "seed": about["seed"], "columns": model.columns}
        return cast(DensityNetwork, registry.build(about["model"], about["event_shape"], about["settings"], **arguments))

    fold = numpy_generator(settings.seed, "folds").permutation(np.arange(len(rows)) % FOLDS)
    fold[fold >= folds] = -1
    curves: dict[int, list[tuple[Member, dict[str, float]]]] = {}
    with tqdm(total=round((1 + COOLING) * MOST_STEPS), desc=name, unit="step", disable=None) as bar:
        bar.set_postfix_str("fitting margins, finding neighbours")
        race = Race(population(len(CANDIDATES)), rows[:, 0], [Member(c, f) for c in CANDIDATES for f in range(folds)], fold, settings)

        def on_check() -> None:
            bar.update(CHECK)
            bar.set_postfix_str(f"{len(race.candidates)} candidates, held_out_nll {race.best_nll.min():.3f}")
            if race.step % LOG == 0:
                curves[race.step] = race.curves(test)

        for until, count in zip(ROUNDS, (max(SPARE * kept, 4), kept), strict=True):
            race.run(until, on_check)
            chosen = stacking.chosen(race.scores()[fold >= 0], count)
            race.keep([race.candidates[c] for c in chosen], model if count == kept else population(len(chosen)))
        race.run(MOST_STEPS, on_check)
        race.run(round((1 + COOLING) * race.step), on_check, cool=True)
        curves[race.step] = race.curves(test)
    race.optimizer.parameters.copy_(race.best)
    scores = race.scores()
    weights = stacking.weights(scores[fold >= 0])
    model.weights.copy_(torch.from_numpy(np.repeat(weights / folds, folds)))
    held_out = logsumexp(scores, axis=1, b=weights)
    model.history = {
        "epoch": np.array([step // race.steps for step in curves], dtype=np.float64),
        "held_out": held_out,
        "fold": fold.astype(np.float64),
    }
    for key in curves[race.step][0][1]:
        by_member = [dict(row) for row in curves.values()]
        model.history[key] = np.array([[row[member][key] for member in race.members] for row in by_member])
    if on_log is not None:
        for place, epoch in enumerate(model.history["epoch"]):
            on_log(int(epoch), {key: value[place] for key, value in model.history.items() if value.ndim == 2})
    seen = held_out[fold >= 0]
    about["training"] = {
        **{"recipe": "found", "rows": len(rows), "folds": folds, "steps": race.step},
        "members": [
            {"fold": member.fold, "regularisation": str(member.candidate), "steps": int(step)}
            for member, step in zip(race.members, race.best_step, strict=True)
        ],
        **{"held_out": float(seen.mean()), "held_out_se": float(seen.std() / math.sqrt(len(seen)))},
        "floors": floors(rows[:, 0].double().numpy(), fold),
    }


def floors(rows: Array, fold: Array) -> dict[str, float]:
    """The mean log-density of two simple models on the same folds, in nats and the user's units."""
    found = {"independent Gaussians": 0.0, "one Gaussian": 0.0}
    for f in np.unique(fold[fold >= 0]):
        train, unseen = rows[fold != f], rows[fold == f]
        centre, scale = train.mean(axis=0), train.std(axis=0)
        train, unseen = (train - centre) / scale, (unseen - centre) / scale
        covariance = np.cov(train.T, bias=True).reshape(len(scale), -1) + 1e-6 * np.eye(len(scale))
        for key, matrix in zip(found, (np.eye(len(scale)), covariance), strict=True):
            found[key] += float((multivariate_normal(cov=matrix).logpdf(unseen) - np.log(scale).sum()).sum()) / int((fold >= 0).sum())
    return found
