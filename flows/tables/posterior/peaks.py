"""Known values that many rows hold: the mean of the density over the cell of the value.

A value x that many rows hold has a cell of width c, a peak (``flows/tables/columns/rounding.py``).
The probability of the value is the integral over its cell, and its density is the mean::

    q(x) = 1/c integral of q(v) dv = 1/c P(the value)

Inside the cell, a fitted density is not flat: at the middle it may be a quarter lower or higher.
With several such values in a row, the mean is over the product of their cells, and of at most
``MOST`` of them: an integral over more cells needs too many points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array, Mask
from flows.tables.columns.field import Field

# Points for one, two, three and more values of a row, what generates them, and the power p
LATTICES = {1: (32, 1, 2.0), 2: (89, 55, 2.0), 3: (144, 26, 2.0), 4: (509, 290, 1.6)}
MOST = 8  # values of a row that are averaged over; the density is at the others' middle
TINY = 1e-12  # share of a cell
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

            x = low + c u^p / (u^p + (1 - u)^p)

        p is 2, and 1.6 for four and more values of a row, whose weights would vary too much. At
        most ``MOST`` values of a row are averaged over, the first ones.

        Args:
            log_density: the members' log-densities of complete rows.
            rows: complete rows, ``(n, D)``.
            at: the values to average over, ``(n, D)``.
        """
        if not at.any():
            return log_density(rows)
        counts = np.minimum(at.sum(axis=1), MOST)
        different = np.unique(counts).tolist()
        groups = [np.flatnonzero(counts == count) for count in different]
        parts = [
            self._mean(log_density, rows[own], at[own], count)
            for count, own in zip(different, groups, strict=True)
        ]
        return np.concatenate(parts)[np.argsort(np.concatenate(groups))]

    def _mean(
        self, log_density: Callable[[Array], Array], rows: Array, at: Mask, count: int
    ) -> Array:
        """Return ``mean`` of rows with ``count`` values to average over."""
        if not count:
            return log_density(rows)
        share, log_weights = _lattice(count)
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

    def spread(self, rows: Array, at: Mask, u: Array) -> tuple[Array, Array]:
        """Return rows with other values in the cells of peaks, and their log-weights, ``(n,)``.

        Half of the values are uniform in the cell. The others are denser near its ends, because the
        density may be large there, and weights of uniform values would have heavy tails::

            x = low + c s,    s = v or sin(pi v / 2)^2
            weight = 1 / (1/2 + 1 / (2 pi sqrt(s (1 - s))))

        Args:
            rows: rows ``(n, D)``.
            at: the values to replace, ``(n, D)``.
            u: uniform numbers from 0 to 1, ``(n, D)``.
        """
        v = 2 * u % 1
        share = np.clip(np.where(u < 0.5, v, np.sin(np.pi / 2 * v) ** 2), TINY, 1 - TINY)
        log_weights = -np.log(0.5 + 0.5 / (np.pi * np.sqrt(share * (1 - share))))
        found = np.where(at, self.low + share * (self.high - self.low), rows)
        return found, np.where(at, log_weights, 0.0).sum(axis=1)


def _lattice(count: int) -> tuple[Array, Array]:
    """Return points of the unit cube ``(N, count)``, and their log-weights, ``(N,)``."""
    size, step, power = LATTICES[min(count, max(LATTICES))]
    steps = [pow(step, k, size) for k in range(count)]
    u = (np.outer(np.arange(size), steps) % size + 0.5) / size
    below, above = u**power, (1 - u) ** power
    slope = (u * (1 - u)) ** (power - 1) / np.square(below + above)
    log_weights = np.log(slope).sum(axis=1)
    return below / (below + above), log_weights - logsumexp(log_weights)
