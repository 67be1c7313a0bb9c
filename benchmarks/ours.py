"""``flows`` itself behind the interface of its peers, and the floor: what torch alone takes for the matrix products."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import torch

import flows
from benchmarks.peers import CLIP, Peer, Recipe
from flows.core.arrays import Array
from flows.core.settings import TrainingSettings
from flows.networks import kernels
from flows.training.trainer import Trainer


class Ours(Peer):
    """A population of ``flows``. It always clips and always follows its schedule; that work is part of its timings.

    Args:
        dim: features D.
        model, settings: a model and what it takes beside couplings and hidden, as in ``params.yaml``.
    """

    def __init__(self, networks: int, hidden: int, couplings: int, *, dim: int = 2, model: str = "realnvp", **settings: Any) -> None:
        super().__init__(networks, hidden, couplings)
        self.build = partial(flows.build, model, (dim,), {"couplings": couplings, "hidden": hidden, **settings}, members=networks, seed=0)
        self.flow = self.build()
        self.parameters = self.flow.parameters_per_member()

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        rate, noise = recipe.learning_rate, recipe.noise
        settings = TrainingSettings(epochs=epochs, batch_size=recipe.batch_size, learning_rate=rate, noise=noise, clip=CLIP, seed=0)
        self.flow = self.build()  # the weights are drawn from the seed alone: the initial ones again
        self.trainer = Trainer(self.flow, points, settings)

    def advance(self, epochs: int) -> None:
        for _ in range(epochs):
            self.trainer.epoch()

    def log_prob(self, points: Array) -> Array:
        return self.flow.log_prob(points).double().numpy()

    def sample(self, n: int, seed: int) -> Array:
        return self.flow.sample((n,), generator=np.random.default_rng(seed)).numpy()


class Plain(Ours):
    """The same without the compiled kernels: the plain torch code that defines them, which takes their place where there is no compiler."""

    start = kernels.reference_code()(Ours.start)
    advance = kernels.reference_code()(Ours.advance)
    log_prob = kernels.reference_code()(Ours.log_prob)
    sample = kernels.reference_code()(Ours.sample)


class Floor(Peer):
    """The matrix products of the conditioners by torch, and nothing else; only other products can be faster.

    For every coupling and layer of weights ``(M, out, in)``, three products a step, features first and into memory set aside before::

        forward             (M, out, in) @ (M, in, N)
        weights' gradient   (M, out, N)  @ (M, N, in)
        inputs' gradient    (M, in, out) @ (M, out, N)

    Of ``dim`` features, a coupling keeps the larger half. The floor has no density and no samples.
    """

    def __init__(self, networks: int, hidden: int, couplings: int, *, dim: int = 2) -> None:
        super().__init__(networks, hidden, couplings)
        kept = (dim + 1) // 2
        self.layers = [(kept, hidden), (hidden, hidden), (hidden, 2 * (dim - kept))]
        self.parameters = couplings * sum(inputs * outputs + outputs for inputs, outputs in self.layers)

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        torch.manual_seed(0)

        @cache
        def products(size: int) -> list[partial[torch.Tensor]]:  # of one coupling, for a batch of this size
            return [product for inputs, outputs in self.layers for product in three_products(self.networks, inputs, outputs, size)]

        batches = torch.arange(len(points)).tensor_split(recipe.steps(len(points)))
        self.epoch = [product for batch in batches for product in self.couplings * products(len(batch))]

    def advance(self, epochs: int) -> None:
        for _ in range(epochs):
            for product in self.epoch:
                product()


def three_products(networks: int, inputs: int, outputs: int, points: int) -> list[partial[torch.Tensor]]:
    weight, gradient = torch.randn(2, networks, outputs, inputs)
    x, back = torch.randn(2, networks, inputs, points)
    y = torch.randn(networks, outputs, points)
    return [
        partial(torch.bmm, weight, x, out=torch.empty_like(y)),
        partial(torch.bmm, y, x.mT, out=gradient),
        partial(torch.bmm, weight.mT, y, out=back),
    ]
