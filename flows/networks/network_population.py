"""The interface between models and training: the base class of populations of networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Array, Shape, Whole, as_tensor
from flows.core.seeds import Generators, generator_of
from flows.networks.densities import Along
from flows.networks.lines import Lines
from flows.networks.population import Population
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal

MOST_FEATURES = 4_000_000  # of rows with labels that are mapped at a time: limits the memory
Objective = Callable[[Tensor], tuple[Tensor, Tensor]]


class Points(NamedTuple):
    """Points after the preprocessing of a population.

    Attributes:
        z: the points ``(M, *event, N)``, in the precision of the networks.
        log_det: the log-determinant of the preprocessing at these points, ``(M, N or 1)``, in
            double precision, as it may be large.
    """

    z: Tensor
    log_det: Tensor


class NetworkPopulation(Population, ABC):
    """A population of M neural networks that share no parameter.

    Every parameter is ``(M, ...)``. Users pass points as rows in their own units. Internally,
    points are *features first*, ``(M, *event, N)``, after the ``preprocessing``, whose
    log-determinant is added to every log-density.

    ``weights`` ``(M,)`` are the weights of the members in the ensemble, and ``betas`` the decay
    rates of the optimiser. A subclass defines its loss in ``objective``, and the numbers that
    training logs in ``curves``.
    """

    weights: Tensor

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    takes_noise: ClassVar[bool] = True  # whether training moves points and adds noise to them

    def __init__(
        self, members: int, event_shape: Shape, description: dict[str, Any] | None = None
    ) -> None:
        super().__init__(members, event_shape, description or {})
        self.register_buffer("weights", torch.full((members,), 1 / members, dtype=torch.float64))
        self.preprocessing = Preprocessing(self.row_shape, members, context=self.context)

    @property
    def to_real(self) -> ToReal:
        return self.preprocessing.to_real

    @property
    def context(self) -> int:
        return int(self.description.get("context", 0))

    @property
    def inputs(self) -> int:
        """The number of features that encode the context, which networks are given."""
        return self.preprocessing.inputs

    @property
    def member_weights(self) -> Tensor:
        return self.weights

    def forget_automatic(self) -> None:
        """Remove the preprocessing and the stacking weights of the automatic recipe."""
        self.preprocessing.remove_automatic()
        self.weights.fill_(1 / self.members)

    # Internal methods: preprocessed points, features first

    @torch.no_grad()
    def initialize(self, z: Tensor) -> None:
        """Set data-dependent parameters from the training points ``(M, *event, N)``."""

    @abstractmethod
    def objective(self, points: Tensor, generators: Generators) -> Objective:
        """Return the function that an epoch calls for every batch.

        For a batch ``(M, *event, n)``, the function returns the detached loss ``(M,)`` and the
        gradient ``(M, P)`` with respect to all parameters, in their order. Each member draws random
        numbers from its own generator.

        Args:
            points: the preprocessed points of the epoch ``(M, *event, N)``.
            generators: one per member, for the random numbers of the member.
        """

    def visit(self, points: Tensor, generators: Generators) -> Tensor:
        """Return the points ``(M, *event, N)`` that one visit to ``points`` trains on.

        A visit is one use of a point in an epoch. By default, it uses the points themselves. A
        subclass whose points stand for regions draws a point from each region.
        """
        return points

    @abstractmethod
    def curves(self, points: dict[str, Points]) -> dict[str, Array]:
        """Return numbers for the history by name, one per member, ``(M,)``.

        ``points`` has the key ``train``, and may have others. Training calls this method every few
        epochs.
        """

    def final_curves(self, points: dict[str, Points]) -> dict[str, Array]:
        """Return the curves of which the history keeps only the last value, as they are expensive.

        They are of the form of ``curves``. Earlier values are ``NaN``.
        """
        return {}

    @abstractmethod
    def generate(self, n: int, generator: np.random.Generator) -> Tensor:
        """Draw ``n`` points from each member, ``(M, *event, n)``.

        Args:
            n: the number of points per member.
            generator: the generator of the random numbers of all members.
        """

    # Users' rows

    def rows(self, value: Any, what: str = "rows", *, may_have_gaps: bool = False) -> Tensor:
        """Return training rows as ``(n, M or 1, *event)``.

        The rows of a population with a context are ``(n, M or 1, context + D)``. Raises
        ``ValueError`` if there are no rows, and for a value that is not finite, or that the map to
        the real line does not allow. Gaps (``NaN``) are allowed if rows ``may_have_gaps``.
        """
        rows = self.points(value, what, self.row_shape)
        if rows.ndim != len(self.event_shape) + 2:
            raise ValueError(f"{what}: expected one axis of rows; got {tuple(rows.shape)}")
        if not len(rows):
            raise ValueError(f"{what} holds no rows")
        if not may_have_gaps:
            for row, *place in (~rows.isfinite()).nonzero()[:1].tolist():
                raise ValueError(
                    f"row {row} of {what} holds {rows[row, *place].item()}, which is not finite"
                )
        given = rows.double().numpy()
        real = self.to_real.map_rows(given)
        for row, *place in np.argwhere(~(np.isfinite(real) | np.isnan(given)))[:1].tolist():
            name = self.to_real.names[place[-1]] if self.to_real.names else place[-1]
            raise ValueError(
                f"row {row} of {what}: column {name} holds {given[row, *place]:g}; allowed are "
                f"{self.to_real.allowed(place[-1])}"
            )
        return rows

    def preprocess(self, value: Any) -> Points:
        """Preprocess points in the user's units; with a context, points joined to it."""
        z, log_det = self.preprocessing(self.features_first(value))
        return Points(z.to(self.dtype).contiguous(), log_det)

    def sample(
        self, sample_shape: Shape = (), generator: np.random.Generator | None = None
    ) -> Tensor:
        """Draw points ``sample_shape + (M, *event)`` in the user's units, in double precision.

        ``generator`` is a generator of NumPy or torch, or ``None`` for new numbers at every call.
        """
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            z = self.generate(shape.numel(), generator_of(generator))
            return self.rows_first(self.restore(z), shape)

    @torch.no_grad()
    def draw_given(self, context: Array, generator: Generator, *, is_rounded: bool = True) -> Array:
        if context.shape[-1]:
            return super().draw_given(context, generator, is_rounded=is_rounded)
        z = self.generate(len(context), generator).double()
        x = self.restore(z) if is_rounded else self.preprocessing.inverse(z)[0]
        return self.rows_first(x, torch.Size([len(context)])).cpu().numpy()

    def joined(self, value: Any, context: Any = None) -> Tensor:
        """Return points in the user's units, joined to their context.

        Args:
            value: points ``(..., M or 1, D)``, or rows ``(n, D)``.
            context: the context of each point, ``(..., M or 1, d)`` or ``(n, d)``; ``None`` for a
                population without a context.

        Raises ``ValueError`` if ``context`` is missing, or the population has no context.
        """
        value = self.points(value)
        self.check_context(context)
        if context is None:
            return value
        given = self.points(context, "context", (self.context,)).to(value)
        shape = torch.broadcast_shapes(value.shape[:-1], given.shape[:-1])
        return torch.cat([each.expand(*shape, -1) for each in (given, value)], dim=-1)

    def restore(self, z: Tensor) -> Tensor:
        """Map the networks' points ``(M, *event, n)`` back to the user's units."""
        return self.preprocessing.restore(z.double())

    def flatten(self) -> Tensor:
        """Return all parameters as one tensor ``(M, P)`` for an optimiser.

        The parameters of the modules become views of this tensor.
        """
        flat = torch.cat([p.detach().flatten(1) for p in self.parameters()], dim=1)
        self._point_at(flat)
        return flat

    @contextmanager
    def parameters_from(self, flat: Tensor) -> Iterator[None]:
        """Use the parameters ``flat`` ``(M, P)`` inside the block, without copying.

        The columns are in the order of ``flatten``. After the block, even after an error, the
        population has its own parameters again, unchanged.
        """
        own = [p.data for p in self.parameters()]
        self._point_at(flat)
        try:
            yield
        finally:
            for p, data in zip(self.parameters(), own, strict=True):
                p.data = data

    def _point_at(self, flat: Tensor) -> None:
        """Make the parameters views of ``flat`` ``(M, P)``."""
        own = list(self.parameters())
        for p, columns in zip(own, flat.split([p[0].numel() for p in own], dim=1), strict=True):
            p.data = columns.view(p.shape)


