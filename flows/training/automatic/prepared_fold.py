"""The rows of a fold as networks see them: what its members learn from, and what they never see."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array, Whole, subsample
from flows.core.scaler import Scaler
from flows.networks.network import DensityNetwork, Seen
from flows.networks.preprocessing import Preprocessing
from flows.training.automatic.candidates import Candidate
from flows.training.automatic.completion import Completion, draws
from flows.training.automatic.noise import NOISES, Noise

TRAIN_ROWS = 50_000  # rows that a member learns from, at most
CHECK_ROWS = 2_000  # rows that checks and curves are computed on, at most
PIECE = 10_000  # rows that are preprocessed at a time


class PreparedFold:
    """The rows outside of a fold, and the maps that are fitted to them: a scaler and one more.

    The members of this fold and preprocessing share it. The rows, and the fold that is left out,
    are those of ``completion``, which fills their gaps. ``name`` is the preprocessing:
    ``"margins"``, ``"whiten"``, or ``"raw"`` for neither.
    """

    def __init__(self, completion: Completion, model: DensityNetwork, name: str) -> None:
        self.completion, self.number = completion, completion.number
        rows, is_held_out = completion.rows, completion.fold == completion.number
        self.dtype = model.dtype
        # In the order of the rows, and from all of them alike
        self.train = subsample(np.flatnonzero(~is_held_out), TRAIN_ROWS)
        self.held_out = np.flatnonzero(is_held_out)
        self.versions = draws(rows, len(self.train))
        points, _ = completion.draw(rows[self.train], self.versions)
        train = points[:: self.versions]
        self.own = Scaler.fit(train)
        self.preprocessing = Preprocessing(model.event_shape, 1, model.columns)
        self.preprocessing.add_margins()
        self.preprocessing.add_whitening()
        scaled = torch.from_numpy(self.own.scale(train).T.copy())[None]
        self.preprocessing.fit(scaled, self.own.after(completion.scaler), only=name)
        self.points, _ = self.seen(points)
        self.noises: dict[str, Noise] = {}

    def seen(self, rows: Array, count: int = 1) -> Seen:
        """Return ``count`` completions of each of ``rows`` as the networks see them, ``(D, N)``.

        With them comes the log-determinant less the log-density of what was drawn, and less
        log ``count``, ``(n, count)``.
        """
        rows, log_r = self.completion.draw(rows, count)
        seen = []
        for start in range(0, len(rows), PIECE):
            scaled = self.own.scale(rows[start : start + PIECE])
            z, log_det = self.preprocessing.from_scaled(torch.from_numpy(scaled.T.copy())[None])
            seen.append((z[0].to(self.dtype), log_det[0].expand(z.shape[-1])))
        log_det = torch.cat([each for _, each in seen]).reshape(log_r.shape)
        log_weight = torch.from_numpy(log_r + np.log(count))
        return torch.cat([z for z, _ in seen], dim=1), log_det - log_weight

    @cached_property
    def checked(self) -> Whole:
        """The places of the held-out rows that checks are computed on."""
        return subsample(self.held_out, CHECK_ROWS)

    def visit(self, candidate: Candidate, count: int, generator: np.random.Generator) -> Tensor:
        """Return ``count`` of the points in random order, each moved by fresh noise, ``(D, n)``."""
        noise = candidate.noise
        if noise not in self.noises:
            self.noises[noise] = NOISES[noise](self.points.double().numpy().T, self.versions)
        order = generator.permutation(len(self.train))[:count]
        if self.versions > 1:
            order = order * self.versions + generator.integers(self.versions, size=len(order))
        visited = self.noises[noise].visit(order, candidate.level, generator)
        return torch.from_numpy(visited.T).to(self.dtype)
