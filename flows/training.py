"""One batched training loop for all neural models: M networks, one computation."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from flows import kernels
from flows.network import Network
from flows.seeds import torch_generators
from flows.smoothing import likelihood_bandwidth, sharpen
from flows.targets import Array

WARM_UP = 0.3  # share of the steps over which the learning rate rises


@dataclass(frozen=True)
class TrainingSettings:
    """How a population is trained.

    Args:
        epochs: passes over the training points.
        batch_size: at most so many points a step; an epoch is cut into equal steps, so no step is a small remainder.
        learning_rate: the highest rate of the schedule.
        noise: standard deviation, in standardised units, of the noise added afresh at each visit; 0 for none; ``"auto"`` for
            ``noise_factor`` times the leave-one-out bandwidth of the training points (``smoothing.py``).
        noise_factor: see ``noise``; not used where that is a number.
        sharpen: how far, from 0 to 1, points move to their local means before the noise is added (``smoothing.py``).
        clip: the longest gradient of a member, as a norm; a longer one is scaled down.
        log_every: epochs between two rows of the history.
        seed: of the shuffling and the noise; every member has a stream of its own.
    """

    epochs: int = 1000
    batch_size: int = 256
    learning_rate: float = 0.005
    noise: float | Literal["auto"] = "auto"
    noise_factor: float = 1.5
    sharpen: float = 1.0
    clip: float = 1.0
    log_every: int = 10
    seed: int = 0


@dataclass(frozen=True)
class History:
    """What the model's ``curves`` were at each ``epoch`` ``(L,)``: a name and a value per member, ``(L, M)``.

    With a density they are ``train_nll`` and ``test_nll``: the mean NLL of the clean points, in nats and raw units.
    """

    epoch: Array
    columns: dict[str, Array]


class Trainer:
    """Trains every member of ``model``, one ``epoch()`` after another.

    ``train`` is in the user's units: ``(n, D)`` shared by all members, or ``(n, M, D)``, one set a member.
    """

    def __init__(self, model: Network, train: Tensor, settings: TrainingSettings) -> None:
        model.initialize(train)
        self.model = model
        self.settings = settings
        self.clean = model.features_first(train).to(model.dtype)
        self.visited, self.noise = _smoothed(model, self.clean, settings)
        self.generators = torch_generators(settings.seed, "train", model.members)
        self.steps = math.ceil(train.shape[0] / settings.batch_size)  # of an epoch
        self.step = 0
        self.optimizer = ClippedAdam(model.flatten(), settings.clip, model.betas)

    def points(self) -> Tensor:
        """What one epoch visits, ``(M, D, N)``, in the user's units."""
        points = _shuffled(self.visited, self.generators)
        return points if self.noise is None else points + self.noise * _normal(points, self.generators)

    def epoch(self) -> Tensor:
        """One pass over the points. Gives ``(M,)`` booleans: whether all losses of a member were finite."""
        points = self.points()
        finite = torch.ones(self.model.members, dtype=torch.bool)
        objective = self.model.objective(points, self.generators)
        for batch in points.tensor_split(self.steps, dim=2):
            loss, gradient = objective(batch)
            rate = self.settings.learning_rate * one_cycle(self.step / (self.settings.epochs * self.steps))
            self.optimizer.step(gradient, rate)
            self.step += 1
            finite &= loss.isfinite()
        return finite


def fit(
    model: Network,
    train: Tensor,
    test: Tensor,
    settings: TrainingSettings,
    *,
    on_log: Callable[[int, dict[str, Array]], None] | None = None,
    name: str = "model",
) -> History:
    """Train every member of ``model``, and keep the history of its ``curves``. ``train`` as for ``Trainer``, and ``test`` in the same form.

    ``test`` is scored for the history and never trained on or selected by. ``on_log(epoch, curves)`` is called every ``log_every``
    epochs. A member whose loss is no longer finite is reported on standard error and stays in the results; the others go on as if
    it weren't there.
    """
    trainer = Trainer(model, train, settings)
    clean_test = model.features_first(test).to(model.dtype)
    failed: dict[int, int] = {}  # member -> first epoch with a loss that was not finite
    epochs: list[int] = []
    rows: list[dict[str, Array]] = []
    with tqdm(total=settings.epochs, desc=name, unit="epoch", disable=None) as bar:  # None: quiet when not on a terminal
        for epoch in range(1, settings.epochs + 1):
            for member in (~trainer.epoch()).nonzero().flatten().tolist():
                failed.setdefault(member, epoch)
            bar.update()
            if epoch % settings.log_every == 0 or epoch == settings.epochs:
                epochs.append(epoch)
                rows.append(model.curves(trainer.clean, clean_test))
                bar.set_postfix_str(", ".join(f"{key} {value.mean():.3f}" for key, value in rows[-1].items()))
                if on_log is not None:
                    on_log(epoch, rows[-1])
    history = History(np.array(epochs, dtype=np.float64), {key: np.stack([row[key] for row in rows]) for key in rows[-1]})
    for member in np.flatnonzero(~np.isfinite(np.stack(list(rows[-1].values()))).all(axis=0)).tolist():
        failed.setdefault(member, settings.epochs)
    for member, epoch in failed.items():
        print(f"{name}: the loss of member {member} was not finite from epoch {epoch} on; it stays in the results", file=sys.stderr)
    model.eval()
    return history


