"""A network of p(y | x), as a population over whole rows (x, y) of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.random import Generator
from scipy.special import softmax
from torch import Tensor

from flows.core.arrays import Array, Shape, Whole
from flows.core.seeds import generator_of
from flows.mixtures.completion import draw_missing, fit_with_missing
from flows.mixtures.conditional_mixture import ConditionalMixture
from flows.mixtures.mixture import Mixture
from flows.mixtures.truncated_mixture import (
    BoxProposal,
    log_interval,
    truncated_normal,
)
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.population import Population
from flows.networks.preprocessing import Preprocessing
from flows.tables.columns import Column
from flows.tables.rounding import dequantise

if TYPE_CHECKING:  # loading a mixture must not load the kernels
    from flows.networks.flow import Flow

NARROW = 1e-3  # of a cell in the noise, below which a difference of F has few digits
NODES, REACH = 101, 5.0  # nodes of a target, and the noise of the outer nodes


class TargetPopulation(Population):
    """A flow with a context, over rows (x, y) of a table: ``log_prob`` is log p(y | x).

    A mixture of Gaussians approximates the distribution r of the context. Missing values of x are
    drawn from the mixture, given the known values of x::

        p(y | x_o) ~ 1/K sum_k p(y | x_o, x_k),    x_k ~ r( . | x_o)

    Args:
        network: a flow of p(y | x).
        context_model: the mixture, in the user's units.
    """

    def __init__(self, network: Flow, context_model: GaussianMixture) -> None:
        targets = network.event_shape.numel()
        description = {**network.description, "targets": targets}
        super().__init__(network.members, network.row_shape, description)
        self.network, self.context_model, self.targets = network, context_model, targets
        self.history, self.record = network.history, network.record

    @classmethod
    def of(cls, network: Flow, rows: Array, seed: int) -> TargetPopulation:
        """Return a trained ``network`` with a mixture that is fitted to the contexts of ``rows``.

        Args:
            network: the flow of p(y | x).
            rows: the training rows ``(n, d + D)`` in the user's units, ``NaN`` in gaps.
            seed: the seed of the fit.
        """
        columns = network.columns[: network.context]
        preprocessing = Preprocessing((network.context,), 1, columns)
        preprocessing.fit_scaler(rows[:, None, : network.context])
        mixture = fit_context(preprocessing, rows[:, : network.context], seed)
        return cls(network, GaussianMixture.of(mixture, preprocessing))

    @property
    def member_weights(self) -> Tensor:
        return self.network.member_weights

    def log_prob(self, value: Any) -> Tensor:
        """Return log p(y | x) of the members in nats, ``(n, M)``.

        Args:
            value: rows (x, y) in the user's units, ``(n, d + D)`` or ``(n, M, d + D)``.
        """
        value = self.points(value)
        x, y = value.split([self.network.context, self.targets], dim=-1)
        return self.network.log_prob(y, x)

    @torch.no_grad()
    def sample(self, sample_shape: Shape = (), generator: Generator | None = None) -> Tensor:
        """Draw rows ``sample_shape + (M, d + D)``: x from the mixture, then y from each member."""
        generator, shape = generator_of(generator), torch.Size(sample_shape)
        x = self.context_model.sample((shape.numel(),), generator)
        y = self.network.sample((), generator, x)
        rows = torch.cat([x.expand(-1, self.members, -1), y], dim=-1)
        return rows.reshape(*shape, self.members, *self.event_shape)

    def log_factors(self, rows: Array) -> Array:
        """Return log p(y_j | x, y_1, ..., y_{j-1}) of each target, ``(n, M, D)``::

            P(low < y_j <= high) = F(z_high) - F(z_low),    z = f(y_j; x, y_1, ..., y_{j-1})

        A label has the probability of its cell, and a rounded number the probability of its cell
        per step. F is the distribution function of the base, and the flow increases in y_j. If
        z_low and z_high differ by less than ``NARROW``, the density at y_j is returned instead.

        Args:
            rows: complete rows (x, y) in the user's units, ``(n, d + D)``.
        """
        parts = [
            self._log_factors(rows[start : start + self.chunk])
            for start in range(0, len(rows), self.chunk)
        ]
        return np.concatenate([np.empty((0, self.members, self.targets)), *parts])

    def _log_factors(self, rows: Array) -> Array:
        x, y = np.split(rows, [self.network.context], axis=1)
        factors = self.network.log_factors(y, x).double().numpy()
        for j, column in enumerate(self.columns[self.network.context :]):
            if not column.step:
                continue
            low, high = y[:, j] - column.step / 2, y[:, j] + column.step / 2
            ends = self._noise(x, y, j, low), self._noise(x, y, j, high)
            log_p = log_interval(self.network.base.log_cdf, *ends)
            if not column.labels:
                log_p -= np.log(column.step)
            is_narrow = ends[1] - ends[0] < NARROW
            factors[..., j] = np.where(is_narrow, factors[..., j], log_p)
        return factors

    def _noise(self, x: Array, y: Array, j: int, ends: Array) -> Array:
        """Return the noise of the values ``ends`` ``(n,)`` of target j, ``(n, M)``.

        A value at or beyond a bound of the target has infinite noise.
        """
        bounds = self.columns[self.network.context + j].bounds
        below, above = ends <= bounds[0], ends >= bounds[1]
        changed = y.copy()
        changed[:, j] = np.where(below | above, y[:, j], ends)
        z = self.network.encode(changed, x)[:, :, j].double().numpy()
        return np.where(below[:, None], -np.inf, np.where(above[:, None], np.inf, z))

    def inside(
        self, x: Array, intervals: Array, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Draw one target inside intervals, given contexts.

        Args:
            x: contexts ``(n, d)`` in the user's units.
            intervals: intervals ``(I, 2)`` of the target in the user's units.
            generator: the source of the draws.

        Returns draws from the ensemble ``(n,)``, and the members' log-probabilities of the
        intervals, ``(n, M)``.
        """
        n, rows = len(x), np.arange(len(x))
        any_value = np.full((n, 1), float(self.network.middle()[0, -1]))
        ends = [[self._noise(x, any_value, 0, np.full(n, end)) for end in own] for own in intervals]
        masses = [log_interval(self.network.base.log_cdf, *own) for own in ends]
        log_p = np.logaddexp.reduce(masses, axis=0)
        shares = softmax(log_p + np.log(self.member_weights.numpy()), axis=1)
        member = _choose(shares, generator)
        own_masses = np.stack(masses)[:, rows, member].T
        which = _choose(softmax(own_masses, axis=1), generator)
        low, high = np.array(ends)[which, :, rows, member].T
        z = truncated_normal(low, high, generator.random(n))
        y = self.network.decode(np.tile(z[:, None, None], (1, self.members, 1)), x)
        drawn = y[torch.arange(n), torch.from_numpy(member), 0].numpy()
        own = intervals[which]
        return np.clip(drawn, own[:, 0], own[:, 1]), log_p

    def nodes(self, x: Array) -> tuple[Array, Array]:
        """Return values of one target at equally spaced noise, and their log-weights.

        The values are ``(n, M, K)``, and the log-weights ``(K,)`` are of a trapezoidal rule, whose
        weights sum to 1.

        Args:
            x: contexts ``(n, d)`` in the user's units.
        """
        z = np.linspace(-REACH, REACH, NODES)
        log_weights = -0.5 * z**2
        log_weights -= np.logaddexp.reduce(log_weights)
        found = np.empty((len(x), self.members, NODES))
        size = max(1, self.chunk // NODES)
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            y = self.network.decode(z.reshape(-1, 1, 1, 1), x[part])  # (K, n, M, 1)
            found[part] = y[..., 0].numpy().transpose(1, 2, 0)
        return found, log_weights

    def complete(self, x: Array, count: int, generator: np.random.Generator) -> Array:
        """Return ``count`` completions of each context, ``(n count, d)``; those of a row adjoin.

        Args:
            x: contexts ``(n, d)`` in the user's units, ``NaN`` in gaps.
            count: the number of completions per context.
            generator: the source of the draws.
        """
        preprocessing = self.context_model.preprocessing
        assert preprocessing is not None
        given = x.repeat(count, axis=0)
        scaled = preprocessing.scale(given[:, None])[:, 0]
        drawn, _ = draw_missing(self.context_model.mixture, scaled, generator)
        restored = preprocessing.inverse(torch.from_numpy(drawn.T.copy())[None])[0][0].T.numpy()
        return np.where(np.isnan(given), restored, given)

    def restricted(
        self, x: Array, intervals: Mapping[int, Array], count: int, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return draws of a context inside intervals, ``(count, d)``, and their log-weights.

        The mean weight estimates the density of the known values in scaled units, times the
        probability of the intervals given these values. For a complete context, all log-weights
        are 0.

        Args:
            x: the known values of the context, ``(d,)``, ``NaN`` for the values to draw.
            intervals: intervals ``(I, 2)`` in the user's units, by column of the context.
            count: the number of draws.
            generator: the source of the draws.
        """
        preprocessing, mixture = self.context_model.preprocessing, self.context_model.mixture
        assert preprocessing is not None
        unknown = np.isnan(x)
        if not unknown.any():
            return x[None].repeat(count, axis=0), np.zeros(count)
        scaled, log_evidence = preprocessing.scale(x[None, None])[0, 0], 0.0
        if not unknown.all():
            conditional = ConditionalMixture.of(mixture, scaled[None], unknown)
            mixture, log_evidence = conditional.mixture_of(0), conditional.log_evidence[0]
        place = {d: u for u, d in enumerate(np.flatnonzero(unknown).tolist())}
        boxes = {place[d]: self._scaled(d, own) for d, own in intervals.items()}
        proposal = BoxProposal(mixture, boxes)
        drawn = scaled[None].repeat(count, axis=0)
        drawn[:, unknown] = z = proposal.sample(count, generator)
        log_weights = mixture.log_prob(z) - proposal.log_prob(z) + log_evidence
        restored = preprocessing.inverse(torch.from_numpy(drawn.T.copy())[None])[0][0].T.numpy()
        return np.where(unknown, restored, x), log_weights

    def _scaled(self, d: int, intervals: Array) -> Array:
        """Return intervals ``(I, 2)`` of column d of the context after the preprocessing."""
        preprocessing = self.context_model.preprocessing
        assert preprocessing is not None
        low, high = self.columns[d].bounds if self.columns else (-np.inf, np.inf)
        inside = (low < intervals) & (intervals < high)
        part = preprocessing.of_columns([d])
        values = np.where(inside, intervals, float(part.inverse(torch.zeros(1, 1, 1).double())[0]))
        scaled = part.scale(values.reshape(-1, 1, 1)).reshape(intervals.shape)
        return np.where(inside, scaled, np.where(intervals <= low, -np.inf, np.inf))

    def parameters_per_member(self) -> int:
        return self.network.parameters_per_member()

    @classmethod
    def load(
        cls, network: Flow, columns: list[Column], state: Mapping[str, Tensor]
    ) -> TargetPopulation:
        """Return the population of a checkpoint.

        Args:
            network: the untrained flow.
            columns: the columns of the table, those of the context first.
            state: the tensors of the checkpoint, by name.
        """
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "context_model": {}}
        for name, tensor in state.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        network.load_state_dict(parts["network"], assign=True)
        of_context = columns[: network.context]
        return cls(network, GaussianMixture.load(of_context, parts["context_model"]))


def fit_context(units: Preprocessing, x: Array, seed: int) -> Mixture:
    """Return a mixture of Gaussians of scaled contexts.

    Args:
        units: the preprocessing from the user's units to scaled contexts.
        x: contexts ``(n, d)`` in the user's units, ``NaN`` in gaps. Rounded values are dequantised.
        seed: the seed of all draws.
    """
    columns = [] if units.to_real is None else units.to_real.columns
    if columns:
        x = dequantise(columns, x, np.arange(len(x)), seed)
    scaled = units.scale(x[:, None])[:, 0]
    return fit_with_missing(scaled, np.random.default_rng(seed))


def _choose(shares: Array, generator: np.random.Generator) -> Whole:
    """Draw an index for each row of probabilities ``(n, K)``, ``(n,)``."""
    level = generator.random(len(shares))[:, None]
    return np.asarray((shares.cumsum(axis=1)[:, :-1] < level).sum(axis=1))
