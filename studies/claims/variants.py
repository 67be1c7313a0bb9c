"""The ways of training that only this study needs: new points every epoch, and one remedy against overfitting at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from flows.flow import Flow
from flows.mixture import GaussianMixture
from flows.seeds import torch_generators
from flows.training import ClippedAdam, Trainer, TrainingSettings

BLOCK = 50  # epochs whose new points are drawn at once: one draw a member, and not fifty


class FreshTrainer(Trainer):
    """New points from the ``truth`` in every epoch, as many as there are training rows; each member's from its own stream."""

    def __init__(self, flow: Flow, train: Tensor, settings: TrainingSettings, truth: GaussianMixture) -> None:
        super().__init__(flow, train, replace(settings, noise=0))
        self.truth = truth
        self.ahead: list[Tensor] = []

    def points(self) -> Tensor:
        if not self.ahead:
            rows = self.clean.shape[2]
            drawn = [self.truth.sample((BLOCK * rows,), generator=generator)[:, 0].T for generator in self.generators]  # each (D, BLOCK * rows)
            self.ahead = list(torch.stack(drawn).to(self.clean.dtype).split(rows, dim=2))
        return self.ahead.pop().contiguous()


class DecayedAdam(ClippedAdam):
    """With decoupled weight decay (Loshchilov and Hutter 2019): ``parameters <- (1 - rate decay) parameters`` before each step."""

    def __init__(self, parameters: Tensor, clip: float, decay: float) -> None:
        super().__init__(parameters, clip)
        self.decay = decay

    def step(self, gradient: Tensor, rate: float) -> None:
        self.parameters.mul_(1 - rate * self.decay)
        super().step(gradient, rate)


class AveragedAdam(ClippedAdam):
    """Keeps ``average <- share average + (1 - share) parameters`` after each step, from the first step's parameters on (Polyak and Juditsky 1992)."""

    def __init__(self, parameters: Tensor, clip: float, share: float) -> None:
        super().__init__(parameters, clip)
        self.share = share
        self.average = torch.empty(0)

    def step(self, gradient: Tensor, rate: float) -> None:
        super().step(gradient, rate)
        self.average = self.parameters.clone() if self.steps == 1 else self.average.lerp_(self.parameters, 1 - self.share)


def with_mixture_base(kind: type[Flow], components: int) -> type[Flow]:
    """The flow ``kind`` over a learned mixture of K Gaussians with diagonal covariances in place of ``N(0, I)``::

        log q(x) = log sum_k w_k N(f(x); mu_k, diag(s_k)^2) + log |det df|

    At the start the weights are equal, ``mu_k`` are standard normal draws and ``s_k = 1/2``. In plain torch: the compiled chain
    has the normal base built in. Source: Izmailov et al. 2020 (FlowGMM), there with fixed means.
    """

    class MixtureBase(kind):  # type: ignore[misc, valid-type]
        def __init__(self, dim: int, members: int = 1, **architecture: Any) -> None:
            super().__init__(dim, members, **architecture)
            generators = torch_generators(architecture.get("seed", 0), "initialize", members)
            for generator in generators:
                generator.manual_seed(generator.initial_seed() ^ 1)  # apart from the couplings' numbers
            self.logits = nn.Parameter(torch.zeros(members, components))
            self.means = nn.Parameter(torch.stack([torch.randn(components, dim, generator=generator) for generator in generators]))
            self.log_deviations = nn.Parameter(torch.full((members, components, dim), math.log(0.5)))

        def program(self, x: Tensor) -> None:
            return None

        def log_density(self, x: Tensor) -> Tensor:
            log_det = 0.0
            for bijection in self.chain:
                x, step = bijection(x)
                log_det = log_det + step
            white = (x[:, None] - self.means[..., None]) * (-self.log_deviations[..., None]).exp()  # (M, K, D, N)
            log_weights = self.logits.log_softmax(1) - self.log_deviations.sum(2) - 0.5 * self.dim * math.log(2 * math.pi)
            return (log_weights[..., None] - 0.5 * white.square().sum(2)).logsumexp(1) + log_det

        def sample(self, *_: Any, **__: Any) -> Tensor:
            raise NotImplementedError("only the density is needed here")

    return MixtureBase


def train_variant(
    kind: type[Flow],
    architecture: dict[str, Any],
    train: Tensor,
    settings: TrainingSettings,
    *,
    name: str,
    hold_out: float = 0.0,
    decay: float = 0.0,
    average: float = 0.0,
    components: int = 0,
) -> Flow:
    """A population of ``kind`` on ``train`` ``(n, M, D)``, with the remedy whose amount is not 0.

    ``hold_out``: share of the rows (the last; they are in random order) on which each member's best epoch is chosen. ``decay`` of the weights.
    ``average``: share that the average keeps at each step. ``components`` of the base.
    """
    kind = with_mixture_base(kind, components) if components else kind
    flow = kind(dim=train.shape[2], members=train.shape[1], **architecture)
    held = round(hold_out * len(train))
    trainer = Trainer(flow, train[: len(train) - held], settings)
    parameters = trainer.optimizer.parameters
    if decay:
        trainer.optimizer = DecayedAdam(parameters, settings.clip, decay)
    if average:
        trainer.optimizer = AveragedAdam(parameters, settings.clip, average)
    best, score = parameters.clone(), torch.full((flow.members,), math.inf, dtype=torch.float64)
    validation = flow.features_first(train[len(train) - held :]).to(flow.dtype)
    for epoch in tqdm(range(1, settings.epochs + 1), desc=name, unit="epoch", disable=None):
        trainer.epoch()
        if held and (epoch % settings.log_every == 0 or epoch == settings.epochs):
            with torch.no_grad():
                now = -flow.log_density(validation).double().mean(1)
            better = now < score
            score[better], best[better] = now[better], parameters[better]
    if held:
        parameters.copy_(best)
    if isinstance(trainer.optimizer, AveragedAdam):
        parameters.copy_(trainer.optimizer.average)
    flow.eval()
    return flow


def train_fresh(flow: Flow, train: Tensor, settings: TrainingSettings, truth: GaussianMixture, *, name: str) -> None:
    """Train ``flow`` on new points in every epoch; ``train`` only sets its scale and the number of points."""
    trainer = FreshTrainer(flow, train, settings, truth)
    for _ in tqdm(range(settings.epochs), desc=name, unit="epoch", disable=None):
        trainer.epoch()
    flow.eval()
