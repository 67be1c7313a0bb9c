"""A mixture of Gaussians as a model: a known true density, or a reference fitted to a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Array, Shape, as_rows, as_tensor
from flows.core.seeds import generator_of
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population
from flows.networks.preprocessing import Preprocessing
from flows.tables.field import Field


class GaussianMixture(Population):
    """A mixture of K Gaussians in D dimensions, as a population with one member.

    ``flows.Mixture`` has the formulas. A kernel density has one component per training point.

    Args:
        weights: the weights ``(K,)``, above 0, which sum to 1.
        means: the means ``(K, D)``.
        covariances: the covariances ``(K, D, D)``, symmetric and positive definite.
        preprocessing: a map from the user's units to the units of the mixture; ``None`` if these
            are equal.

    The arrays are kept in float64. The attribute ``mixture`` is the ``flows.Mixture`` of points
    after the preprocessing. Raises ``ValueError`` if the arrays do not describe a mixture.

    Examples:
        >>> import flows, numpy as np
        >>> model = flows.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], np.ones((2, 1, 1)))
        >>> round(float(model.log_prob([[0.0]])), 4)  # one point, one member
        -1.4189
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __init__(
        self, weights: Any, means: Any, covariances: Any, preprocessing: Preprocessing | None = None
    ) -> None:
        given = {"weights": weights, "means": means, "covariances": covariances}
        arrays = {name: as_tensor(a).detach().double().numpy().copy() for name, a in given.items()}
        self.mixture = Mixture(**arrays)
        columns = [] if preprocessing is None else preprocessing.columns
        description = {"model": "mixture", "columns": [column.to_json() for column in columns]}
        super().__init__(1, self.mixture.means.shape[1:], description)
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array))
        self.preprocessing = preprocessing

    @classmethod
    def of(cls, mixture: Mixture, preprocessing: Preprocessing | None = None) -> GaussianMixture:
        """Return ``mixture`` as a model.

        Args:
            mixture: the density of points after the preprocessing.
            preprocessing: a map from the user's units to the units of the mixture; ``None`` if
                these are equal.
        """
        return cls(mixture.weights, mixture.means, mixture.covariances, preprocessing)

    @classmethod
    def fit(
        cls,
        method: Callable[[Array], Mixture],
        rows: Array,
        columns: Sequence[Field] = (),
        *,
        margins: bool = False,
    ) -> GaussianMixture:
        """Fit a mixture to the rows of a data set, as a model in the user's units.

        Args:
            method: fits a mixture to rows ``(n, D)``, such as ``flows.mixtures.fitting.fit_kde``
                with its settings.
            rows: the training rows ``(n, D)`` in the user's units. ``method`` gets scaled rows.
            columns: the columns of the table; empty if the rows are not a table.
            margins: whether every column is first mapped to an approximate standard normal.

        Raises ``ValueError``, which names the column, if a column is constant.
        """
        preprocessing = Preprocessing(rows.shape[1:], 1, columns)
        if margins:
            preprocessing.add_margins()
        preprocessing.fit_scaler(rows[:, None])
        scaled = torch.from_numpy(preprocessing.scale(rows[:, None])).movedim(0, -1).contiguous()
        preprocessing.fit(scaled)
        z = preprocessing.from_scaled(scaled)[0]
        return cls.of(method(np.ascontiguousarray(as_rows(z))), preprocessing)

    @torch.no_grad()
    def log_prob(self, value: Any) -> Tensor:
        """Return log-densities ``(n, 1)`` in nats, without gradients.

        Args:
            value: points in the user's units, ``(n, D)`` or ``(n, 1, D)``.
        """
        value = self.points(value).double()
        log_det = torch.zeros(1, 1)
        z = self.features_first(value)
        if self.preprocessing is not None:
            z, log_det = self.preprocessing(z)
        log_q = torch.from_numpy(self.mixture.log_prob(as_rows(z)))
        return (log_q + log_det[0]).reshape(value.shape[:-1])

    @torch.no_grad()
    def sample(self, sample_shape: Shape = (), generator: Generator | None = None) -> Tensor:
        shape = torch.Size(sample_shape)
        z = torch.from_numpy(self.mixture.sample(shape.numel(), generator_of(generator)))[None].mT
        if self.preprocessing is not None:
            z = self.preprocessing.inverse(z)[0]
        return self.rows_first(z, shape)

    @classmethod
    def load(cls, columns: list[Field], state: dict[str, Tensor]) -> GaussianMixture:
        """Return the mixture that a checkpoint describes with its ``state``.

        Args:
            columns: the columns of its table; empty if the points are not from a table.
            state: the tensors of the checkpoint, by name.
        """
        preprocessing = None
        if "preprocessing.standardize.mean" in state:
            preprocessing = Preprocessing(state["means"].shape[1:], 1, columns)
        model = cls(state["weights"], state["means"], state["covariances"], preprocessing)
        model.load_state_dict(state)
        return model

    def extra_repr(self) -> str:
        return f"components={len(self.weights)}, dim={self.event_shape[0]}"
