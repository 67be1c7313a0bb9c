"""A network of p(y | x) as a population over whole rows (x, y), with a distribution of x for gaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Array, Shape
from flows.core.seeds import generator_of
from flows.mixtures.completion import draw_missing, fit_with_missing
from flows.mixtures.mixture import Mixture
from flows.networks.flow import Flow
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.population import Population
from flows.networks.preprocessing import Preprocessing
from flows.tables.columns import Column
from flows.tables.rounding import dequantise


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

    def supports(self, method: str) -> bool:
        return method == "log_prob"

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
