"""References as models: the truth, a fitted mixture and a kernel density are all one class."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import as_tensor
from flows.core.mixture import Mixture
from flows.core.population import Population
from flows.core.seeds import generator_of


class GaussianMixture(Population):
    """One mixture of K Gaussians in D dimensions, as a population with a single member.

    ``Mixture`` has the formulas.

    ``weights`` ``(K,)``, ``means`` ``(K, D)``, ``covariances`` ``(K, D, D)``; kept in float64. A
    kernel density has one component a training point. Raises ``ValueError`` where they don't
    describe a mixture.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __init__(self, weights: Any, means: Any, covariances: Any) -> None:
        arrays = [
            as_tensor(a).detach().double().numpy().copy() for a in (weights, means, covariances)
        ]
        self._mixture = Mixture(*arrays)
        super().__init__(1, self._mixture.means.shape[1:], {"model": "mixture"})
        for name, array in zip(("weights", "means", "covariances"), arrays, strict=True):
            self.register_buffer(name, torch.from_numpy(array))

    @torch.no_grad()
    def log_prob(self, value: Any) -> Tensor:
        """Log-densities in nats; without gradients, in float64."""
        value = self.points(value)
        log_density = self._mixture.log_prob(
            value.detach().reshape(-1, *self.event_shape).double().numpy()
        )
        return torch.from_numpy(log_density).reshape(value.shape[:-1])

    def sample(
        self,
        sample_shape: torch.Size | list[int] | tuple[int, ...] = (),
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        draws = self._mixture.sample(torch.Size(sample_shape).numel(), generator_of(generator))
        return torch.from_numpy(draws).reshape(*sample_shape, 1, *self.event_shape)

    def extra_repr(self) -> str:
        return f"components={len(self.weights)}, dim={self.event_shape[0]}"
