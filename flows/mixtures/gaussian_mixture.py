"""A mixture of Gaussians as a model: a known true density, or a reference fitted to a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Array, Shape, as_points, as_rows, as_tensor
from flows.core.seeds import generator_of
from flows.core.settings import Recipe
from flows.mixtures.completion import draw_missing, fit_with_missing, log_prob
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal


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

    scores_gaps = True
    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __init__(
        self, weights: Any, means: Any, covariances: Any, preprocessing: Preprocessing | None = None
    ) -> None:
        given = {"weights": weights, "means": means, "covariances": covariances}
        arrays = {name: as_tensor(a).detach().double().numpy().copy() for name, a in given.items()}
        self.mixture = Mixture(**arrays)
        to_real = ToReal() if preprocessing is None else preprocessing.to_real
        description = {"model": "mixture", **to_real.description}
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
        to_real: ToReal | None = None,
        *,
        margins: bool = False,
    ) -> GaussianMixture:
        """Fit a mixture to the rows of a data set, as a model in the user's units.

        Args:
            method: fits a mixture to rows ``(n, D)``, such as ``flows.mixtures.fitting.fit_kde``
                with its settings.
            rows: the training rows ``(n, D)`` in the user's units. ``method`` gets scaled rows.
            to_real: the map from the user's units to the real line; ``None`` for the identity.
            margins: whether every column is first mapped to an approximate standard normal.

        Raises ``ValueError``, which names the column, if a column is constant.
        """
        preprocessing = Preprocessing(rows.shape[1:], 1, to_real)
        if margins:
            preprocessing.add_margins()
        preprocessing.fit(rows[:, None], margins=margins)
        z = preprocessing(as_points(rows))[0]
        return cls.of(method(np.ascontiguousarray(as_rows(z))), preprocessing)

    @classmethod
    def fit_with_gaps(
        cls,
        rows: Array,
        to_real: ToReal,
        generator: Generator,
        *,
        is_spread: bool = True,
        recipe: Recipe | None = None,
    ) -> GaussianMixture:
        """Fit a mixture to rows with gaps, as a model in the user's units.

        Args:
            rows: rows ``(n, D)`` in the user's units, ``NaN`` in gaps.
            to_real: the map from the user's units to the real line.
            generator: the source of all draws.
            is_spread: whether rounded values have their noise already.
            recipe: the numbers of the fit.
        """
        preprocessing = Preprocessing(rows.shape[1:], 1, to_real)
        if not is_spread:
            rows = to_real.spread(rows, generator.uniform(-0.5, 0.5, rows.shape))
        preprocessing.fit_scaler(rows[:, None])
        scaled = preprocessing.scale(rows[:, None])[:, 0]
        return cls.of(fit_with_missing(scaled, generator, recipe or Recipe()), preprocessing)

    def draw_missing(self, rows: Array, generator: Generator) -> tuple[Array, Array]:
        """Return rows with draws in their gaps, given the known values of each row.

        Also return the log-densities of the draws, in the user's units, ``(n,)``.

        Args:
            rows: rows ``(n, D)`` in the user's units, ``NaN`` in gaps.
            generator: the source of the draws.
        """
        assert self.preprocessing is not None
        unknown = np.isnan(rows)
        z, log_r = draw_missing(self.mixture, self.preprocessing.map_known(rows)[0], generator)
        slopes = self.preprocessing.log_slopes(as_points(z))
        x = self.preprocessing.inverse(as_points(z))[0]
        log_r += (unknown * as_rows(slopes)).sum(axis=1)
        return np.where(unknown, as_rows(x), rows), log_r

    @property
    def to_real(self) -> ToReal:
        return ToReal() if self.preprocessing is None else self.preprocessing.to_real

    @torch.no_grad()
    def log_prob(self, value: Any) -> Tensor:
        """Return log-densities ``(n, 1)`` in nats, without gradients.

        The log-density of a row with gaps (``NaN``) is the log-density of its known values.

        Args:
            value: points in the user's units, ``(n, D)`` or ``(n, 1, D)``.
        """
        value = self.points(value).double()
        if value.isnan().any():
            rows = value.reshape(-1, *self.event_shape).numpy()
            known = (rows, 0.0 * rows)
            if self.preprocessing is not None:
                known = self.preprocessing.map_known(rows)
            log_known = log_prob(self.mixture, known[0]) + np.nansum(known[1], axis=1)
            return torch.from_numpy(log_known).reshape(value.shape[:-1])
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
            z = self.preprocessing.restore(z)
        return self.rows_first(z, shape)

    @classmethod
    def with_state(cls, to_real: ToReal, state: Mapping[str, Tensor]) -> GaussianMixture:
        """Return the mixture with the tensors ``state``.

        Args:
            to_real: the map from the user's units to the real line.
            state: the tensors, by name.
        """
        preprocessing = None
        if "preprocessing.standardize.mean" in state:
            preprocessing = Preprocessing(state["means"].shape[1:], 1, to_real)
        model = cls(state["weights"], state["means"], state["covariances"], preprocessing)
        model.load_state_dict(state)
        return model

    def extra_repr(self) -> str:
        return f"components={len(self.weights)}, dim={self.event_shape[0]}"
