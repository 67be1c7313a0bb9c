"""Preprocessing: the fixed maps from a user's units to the points that networks learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from flows.bijections import Bijection, Margins, Process, Reach, Standardize, Whiten
from flows.bijections.chain import compose
from flows.core.arrays import Array, Shape, as_points, as_rows
from flows.core.scaler import Scaler
from flows.networks.to_real import ToReal


class Preprocessing(Bijection):
    """A composition of up to six kinds of maps, in double precision::

        to_real       maps the user's values to the real line; the identity for real numbers
        standardize   is the scaler of the training rows
        margins       makes every column approximately normal (automatic recipe)
        reach         keeps far points within single precision
        whiten        removes correlations                    (automatic recipe)
        processes     remove the mean and the scale of each feature after the context, given the
                      features before it                      (automatic recipe)

    With a ``context``, log-determinants are of the last features given the first ``context``
    features: the maps are triangular, so these are the log-determinants of the last features alone.

    No map is trained by gradients. Points are ``(M, *event, N)``, and log-determinants
    ``(M, N or 1)`` are of the whole composition. Loading a state adds the maps that the state
    contains.

    Args:
        event_shape: the shape of a point.
        members: the number of members M.
        to_real: the map to the real line; ``None`` for the identity.
        context: the number of first features that a conditional density is given.
    """

    def __init__(
        self,
        event_shape: Shape,
        members: int,
        to_real: ToReal | None = None,
        context: int = 0,
    ) -> None:
        super().__init__()
        self.dim, self.members = int(np.prod(event_shape)), members
        self.context = context
        self.to_real = to_real or ToReal()
        self.standardize = Standardize(event_shape, members, context)
        self.is_scaler_fixed = False
        self.margins: Margins | None = None
        self.reach = Reach(context)
        self.whiten: Whiten | None = None
        self._processes = nn.ModuleList()

    @property
    def processes(self) -> list[Process]:
        """The processes of the features after the context, in order; empty for none."""
        return [cast(Process, each) for each in self._processes]

    @property
    def steps(self) -> list[Bijection]:
        """The maps that are present, from data to noise."""
        steps: list[Bijection] = [self.to_real, self.standardize]
        more = self.margins, self.reach, self.whiten
        return [*steps, *(step for step in more if step is not None), *self.processes]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return compose(self.steps, x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return compose(self.steps, z, inverse=True)

    def restore(self, z: Tensor) -> Tensor:
        """Return preprocessed points in the user's units, rounded like samples."""
        return self.to_real.round(self.inverse(z)[0])

    def context_of(self, x: Tensor) -> Tensor:
        """Return the context of rows ``(M, D, N)`` after the maps, ``(M, context, N)``.

        Processes do not change the context, so they are left out.
        """
        return compose(self.steps[: -len(self.processes) or None], x)[0][:, : self.context]

    def restore_points(self, z: Tensor, *, is_rounded: bool = True) -> Tensor:
        """Return the features after the context in the user's units, ``(M, D, N)``.

        They are the last features of ``inverse``, without the work for the context.

        Args:
            z: preprocessed rows ``(M, context + D, N)``, in double precision.
            is_rounded: whether the features are rounded like samples.
        """
        z, _ = compose([*filter(None, [self.whiten]), *self.processes], z, inverse=True)
        dim = z.shape[1]
        part, own = self.part(range(self.context, dim)), z[:, self.context :]
        return part.restore(own) if is_rounded else part.inverse(own)[0]

    def add_margins(self) -> None:
        """Add ``Margins`` after the scaler; until fitted, it is the identity."""
        self.margins = Margins(self.dim, self.members, self.context)

    def add_whitening(self) -> None:
        """Add ``Whiten`` at the end; until fitted, it is the identity."""
        self.whiten = Whiten(self.dim, self.members, self.context)

    def add_processes(self, points: int) -> None:
        """Add a ``Process`` for each feature after the context; until fitted, the identity.

        Args:
            points: the number of inducing points of a process.
        """
        features = range(self.context, self.dim)
        self._processes = nn.ModuleList(Process(d, self.members, points) for d in features)

    def remove_processes(self) -> None:
        """Remove the processes, which mix columns."""
        self._processes = nn.ModuleList()

    def remove_automatic(self) -> None:
        """Remove the maps of the automatic recipe, which the fixed recipe does not fit."""
        self.margins = self.whiten = None
        self.remove_processes()

    def part(self, places: Sequence[int]) -> Preprocessing:
        """Return the preprocessing of the columns with the indices ``places``.

        Whitening and processes are left out, because they mix columns.
        """
        part = Preprocessing((len(places),), self.members, self.to_real.part(places))
        scaler = self.standardize.scaler
        part.use_scaler(Scaler(scaler.mean[:, places], scaler.deviation[:, places]))
        if self.margins is not None:
            part.margins = Margins(part.dim, part.members)
            part.margins.knots.copy_(self.margins.knots[:, places])
        return part

    def use_scaler(self, scaler: Scaler) -> None:
        """Set ``standardize`` to ``scaler``; ``fit_scaler`` then changes nothing."""
        self.standardize.set(scaler)
        self.is_scaler_fixed = True

    def fit_scaler(self, rows: Array) -> None:
        """Set ``standardize`` to the moments of training rows in the user's units.

        The rows are ``(n, M or 1, *event)``, with ``NaN`` in gaps. Raises ``ValueError``, which
        names the column, if a column is constant.
        """
        if not self.is_scaler_fixed:
            scaler = Scaler.fit(self.to_real.map_rows(rows), self.to_real.names)
            # The last bits of a map depend on the processor; those of the user's numbers do not
            self.standardize.set(scaler.to_nine_digits() if self.to_real.name else scaler)

    def scale(self, rows: Array) -> Array:
        """Return rows in the user's units after ``to_real`` and ``standardize``.

        Rows and result are ``(n, M or 1, *event)``. Rows that members share stay shared if the
        members have the same scaler. ``NaN`` stays.
        """
        return self.standardize.scaler.scale(self.to_real.map_rows(rows))

    @torch.no_grad()
    def fit(
        self, rows: Array, *, margins: bool = False, whiten: bool = False, kept: int = 0
    ) -> None:
        """Fit all maps to rows ``(n, M or 1, D)`` in the user's units, one after another.

        A map that is not fitted stays the identity. The first ``kept`` columns are only scaled.
        """
        self.fit_scaler(rows)
        z = torch.from_numpy(self.scale(rows)).movedim(0, -1)
        z = z.expand(self.members, -1, -1).contiguous()
        for step, is_fitted in ((self.margins, margins), (self.whiten, whiten)):
            if step is not None and is_fitted:
                step.initialize(z, kept)
                z = step(z)[0]

    @torch.no_grad()
    def map_known(self, rows: Array) -> tuple[Array, Array]:
        """Return rows with gaps after the maps, and log dz/dx of each value, ``(n, D)`` each.

        Both are ``NaN`` in gaps. Each map must act on single columns, so whitening is not allowed.

        Args:
            rows: rows ``(n, D)`` in the user's units, ``NaN`` in gaps.
        """
        gaps = np.isnan(rows)
        middle = self.inverse(torch.zeros(1, self.dim, 1, dtype=torch.float64))[0][0, :, 0].numpy()
        z = self(as_points(np.where(gaps, middle, rows)))[0]
        z[0].T[torch.from_numpy(gaps)] = torch.nan
        return as_rows(z), as_rows(self.log_slopes(z))

    @torch.enable_grad()
    def log_slopes(self, z: Tensor) -> Tensor:
        """Return log dz/dx of each value, ``(M, D, N)``, at the output ``z`` of ``forward``.

        ``z`` is ``(M, D, N)``. Each map must act on single columns, so whitening is not allowed.
        ``NaN`` stays.
        """
        z = z.clone().requires_grad_()
        x, _ = compose(self.steps, z, inverse=True)
        slopes = torch.autograd.grad(x.sum(), z)[0].log()
        return -slopes.where(~z.isnan(), torch.nan)  # a clamped NaN has the gradient 0

    def with_factor_log_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log dz_j/dx_j of each feature given the features before it.

        Both are ``(M, D, N)``. The maps are triangular, so these log-slopes sum to the
        log-determinant.

        Args:
            x: rows in the user's units, ``(M, D, N)``.
        """
        by_column = Preprocessing((self.dim,), self.members)
        by_column.to_real, by_column.standardize = self.to_real, self.standardize
        by_column.margins = self.margins
        z = by_column(x)[0]
        slopes = by_column.log_slopes(z)
        if self.whiten is not None:
            z = self.whiten(z)[0]
            slopes = slopes - torch.diagonal(self.whiten.factor, dim1=1, dim2=2).log()[..., None]
        for process in self.processes:
            z, log_det = process(z)
            slopes[:, process.feature] += log_det
        return z, slopes

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        if f"{prefix}margins.knots" in state_dict:
            self.add_margins()
        if f"{prefix}whiten.mean" in state_dict:
            self.add_whitening()
        if (name := f"{prefix}_processes.0.points") in state_dict:
            self.add_processes(state_dict[name].shape[-1])
        super()._load_from_state_dict(state_dict, prefix, *others)  # the maps' own states follow
