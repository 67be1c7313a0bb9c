"""The floor: the matrix products of the conditioners as torch does them, and nothing else. Only other products can be faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.peers import Peer, Recipe
from flows.core.arrays import Array


class Floor(Peer):
    """For every coupling and layer of weights ``(M, out, in)``, three products a step, features first and into memory set aside before::

        forward             (M, out, in) @ (M, in, N)
        weights' gradient   (M, out, N)  @ (M, N, in)
        inputs' gradient    (M, in, out) @ (M, out, N)

    Args:
        dim: features D, of which a coupling keeps the larger half.
    """

    def __init__(self, networks: int, hidden: int, couplings: int, seed: int, *, dim: int = 2) -> None:
        super().__init__(networks, hidden, couplings, seed)
        kept = (dim + 1) // 2
        self.layers = [(kept, hidden), (hidden, hidden), (hidden, 2 * (dim - kept))]
        self.parameters = couplings * sum(inputs * outputs + outputs for inputs, outputs in self.layers)

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        torch.manual_seed(self.seed)
        by_size: dict[int, list[Callable[[], object]]] = {}
        self.products: list[Callable[[], object]] = []  # one epoch
        for batch in torch.arange(len(points)).tensor_split(recipe.steps(len(points))):
            if len(batch) not in by_size:
                by_size[len(batch)] = [product for layer in self.layers for product in self._products(*layer, len(batch))]
            self.products += self.couplings * by_size[len(batch)]

    def advance(self, epochs: int) -> None:
        for _ in range(epochs):
            for product in self.products:
                product()

    def _products(self, inputs: int, outputs: int, points: int) -> list[Callable[[], object]]:
        weight, gradient = torch.randn(2, self.networks, outputs, inputs)
        x, back = torch.randn(2, self.networks, inputs, points)
        y = torch.randn(self.networks, outputs, points)
        return [
            partial(torch.bmm, weight, x, out=torch.empty_like(y)),
            partial(torch.bmm, y, x.mT, out=gradient),
            partial(torch.bmm, weight.mT, y, out=back),
        ]

    def log_prob(self, points: Array) -> Array:
        raise NotImplementedError("the floor has no density")

    def sample(self, n: int, seed: int) -> Array:
        raise NotImplementedError("the floor has no samples")