def one_cycle(progress: float) -> float:
    """The share of the highest learning rate at ``progress`` from 0 to 1: up from 1/25 on a cosine, then down to 0 on another.

    Source: Smith and Topin 2019 (Super-convergence), with cosines for its straight lines.
    """
    if progress < WARM_UP:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / WARM_UP)) / 2
    return (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2


class ClippedAdam:
    """Adam (Kingma and Ba 2015), after every member's gradient is scaled down to the norm ``clip`` where it is longer (Pascanu et al. 2013)::

        g <- g min(1, clip / |g|)
        m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
        parameters <- parameters - rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + e)

    ``parameters`` ``(M, P)`` is changed in place; a row is a member, and the norm is the row's. What is not finite in one
    member's gradient stays in that member.
    """

    EPSILON = 1e-8

    def __init__(self, parameters: Tensor, clip: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.parameters = parameters
        self.clip = clip
        self.betas = betas
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.steps = 0

    def step(self, gradient: Tensor, rate: float) -> None:
        """One step against ``gradient`` ``(M, P)``."""
        self.steps += 1
        if kernels.usable(self.parameters, gradient):
            averages, clip, betas, epsilon = (self.first, self.second), self.clip, self.betas, self.EPSILON
            kernels.clipped_adam(self.parameters, gradient, averages, rate=rate, clip=clip, betas=betas, epsilon=epsilon, step=self.steps)
        else:
            self.plain_step(gradient, rate)

    def plain_step(self, gradient: Tensor, rate: float) -> None:
        gradient = gradient * (self.clip / torch.linalg.vector_norm(gradient, dim=1, keepdim=True).clamp_min(self.clip))
        b1, b2 = self.betas
        self.first.lerp_(gradient, 1 - b1)
        self.second.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        scale = (self.second / (1 - b2**self.steps)).sqrt_().add_(self.EPSILON)
        self.parameters.addcdiv_(self.first, scale, value=-rate / (1 - b1**self.steps))


def _smoothed(model: Network, x: Tensor, settings: TrainingSettings) -> tuple[Tensor, Tensor | None]:
    """What training visits instead of ``x`` ``(M, D, N)``, and the noise's standard deviation ``(M, D, 1)``, both in raw units."""
    if settings.noise == 0:
        return x, None
    standardized = model.standardize(x)[0].double().numpy()
    visited: list[Array] = []
    levels: list[float] = []
    for member, points in enumerate(standardized):
        if member and np.array_equal(points, standardized[member - 1]):  # members on the same data: the work is done
            visited.append(visited[-1])
            levels.append(levels[-1])
            continue
        level = settings.noise_factor * likelihood_bandwidth(points.T) if settings.noise == "auto" else settings.noise
        visited.append(sharpen(points.T, level, settings.sharpen).T if settings.sharpen else points)
        levels.append(level)
    deviation = model.standardize.deviation
    moved = model.standardize.inverse(torch.from_numpy(np.stack(visited)).to(x.dtype))[0]
    return moved, deviation * torch.tensor(levels, dtype=x.dtype)[:, None, None]


def _shuffled(x: Tensor, generators: list[torch.Generator]) -> Tensor:
    """The points of every member ``(M, D, N)`` in an order of its own."""
    order = torch.stack([torch.randperm(x.shape[2], generator=g) for g in generators])
    return x.gather(2, order.unsqueeze(1).expand(-1, x.shape[1], -1))


def _normal(like: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Standard normal noise of the shape ``(M, D, N)``, each member's from its own stream."""
    return torch.stack([torch.randn(like.shape[1:], generator=g, dtype=like.dtype) for g in generators])
