"""The base class of models in torch: a population of M distributions."""

from __future__ import annotations

from typing import Any, ClassVar, overload

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from flows.core.arrays import Array, Shape, Whole, as_tensor
from flows.core.plurals import counted
from flows.core.seeds import generator_of
from flows.networks.densities import Along, Densities, Description, order_within


class Population(nn.Module, Distribution, Densities):
    """M distributions over one space, called members, as one ``torch`` ``Distribution``.

    Networks of a population differ in their random streams; after the automatic recipe, also in
    their training rows and regularisation. The batch shape is ``(M,)``, the event shape ``(D,)`` or
    ``(C, H, W)``.

    ``log_prob`` returns log-densities ``(n, M)`` in nats, in the user's units. It takes rows
    ``(n, *event)``, which all members score, or ``(n, M, *event)``, one set of points per member,
    as a tensor or as an array of any numbers. ``sample((n,), generator=g)`` returns points
    ``(n, M, *event)``. ``score`` and ``draw`` do the same with NumPy arrays.

    The ensemble is the mixture of the members with the weights ``member_weights`` ``(M,)``, which
    are equal unless the automatic recipe fitted others:
    ``MixtureSameFamily(Categorical(population.member_weights), population)``. ``ensemble_log_prob``
    returns its log-density, and ``ensemble_sample`` draws from it.

    Args:
        members: the number of members M.
        event_shape: the shape of a point.
        description: how to build the model again, as JSON. A checkpoint is the description and the
            state.

    After training, ``history`` holds ``epoch`` ``(L,)`` and curves ``(L, M)`` by name, and
    after ``flows.train``, ``record`` the ``Record``; before, they are empty and ``None``.

    Examples:
        >>> import flows
        >>> population = flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=3)
        >>> points = population.ensemble_sample(5)
        >>> points.shape, population.log_prob(points).shape
        (torch.Size([5, 2]), torch.Size([5, 3]))
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = False
    # Whether a trajectory follows a continuous path from noise to data, and not separate layers
    is_continuous: ClassVar[bool] = False

    def __init__(self, members: int, event_shape: Shape, description: Description) -> None:
        nn.Module.__init__(self)
        Distribution.__init__(
            self, torch.Size([members]), torch.Size(event_shape), validate_args=False
        )
        self.description, self.history = description, {}
        self.record = None

    __repr__ = nn.Module.__repr__

    @property
    def support(self) -> constraints.Constraint:
        """The constraint of the points: real vectors or images, all if there is no other map."""
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def members(self) -> int:
        """The number of members M."""
        return self.batch_shape[0]

    @property
    def context(self) -> int:
        """The number of features that the density is given; 0 for a density without a context."""
        return 0

    @property
    def row_shape(self) -> Shape:
        """The shape of a row: the context, then the features of a point."""
        first, *others = self.event_shape
        return (self.context + first, *others)

    @property
    def member_range(self) -> range:
        """The indices of the members in the full population.

        They start at 0 unless ``flows.build`` was called with a range of members.
        """
        return range(*self.description.get("members", (0, self.members)))

    @property
    def member_weights(self) -> Tensor:
        """The weights of the members in the ensemble, ``(M,)``, which sum to 1."""
        return torch.full((self.members,), 1 / self.members, dtype=torch.float64)

    def supports(self, method: str) -> bool:
        """Return whether the model has a ``method``.

        Args:
            method: ``"log_prob"``, ``"encode"`` or ``"trajectory"``.
        """
        return getattr(type(self), method) is not getattr(Population, method)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type in which the model computes."""
        return next(t.dtype for t in (*self.parameters(), *self.buffers()) if t.is_floating_point())

    @property
    def device(self) -> torch.device:
        """The device on which the model computes; ``model.to("cuda")`` moves it.

        Only flows without a context work on a GPU: their ``log_prob``, ``sample`` and training with
        the fixed recipe. Points may then be on any device; results are on the device of the model.
        """
        return next(t.device for t in (*self.parameters(), *self.buffers()))

    def sample(self, sample_shape: Shape = (), generator: Generator | None = None) -> Tensor:
        """Draw points ``sample_shape + (M, *event)`` in the user's units.

        Args:
            sample_shape: the shape of the draws, such as ``(n,)``.
            generator: a generator of NumPy or torch; ``None`` for new draws at every call.

        Raises ``NotImplementedError`` if the model does not sample.
        """
        raise NotImplementedError(f"{type(self).__name__} does not sample")

    def log_prob(self, value: Any) -> Tensor:
        """Return log-densities ``(n, M)`` in nats.

        Args:
            value: points in the user's units, ``(n, *event)`` or ``(n, M, *event)``.

        Raises ``NotImplementedError`` if the model has no density, and ``ValueError`` for points
        of another shape.
        """
        raise NotImplementedError(f"{type(self).__name__} has no density, so it has no log_prob")

    @torch.no_grad()
    def score_chunk(self, rows: Any) -> Array:
        """Return the log-densities of few rows, ``(n, M)``, in nats, from ``log_prob``.

        Args:
            rows: ``(n, *event)`` or ``(n, M, *event)`` in the user's units.
        """
        return self.log_prob(self.points(rows)).double().cpu().numpy()

    def score_given(self, rows: Array) -> Array:
        """Return the members' log-densities ``(n, M)`` of points given their contexts, in nats.

        Args:
            rows: few rows ``(n, M or 1, d + D)`` in the user's units, the context first.
        """
        return self.score_chunk(rows)

    def along_given(self, rows: Array, columns: Whole) -> Along:
        """Return log-densities of points given their contexts, as ``along``.

        Args:
            rows: the rows in the user's units, the context first, ``(n, d + D)``.
            columns: the column of numbers that each row lacks, ``(n,)``.
        """
        return self.along(rows, columns)

    @torch.no_grad()
    def draw(self, n: int, generator: Generator) -> Array:
        return self.sample((n,), generator=generator).double().cpu().numpy()

    def draw_given(self, context: Array, generator: Generator, *, is_rounded: bool = True) -> Array:
        """Draw a point given each context from each member, ``(n, M, D)``.

        Args:
            context: the contexts, ``(n, M or 1, d)``; with d = 0 for a model without a context.
            generator: the source of the draws.
            is_rounded: whether the points are rounded like samples.

        Raises ``NotImplementedError`` if the model takes no context of d values, or does not draw.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no context")

    def encode(self, value: Any) -> Tensor:
        """Return the noise ``(n, M, *event)`` that the points are mapped to.

        Args:
            value: points in the user's units, ``(n, *event)`` or ``(n, M, *event)``.

        Raises ``NotImplementedError`` if the model is not a flow.
        """
        raise NotImplementedError(f"{type(self).__name__} is not a flow, so it cannot encode")

    def trajectory(
        self, sample_shape: Shape = (), generator: Generator | None = None
    ) -> list[Tensor]:
        """Return samples at every step from noise to data.

        Args:
            sample_shape: the shape of the draws, such as ``(n,)``.
            generator: a generator of NumPy or torch; ``None`` for new draws at every call.

        Raises ``NotImplementedError`` if the model is not a flow.
        """
        raise NotImplementedError(f"{type(self).__name__} is not a flow, so it has no trajectory")

    def ensemble_log_prob(self, value: Any) -> Tensor:
        """Return log-densities ``(n,)`` of the ensemble in nats.

        Args:
            value: points in the user's units, ``(n, *event)`` or ``(n, M, *event)``.
        """
        return ensemble_log_prob(self.log_prob(value), self.member_weights)

    @torch.no_grad()
    def ensemble_sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """Draw independent points from the ensemble, ``(n, *event)``.

        For each point, one member is chosen with the ``member_weights`` as probabilities.

        Args:
            n: the number of points.
            generator: a generator of NumPy or torch; ``None`` for new draws at every call.

        Raises ``NotImplementedError`` if the model does not sample.

        Examples:
            >>> import flows
            >>> population = flows.build(flows.NSF(couplings=2, hidden=4), (2,), members=3)
            >>> population.ensemble_sample(5).shape
            torch.Size([5, 2])
        """
        generator = generator_of(generator)
        member = self.choose_members(n, generator)
        drawn = self.sample((int(np.bincount(member).max(initial=0)),), generator=generator)
        return drawn[torch.from_numpy(order_within(member)), torch.from_numpy(member)]

    def parameters_per_member(self) -> int:
        """Return the number of trainable parameters of one network."""
        return sum(p.numel() for p in self.parameters()) // self.members

    def features_first(self, value: Any) -> Tensor:
        """Return points as ``(M, *event, n)``.

        Args:
            value: points in any form that ``log_prob`` takes; with a context, joined to it.
        """
        shape = self.row_shape
        value = self.points(value, shape=shape).to(self.device).flatten(0, -2 - len(shape))
        return value.expand(-1, self.members, *shape).movedim(0, -1)

    def rows_first(self, x: Tensor, shape: torch.Size) -> Tensor:
        """Return points as ``shape + (M, *event)``.

        Args:
            x: points ``(M, *event, n)``.
            shape: the axes that stand for n, whose product is n.
        """
        return x.movedim(-1, 0).reshape(*shape, self.members, *self.event_shape)

    def check_context(self, context: Any) -> None:
        """Check whether a context is given if and only if the population has one.

        Args:
            context: the context, or ``None``.

        Raises ``ValueError`` for a missing context, and for a context that is not expected.
        """
        if context is None and self.context:
            raise ValueError(
                f"the population has a context of {counted(self.context, 'number')}; pass context=x"
            )
        if context is not None and not self.context:
            raise ValueError("the population was built without a context, so it takes none")

    def points(self, value: Any, what: str = "points", shape: Shape | None = None) -> Tensor:
        """Return points as a tensor ``(..., M or 1, *event)``.

        Args:
            value: rows ``(n, *event)``, which all members share, even if there are as many rows as
                members; or points ``(..., M or 1, *event)``.
            what: the name of the points in messages.
            shape: the shape of a point; ``None`` for the event shape.

        Raises ``ValueError`` for another shape, and ``TypeError`` for values that are not numbers.
        """
        tensor = as_tensor(value, what)
        event = tuple(self.event_shape if shape is None else shape)
        if tensor.ndim == len(event) + 1 and tensor.shape[1:] == event:
            return tensor.unsqueeze(1)
        leading = tensor.shape[: -len(event)]
        fits = len(leading) > 1 and leading[-1] in (1, self.members)
        if not fits or tensor.shape[-len(event) :] != event:
            numbers = ", ".join(map(str, event))
            allowed = f"rows of shape (n, {numbers})"
            if self.members > 1:
                allowed += f", or (n, {self.members}, {numbers}) with own rows for each member"
            raise ValueError(f"{what}: expected {allowed}; got {tuple(tensor.shape)}")
        return tensor


@overload
def ensemble_log_prob(member_log_prob: Tensor, weights: Tensor | Array | None = None) -> Tensor: ...


@overload
def ensemble_log_prob(member_log_prob: Array, weights: Tensor | Array | None = None) -> Array: ...


def ensemble_log_prob(
    member_log_prob: Tensor | Array, weights: Tensor | Array | None = None
) -> Tensor | Array:
    """Return the log-density of the mixture of the members, the ensemble::

        log q(x) = log sum_m w_m q_m(x)

    Args:
        member_log_prob: the members' log-densities ``(..., M)`` in nats, a tensor or an array.
        weights: the members' weights w ``(M,)``, which should sum to 1 and are not normalised. A
            weight may be 0. By default, every member has the weight 1/M.

    Returns log-densities ``(...)`` in nats: a tensor for a tensor, an array for an array.

    Examples:
        >>> import flows, numpy as np
        >>> log_q = np.log([[0.1, 0.3], [0.2, 0.2]])  # 2 points, 2 members
        >>> np.exp(flows.ensemble_log_prob(log_q)).round(3)
        array([0.2, 0.2])
    """
    if not isinstance(member_log_prob, torch.Tensor):
        # Torch warns about read-only arrays
        log_q = torch.from_numpy(np.require(member_log_prob, requirements="W"))
        return ensemble_log_prob(log_q, weights).numpy()
    if weights is None:
        members = torch.tensor(member_log_prob.shape[-1], dtype=member_log_prob.dtype)
        return member_log_prob.logsumexp(-1) - members.log()
    log_weights = as_tensor(weights, "weights").log().to(member_log_prob)
    return (member_log_prob + log_weights).logsumexp(-1)