class DensityPopulation(NetworkPopulation):
    """A population of networks with a density, which a subclass defines in ``log_density``."""

    @abstractmethod
    def log_density(self, z: Tensor) -> Tensor:
        """Return ``log q``, ``(M, N)``, of preprocessed points ``(M, *event, N)``."""

    def piece(self, rows: int) -> int:
        """Return how many of ``rows`` rows are mapped at a time, fewer with many indicators."""
        if not self.preprocessing.indicators:
            return max(1, rows)
        return max(1, MOST_FEATURES // (self.members * self.preprocessing.width))

    def log_prob(self, value: Any, context: Any = None) -> Tensor:
        """Return log-densities ``(n, M)`` in nats of points ``(n, *event)`` or ``(n, M, *event)``.

        A population with a context returns log-densities given ``context``: rows ``(n, d)``, or
        ``(n, M, d)`` with one set of rows per member.

        The bits of the result are the same for an array and for a tensor, and with and without
        gradients.

        For a tensor, the result can be differentiated with respect to the points and the
        parameters, any number of times; the backward pass of a flow then costs an extra forward
        pass in PyTorch. For an array, no graph is recorded. The densities of a VAE and of
        flow matching cannot be differentiated. Raises ``ValueError`` for points of another shape.

        Examples:
            >>> import flows
            >>> flow = flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=3)
            >>> flow.log_prob([[0.0, 0.0], [1.0, 2.0]]).shape
            torch.Size([2, 3])
        """
        if not isinstance(value, Tensor):
            with torch.no_grad():
                return self.log_prob(as_tensor(value), context)
        return self.log_prob_of_rows(self.joined(value, context))

    def log_prob_of_rows(self, rows: Tensor) -> Tensor:
        """Return log-densities ``(..., M)`` of rows, points joined to their context.

        Args:
            rows: ``(..., M or 1, *row)`` in the user's units.
        """
        z, log_det = self.preprocess(rows)
        log_q = (self.log_density(z) + log_det).T
        return log_q.reshape(*rows.shape[: -1 - len(self.event_shape)], self.members)

    @torch.no_grad()
    def score_chunk(self, rows: Any) -> Array:
        rows = self.points(rows, shape=self.row_shape)
        parts = [self.log_prob_of_rows(each) for each in rows.split(self.piece(len(rows)))]
        return torch.cat(parts).double().cpu().numpy()

    def along(self, rows: Array, columns: Whole) -> Along:
        try:
            lines = Lines(self.preprocessing, rows, columns)
        except NotImplementedError:
            return super().along(rows, columns)

        @torch.no_grad()
        def log_q(own: Whole, x: Array) -> Array:
            found, most = list[Tensor](), min(self.chunk, self.piece(len(own) * x.shape[1]))
            size = max(1, most // x.shape[1])
            for start in range(0, len(own), size):
                some = own[start : start + size]
                of_number, log_slope = lines.at(some, x[start : start + size])
                z = lines.z[:, :, some, None].repeat(1, 1, 1, x.shape[1])
                z[:, lines.feature[some], np.arange(len(some))] = of_number
                z, log_det = self.preprocessing.mix_columns(z.flatten(2))
                log_p = self.log_density(z.to(self.dtype).contiguous()) + log_det
                log_slope += lines.log_det[:, some, None]
                found.append(log_p.view_as(log_slope) + log_slope)
            return torch.cat(found, dim=1).movedim(0, -1).numpy()

        return log_q

    @torch.no_grad()
    def curves(self, points: dict[str, Points]) -> dict[str, Array]:
        """Return ``train_nll`` and, if there are test points, ``test_nll``, ``(M,)`` each.

        They are mean negative log-likelihoods in nats, in the user's units.
        """
        return {
            f"{key}_nll": mean_nll(self.log_density(z), log_det)
            for key, (z, log_det) in points.items()
        }


def mean_nll(log_density: Tensor, log_det: Tensor) -> Array:
    """Return the mean negative log-likelihood in the user's units, ``(M,)``, summed in float64.

    Args:
        log_density: log-densities of preprocessed points, ``(M, N)``, in nats.
        log_det: the log-determinant of the preprocessing, ``(M, N or 1)``.
    """
    return -(log_density.double() + log_det).cpu().numpy().mean(axis=1)
