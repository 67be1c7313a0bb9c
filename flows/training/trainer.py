"""The fixed recipe: a training loop that trains M members in one batched computation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array, rounded, subsample
from flows.core.progress import progress, show_state
from flows.core.seeds import Generators, normals, numpy_generators
from flows.core.settings import TrainingSettings
from flows.networks.network_population import NetworkPopulation, Points
from flows.training.optimizer import ClippedAdam, one_cycle
from flows.training.smoothing import noise_level, sharpen

OnLog = Callable[[int, dict[str, Array]], None]
# The number of points per member that are in memory at a time, with their noise. A larger data set
# is visited in pieces of this size, and its curves are computed on a subsample of this size.
POINTS_PER_PIECE = 131_072


class Task(NamedTuple):
    """The data and the settings of a training, as in ``flows.train``."""

    rows: Any
    test: Any
    settings: TrainingSettings
    on_log: OnLog | None
    name: str


class Trainer:
    """The trainer of all members of ``population``; each call of ``epoch()`` trains for one epoch.

    ``train`` are rows ``(n, *event)``, shared by all members, or ``(n, M, *event)``, one set per
    member, in the user's units. The scaler of ``population`` is fitted to them. The trainer holds
    the scaled rows once, in the precision of the networks; each epoch computes its points
    ``(M, *event, N)`` from them.
    """

    def __init__(
        self, population: NetworkPopulation, train: Any, settings: TrainingSettings
    ) -> None:
        self.population, self.settings = population, settings
        rows = population.rows(train, "train").double()
        population.preprocessing.fit_scaler(rows.numpy())
        scaled = torch.from_numpy(population.preprocessing.scale(rows.numpy()))
        self.clean = self.scored(rows, 0)
        population.initialize(self.clean.z)
        self.visited, self.noise = _smoothed(population, scaled, settings)
        self.batch = min(settings.batch_size, len(rows))
        pieces = _cut(torch.empty(len(rows)), POINTS_PER_PIECE)
        self.steps = sum(math.ceil(len(piece) / self.batch) for piece in pieces)  # per epoch
        self.step = 0
        self.optimizer = ClippedAdam(population.flatten(), settings.clip, population.betas)

    def scored(self, rows: Tensor, number: int) -> Points:
        """Return the points on which curves are computed, for rows ``(n, M or 1, *event)``.

        The rows are in the user's units. At most ``POINTS_PER_PIECE`` rows are used, evenly spaced.
        ``number`` is 0 for training rows and 1 for test rows; it selects the random numbers.
        """
        z, log_det = self.population.preprocess(subsample(rows, POINTS_PER_PIECE))
        generators = numpy_generators(
            self.settings.seed, "curves", self.population.member_range, number
        )
        return Points(self.population.visit(z, generators), log_det)

    def points(self, generators: Generators) -> Iterator[Tensor]:
        """Yield the points that one epoch visits, ``(M, *event, n)``, a piece at a time.

        Every member has its own order and its own noise.
        """
        rows = self.visited.expand(self.population.members, *self.visited.shape[1:])
        orders = [torch.from_numpy(g.permutation(rows.shape[1])).int() for g in generators]
        for places in _cut(torch.stack(orders).to(rows.device), POINTS_PER_PIECE):
            pairs = zip(rows, places, strict=True)
            moved = [own.index_select(0, at).movedim(0, -1) for own, at in pairs]
            points = torch.stack(moved).contiguous()
            if self.noise is None:
                yield self.population.visit(points, generators)
            else:
                yield points + self.noise * normals(generators, *points.shape[1:]).to(points)

    def epoch(self) -> Tensor:
        """Train for one epoch; return whether all losses of each member were finite, ``(M,)``."""
        generators = numpy_generators(
            self.settings.seed, "train", self.population.member_range, self.step // self.steps
        )
        finite = torch.ones(self.population.members, dtype=torch.bool, device=self.visited.device)
        for points in self.points(generators):
            objective = self.population.objective(points, generators)
            for batch in _cut(points, self.batch):
                loss, gradient = objective(batch)
                share = one_cycle(self.step / (self.settings.epochs * self.steps))
                self.optimizer.step(gradient, self.settings.learning_rate * share)
                self.step += 1
                finite &= loss.isfinite()
        return finite


def run(population: NetworkPopulation, task: Task) -> dict[int, int]:
    """Train ``population`` with the fixed recipe, and set its history.

    Return the first epoch with a non-finite loss for each failed member, by the index of the member
    in the whole population.
    """
    rows, test, settings, on_log, name = task
    if test is not None:  # invalid rows are rejected before training starts
        test = population.rows(test, "test").double()
    failed: dict[int, int] = {}
    log: dict[int, dict[str, Array]] = {}
    with progress(name, settings.epochs, "epoch") as bar:
        show_state(bar, "estimating the noise level")
        trainer = Trainer(population, rows, settings)
        show_state(bar, "")
        clean = {"train": trainer.clean}
        if test is not None:
            clean["test"] = trainer.scored(test, 1)
        for epoch in range(1, settings.epochs + 1):
            for member in (~trainer.epoch()).nonzero().flatten().tolist():
                failed.setdefault(population.member_range[member], epoch)
            if epoch % settings.log_every == 0 or epoch == settings.epochs:
                curves = population.curves(clean)
                if epoch == settings.epochs:
                    curves |= population.final_curves(clean)
                log[epoch] = {key: rounded(curve) for key, curve in curves.items()}
                means = (f"{key} {value.mean():.3f}" for key, value in log[epoch].items())
                show_state(bar, ", ".join(means))
                if on_log is not None:
                    on_log(epoch, log[epoch])
            bar.update()
    population.history = {"epoch": np.array(list(log), dtype=np.float64)}
    unknown = np.full(population.members, np.nan)  # the final curves before the end
    population.history |= {
        key: np.stack([row.get(key, unknown) for row in log.values()]) for key in log[epoch]
    }
    last = np.stack(list(log[epoch].values()))
    for member in np.flatnonzero(~np.isfinite(last).all(axis=0)).tolist():
        failed.setdefault(population.member_range[member], epoch)
    return failed


def replay(history: dict[str, Array], on_log: OnLog | None) -> None:
    """Call ``on_log`` for every entry of a ``history``."""
    if on_log is None:
        return
    curves = {key: each for key, each in history.items() if key != "epoch"}
    for place, epoch in enumerate(history["epoch"]):
        on_log(int(epoch), {key: curve[place] for key, curve in curves.items()})


def _smoothed(
    population: NetworkPopulation, rows: Tensor, settings: TrainingSettings
) -> tuple[Tensor, Tensor | None]:
    """Return the rows that training visits, and the noise's standard deviation.

    The scaled ``rows`` ``(n, M or 1, *event)`` and the rows that training visits
    ``(M or 1, n, *event)`` are one set for all members, or one set per member. The deviation is
    ``(M or 1, 1, ...)``, or ``None`` without noise.
    """
    sets = rows.movedim(1, 0)
    if settings.noise == 0 or not population.takes_noise:
        return sets.to(population.device, population.dtype).contiguous(), None
    visited = torch.empty(sets.shape, dtype=population.dtype)
    levels: list[float] = []
    for number, own in enumerate(sets):
        # Members with the same data share the result
        if number and torch.equal(own, sets[number - 1]):
            visited[number] = visited[number - 1]
            levels.append(levels[-1])
            continue
        flat = own.double().flatten(1).numpy()
        level = settings.noise
        if level == "auto":
            level = noise_level(flat, settings.noise_factor)
        moved = sharpen(flat, level, settings.sharpen) if settings.sharpen else flat
        visited[number] = torch.from_numpy(moved).reshape(own.shape)
        levels.append(level)
    deviation = torch.tensor(levels, dtype=population.dtype).reshape(-1, *[1] * (rows.ndim - 1))
    return visited.to(population.device), deviation.to(population.device)


def _cut(points: Tensor, most: int) -> tuple[Tensor, ...]:
    """Split the last axis of points into equal parts of at most ``most`` points."""
    return points.tensor_split(math.ceil(points.shape[-1] / most), dim=-1)
