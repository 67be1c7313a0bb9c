"""Any truth as a population with a single member, to be scored as models are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Shape
from flows.core.seeds import generator_of
from flows.core.truth import Truth
from flows.networks.population import Population


class TruthModel(Population):
    """A truth that is not a mixture of Gaussians, as a population with one member.

    A mixture becomes a ``GaussianMixture``.

    Args:
        truth: the truth, a data class of its settings.
        name: the name of the truth in ``flows/truths``.
        event_shape: the shape of its points.
    """

    def __init__(self, truth: Truth, name: str, event_shape: Shape) -> None:
        settings: Any = asdict(truth)  # type: ignore[call-overload]
        super().__init__(1, event_shape, {"model": "truth", "name": name, "settings": settings})
        self.truth = truth

    def log_prob(self, value: Any) -> Tensor:
        """Return log-densities in nats, in float64 and without gradients."""
        value = self.points(value).double()
        log_p = self.truth.log_prob(value.reshape(-1, *self.event_shape).numpy())
        return torch.from_numpy(log_p).reshape(value.shape[: -len(self.event_shape)])

    def sample(self, sample_shape: Shape = (), generator: Generator | None = None) -> Tensor:
        shape = torch.Size(sample_shape)
        drawn = torch.from_numpy(self.truth.sample(shape.numel(), generator_of(generator)))
        return drawn.reshape(*shape, 1, *self.event_shape)
