"""The normalizing flow: a chain of bijections over a standard normal base distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from flows import kernels
from flows.bijections import Bijection, Standardize
from flows.kernels import Program
from flows.network import Network, Objective, mean_nll
from flows.targets import Array


class Flow(Network):
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
    def standardize(self) -> Standardize:  # type: ignore[override]  # as the first bijection it is registered already
        return cast(Standardize, self.bijections[0])

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Fit the standardisation and every data-dependent layer to ``x``, ``(n, D)`` or ``(n, M, D)``, from data to noise."""
        x = self.features_first(x)
        for bijection in self.chain:
            bijection.initialize(x)
            x = bijection(x.to(self.dtype))[0]

    def log_density(self, x: Tensor) -> Tensor:
        """``log q``, ``(M, N)``, of features-first points ``(M, D, N)``.

        Can be differentiated by ``x`` and by the parameters; inside ``torch.no_grad()``, where that is not asked for, it is compiled.
        """
        z, log_det = self._to_noise(x)
        return log_det - 0.5 * z.square().sum(1) - 0.5 * self.dim * math.log(2 * math.pi)

    def loss(self, x: Tensor, program: Program | None = None) -> tuple[Tensor, Tensor]:
        """The mean negative log-likelihood of features-first points, ``(M,)``, and its gradient ``(M, P)`` by all parameters, in their order.

        The members share no parameter, so the gradient of the summed losses is each member's own. ``program`` is what ``program(x)``
        gives, for who has it already.
        """
        program = self.program(x) if program is None else program
        if program is not None:
            with torch.no_grad():
                x, log_det = self.standardize(x)
                loss, gradient = program.loss(x)
                return loss - log_det.mean(1), gradient
        with torch.enable_grad():
            loss = -self.log_density(x).mean(1)
            gradients = torch.autograd.grad(loss.sum(), list(self.parameters()))
        return loss.detach(), torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

    def objective(self, points: Tensor, generators: Sequence[torch.Generator]) -> Objective:
        program = self.program(points)
        return lambda batch: self.loss(batch, program)

    @torch.no_grad()
    def curves(self, train: Tensor, test: Tensor) -> dict[str, Array]:
        return {"train_nll": mean_nll(self.log_density(train)), "test_nll": mean_nll(self.log_density(test))}

    def log_prob(self, value: Tensor) -> Tensor:
        self._check(value)
        flat = value.reshape(-1, *value.shape[-2:]).to(self.dtype)
        return self.log_density(self.features_first(flat)).T.reshape(*value.shape[:-2], self.members)

    @torch.no_grad()
    def noise(self, value: Tensor) -> Tensor:
        """The noise ``z = f(x)`` that ``sample`` would turn into the points: ``(..., M, D)`` of ``(..., M or 1, D)``."""
        self._check(value)
        flat = value.reshape(-1, *value.shape[-2:]).to(self.dtype)
        return self._public(self._to_noise(self.features_first(flat))[0], value.shape[:-2])

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = (), generator: torch.Generator | None = None) -> Tensor:
        shape = torch.Size(sample_shape)
        z = self._noise(shape, generator)
        program = self.program(z)
        with torch.no_grad():
            if program is None:
                return self._path(z, shape)[-1]
            return self._public(self.standardize.inverse(program.apply(z, inverse=True)[0])[0], shape)

    def path(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = (), generator: torch.Generator | None = None) -> list[Tensor]:
        """Samples on their way from noise to data: K + 2 tensors ``sample_shape + (M, D)``, one before and after every bijection."""
        shape = torch.Size(sample_shape)
        return self._path(self._noise(shape, generator), shape)

    def _to_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``f`` of features-first points and its log-determinant; compiled where no gradient is asked for."""
        x, log_det = self.standardize(x)
        program = None if torch.is_grad_enabled() else self.program(x)
        if program is not None:
            x, step = program.apply(x, inverse=False)
            return x, log_det + step
        for bijection in self.chain[1:]:
            x, step = bijection(x)
            log_det = log_det + step
        return x, log_det

    def _noise(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        return self.features_first(torch.randn(shape.numel(), self.members, self.dim, generator=generator, dtype=self.dtype))

    def _path(self, x: Tensor, shape: torch.Size) -> list[Tensor]:
        states = [x]
        for bijection in reversed(self.chain):
            x, _ = bijection.inverse(x)
            states.append(x)
        return [self._public(state, shape) for state in states]

    # The compiled chain

    def program(self, x: Tensor) -> Program | None:
        """All bijections but the standardisation as one compiled operation; ``None`` where one of them, or this machine, has no such thing."""
        usable = kernels.usable(x) and self.standardize.mean.dtype == torch.float32
        return kernels.program(self.chain[1:]) if usable else None
