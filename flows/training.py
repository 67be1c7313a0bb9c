"""One batched training loop for all flows: M networks, one computation."""

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
from flows.flow import Flow
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
    """Mean NLL per member on the clean points, in nats and raw units: ``epoch`` ``(L,)``, ``train_nll`` and ``test_nll`` ``(L, M)``."""

    epoch: Array
    train_nll: Array
    test_nll: Array


class Trainer:
    """Trains every member of ``flow`` on its negative log-likelihood, one ``epoch()`` after another.

    ``train`` is in the user's units: ``(n, D)`` shared by all members, or ``(n, M, D)``, one set a member.
    """

    def __init__(self, flow: Flow, train: Tensor, settings: TrainingSettings) -> None:
        flow.initialize(train)
        self.flow = flow
        self.settings = settings
        self.clean = flow.features_first(train).to(flow.dtype)
        self.visited, self.noise = _smoothed(flow, self.clean, settings)
        self.generators = torch_generators(settings.seed, "train", flow.members)
        self.steps = math.ceil(train.shape[0] / settings.batch_size)  # of an epoch
        self.step = 0
        self.optimizer = ClippedAdam(flow.flatten(), settings.clip)

    def epoch(self) -> Tensor:
        """One pass over the points. Gives ``(M,)`` booleans: whether all losses of a member were finite."""
        points = _shuffled(self.visited, self.generators)
        if self.noise is not None:
            points = points + self.noise * _normal(points, self.generators)
        finite = torch.ones(self.flow.members, dtype=torch.bool)
        program = self.flow.program(points)
        for batch in points.tensor_split(self.steps, dim=2):
            loss, gradient = self.flow.loss(batch, program)
            rate = self.settings.learning_rate * one_cycle(self.step / (self.settings.epochs * self.steps))
            self.optimizer.step(gradient, rate)
            self.step += 1
            finite &= loss.isfinite()
        return finite


def fit(
    flow: Flow,
    train: Tensor,
    test: Tensor,
    settings: TrainingSettings,
    *,
    on_log: Callable[[int, Array, Array], None] | None = None,
    name: str = "flow",
) -> History:
    """Train every member of ``flow``, and keep the history of its NLL. ``train`` as for ``Trainer``, and ``test`` in the same form.

    ``test`` is scored for the history and never trained on or selected by. ``on_log(epoch, train_nll, test_nll)`` is called
    every ``log_every`` epochs with ``(M,)`` numbers. A member whose loss is no longer finite is reported on standard error
    and stays in the results; the others go on as if it weren't there.
    """
    trainer = Trainer(flow, train, settings)
    clean_test = flow.features_first(test).to(flow.dtype)
    failed: dict[int, int] = {}  # member -> first epoch with a loss that was not finite
    rows: list[tuple[int, Array, Array]] = []
    with tqdm(total=settings.epochs, desc=name, unit="epoch", disable=None) as bar:  # None: quiet when not on a terminal
        for epoch in range(1, settings.epochs + 1):
            for member in (~trainer.epoch()).nonzero().flatten().tolist():
                failed.setdefault(member, epoch)
            bar.update()
            if epoch % settings.log_every == 0 or epoch == settings.epochs:
                rows.append((epoch, mean_nll(flow, trainer.clean), mean_nll(flow, clean_test)))
                bar.set_postfix_str(f"NLL train {rows[-1][1].mean():.3f}, test {rows[-1][2].mean():.3f} nat")
                if on_log is not None:
                    on_log(*rows[-1])
    for member in np.flatnonzero(~np.isfinite(rows[-1][1])).tolist():
        failed.setdefault(member, settings.epochs)
    for member, epoch in failed.items():
        print(f"{name}: the loss of member {member} was not finite from epoch {epoch} on; it stays in the results", file=sys.stderr)
    flow.eval()
    epochs, train_nll, test_nll = zip(*rows, strict=True)
    return History(np.array(epochs, dtype=np.float64), np.stack(train_nll), np.stack(test_nll))


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

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, parameters: Tensor, clip: float) -> None:
        self.parameters = parameters
        self.clip = clip
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.steps = 0

    def step(self, gradient: Tensor, rate: float) -> None:
        """One step against ``gradient`` ``(M, P)``."""
        self.steps += 1
        if kernels.usable(self.parameters, gradient):
            averages, clip, betas, epsilon = (self.first, self.second), self.clip, self.BETAS, self.EPSILON
            kernels.clipped_adam(self.parameters, gradient, averages, rate=rate, clip=clip, betas=betas, epsilon=epsilon, step=self.steps)
        else:
            self.plain_step(gradient, rate)

    def plain_step(self, gradient: Tensor, rate: float) -> None:
        gradient = gradient * (self.clip / torch.linalg.vector_norm(gradient, dim=1, keepdim=True).clamp_min(self.clip))
        b1, b2 = self.BETAS
        self.first.lerp_(gradient, 1 - b1)
        self.second.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        scale = (self.second / (1 - b2**self.steps)).sqrt_().add_(self.EPSILON)
        self.parameters.addcdiv_(self.first, scale, value=-rate / (1 - b1**self.steps))


@torch.no_grad()
def mean_nll(flow: Flow, x: Tensor) -> Array:
    """Mean negative log-likelihood in nats per member, ``(M,)``, of features-first ``x`` ``(M, D, N)``; summed in float64."""
    return -flow.log_density(x).double().numpy().mean(axis=1)


def _smoothed(flow: Flow, x: Tensor, settings: TrainingSettings) -> tuple[Tensor, Tensor | None]:
    """What training visits instead of ``x`` ``(M, D, N)``, and the noise's standard deviation ``(M, D, 1)``, both in raw units."""
    if settings.noise == 0:
        return x, None
    standardized = flow.standardize(x)[0].double().numpy()
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
    deviation = flow.standardize.deviation
    moved = flow.standardize.inverse(torch.from_numpy(np.stack(visited)).to(x.dtype))[0]
    return moved, deviation * torch.tensor(levels, dtype=x.dtype)[:, None, None]


def _shuffled(x: Tensor, generators: list[torch.Generator]) -> Tensor:
    """The points of every member ``(M, D, N)`` in an order of its own."""
    order = torch.stack([torch.randperm(x.shape[2], generator=g) for g in generators])
    return x.gather(2, order.unsqueeze(1).expand(-1, x.shape[1], -1))


def _normal(like: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Standard normal noise of the shape ``(M, D, N)``, each member's from its own stream."""
    return torch.stack([torch.randn(like.shape[1:], generator=g, dtype=like.dtype) for g in generators])
