"""The libraries on PyTorch, trained as their users do: one network after another, in a plain loop.

One function per library makes a network, initialised from torch's global generator, and returns it
with its log-density ``(n,)`` of points ``(n, 2)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.peers import CLIP, Recipe
from flows.core.arrays import Array
from flows.core.seeds import normal, numpy_generators
from flows.training.optimizer import one_cycle

DIM = 2
CLAMP = 2.0  # FrEIA's bound on a log-scale; we use the same
Made = tuple[Any, Callable[[Tensor], Tensor]]  # a network and its log-density


class Eager:
    """The training loop of the PyTorch libraries. ``make`` is one of the functions below."""

    def __init__(
        self, networks: int, hidden: int, couplings: int, make: Callable[[int, int], Made]
    ) -> None:
        self.build = lambda: [make(hidden, couplings) for _ in range(networks)]
        weights = make(hidden, couplings)[0].parameters()
        self.parameters = sum(each.numel() for each in weights if each.requires_grad)

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        torch.manual_seed(0)
        self.points, self.recipe = torch.from_numpy(points).float(), recipe
        self.trained = self.build()
        self.generators = numpy_generators(0, "train", range(len(self.trained)))
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
            for network, _ in self.trained
        ]
        total = recipe.steps(len(points)) * epochs
        self.schedulers = [
            LambdaLR(optimizer, lambda step: one_cycle(min(step / total, 1.0)))
            for optimizer in self.optimizers
            if recipe.noise
        ]

    def advance(self, epochs: int) -> None:
        noise, steps = self.recipe.noise, self.recipe.steps(len(self.points))
        for k, (network, density) in enumerate(self.trained):
            generator, optimizer = self.generators[k], self.optimizers[k]
            for _ in range(epochs):
                order = generator.permutation(len(self.points))
                points = self.points[torch.from_numpy(order)]
                if noise:
                    points = points + noise * normal(generator, *points.shape).float()
                for batch in points.tensor_split(steps):
                    loss = -density(batch).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    if noise:
                        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
                    optimizer.step()
                    if noise:
                        self.schedulers[k].step()

    @torch.no_grad()
    def log_prob(self, points: Array) -> Array:
        x = torch.from_numpy(points).float()
        return np.stack([density(x).double().numpy() for _, density in self.trained], axis=1)


def zuko(hidden: int, couplings: int) -> Made:
    """zuko's ``RealNVP``. Same parameters.

    Its log-scale s is bounded by ``s / (1 + |s| / 6.9)``, ours by ``2 tanh(s / 2)``.
    """
    from zuko.flows import RealNVP

    network = RealNVP(DIM, transforms=couplings, hidden_features=(hidden, hidden))
    return network, lambda x: network().log_prob(x)


def normflows(hidden: int, couplings: int) -> Made:
    """normflows' ``AffineCouplingBlock`` and a swap after each. Same parameters.

    Its log-scale has no bound. The last layer starts at zero, as in the library's examples. The
    base is fixed: by default it is trainable in this library.
    """
    import normflows as nf

    layers: list[nn.Module] = []
    for _ in range(couplings):
        perceptron = nf.nets.MLP([1, hidden, hidden, 2], init_zeros=True)
        layers += [nf.flows.AffineCouplingBlock(perceptron), nf.flows.Permute(DIM, mode="swap")]
    network = nf.NormalizingFlow(nf.distributions.DiagGaussian(DIM, trainable=False), layers)
    return network, network.log_prob


def nflows(hidden: int, couplings: int) -> Made:
    """nflows' ``AffineCouplingTransform`` with a plain perceptron. Same parameters.

    Its scale ``sigmoid(s + 2) + 0.001`` is at most 1.001. Used from data to noise, as in the
    library's ``SimpleRealNVP``, it would limit every density to about ``1 / (2 pi)``, too low
    for this benchmark's data. So every coupling is inverted (``InverseTransform``): the same work,
    with scales of at least 0.999 from data to noise, which suits data with narrow modes.
    """
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import AffineCouplingTransform, CompositeTransform, InverseTransform

    perceptron = partial(_Perceptron, hidden)
    transforms = [
        InverseTransform(AffineCouplingTransform([k % 2, 1 - k % 2], perceptron))
        for k in range(couplings)
    ]
    network = Flow(CompositeTransform(transforms), StandardNormal([DIM]))
    return network, network.log_prob


def freia(hidden: int, couplings: int) -> Made:
    """FrEIA's ``GLOWCouplingBlock``, each of two alternating couplings. Same parameters.

    Its log-scale is ``2 tanh(s)``, ours ``2 tanh(s / 2)``. Its ``AllInOneBlock`` is not used: it
    adds a global scaling and a permutation, which in two dimensions is the identity half the time.
    """
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import GLOWCouplingBlock

    if couplings % 2:
        raise ValueError(f"FrEIA's block holds two couplings; {couplings} are not even")
    network = SequenceINN(DIM)
    perceptron = partial(_Perceptron, hidden)
    bound: dict[str, Any] = {"clamp": CLAMP, "clamp_activation": "TANH"}
    for _ in range(couplings // 2):
        network.append(GLOWCouplingBlock, subnet_constructor=perceptron, **bound)

    def density(x: Tensor) -> Tensor:
        z, log_det = network(x)
        return log_det - 0.5 * z.square().sum(1) - 0.5 * DIM * math.log(2 * math.pi)

    return network, density


class _Perceptron(nn.Sequential):
    """A perceptron that ignores the context with which nflows calls it.

    nflows' own ``nn.nets.MLP`` takes no context and cannot be used here.
    """

    def __init__(self, hidden: int, inputs: int, outputs: int) -> None:
        layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        super().__init__(*layers, nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x)
