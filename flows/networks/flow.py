"""The normalizing flow: a chain of bijections over a base distribution."""

from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from numpy.random import Generator
from torch import Tensor

from flows.bijections import Bijection, Chain, Coupling
from flows.core.arrays import Array, Shape
from flows.core.seeds import Generators, generator_of
from flows.networks.backend import backend
from flows.networks.base_distribution import Base
from flows.networks.network_population import DensityPopulation, Objective
from flows.networks.population import ensemble_log_prob


class Flow(DensityPopulation):
    """A ``Chain`` ``f = f_K o ... o f_1`` from preprocessed data to noise, over a base::

        log q(x) = log p_0(f(x)) + sum_k log |det df_k|
        sample:    x = f^-1(z),  z ~ p_0

    ``flows.build`` returns the flows of the named architectures. A flow can also be assembled from
    any base and bijections.

    With a ``context`` of d columns, the density is conditional. The bijections map rows (x, y) of
    the inputs x, which encode the context (``encoding.py``), and of the point y, and change only y.
    The base is a distribution of y alone::

        log q(y | x) = log p_0(f(y; x)) + sum_k log |det df_k / dy|

    Args:
        base: the distribution p_0 of the noise, with M members.
        bijections: the bijections f_1 to f_K, each with M members.
        description: how to build the flow again; empty for a flow assembled by hand.
        context: the number of columns d of the context; 0 for none.

    Examples:
        >>> import flows
        >>> from flows.bijections import ActNorm
        >>> flow = flows.Flow(flows.StandardNormal(3, (2,)), [ActNorm(2, 3)])
        >>> flow.log_prob([[0.0, 0.0], [1.0, 2.0]]).shape  # 2 points, 3 members
        torch.Size([2, 3])

        >>> population = flows.build(flows.NSF(couplings=2, hidden=4), (1,), members=3, context=2)
        >>> x, y = [[0.0, 0.0], [1.0, 2.0]], [[0.5], [1.0]]
        >>> population.log_prob(y, context=x).shape, population.sample(context=x).shape
        (torch.Size([2, 3]), torch.Size([2, 3, 1]))
    """

    def __init__(
        self,
        base: Base,
        bijections: Iterable[Bijection],
        description: dict[str, Any] | None = None,
        *,
        context: int = 0,
    ) -> None:
        description = {**(description or {}), **({"context": context} if context else {})}
        super().__init__(base.members, base.event_shape, description)
        self.base = base
        self.chain = Chain(bijections)

    @torch.no_grad()
    def initialize(self, z: Tensor) -> None:
        """Initialise each data-dependent layer on its input.

        Args:
            z: preprocessed training points ``(M, *event, N)``.
        """
        for bijection in self.chain:
            bijection.initialize(z)
            z = backend.map(bijection, z)[0]

    def log_density(self, z: Tensor) -> Tensor:
        """Return ``log q``, ``(M, N)``, of preprocessed points.

        The result can be differentiated with respect to the points and the parameters, any number
        of times. The backward pass recomputes the chain (``flows/networks/backend.py``).

        Args:
            z: preprocessed points ``(M, *event, N)``; with a context, ``(M, inputs + D, N)``.
        """
        noise, log_det = self.to_noise(z)
        return log_det + self.base.log_prob(noise[:, self.inputs :])

    @torch.no_grad()
    def log_factors(self, value: Any, context: Any) -> Tensor:
        """Return log p(y_j | x, y_1, ..., y_{j-1}) for each feature, ``(n, M, D)``.

        Each bijection must be a coupling that changes one feature y_j and reads features before it,
        as in ``flows.Conditional`` or for one feature. The factors sum to ``log_prob``.

        Args:
            value: points y in the user's units, ``(n, D)``.
            context: their contexts x, ``(n, d)``.
        """
        rows = self.features_first(self.joined(value, context))
        z, slopes = self.preprocessing.with_factor_log_slopes(rows.double())
        z = z.to(self.dtype).contiguous()
        for bijection in self.chain:
            assert isinstance(bijection, Coupling)
            z, log_det = backend.map(bijection, z)
            slopes[:, bijection.changed[0] - self.inputs] += log_det
        noise = z[:, self.inputs :]
        factors = [
            self.base.log_prob(noise[:, j : j + 1]) + slopes[:, j] for j in range(noise.shape[1])
        ]
        return torch.stack(factors).permute(2, 1, 0)

    def loss(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the training loss of preprocessed points, ``(M,)``, and its gradient ``(M, P)``::

            loss = -1/N sum_n [ log p(f(z_n)) + log |det df| ],    p = base.in_training

        The gradient is with respect to all parameters, in their order. Members share no parameter,
        so the gradient of the summed losses holds the gradient of each member. With a context, the
        loss also has the term log p(x), which is constant and adds nothing to the gradient.

        Args:
            z: preprocessed points ``(M, *event, N)``.
        """
        return backend.loss(self.chain, self.base.in_training, z)(z)

    def objective(self, points: Tensor, generators: Generators) -> Objective:
        return backend.loss(self.chain, self.base.in_training, points)

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise ``f(z)``, ``(M, *event, N)``, and the log-determinant, ``(M, N or 1)``.

        Args:
            z: preprocessed points ``(M, *event, N)``.
        """
        return backend.map(self.chain, z)

    def generate(self, n: int, generator: Generator) -> Tensor:
        noise = self.base.sample(n, generator, self.dtype).to(self.device)
        return backend.map(self.chain, noise, inverse=True)[0]

    @torch.no_grad()
    def sample(
        self, sample_shape: Shape = (), generator: Generator | None = None, context: Any = None
    ) -> Tensor:
        """Draw points ``sample_shape + (M, *event)`` in the user's units, in double precision.

        Args:
            sample_shape: the shape of the draws, such as ``(n,)``.
            generator: a generator of NumPy or torch; ``None`` for new draws at every call.
            context: the context of each draw, ``(n, d)`` or ``(n, M, d)``, if the population has a
                context. The draws are ``sample_shape + (n, M, D)``.

        Raises ``ValueError`` if ``context`` is missing, or the population has no context.
        """
        if context is None and not self.context:
            return super().sample(sample_shape, generator)
        self.check_context(context)
        context = self.points(context, "context", (self.context,))
        shape = (*sample_shape, *context.shape[:-2])
        count = torch.Size(shape).numel()
        noise = self.base.sample(count, generator_of(generator), self.dtype)
        return self.decode(noise.movedim(-1, 0).reshape(*shape, *noise.shape[:-1]), context)

    @torch.no_grad()
    def draw_given(self, context: Array, generator: Generator, *, is_rounded: bool = True) -> Array:
        if not context.shape[-1]:
            return super().draw_given(context, generator, is_rounded=is_rounded)
        noise = self.base.sample(len(context), generator, self.dtype).movedim(-1, 0)
        size, decode = self.piece(len(context)), partial(self.decode, is_rounded=is_rounded)
        pieces = zip(noise.split(size), torch.from_numpy(context).split(size), strict=True)
        return torch.cat([decode(*each) for each in pieces]).numpy()

    @torch.no_grad()
    def decode(self, noise: Any, context: Any, *, is_rounded: bool = True) -> Tensor:
        """Return the points that ``noise`` is mapped to in a context; ``encode`` is the inverse.

        Args:
            noise: ``(..., M or 1, D)``, or ``(n, D)`` for all members.
            context: the context of each point in the user's units, ``(n, M or 1, d)`` or
                ``(n, d)``.
            is_rounded: whether the points are rounded like samples.

        Returns points ``(..., M, D)`` in the user's units, in double precision.
        """
        # A value that is valid in any context stands for the points that are unknown
        middle = self.middle()[None, :, self.context :]
        given = self.joined(middle, context)
        noise = self.points(noise)
        shape = torch.broadcast_shapes(noise.shape[:-2], given.shape[:-2])
        inputs = self.preprocessing.inputs_of(self.features_first(given))
        inputs = inputs.movedim(-1, 0).reshape(*given.shape[:-2], self.members, -1)
        parts = [
            each.to(self.dtype).expand(*shape, self.members, -1).reshape(-1, self.members, n)
            for each, n in ((inputs, self.inputs), (noise, self.event_shape[0]))
        ]
        z = torch.cat(parts, dim=-1).movedim(0, -1).contiguous()
        mapped = backend.map(self.chain, z, inverse=True)[0].double()
        points = self.preprocessing.restore_points(mapped, is_rounded=is_rounded)
        return self.rows_first(points, torch.Size(shape))

    def middle(self) -> Tensor:
        """Return the row of each member in the middle of its preprocessed rows, ``(M, d + D)``."""
        zeros = torch.zeros(self.members, self.preprocessing.width, 1, dtype=torch.float64)
        return self.restore(zeros)[:, :, 0]

    @torch.no_grad()
    def ensemble_sample(
        self, n: int | None = None, generator: Generator | None = None, context: Any = None
    ) -> Tensor:
        """Draw independent points from the ensemble, ``(n, *event)``.

        Args:
            n: the number of points; for a population with a context, ``None`` or the number of
                rows of ``context``.
            generator: a generator of NumPy or torch; ``None`` for new draws at every call.
            context: the context of each point, ``(n, d)``, if the population has a context.

        Raises ``ValueError`` if ``context`` is missing or has another number of rows, or the
        population has no context.
        """
        if context is None and not self.context:
            if n is None:
                raise ValueError("ensemble_sample needs n, the number of points")
            return super().ensemble_sample(n, generator)
        generator = generator_of(generator)
        drawn = self.sample((), generator, context)
        if n not in (None, len(drawn)):
            raise ValueError(
                f"n = {n}: must be None or the number of rows of context, {len(drawn)}"
            )
        member = self.choose_members(len(drawn), generator)
        return drawn[torch.arange(len(drawn)), torch.from_numpy(member)]

    def ensemble_log_prob(self, value: Any, context: Any = None) -> Tensor:
        """Return log-densities ``(n,)`` of the ensemble in nats.

        Args:
            value: points in the user's units, ``(n, *event)`` or ``(n, M, *event)``.
            context: the context of each point, ``(n, d)``, if the population has a context.

        Raises ``ValueError`` if ``context`` is missing, and if the population has no context.
        """
        return ensemble_log_prob(self.log_prob(value, context), self.member_weights)

    @torch.no_grad()
    def encode(self, value: Any, context: Any = None) -> Tensor:
        """Return the noise ``(n, M, *event)`` that ``sample`` would map to the points ``value``.

        Args:
            value: points in the user's units, ``(n, *event)`` or ``(n, M, *event)``.
            context: the context of each point, if the population has a context.

        Raises ``ValueError`` for points of another shape.

        Examples:
            >>> import flows
            >>> flow = flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=3)
            >>> noise = flow.encode([[0.0, 0.0], [1.0, 2.0]])
            >>> noise.shape
            torch.Size([2, 3, 2])
        """
        value = self.joined(value, context)
        noise = self.to_noise(self.preprocess(value)[0])[0][:, self.inputs :]
        return self.rows_first(noise, value.shape[: -1 - len(self.event_shape)])

    @torch.no_grad()
    def trajectory(
        self, sample_shape: Shape = (), generator: Generator | None = None
    ) -> list[Tensor]:
        """Return samples at every step from noise to data.

        The list has K + 2 tensors ``sample_shape + (M, *event)``: the noise, the points after each
        of the K inverse bijections, and the points in the user's units.

        Args:
            sample_shape: the shape of the draws, such as ``(n,)``.
            generator: a generator of NumPy or torch; ``None`` for new draws at every call.

        Raises ``NotImplementedError`` for a population with a context.

        Examples:
            >>> import flows
            >>> flow = flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=3)
            >>> steps = flow.trajectory((5,))
            >>> len(steps), steps[-1].shape
            (4, torch.Size([5, 3, 2]))
        """
        if self.context:
            raise NotImplementedError("a flow with a context has no trajectory; sample draws")
        shape = torch.Size(sample_shape)
        noise = self.base.sample(shape.numel(), generator_of(generator), self.dtype)
        states = [noise.to(self.device)]
        # Either C or PyTorch computes all layers, as for samples
        in_torch = backend.program(self.chain, states[0]) is None
        with backend.reference_code() if in_torch else nullcontext():
            for bijection in reversed(self.chain):
                states.append(backend.map(bijection, states[-1], inverse=True)[0])
        return [self.rows_first(z, shape) for z in (*states, self.restore(states[-1]))]
