"""The normalizing flow: a chain of bijections over a base distribution."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from flows import kernels
from flows.bijections import Bijection, Chain
from flows.core.seeds import generator_of
from flows.kernels import Program
from flows.networks.base_distribution import Base, StandardNormal
from flows.networks.network import DensityNetwork, Objective


class Flow(DensityNetwork):
    """A chain of bijections ``f = f_K o ... o f_1`` from standardised data to noise.

    Over a base distribution ``p_0``::

        log q(x) = log p_0(f(x)) + sum_k log |det df_k|
        sample:    x = f^-1(z),  z ~ p_0

    ``Flow(StandardNormal(members, event_shape), chain)``: both parts can be replaced.
    ``flows.build`` makes the flows that have a name.
    """

    def __init__(
        self, base: Base, chain: Sequence[Bijection], description: dict[str, Any] | None = None
    ) -> None:
        super().__init__(base.members, base.event_shape, description)
        self.base = base
        self.bijections = nn.ModuleList(chain)

    @property
    def chain(self) -> list[Bijection]:
        """The bijections from data to noise."""
        return cast(list[Bijection], list(self.bijections))

    @torch.no_grad()
    def initialize(self, z: Tensor) -> None:
        """Fit every data-dependent layer to what it receives of the training points.

        From data to noise.
        """
        for bijection in self.chain:
            bijection.initialize(z)
            z = self._step(bijection, z)

    @staticmethod
    def _step(bijection: Bijection, z: Tensor, *, inverse: bool = False) -> Tensor:
        """One bijection without its log-determinant; compiled where it can be."""
        step = kernels.program([bijection]) if z.ndim == 3 and kernels.usable(z) else None
        return (
            (bijection.inverse if inverse else bijection)(z)
            if step is None
            else step.apply(z, inverse=inverse)
        )[0]

    def log_density(self, z: Tensor) -> Tensor:
        """``log q``, ``(M, N)``, of standardised points ``(M, *event, N)``.

        Can be differentiated by the points and by the parameters; inside ``torch.no_grad()``, where
        that is not asked for, it is compiled.
        """
        noise, log_det = self.to_noise(z)
        return log_det + self.base.log_prob(noise)

    def loss(self, z: Tensor, program: Program | None = None) -> tuple[Tensor, Tensor]:
        """The mean negative log-likelihood of standardised points, ``(M,)``, and its gradient.

        The gradient ``(M, P)`` is by all parameters, in their order.

        The members share no parameter, so the gradient of the summed losses is each member's own.
        ``program`` is what ``program(z)`` gives: pass it to avoid rebuilding it.
        """
        program = self.program(z) if program is None else program
        if program is not None and isinstance(self.base, StandardNormal):
            return program.loss(z)
        with torch.enable_grad():
            loss = -self.log_density(z).mean(1)
            gradients = torch.autograd.grad(loss.sum(), list(self.parameters()))
        return loss.detach(), torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

    def objective(self, points: Tensor, generators: Sequence[np.random.Generator]) -> Objective:
        program = self.program(points)
        return lambda batch: self.loss(batch, program)

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``f`` of standardised points, and its log-determinant ``(M, N or 1)``.

        Compiled where no gradient is asked for.
        """
        program = None if torch.is_grad_enabled() else self.program(z)
        return Chain(self.chain)(z) if program is None else program.apply(z, inverse=False)

    def generate(self, n: int, generator: np.random.Generator) -> Tensor:
        noise = self.base.sample(n, generator, self.dtype).to(self.device)
        program = self.program(noise)
        return (
            Chain(self.chain).inverse(noise)
            if program is None
            else program.apply(noise, inverse=True)
        )[0]

    @torch.no_grad()
    def encode(self, value: Any) -> Tensor:
        """The noise ``f(x)`` that ``sample`` would turn into the points.

        ``(..., M, *event)`` of points as ``log_prob`` takes them.
        """
        value = self.points(value)
        return self._rows(
            self.to_noise(self.standardized(value)[0])[0], value.shape[: -1 - len(self.event_shape)]
        )

    @torch.no_grad()
    def trajectory(
        self,
        sample_shape: torch.Size | list[int] | tuple[int, ...] = (),
        generator: np.random.Generator | None = None,
    ) -> list[Tensor]:
        """Samples on their way from noise to data: K + 2 tensors ``sample_shape + (M, *event)``.

        The first is noise, each next one is after one more bijection, and the last is in the user's
        units.
        """
        shape = torch.Size(sample_shape)
        states = [
            self.base.sample(shape.numel(), generator_of(generator), self.dtype).to(self.device)
        ]
        for bijection in reversed(self.chain):
            states.append(self._step(bijection, states[-1], inverse=True))
        return [self._rows(state, shape) for state in (*states, self._out(states[-1]))]

    def program(self, z: Tensor) -> Program | None:
        """The chain as one compiled operation.

        ``None`` where a bijection, or this machine, has no such thing, and for images.
        """
        return (
            kernels.program(self.chain)
            if z.ndim == 3 and kernels.usable(z, next(self.parameters()))
            else None
        )
