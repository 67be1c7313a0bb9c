"""A fold after a preprocessing that is fitted to its training rows."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array, as_points
from flows.networks.network_population import DensityPopulation
from flows.networks.preprocessing import Preprocessing
from flows.training.automatic.candidates import Candidate
from flows.training.automatic.fold import Fold
from flows.training.automatic.noise import NeighbourNoise, PointNoise

ROWS_AT_ONCE = 10_000  # rows that are preprocessed at a time


class WeightedPoints(NamedTuple):
    """Completions of rows after the preprocessing of each member, with importance weights.

    A row has K completions; without a gap, all are the row itself. With x a completion, z the point
    after the preprocessing and r the density that its gaps were drawn from::

        log_weight = log |det dz/dx| - log r - log K
        log q(known values of a row) = log sum_k exp(log q(z_k) + log_weight_k)

    The second line is an estimate; ``completion.py`` has its source.

    Attributes:
        z: the points ``(M, D, n K)`` in the members' precision; points of a row are adjacent.
        log_weight: the logarithms of the weights, ``(M, n, K)``, in double precision.
    """

    z: Tensor
    log_weight: Tensor


class PreparedFold:
    """A fold with one preprocessing, shared by all members with this fold and preprocessing.

    The preprocessing is fitted to the first completion of each training row. ``points`` ``(D, N)``
    are all completions of the training rows after the preprocessing, in the precision of
    ``population``.

    Args:
        fold: the fold.
        population: the population to train.
        name: the preprocessing: ``"margins"``, ``"whiten"``, or ``"raw"`` for neither.
    """

    def __init__(self, fold: Fold, population: DensityPopulation, name: str) -> None:
        self.fold, self.dtype = fold, population.dtype
        self.preprocessing = Preprocessing(
            population.row_shape, 1, population.to_real, population.context
        )
        self.preprocessing.add_margins()
        self.preprocessing.add_whitening()
        first = as_points(fold.completed[:: fold.completions])
        self.preprocessing.standardize.set(fold.units.standardize.scaler)
        self.preprocessing.fit(first, margins=name == "margins", whiten=name == "whiten")
        self.points = self.weighted(fold.completed, np.zeros((len(fold.completed), 1))).z[0]

    def weighted(self, completed: Array, log_r: Array) -> WeightedPoints:
        """Return scaled, completed rows as weighted points with M = 1.

        Args:
            completed: K completions of each of n rows, ``(n K, D)``.
            log_r: the log-densities of the draws in the gaps, ``(n, K)`` (``Fold.complete``).
        """
        z, log_det = [], []
        for start in range(0, len(completed), ROWS_AT_ONCE):
            piece = as_points(completed[start : start + ROWS_AT_ONCE])
            points, slopes = self.preprocessing.from_scaled(piece)
            z.append(points.to(self.dtype))
            log_det.append(slopes.expand(1, points.shape[-1]))
        log_weight = torch.cat(log_det, dim=1).reshape(1, *log_r.shape)
        log_weight = log_weight - torch.from_numpy(log_r + np.log(log_r.shape[1]))
        return WeightedPoints(torch.cat(z, dim=2), log_weight)

    @cached_property
    def noise(self) -> NeighbourNoise | PointNoise:
        """The noise of the training rows; the neighbours are found at the first use."""
        points = self.points.double().numpy().T
        if self.fold.context:
            return PointNoise(points, self.fold.context)
        return NeighbourNoise(points, self.fold.completions * self.fold.different)

    def visit(self, candidate: Candidate, count: int, generator: np.random.Generator) -> Tensor:
        """Return ``count`` training rows in random order with new noise, ``(D, count)``.

        For each row, one of its completions is chosen at random.
        """
        completions = self.fold.completions
        order = generator.permutation(len(self.fold.train))[:count]
        if completions > 1:
            order = order * completions + generator.integers(completions, size=len(order))
        visited = self.noise.visit(order, candidate.level, generator)
        return torch.from_numpy(visited.T).to(self.dtype)
