"""Known values that many rows hold: the mean of the density over the cell of the value.

A value x that many rows hold has a cell of width c, a peak (``flows/tables/rounding.py``). The
probability of the value is the integral over its cell, and its density is the mean::

    q(x) = 1/c integral of q(v) dv = 1/c P(the value)

Inside the cell, a fitted density is not flat: at the middle it may be a quarter lower or higher.
With several such values in a row, the mean is over the product of their cells, and of at most
three of them: an integral over more cells needs too many points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array, Mask
from flows.tables.field import Field

# Points for one, two and three values of a row, and what generates them
LATTICES = {1: (32, 1), 2: (89, 55), 3: (144, 26)}
MOST = max(LATTICES)  # values of a row that are averaged over; the density is at the others' middle
POINTS = 20_000  # points at a time: limits the memory


class Peaks:
    """The cells of the peaks of the columns of a table.

    Args:
        columns: the D columns.
    """

    def __init__(self, columns: Sequence[Field]) -> None:
        self.low, self.high = np.full((2, len(columns)), np.nan)
        for d, column in enumerate(columns):
            if column.peak_cell is not None:
                self.low[d], self.high[d] = column.peak_cell

    def at(self, rows: Array) -> Mask:
        """Return which known values lie in the cell of a peak, ``(n, D)``.

        Args:
            rows: rows ``(n, D)``, ``NaN`` for unknown values.
        """
        return (self.low <= rows) & (rows <= self.high)

    def mean(self, log_density: Callable[[Array], Array], rows: Array, at: Mask) -> Array:
        """Return log-densities that are averaged over the cells of peaks, ``(n, M)``.

        The means are over a rank-1 lattice of points u with the weights of a substitution, which
        has most points near the ends of the cell, where densities change most (Sloan and Joe
        1994)::

            x = low + c u^2 / (u^2 + (1 - u)^2)

        At most ``MOST`` values of a row are averaged over, the first ones.

        Args:
            log_density: the members' log-densities of complete rows.
            rows: complete rows, ``(n, D)``.
            at: the values to average over, ``(n, D)``.
        """
        if not at.any():
            return log_density(rows)
        counts = np.minimum(at.sum(axis=1), MOST)
        groups = [np.flatnonzero(counts == count) for count in range(MOST + 1)]
        parts = [
            self._mean(log_density, rows[own], at[own], count)
            for count, own in enumerate(groups)
            if len(own)
        ]
        return np.concatenate(parts)[np.argsort(np.concatenate(groups))]

    def _mean(
        self, log_density: Callable[[Array], Array], rows: Array, at: Mask, count: int
    ) -> Array:
        """Return ``mean`` of rows with ``count`` values to average over."""
        if not count:
            return log_density(rows)
        share, log_weights = _lattice(count)
        # The first values to average over of each row
        places = np.argsort(~at, axis=1, kind="stable")[:, :count]
        low, high = self.low[places], self.high[places]
        size, parts = max(1, POINTS // len(share)), list[Array]()
        for start in range(0, len(rows), size):
            own = slice(start, start + size)
            inside = low[own, None] + (high - low)[own, None] * share
            points = rows[own, None].repeat(len(share), axis=1)
            np.put_along_axis(points, places[own, None], inside, axis=2)
            log_q = log_density(points.reshape(-1, rows.shape[1]))
            log_q = log_q.reshape(*points.shape[:2], -1) + log_weights[:, None]
            parts.append(np.asarray(logsumexp(log_q, axis=1)))
        return np.concatenate(parts)

    def spread(self, rows: Array, at: Mask, u: Array) -> Array:
        """Return rows with other values in the cells of peaks.

        Args:
            rows: rows ``(n, D)``.
            at: the values to replace, ``(n, D)``.
            u: uniform numbers from 0 to 1, ``(n, D)``.
        """
        return np.where(at, self.low + u * (self.high - self.low), rows)


def _lattice(count: int) -> tuple[Array, Array]:
    """Return points of the unit cube ``(N, count)``, and their log-weights, ``(N,)``."""
    size, step = LATTICES[count]
    steps = [pow(step, k, size) for k in range(count)]
    u = (np.outer(np.arange(size), steps) % size + 0.5) / size
    squares = np.square(u), np.square(1 - u)
    slope = u * (1 - u) / np.square(sum(squares))
    log_weights = np.log(slope).sum(axis=1)
    return squares[0] / sum(squares), log_weights - logsumexp(log_weights)
