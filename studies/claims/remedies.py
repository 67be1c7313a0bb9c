"""Training methods of this study only: new points every epoch, and remedies against overfitting."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from flows.core.arrays import Array
from flows.core.seeds import Generators, normal, normals, numpy_generators
from flows.core.settings import Count, Section, Share, TrainingSettings
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.networks.base_distribution import Base
from flows.networks.flow import Flow
from flows.training.optimizer import ClippedAdam
from flows.training.trainer import Trainer

BLOCK = 50  # epochs whose new points are drawn at once


class Remedy(Section):
    """The amount of each remedy; 0 turns a remedy off.

    Args:
        hold_out: share of the rows (the last ones, of a random order) that choose each member's
            best epoch.
        decay: weight decay.
        average: share that the average of the weights keeps at each step.
        components: number of components of a mixture as the base.
        networks: number of networks of an ensemble; 1 is no ensemble.
    """

    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    decay: Annotated[float, Field(ge=0)] = 0.0
    average: Share = 0.0
    components: Annotated[int, Field(ge=0)] = 0
    networks: Count = 1


class FreshTrainer(Trainer):
    """A trainer on new points from the ``truth`` in every epoch.

    Each member draws points from its own random stream; ``train`` only determines their number and
    the standardisation.
    """

    def __init__(
        self, flow: Flow, train: Array, settings: TrainingSettings, truth: GaussianMixture
    ) -> None:
        super().__init__(flow, train, settings)
        self.truth = truth
        self.ahead: list[Tensor] = []

    def points(self, generators: Generators) -> Iterator[Tensor]:
        if not self.ahead:
            rows = self.clean[0].shape[2]
            shape = (BLOCK * rows,)
            own = [self.truth.sample(shape, generator=generator) for generator in generators]
            drawn = torch.cat(own, dim=1)
            self.ahead = list(self.population.preprocess(drawn)[0].split(rows, dim=2))
        yield self.ahead.pop().contiguous()


class RemedyAdam(ClippedAdam):
    """``ClippedAdam`` with two remedies; 0 turns a remedy off.

    The remedies are decoupled weight decay (Loshchilov and Hutter 2019) and an average of the
    parameters (Polyak and Juditsky 1992), which starts as the parameters after the first step::

        parameters <- (1 - rate decay) parameters                       before each step
        average    <- share average + (1 - share) parameters            after each step
    """

    def __init__(
        self, parameters: Tensor, clip: float, decay: float = 0.0, share: float = 0.0
    ) -> None:
        super().__init__(parameters, clip)
        self.decay, self.share, self.average = decay, share, parameters

    def step(self, gradient: Tensor, rate: float) -> None:
        self.parameters.mul_(1 - rate * self.decay)
        super().step(gradient, rate)
        if self.share and self.steps == 1:
            self.average = self.parameters.clone()
        elif self.share:
            self.average.lerp_(self.parameters, 1 - self.share)


class MixtureBase(Base):
    """A learned mixture of K Gaussians with diagonal covariances instead of ``N(0, I)``::

        log p_0(z) = log sum_k w_k N(z; mu_k, diag(s_k)^2)

    The weights start equal, the ``mu_k`` start as standard normal draws from each member's
    generator, and the ``s_k`` start at 1/2. Source: Izmailov et al. 2020 (FlowGMM), with fixed
    means.
    """

    def __init__(self, components: int, dim: int, generators: Generators) -> None:
        super().__init__(len(generators), (dim,))
        means = normals(generators, components, dim).float()
        self.logits = nn.Parameter(torch.zeros(means.shape[:2]))
        self.means = nn.Parameter(means)
        self.log_deviations = nn.Parameter(torch.full_like(means, math.log(0.5)))

    def log_prob(self, z: Tensor) -> Tensor:
        scale = (-self.log_deviations[..., None]).exp()
        white = (z[:, None] - self.means[..., None]) * scale  # (M, K, D, N)
        constant = 0.5 * z.shape[1] * math.log(2 * math.pi)
        log_weights = self.logits.log_softmax(1) - self.log_deviations.sum(2) - constant
        return (log_weights[..., None] - 0.5 * white.square().sum(2)).logsumexp(1)

    def sample(self, n: int, generator: np.random.Generator, dtype: torch.dtype) -> Tensor:
        shares = self.logits.detach().double().softmax(1).numpy()
        chosen = np.stack([generator.choice(len(p), n, p=p / p.sum()) for p in shares])
        component = torch.from_numpy(chosen)[..., None]  # (M, n, 1)
        mean = self.means.take_along_dim(component, 1)
        deviation = self.log_deviations.exp().take_along_dim(component, 1)
        return (mean + deviation * normal(generator, *mean.shape).to(dtype)).mT.contiguous()


def train(
    flow: Flow, rows: Array, settings: TrainingSettings, remedy: Remedy | None = None
) -> Flow:
    """Train ``flow`` on ``rows`` ``(n, M, D)`` with the ``remedy``, and return it.

    If the remedy replaces the base, a new flow with the same chain is trained and returned.
    """
    remedy = remedy or Remedy()
    if remedy.components:
        generators = numpy_generators(settings.seed, "base", flow.member_range)
        flow = Flow(MixtureBase(remedy.components, rows.shape[2], generators), flow.chain)
    learned = len(rows) - round(remedy.hold_out * len(rows))
    trainer = Trainer(flow, rows[:learned], settings)
    parameters = trainer.optimizer.parameters
    optimizer = RemedyAdam(parameters, settings.clip, remedy.decay, remedy.average)
    trainer.optimizer = optimizer
    held_out = {"held_out": flow.preprocess(rows[learned:])}
    best = parameters.clone()
    lowest = np.full(flow.members, np.inf)
    for epoch in tqdm(range(1, settings.epochs + 1), unit="epoch", disable=None):
        trainer.epoch()
        if remedy.hold_out and (epoch % settings.log_every == 0 or epoch == settings.epochs):
            now = flow.curves(held_out)["held_out_nll"]
            better = torch.from_numpy(now < lowest)
            best[better] = parameters[better]
            lowest = np.fmin(now, lowest)
    parameters.copy_(best if remedy.hold_out else optimizer.average)
    return flow
