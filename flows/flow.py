"""The normalizing flow: a chain of bijections over a standard normal base distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from flows.bijections import Bijection, Standardize
from flows.population import Population


class Flow(Population):
    """A chain of bijections ``f = f_K o ... o f_1 o standardise`` from data to noise, over ``N(0, I)``::

        log q(x) = log N(f(x); 0, I) + sum_k log |det df_k|
        sample:    x = f^-1(z),  z ~ N(0, I)

    The first bijection standardises and is fixed, so densities are in the units of the data. ``initialize`` fits it, and
    every layer that depends on the data, before training.
    """

    def __init__(self, bijections: Sequence[Bijection], members: int, dim: int, arguments: dict[str, Any]) -> None:
        super().__init__(members, dim, arguments)
        self.bijections = nn.ModuleList([Standardize(dim, members), *bijections])

    @property
    def chain(self) -> list[Bijection]:
        """The bijections from data to noise."""
        return cast(list[Bijection], list(self.bijections))

    @property
    def standardize(self) -> Standardize:
        return cast(Standardize, self.bijections[0])

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Fit the standardisation and every data-dependent layer to ``x``, ``(n, D)`` or ``(n, M, D)``, from data to noise."""
        x = self.features_first(x)
        for bijection in self.chain:
            bijection.initialize(x)
            x = bijection(x.to(self.dtype))[0]

    def features_first(self, value: Tensor) -> Tensor:
        """From the public ``(n, D)``, ``(n, 1, D)`` or ``(n, M, D)`` to the bijections' ``(M, D, n)``."""
        value = value.unsqueeze(1) if value.ndim == 2 else value
        self._check(value)
        return value.expand(-1, self.members, -1).permute(1, 2, 0).contiguous()

    def log_density(self, x: Tensor) -> Tensor:
        """``log q``, ``(M, N)``, of features-first points ``(M, D, N)``: what training differentiates."""
        log_det = x.new_zeros(self.members, 1)
        for bijection in self.chain:
            x, step = bijection(x)
            log_det = log_det + step
        return log_det - 0.5 * x.square().sum(1) - 0.5 * self.dim * math.log(2 * math.pi)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check(value)
        flat = value.reshape(-1, *value.shape[-2:]).to(self.dtype)
        return self.log_density(self.features_first(flat)).T.reshape(*value.shape[:-2], self.members)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = (), generator: torch.Generator | None = None) -> Tensor:
        with torch.no_grad():
            return self.path(sample_shape, generator)[-1]

    def path(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = (), generator: torch.Generator | None = None) -> list[Tensor]:
        """Samples on their way from noise to data: K + 2 tensors ``sample_shape + (M, D)``, one before and after every bijection."""
        shape = torch.Size(sample_shape)
        z = torch.randn(shape.numel(), self.members, self.dim, generator=generator, dtype=self.dtype)
        x = self.features_first(z)
        states = [x]
        for bijection in reversed(self.chain):
            x, _ = bijection.inverse(x)
            states.append(x)
        return [state.permute(2, 0, 1).reshape(*shape, self.members, self.dim) for state in states]
