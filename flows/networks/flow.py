"""The normalizing flow: a chain of bijections over a base distribution."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from numpy.random import Generator
from torch import Tensor, nn

from flows import kernels
from flows.bijections import Bijection
from flows.bijections.chain import compose
from flows.core.arrays import Shape
from flows.core.seeds import Generators, generator_of
from flows.kernels import Program
from flows.networks.base_distribution import Base, StandardNormal
from flows.networks.network import DensityNetwork, Objective


class Flow(DensityNetwork):
    """A chain of bijections ``f = f_K o ... o f_1`` from preprocessed data to noise over a base::

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
        """Initialise every data-dependent layer on its input from points ``(M, *event, N)``."""
        for bijection in self.chain:
            bijection.initialize(z)
            z = self._mapped([bijection], z)[0]

    def _mapped(
        self, chain: Sequence[Bijection], z: Tensor, *, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Map points by a ``chain`` or, with ``inverse``, back; return the log-determinant, too.

        It is compiled where no gradient is asked for.
        """
        program = None if torch.is_grad_enabled() else self.program(z, chain)
        if program is not None:
            return program.apply(z, inverse=inverse)
        return compose(chain, z, inverse=inverse)

    def log_density(self, z: Tensor) -> Tensor:
        """Return ``log q``, ``(M, N)``, of preprocessed points ``(M, *event, N)``.

        It can be differentiated by the points and by the parameters; inside ``torch.no_grad()``,
        where that is not asked for, it is compiled.
        """
        noise, log_det = self.to_noise(z)
        return log_det + self.base.log_prob(noise)

    def loss(self, z: Tensor, program: Program | None = None) -> tuple[Tensor, Tensor]:
        """Return the training loss of preprocessed points, ``(M,)``, and its gradient ``(M, P)``::

            loss = -1/N sum_n [ log p(f(z_n)) + log |det df| ],    p = base.in_training

        The gradient is by all parameters, in their order. The members share none, so the gradient
        of the summed losses is each member's own. ``program`` is what ``program(z)`` gives: pass it
        to avoid rebuilding it.
        """
        base = self.base.in_training
        program = self.program(z) if program is None else program
        if program is not None and type(base) is StandardNormal:  # the one that the kernels know
            return program.loss(z)
        with torch.enable_grad():
            noise, log_det = self.to_noise(z)
            loss = -(log_det + base.log_prob(noise)).mean(1)
            gradients = torch.autograd.grad(loss.sum(), list(self.parameters()))
        return loss.detach(), torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

    def objective(self, points: Tensor, generators: Generators) -> Objective:
        program = self.program(points)
        return lambda batch: self.loss(batch, program)

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``f`` of preprocessed points, and its log-determinant ``(M, N or 1)``."""
        return self._mapped(self.chain, z)

    def generate(self, n: int, generator: Generator) -> Tensor:
        noise = self.base.sample(n, generator, self.dtype).to(self.device)
        return self._mapped(self.chain, noise, inverse=True)[0]

    @torch.no_grad()
    def encode(self, value: Any) -> Tensor:
        """Return the noise ``(..., M, *event)`` that ``sample`` would turn into the points."""
        value = self.points(value)
        noise = self.to_noise(self.preprocess(value)[0])[0]
        return self.rows_first(noise, value.shape[: -1 - len(self.event_shape)])

    @torch.no_grad()
    def trajectory(
        self, sample_shape: Shape = (), generator: Generator | None = None
    ) -> list[Tensor]:
        """Return samples at every step from noise to data.

        They are K + 2 tensors ``sample_shape + (M, *event)``: the first is noise, each next one is
        after one more bijection, and the last is in the user's units.
        """
        shape = torch.Size(sample_shape)
        noise = self.base.sample(shape.numel(), generator_of(generator), self.dtype)
        states = [noise.to(self.device)]
        for bijection in reversed(self.chain):
            states.append(self._mapped([bijection], states[-1], inverse=True)[0])
        return [self.rows_first(z, shape) for z in (*states, self.restore(states[-1]))]

    def program(self, z: Tensor, chain: Sequence[Bijection] | None = None) -> Program | None:
        """Return a part of the flow, or else the whole of it, as one compiled operation.

        There is none for images, and none where a bijection or this machine can't be compiled for.
        """
        if z.ndim == 3 and kernels.usable(z, *self.parameters()):
            return kernels.program(self.chain if chain is None else chain)
        return None
