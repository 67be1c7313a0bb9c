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
from flows.networks.encoding import Encoding
from flows.networks.to_real import ToReal


class Preprocessing(Bijection):
    """A composition of up to seven kinds of maps, in double precision::

        to_real       maps the user's values to the real line; the identity for real numbers
        standardize   is the scaler of the training rows
        margins       makes every column approximately normal (automatic recipe)
        reach         keeps far points within single precision
        encoding      replaces codes of given labels by indicators
        whiten        removes correlations                    (automatic recipe)
        processes     remove the mean and the scale of each feature after the inputs, given the
                      features before it                      (automatic recipe)

    A user gives the first ``context`` columns of a row, and networks are given the first ``inputs``
    features of a point, which encode these columns. Log-determinants are of the last features given
    the inputs: the maps are triangular, so these are the log-determinants of the last features
    alone. Codes of given labels are neither scaled nor mapped by margins.

    No map is trained by gradients. Points are ``(M, *event, N)``, and log-determinants
    ``(M, N or 1)`` are of the whole composition. Loading a state adds the maps that the state
    contains.

    Args:
        event_shape: the shape of a row.
        members: the number of members M.
        to_real: the map to the real line; ``None`` for the identity. The context's columns
            of labels come first.
        context: the number of first columns that a conditional density is given.
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
        self.set_map(to_real or ToReal())
        self.standardize = Standardize(event_shape, members, context)
        self.is_scaler_fixed = False
        self.margins: Margins | None = None
        self.reach = Reach(context)
        self.whiten: Whiten | None = None
        self._processes = nn.ModuleList()

    def set_map(self, to_real: ToReal) -> None:
        """Set the map to the real line, and the encoding of its given labels, which is not fitted.

        Raises ``ValueError`` if a given column of labels follows a given column of numbers.
        """
        self.to_real = to_real
        encoding = Encoding.of(to_real, self.context, self.members)
        self.encoding = encoding if encoding.columns else None

    @property
    def labels(self) -> int:
        """The number of given columns of labels, which come first."""
        return 0 if self.encoding is None else self.encoding.columns

    @property
    def indicators(self) -> int:
        """The number of features that encode given labels, which come first."""
        return 0 if self.encoding is None else self.encoding.indicators

    @property
    def inputs(self) -> int:
        """The number of first features, which encode the given columns."""
        return self.context - self.labels + self.indicators

    @property
    def width(self) -> int:
        """The number of features."""
        return self.dim - self.labels + self.indicators

    @property
    def processes(self) -> list[Process]:
        """The processes of the features after the inputs, in order; empty for none."""
        return [cast(Process, each) for each in self._processes]

    @property
    def steps(self) -> list[Bijection]:
        """The maps that are present, from data to noise."""
        whiten = [] if self.whiten is None else [self.whiten]
        return [*self._column_steps, *whiten, *self.processes]

    @property
    def _column_steps(self) -> list[Bijection]:
        """The maps that act on single columns."""
        steps: list[Bijection] = [self.to_real, self.standardize]
        more = self.margins, self.reach, self.encoding
        return [*steps, *(step for step in more if step is not None)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return compose(self.steps, x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return compose(self.steps, z, inverse=True)

    def map_columns(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the maps of single columns to rows ``(M, D, N)``, as ``forward``.

        They are all maps but ``whiten`` and ``processes``, which mix columns.
        """
        return compose(self._column_steps, x)

    def mix_columns(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the other maps to the result of ``map_columns``, ``(M, W, N)``, as ``forward``."""
        return compose(self.steps[len(self._column_steps) :], z)

    def restore(self, z: Tensor) -> Tensor:
        """Return preprocessed points in the user's units, rounded like samples."""
        return self.to_real.round(self.inverse(z)[0])

    def inputs_of(self, x: Tensor) -> Tensor:
        """Return the inputs of rows ``(M, D, N)``, ``(M, inputs, N)``.

        Processes do not change the inputs, so they are left out.
        """
        return compose(self.steps[: -len(self.processes) or None], x)[0][:, : self.inputs]

    def restore_points(self, z: Tensor, *, is_rounded: bool = True) -> Tensor:
        """Return the columns after the context in the user's units, ``(M, D, N)``.

        They are the last columns of ``inverse``, without the work for the context.

        Args:
            z: preprocessed rows ``(M, inputs + D, N)``, in double precision.
            is_rounded: whether the columns are rounded like samples.
        """
        z, _ = compose([*filter(None, [self.whiten]), *self.processes], z, inverse=True)
        part, own = self.part(range(self.context, self.dim)), z[:, self.inputs :]
        return part.restore(own) if is_rounded else part.inverse(own)[0]

    def add_margins(self) -> None:
        """Add ``Margins`` after the scaler; until fitted, it is the identity."""
        self.margins = Margins(self.dim, self.members, self.context, kept=self.labels)

    def add_whitening(self) -> None:
        """Add ``Whiten`` at the end; until fitted, it is the identity."""
        self.whiten = Whiten(self.width, self.members, self.inputs, kept=self.indicators)

    def add_processes(self, points: int) -> None:
        """Add a ``Process`` for each feature after the inputs; until fitted, the identity.

        Args:
            points: the number of inducing points of a process.
        """
        features = range(self.inputs, self.width)
        self._processes = nn.ModuleList(Process(d, self.members, points) for d in features)

    def remove_automatic(self) -> None:
        """Remove the maps of the automatic recipe, which the fixed recipe does not fit."""
        self.margins = self.whiten = None
        self._processes = nn.ModuleList()

    def part(self, places: Sequence[int]) -> Preprocessing:
        """Return the preprocessing of some columns of numbers alone.

        Whitening and processes are left out, because they mix columns.

        Args:
            places: the indices of the columns, none of which holds given labels.
        """
        part = Preprocessing((len(places),), self.members, self.to_real.part(places))
        scaler = self.standardize.scaler
        part.use_scaler(Scaler(scaler.mean[:, places], scaler.deviation[:, places]))
        if self.margins is not None:
            part.margins = Margins(part.dim, part.members)
            part.margins.knots.copy_(self.margins.knots[:, [d - self.labels for d in places]])
        return part

    def use_scaler(self, scaler: Scaler) -> None:
        """Set ``standardize`` to ``scaler``; ``fit_scaler`` then changes nothing."""
        self.standardize.set(scaler)
        self.is_scaler_fixed = True

    def fit_scaler(self, rows: Array) -> None:
        """Set ``standardize`` to the moments of training rows in the user's units.

        The rows are ``(n, M or 1, *event)``, with ``NaN`` in gaps. The encoding is fitted, too.
        Raises ``ValueError``, which names the column, if a column of numbers is constant.
        """
        if self.is_scaler_fixed:
            return
        if self.encoding is not None:
            self.encoding.fit(torch.from_numpy(rows[..., : self.labels]).movedim(0, -1))
        real, names = self.to_real.map_rows(rows)[..., self.labels :], self.to_real.names
        scaler = Scaler.fit(real, names[self.labels :])
        # The last bits of a map depend on the processor; those of the user's numbers do not
        scaler = scaler.to_nine_digits() if self.to_real.name else scaler
        self.standardize.set(scaler.padded(self.labels))

    def scale(self, rows: Array) -> Array:
        """Return rows in the user's units after ``to_real`` and ``standardize``.

        Rows and result are ``(n, M or 1, *event)``. Rows that members share stay shared if the
        members have the same scaler. ``NaN`` stays.
        """
        return self.standardize.scaler.scale(self.to_real.map_rows(rows))

    @torch.no_grad()
    def fit(
        self, rows: Array, *, margins: bool = False, whiten: bool = False, more: int = 0
    ) -> None:
        """Fit all maps to rows ``(n, M or 1, D)`` in the user's units, one after another.

        A map that is not fitted stays the identity. The whitening keeps the indicators and the
        first ``more`` numbers.
        """
        self.fit_scaler(rows)
        z = torch.from_numpy(self.scale(rows)).movedim(0, -1)
        z = z.expand(self.members, -1, -1).contiguous()
        if self.margins is not None and margins:
            self.margins.initialize(z)
            z = self.margins(z)[0]
        if self.whiten is not None and whiten:
            z = z if self.encoding is None else self.encoding(z)[0]
            self.whiten.initialize(z, more)

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
        """Return z, and log dz_j/dx_j of each learned feature given the features before it.

        They are ``(M, inputs + D, N)`` and ``(M, D, N)``. The maps are triangular, so these
        log-slopes sum to the log-determinant.

        Args:
            x: rows in the user's units, ``(M, d + D, N)``.
        """
        z = self.map_columns(x)[0]
        slopes = self.part(range(self.context, self.dim)).log_slopes(z[:, self.inputs :])
        if self.whiten is not None:
            z = self.whiten(z)[0]
            diagonal = torch.diagonal(self.whiten.factor, dim1=1, dim2=2)
            slopes = slopes - diagonal[:, self.inputs - self.indicators :].log()[..., None]
        for process in self.processes:
            z, log_det = process(z)
            slopes[:, process.feature - self.inputs] += log_det
        return z, slopes

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        if f"{prefix}margins.knots" in state_dict:
            self.add_margins()
        if f"{prefix}whiten.mean" in state_dict:
            self.add_whitening()
        if (name := f"{prefix}_processes.0.points") in state_dict:
            self.add_processes(state_dict[name].shape[-1])
        super()._load_from_state_dict(state_dict, prefix, *others)  # the maps' own states follow
