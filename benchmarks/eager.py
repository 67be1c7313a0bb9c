"""The libraries on PyTorch, each trained as its users do: one network after another, in a plain loop."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.peers import CLIP, Peer, Recipe
from flows.core.arrays import Array
from flows.core.seeds import normal, numpy_generators
from flows.training.optimizer import one_cycle

DIM = 2
CLAMP = 2.0  # FrEIA's bound on a log-scale; ours is the same


class EagerPeer(Peer):
    """What the PyTorch libraries share: the loop. A subclass builds one network, and says where it calls density and samples otherwise."""

    def __init__(self, networks: int, hidden: int, couplings: int) -> None:
        super().__init__(networks, hidden, couplings)
        torch.manual_seed(0)
        self.initial = [self.network() for _ in range(networks)]
        self.trained = self.initial
        self.parameters = sum(p.numel() for p in self.initial[0].parameters() if p.requires_grad)

    def network(self) -> nn.Module:
        """One network, initialised from torch's global generator."""
        raise NotImplementedError

    def density(self, network: Any, x: Tensor) -> Tensor:
        """Log-density ``(n,)`` of ``x`` ``(n, 2)``."""
        return network.log_prob(x)

    def draw(self, network: Any, n: int) -> Tensor:
        """``(n, 2)`` samples, from torch's global generator."""
        return network.sample(n)

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        self.points = torch.from_numpy(recipe.sharpened(points)).float()
        self.recipe = recipe
        self.steps = recipe.steps(len(points))
        total = self.steps * epochs
        self.trained = copy.deepcopy(self.initial)
        self.generators = numpy_generators(0, "train", range(self.networks))
        self.optimizers = [torch.optim.Adam(network.parameters(), lr=recipe.learning_rate) for network in self.trained]
        self.schedulers = [LambdaLR(optimizer, lambda step: one_cycle(min(step / total, 1.0))) for optimizer in self.optimizers if recipe.noise]

    def advance(self, epochs: int) -> None:
        for k, network in enumerate(self.trained):
            for _ in range(epochs):
                points = self.points[torch.from_numpy(self.generators[k].permutation(len(self.points)))]
                if self.recipe.noise:
                    points = points + self.recipe.noise * normal(self.generators[k], *points.shape).float()
                for batch in points.tensor_split(self.steps):
                    loss = -self.density(network, batch).mean()
                    self.optimizers[k].zero_grad()
                    loss.backward()
                    if self.recipe.noise:
                        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
                    self.optimizers[k].step()
                    if self.recipe.noise:
                        self.schedulers[k].step()

    @torch.no_grad()
    def log_prob(self, points: Array) -> Array:
        x = torch.from_numpy(points).float()
        return np.stack([self.density(network, x).double().numpy() for network in self.trained], axis=1)

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Array:
        torch.manual_seed(seed)
        return np.stack([self.draw(network, n).double().numpy() for network in self.trained], axis=1)


class Zuko(EagerPeer):
    """zuko's ``RealNVP``. Same parameters; its log-scale s is bounded softly, ``s / (1 + |s| / 6.9)``, ours by ``2 tanh(s / 2)``."""

    def network(self) -> nn.Module:
        from zuko.flows import RealNVP

        return RealNVP(DIM, transforms=self.couplings, hidden_features=(self.hidden, self.hidden))

    def density(self, network: Any, x: Tensor) -> Tensor:
        return network().log_prob(x)

    def draw(self, network: Any, n: int) -> Tensor:
        return network().sample((n,))


class NormFlows(EagerPeer):
    """normflows' ``AffineCouplingBlock`` and a swap after each. Same parameters; its log-scale has no bound.

    The last layer starts at zero, as in the library's examples. The base is fixed: theirs is trainable unless told otherwise.
    """

    def network(self) -> nn.Module:
        import normflows as nf

        layers: list[nn.Module] = []
        for _ in range(self.couplings):
            layers.append(nf.flows.AffineCouplingBlock(nf.nets.MLP([1, self.hidden, self.hidden, 2], init_zeros=True)))
            layers.append(nf.flows.Permute(DIM, mode="swap"))
        return nf.NormalizingFlow(nf.distributions.DiagGaussian(DIM, trainable=False), layers)

    def draw(self, network: Any, n: int) -> Tensor:
        return network.sample(n)[0]


class NFlows(EagerPeer):
    """nflows' ``AffineCouplingTransform`` with a plain perceptron. Same parameters; its scale is ``sigmoid(s + 2) + 0.001``.

    That scale is at most 1.001. Used from data to noise, as in the library's ``SimpleRealNVP``, it would cap every density at about
    ``1 / (2 pi)``, and no training could come near this benchmark's data. So every coupling is inverted (``InverseTransform``): the
    same work, with scales that are at least 0.999 from data to noise, which suits data with narrow modes.
    """

    def network(self) -> nn.Module:
        from nflows.distributions import StandardNormal
        from nflows.flows import Flow
        from nflows.transforms import AffineCouplingTransform, CompositeTransform, InverseTransform

        masks = [[0, 1] if k % 2 == 0 else [1, 0] for k in range(self.couplings)]
        couplings = [InverseTransform(AffineCouplingTransform(mask, partial(_Perceptron, self.hidden))) for mask in masks]
        return Flow(CompositeTransform(couplings), StandardNormal([DIM]))


class FrEIA(EagerPeer):
    """FrEIA's ``GLOWCouplingBlock``, each two couplings in turn. Same parameters; its log-scale is ``2 tanh(s)``, ours ``2 tanh(s / 2)``.

    Not its ``AllInOneBlock``: that adds a global scaling and a permutation, which in two dimensions is the identity half the time.
    """

    def network(self) -> nn.Module:
        from FrEIA.framework import SequenceINN
        from FrEIA.modules import GLOWCouplingBlock

        if self.couplings % 2:
            raise ValueError(f"FrEIA's block holds two couplings, so their number must be even; it is {self.couplings}")
        network, perceptron = SequenceINN(DIM), partial(_Perceptron, self.hidden)
        for _ in range(self.couplings // 2):
            network.append(GLOWCouplingBlock, subnet_constructor=perceptron, clamp=CLAMP, clamp_activation="TANH")
        return network

    def density(self, network: Any, x: Tensor) -> Tensor:
        z, log_det = network(x)
        return log_det - 0.5 * z.square().sum(1) - 0.5 * DIM * math.log(2 * math.pi)

    def draw(self, network: Any, n: int) -> Tensor:
        return network(torch.randn(n, DIM), rev=True)[0]


class _Perceptron(nn.Sequential):
    """It is called with a context by nflows, and ignores it: nflows' own ``nn.nets.MLP`` takes none and can't be used here."""

    def __init__(self, hidden: int, inputs: int, outputs: int) -> None:
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x)
