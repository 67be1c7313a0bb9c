"""A fold as its members see it: the rows after a preprocessing that is fitted to the fold."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array
from flows.networks.network import DensityNetwork, Seen
from flows.networks.preprocessing import Preprocessing
from flows.training.automatic.candidates import Candidate
from flows.training.automatic.fold import Fold
from flows.training.automatic.noise import NOISES, Noise

PIECE = 10_000  # rows that are preprocessed at a time


class PreparedFold:
    """A fold and one preprocessing, which the members of this fold and preprocessing share.

    ``name`` is the preprocessing: ``"margins"``, ``"whiten"``, or ``"raw"`` for neither. It is
    fitted to the first completion of each training row. ``points`` ``(D, N)`` are all completions
    of the training rows after the preprocessing, in the precision of ``model``.
    """

    def __init__(self, fold: Fold, model: DensityNetwork, name: str) -> None:
        self.fold, self.dtype = fold, model.dtype
        self.preprocessing = Preprocessing(model.event_shape, 1, model.columns)
        self.preprocessing.add_margins()
        self.preprocessing.add_whitening()
        first = torch.from_numpy(fold.completed[:: fold.completions].T.copy())[None]
        self.preprocessing.fit(first, fold.scaler, only=name)
        self.points, _ = self.seen(fold.completed, np.zeros((len(fold.completed), 1)))
        self.noises: dict[str, Noise] = {}

    def seen(self, completed: Array, log_r: Array) -> Seen:
        """Return scaled, completed rows as the networks see them, and the terms of their scores.

        Args:
            completed: ``count`` completions of each of n rows, ``(n count, D)``.
            log_r: the log-densities of the draws in the gaps, ``(n, count)`` (``Fold.complete``).

        The points are ``(D, n count)``. The terms are ``(n, count)``::

            log |det dz/dx| - log r - log count

        A term and the log-density of its point sum to the logarithm of one summand of the estimate
        in ``completion.py``.
        """
        seen = []
        for start in range(0, len(completed), PIECE):
            piece = torch.from_numpy(completed[start : start + PIECE].T.copy())[None]
            z, log_det = self.preprocessing.from_scaled(piece)
            seen.append((z[0].to(self.dtype), log_det[0].expand(z.shape[-1])))
        log_det = torch.cat([each for _, each in seen]).reshape(log_r.shape)
        log_weight = torch.from_numpy(log_r + np.log(log_r.shape[1]))
        return torch.cat([z for z, _ in seen], dim=1), log_det - log_weight

    def visit(self, candidate: Candidate, count: int, generator: np.random.Generator) -> Tensor:
        """Return ``count`` training rows in random order, each moved by fresh noise, ``(D, n)``.

        A row is in one of its completions, which is chosen at random.
        """
        noise, completions = candidate.noise, self.fold.completions
        if noise not in self.noises:
            self.noises[noise] = NOISES[noise](self.points.double().numpy().T, completions)
        order = generator.permutation(len(self.fold.train))[:count]
        if completions > 1:
            order = order * completions + generator.integers(completions, size=len(order))
        visited = self.noises[noise].visit(order, candidate.level, generator)
        return torch.from_numpy(visited.T).to(self.dtype)
