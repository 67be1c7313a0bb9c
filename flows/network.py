"""What the training loop needs of a model: the base of the flows and of the baselines that they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from flows.bijections import Standardize
from flows.population import Population
from flows.targets import Array

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]


class Network(Population):
    """A population of neural networks, none of which shares a parameter with another. Every parameter is ``(M, ...)``.

    A subclass sets ``standardize``, the fixed map that takes the user's units away, and says how it learns by ``objective`` and
    how far it has come by ``curves``. ``betas`` are those of its optimiser (``ClippedAdam``).
    """

    standardize: Standardize
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Fit the standardisation, and whatever else depends on the data, to ``x``, ``(n, D)`` or ``(n, M, D)``. Called once, before training."""
        self.standardize.initialize(self.features_first(x))

    def objective(self, points: Tensor, generators: Sequence[torch.Generator]) -> Objective:
        """What an epoch on ``points`` ``(M, D, N)`` calls for every batch ``(M, D, n)`` of them: it gives the loss ``(M,)``, without its
        graph, and the gradient ``(M, P)`` by all parameters, in their order. A member's random numbers come from its own generator.
        """
        raise NotImplementedError

    def curves(self, train: Tensor, test: Tensor) -> dict[str, Array]:
        """What is kept of training every few epochs: a name and a number per member ``(M,)``, of features-first points as they are."""
        raise NotImplementedError

    def features_first(self, value: Tensor) -> Tensor:
        """From the public ``(n, D)``, ``(n, 1, D)`` or ``(n, M, D)`` to ``(M, D, n)``, in which the networks work."""
        value = value.unsqueeze(1) if value.ndim == 2 else value
        self._check(value)
        return value.expand(-1, self.members, -1).permute(1, 2, 0).contiguous()

    def flatten(self) -> Tensor:
        """All parameters as one tensor ``(M, P)``, of which the modules' own become views: an optimiser then has one to work on."""
        own = list(self.parameters())
        flat = torch.cat([p.detach().flatten(1) for p in own], dim=1)
        for p, columns in zip(own, flat.split([p[0].numel() for p in own], dim=1), strict=True):
            p.data = columns.view(p.shape)
        return flat

    def _public(self, x: Tensor, shape: torch.Size) -> Tensor:
        """From the networks' ``(M, D, n)`` to the public ``shape + (M, D)``."""
        return x.permute(2, 0, 1).reshape(*shape, self.members, self.dim)


def mean_nll(log_density: Tensor) -> Array:
    """Mean negative log-likelihood in nats per member, ``(M,)``, of log-densities ``(M, N)``; summed in float64."""
    return -log_density.double().numpy().mean(axis=1)
