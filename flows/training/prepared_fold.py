"""The rows of a fold as networks see them: what its members learn from, and what they never see."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array, Whole
from flows.core.scaler import Scaler
from flows.networks.network import DensityNetwork, Seen
from flows.networks.preprocessing import Preprocessing
from flows.training.completion import Completion
from flows.training.noise import NOISES, Noise

TRAIN_ROWS = 50_000  # rows that a member learns from, at most
CHECK_ROWS = 2_000  # rows that checks and curves are computed on, at most
PIECE = 10_000  # rows that are preprocessed at a time


class PreparedFold:
    """The rows outside of a fold, and the maps that are fitted to them: a scaler and one more.

    The members of this fold and preprocessing share it. ``rows`` ``(n, D)`` are scaled by
    ``first``; ``fold`` ``(n,)`` is the fold of each, and ``number`` the one that is left out.
    ``name`` is the preprocessing: ``"margins"``, ``"whiten"``, or ``"raw"`` for neither. Where rows
    have gaps, ``completion`` is that of this fold, if it is there already; ``seed`` is its seed.
    """

    def __init__(
        self,
        rows: Array,
        first: Scaler,
        model: DensityNetwork,
        fold: Whole,
        number: int,
        name: str,
        completion: Completion | None = None,
        seed: int = 0,
    ) -> None:
        self.dtype = model.dtype
        # In the order of the rows, and from all of them alike
        self.train = some(np.flatnonzero(fold != number), TRAIN_ROWS)
        self.held_out = np.flatnonzero(fold == number)
        train = points = rows[self.train]
        if completion is None and np.isnan(rows).any():
            completion = Completion(train, first, model, seed, number)
        if completion is not None:
            points = completion.points
            if name != "margins":  # these are of what is there
                train = points[: len(train)]
        self.completion = completion
        self.own = Scaler.fit(rows[self.train])
        self.preprocessing = Preprocessing(model.event_shape, 1, model.columns)
        self.preprocessing.add_margins(without=[0] if name != "margins" else ())
        self.preprocessing.add_whitening(without=[0] if name != "whiten" else ())
        scaled = self.own.scale(train)
        self.preprocessing.fit(torch.from_numpy(scaled.T.copy())[None], self.own.after(first))
        self.points, _ = self.seen(points)
        self.noises: dict[str, Noise] = {}

    def seen(self, rows: Array) -> Seen:
        """Return ``rows`` ``(n, D)`` as the networks see them, ``(D, n)``.

        With them comes the log-determinant, ``(n,)``.
        """
        seen = []
        for start in range(0, len(rows), PIECE):
            scaled = self.own.scale(rows[start : start + PIECE])
            z, log_det = self.preprocessing.from_scaled(torch.from_numpy(scaled.T.copy())[None])
            seen.append((z[0].to(self.dtype), log_det[0].expand(z.shape[-1])))
        return torch.cat([z for z, _ in seen], dim=1), torch.cat([each for _, each in seen])

    def scored(self, rows: Array, draws: int) -> tuple[Tensor, Tensor, Whole | None]:
        """Return what ``seen`` does, for ``rows`` that may have gaps.

        Each of these has as many completions as ``draws``, weighted in the log-determinant, and the
        places of the first of every row are ``(n,)``; ``None`` where the table has no gaps.
        """
        if self.completion is None:
            return *self.seen(rows), None
        rows, log_weight, starts = self.completion.expand(rows, draws)
        z, log_det = self.seen(rows)
        return z, log_det + torch.from_numpy(log_weight), starts

    @cached_property
    def checked(self) -> Whole:
        """The places of the held-out rows that checks are computed on."""
        return some(self.held_out, CHECK_ROWS)

    def visit(self, noise: str, level: float, count: int, generator: np.random.Generator) -> Tensor:
        """Return ``count`` of the points in random order, each moved by fresh noise, ``(D, n)``."""
        if noise not in self.noises:
            self.noises[noise] = NOISES[noise](self.points.double().numpy().T, len(self.train))
        order = generator.permutation(len(self.train))[:count]
        if self.completion is not None:
            order = self.completion.choose(order, generator)
        visited = self.noises[noise].visit(order, level, generator)
        return torch.from_numpy(visited.T).to(self.dtype)


def some(places: Whole, most: int) -> Whole:
    """Return at most ``most`` of the ``places``, evenly spaced."""
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
