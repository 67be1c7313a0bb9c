"""Base distributions: what a flow carries the data to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Base(nn.Module, ABC):
    """A distribution over noise, one per member of a population: ``(M,)`` of them over ``event_shape``."""

    def __init__(self, members: int, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.members = members
        self.event_shape = event_shape

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log-densities in nats, ``(M, N)`` of ``(M, *event, N)``. Can be differentiated."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        """``n`` draws of every member, ``(M, *event, n)``."""


class StandardNormal(Base):
    """``log N(z; 0, I) = -|z|^2 / 2 - D log(2 pi) / 2``"""

    def log_prob(self, z: Tensor) -> Tensor:
        z = z.flatten(1, -2)
        return -0.5 * z.square().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)

    def sample(self, n: int, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        return torch.randn(n, self.members, *self.event_shape, generator=generator, dtype=dtype).movedim(0, -1).contiguous()
