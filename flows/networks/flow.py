"""The normalizing flow: a chain of bijections over a base distribution."""

from collections.abc import Iterable
from typing import Any

import torch
from numpy.random import Generator
from torch import Tensor

from flows.bijections import Bijection, Chain
from flows.core.arrays import Shape
from flows.core.seeds import Generators, generator_of
from flows.networks.backend import backend
from flows.networks.base_distribution import Base
from flows.networks.network import DensityNetwork, Objective


class Flow(DensityNetwork):
    """A ``Chain`` ``f = f_K o ... o f_1`` from preprocessed data to noise, over a base::

        log q(x) = log p_0(f(x)) + sum_k log |det df_k|
        sample:    x = f^-1(z),  z ~ p_0

    ``Flow(StandardNormal(members, event_shape), bijections)``: both parts can be replaced.
    ``flows.build`` makes the flows that have a name.

    Args:
        base: the base distribution of all members.
        bijections: the bijections ``f_1, ..., f_K``, in the order from data to noise.
        description: how to build the network again, as JSON; without it, ``flows.save`` refuses
            the network.
    """

    def __init__(
        self, base: Base, bijections: Iterable[Bijection], description: dict[str, Any] | None = None
    ) -> None:
        super().__init__(base.members, base.event_shape, description)
        self.base = base
        self.chain = Chain(bijections)
        self.register_load_state_dict_pre_hook(_rename_bijections)

    @torch.no_grad()
    def initialize(self, z: Tensor) -> None:
        """Initialise every data-dependent layer on its input.

        Args:
            z: preprocessed training points ``(M, *event, N)``.
        """
        for bijection in self.chain:
            bijection.initialize(z)
            z = backend.map(bijection, z)[0]

    def log_density(self, z: Tensor) -> Tensor:
        """Return ``log q``, ``(M, N)``, of preprocessed points.

        It can be differentiated by the points and by the parameters, any number of times. The
        backward pass computes the points once more (``flows/networks/backend.py``).

        Args:
            z: preprocessed points ``(M, *event, N)``.
        """
        noise, log_det = self.to_noise(z)
        return log_det + self.base.log_prob(noise)

    def loss(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the training loss of preprocessed points, ``(M,)``, and its gradient ``(M, P)``::

            loss = -1/N sum_n [ log p(f(z_n)) + log |det df| ],    p = base.in_training

        The gradient is by all parameters, in their order. The members share none, so the gradient
        of the summed losses is each member's own.

        Args:
            z: preprocessed points ``(M, *event, N)``.
        """
        return backend.loss(self.chain, self.base.in_training, z)(z)

    def objective(self, points: Tensor, generators: Generators) -> Objective:
        return backend.loss(self.chain, self.base.in_training, points)

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``f(z)``, ``(M, *event, N)``, and its log-determinant ``(M, N or 1)``.

        Args:
            z: preprocessed points ``(M, *event, N)``.
        """
        return backend.map(self.chain, z)

    def generate(self, n: int, generator: Generator) -> Tensor:
        noise = self.base.sample(n, generator, self.dtype).to(self.device)
        return backend.map(self.chain, noise, inverse=True)[0]

    @torch.no_grad()
    def encode(self, value: Any) -> Tensor:
        """Return the noise ``(..., M, *event)`` that ``sample`` would turn into the points.

        Args:
            value: points in the user's units, in any form that ``log_prob`` takes.
        """
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

        Args:
            sample_shape: the shape of the draws, such as ``(n,)``.
            generator: of NumPy or of torch; without one, the draws are new at every call.
        """
        shape = torch.Size(sample_shape)
        noise = self.base.sample(shape.numel(), generator_of(generator), self.dtype)
        states = [noise.to(self.device)]
        for bijection in reversed(self.chain):
            states.append(backend.map(bijection, states[-1], inverse=True)[0])
        return [self.rows_first(z, shape) for z in (*states, self.restore(states[-1]))]


def _rename_bijections(flow: Flow, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename the tensors of a file of version 0.2.0, whose chain was called ``bijections``."""
    old = f"{prefix}bijections."
    for name in [name for name in state if name.startswith(old)]:
        state[f"{prefix}chain.bijections.{name.removeprefix(old)}"] = state.pop(name)
