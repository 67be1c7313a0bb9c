"""A flow of p(y | x), as densities of whole rows (x, y) of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows import saving
from flows.core.arrays import Array, as_points, as_rows
from flows.core.checkpoint import below
from flows.core.intervals import log_interval
from flows.core.settings import Recipe
from flows.mixtures.gaussian_mixture import GaussianMixture, context_filler
from flows.networks import building
from flows.networks.densities import Densities, Description, Restore
from flows.networks.flow import Flow
from flows.networks.to_real import ToReal
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.field import Field

NARROW = 1e-3  # of a cell in the noise, below which a difference of F has few digits


class TargetPopulation(Densities):
    """A flow with a context, over rows (x, y) of a table: ``score`` is log p(y | x).

    A mixture approximates the distribution of the context, with its labels. ``draw`` draws x from
    the mixture, and ``flows/tables/posterior/target.py`` draws missing values of x.

    Args:
        flow: a flow of p(y | x).
        context_model: the mixture, in the user's units.
    """

    scores_labels = True

    def __init__(self, flow: Flow, context_model: GaussianMixture) -> None:
        self.flow, self.context_model = flow, context_model
        self.target_count = flow.event_shape.numel()
        self.description = {**flow.description, "targets": self.target_count}
        self.history = flow.history

    @classmethod
    def of(
        cls, flow: Flow, rows: Array, seed: int, recipe: Recipe | None = None
    ) -> TargetPopulation:
        """Return a trained flow with a mixture that is fitted to the contexts of ``rows``.

        Args:
            flow: the flow of p(y | x).
            rows: the training rows ``(n, d + D)`` in the user's units, ``NaN`` in gaps.
            seed: the seed of the fit.
            recipe: the numbers of the fit.
        """
        return cls(flow, context_filler(rows[:, : flow.context], flow.to_real, seed, recipe))

    @property
    def context_map(self) -> ToReal:
        """The map of the context to the real line."""
        return self.to_real.part(range(self.flow.context))

    @property
    def event_shape(self) -> torch.Size:
        return torch.Size(self.flow.row_shape)

    @property
    def members(self) -> int:
        return self.flow.members

    @property
    def member_weights(self) -> Tensor:
        return self.flow.member_weights

    @property
    def to_real(self) -> ToReal:
        return self.flow.to_real

    @property
    def columns(self) -> list[Field]:
        """The columns of the table: those of the context, then the targets."""
        assert isinstance(self.to_real, ColumnMaps)
        return self.to_real.fields

    def take(self, members: Sequence[int]) -> TargetPopulation:
        flow = cast(Flow, building.of_members(self.flow, members))
        return TargetPopulation(flow, self.context_model)

    def state_dict(self) -> dict[str, Tensor]:
        parts = {"flow": self.flow, "context_model": self.context_model}
        return {
            f"{name}.{key}": tensor
            for name, part in parts.items()
            for key, tensor in part.state_dict().items()
        }

    def score_chunk(self, rows: Any) -> Array:
        return self.flow.score_chunk(rows)

    def draw(self, n: int, generator: Generator) -> Array:
        """Draw rows ``(n, M, d + D)``: x from the mixture, then y from each member.

        Args:
            n: the number of rows.
            generator: the source of the draws.
        """
        drawn = self.context_model.sample_rows(n, generator)
        x = as_rows(self.context_map.round(as_points(drawn)))[:, None]
        y = self.flow.draw_given(x, generator)
        return np.concatenate([x.repeat(self.members, axis=1), y], axis=2)

    def log_factors(self, rows: Array, *, only_discrete: bool = False) -> Array:
        """Return log p(y_j | x, y_1, ..., y_{j-1}) of each target, ``(n, M, D)``::

            P(low < y_j <= high) = F(z_high) - F(z_low),    z = f(y_j; x, y_1, ..., y_{j-1})

        A label has the probability of its cell, and a rounded number the mean density of its cell.
        F is the distribution function of the base, and the flow increases in y_j. If z_low and
        z_high differ by less than ``NARROW``, the density at y_j is returned instead.

        Args:
            rows: complete rows (x, y) in the user's units, ``(n, d + D)``.
            only_discrete: whether only values that samples are rounded to stand for their cells.
        """
        parts = [
            self._log_factors(rows[start : start + self.chunk], only_discrete)
            for start in range(0, len(rows), self.chunk)
        ]
        return np.concatenate([np.empty((0, self.members, self.target_count)), *parts])

    def _log_factors(self, rows: Array, only_discrete: bool) -> Array:
        x, y = np.split(rows, [self.flow.context], axis=1)
        factors = self.flow.log_factors(y, x).double().numpy()
        for j, column in enumerate(self.columns[self.flow.context :]):
            if not (cell := column.cell) or (only_discrete and not column.is_discrete):
                continue
            low, high = y[:, j] - cell / 2, y[:, j] + cell / 2
            ends = [self.noise_of(x, y[:, None], j, end[:, None]) for end in (low, high)]
            log_p = log_interval(self.flow.base.log_cdf, *ends)
            if not column.labels:
                log_p -= np.log(cell)
            is_narrow = ends[1] - ends[0] < NARROW
            factors[..., j] = np.where(is_narrow, factors[..., j], log_p)
        return factors

    def noise_of(self, x: Array, y: Array, j: int, ends: Array) -> Array:
        """Return the noise of values of target j, ``(n, M)``.

        A value at or beyond a bound of the target has infinite noise.

        Args:
            x: contexts ``(n, d)`` in the user's units.
            y: targets ``(n, M or 1, D)``, of which those before j are used.
            j: the index of the target.
            ends: values of target j, ``(n, M or 1)``.
        """
        bounds = self.columns[self.flow.context + j].bounds
        below, above = ends <= bounds[0], ends >= bounds[1]
        if (below | above).all():
            return np.where(below, -np.inf, np.inf) + np.zeros((1, self.members))
        changed = y.copy()
        changed[..., j] = np.where(below | above, y[..., j], ends)
        z = self.flow.encode(changed, x)[:, :, j].double().numpy()
        return np.where(below, -np.inf, np.where(above, np.inf, z))

    def parameters_per_member(self) -> int:
        return self.flow.parameters_per_member()

    @classmethod
    def restored(
        cls, description: Description, state: Mapping[str, Tensor], restore: Restore
    ) -> TargetPopulation:
        """Return the population of a checkpoint.

        Args:
            description: the description of the flow, and the number of ``targets``.
            state: the tensors, by name.
            restore: restores the flow.
        """
        about = {key: value for key, value in description.items() if key != "targets"}
        flow = cast(Flow, restore(about, below("flow.", state)))
        of_context, own = flow.to_real.part(range(flow.context)), below("context_model.", state)
        first = sum(count > 0 for count in of_context.label_counts)
        of_numbers = of_context.part(range(first, flow.context))
        return cls(flow, GaussianMixture.with_state(of_numbers, own))


saving.RESTORERS["targets"] = TargetPopulation.restored
