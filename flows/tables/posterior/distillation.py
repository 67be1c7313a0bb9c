"""A simple approximation of a fitted density: margins and a mixture.

Both are fitted to samples of the density. The conditionals of the approximation have closed forms,
so it proposes values of unknown columns. The density itself then weights these values
(``joint.py``), so the results follow the density; with a worse approximation, fewer values are
effective.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from scipy.special import log_ndtr

from flows.bijections import Margins, Reach
from flows.bijections.chain import Chain
from flows.core.arrays import Array, Mask
from flows.core.intervals import log_interval
from flows.core.rows import Rows, codes_of
from flows.mixtures import expectation
from flows.mixtures.mixture import Mixture
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.field import Field
from flows.tables.columns.spreading import dequantise

SAMPLES = 10_000  # drawn from the density
COMPONENTS, ROUNDS = 24, 30  # of the mixture; EM iterations of its fit
RIDGE = 1e-4  # added to the variances of normal scores
MOST = 1e5  # the largest normal score of a known value
RANGE = (0.001, 0.999)  # the samples between these quantiles span the range of a column


class Distilled:
    """Maps of the columns of numbers to normal scores z, and a mixture of the scores and labels.

    Attributes:
        low, high: the ends of the columns' ranges, ``(D,)`` each.
        sizes: the numbers of labels of the columns of labels.
        numbers: the indices of the columns of numbers.

    Args:
        columns: the D columns, those of labels first.
        samples: samples of the density, ``(n, D)``, with codes for labels.
    """

    def __init__(self, columns: Sequence[Field], samples: Array) -> None:
        self.columns, self.samples = list(columns), samples
        self.low, self.high = np.quantile(samples, RANGE, axis=0)
        self.sizes = tuple(len(column.labels) for column in columns if column.labels)
        self.numbers = range(len(self.sizes), len(columns))
        # Samples of whole columns are rounded, so they get noise; other samples are continuous.
        # Equal samples are no copies
        x = dequantise(columns, samples, np.arange(len(samples)), 0, only_discrete=True)
        self.maps = {
            d: Chain([ColumnMaps([columns[d]]), Margins(1, 1), Reach()]) for d in self.numbers
        }
        for d, chain in self.maps.items():
            chain.initialize(torch.from_numpy(x[:, d].copy())[None, None])
        self._spread = x

    @cached_property
    def mixture(self) -> Mixture:
        """The mixture of the scores and labels, which is fitted at the first use."""
        rows = self.rows(self._spread)
        return expectation.fit(rows, COMPONENTS, RIDGE, iterations=ROUNDS, k_means=False)

    def rows(self, x: Array) -> Rows:
        """Return the scores of the numbers, and the codes of the labels, of rows.

        Args:
            x: rows ``(n, D)`` in the user's units, ``NaN`` for unknown values.
        """
        z = np.full((len(x), len(self.numbers)), np.nan)
        for k, d in enumerate(self.numbers):
            if not np.isnan(x[:, d]).all():
                z[:, k] = self.scores(d, x[:, d].copy())[0]
        return Rows(z, codes_of(x[:, : len(self.sizes)], self.sizes), self.sizes)

    def known(self, x: Array) -> Rows:
        """Return ``rows`` whose scores are at most ``MOST`` in size.

        Conditionals of the mixture follow lines in the known scores, which lead far away from the
        density of a row that is far outside of the table.

        Args:
            x: rows ``(n, D)`` in the user's units, ``NaN`` for unknown values.
        """
        found = self.rows(x)
        return found._replace(numbers=found.numbers.clip(-MOST, MOST))

    def scores(self, d: int, x: Array) -> tuple[Array, Array]:
        """Return the normal scores of values ``x`` of column ``d``, and their log dz/dx.

        Both have the shape of ``x``; unknown values stay ``NaN``.
        """
        z, log_slope = self._map(d, x)
        return np.where(np.isnan(x), np.nan, z), log_slope

    def values(self, d: int, z: Array) -> tuple[Array, Array]:
        """Return the values of column ``d`` with normal scores ``z``, and their log dx/dz.

        Both have the shape of ``z``. The values are not rounded. A value that overflows, or that
        floating-point rounding puts on a bound, has the slope 0 and so no density.
        """
        x, log_slope = self._map(d, z, inverse=True)
        low, high = self.columns[d].bounds
        low = max(low + np.finfo(float).tiny, np.nextafter(low, high))
        inside = (low < x) & (x < np.nextafter(high, low))
        return x, np.where(inside, log_slope, -np.inf)

    def set_numbers(self, points: Array, places: Sequence[int], z: Array) -> Array:
        """Set columns of ``points`` ``(n, D)`` to the values with the normal scores ``z``.

        Return the sum of log dx/dz over the columns, ``(n,)``.

        Args:
            points: rows in the user's units, which are changed.
            places: the indices of the columns.
            z: the normal scores, ``(n, U)``.
        """
        log_slope = np.zeros(len(points))
        for d, scores in zip(places, z.T.copy(), strict=True):
            points[:, d], slope = self.values(d, scores)
            log_slope += slope
        return log_slope

    def ends(self, d: int, intervals: Array) -> Array:
        """Return the normal scores of the ends of intervals ``(..., 2)`` of column ``d``.

        An end at or beyond a bound of the column is infinite.
        """
        low, high = self.columns[d].bounds
        below, above = intervals <= low, intervals >= high
        inside = np.where(below | above, self.samples[0, d], intervals)
        z = self.scores(d, inside.ravel())[0].reshape(intervals.shape)
        return np.where(below, -np.inf, np.where(above, np.inf, z))

    def is_far(self, x: Array, d: int | slice = slice(None)) -> Mask:
        """Return which values are more than one range of their column outside of its range.

        Args:
            x: values of column ``d``, or of all columns ``(n, D)``.
            d: the index of the column.
        """
        low, high = self.low[d], self.high[d]
        return np.asarray((x < 2 * low - high) | (x > 2 * high - low))

    def log_margin(self, d: int, x: Array) -> Array:
        """Return the marginal log-density of values ``x`` of column ``d``.

        For labels, return the logarithms of their shares of the samples. A value that many rows
        hold has the mean density of its cell.
        """
        if labels := self.columns[d].labels:
            count = np.bincount(self.samples[:, d].astype(np.int64), minlength=len(labels))
            share = (count + 0.5) / (len(self.samples) + 0.5 * len(labels))
            return np.log(share[x.astype(np.int64)])
        z, log_slope = self.scores(d, x)
        found = -0.5 * (z**2 + np.log(2 * np.pi)) + log_slope
        if cell := self.columns[d].peak_cell:
            low, high = self.ends(d, np.array(cell))
            log_share = log_interval(log_ndtr, low, high) - np.log(cell[1] - cell[0])
            found = np.where((cell[0] <= x) & (x <= cell[1]), log_share, found)
        return found

    @torch.no_grad()
    def _map(self, d: int, x: Array, *, inverse: bool = False) -> tuple[Array, Array]:
        """Map values of any shape to normal scores of column ``d`` or, with ``inverse``, back."""
        chain, points = self.maps[d], torch.from_numpy(x.reshape(1, 1, -1))
        z, log_slope = chain.inverse(points) if inverse else chain.forward(points)
        return z.numpy().reshape(x.shape), log_slope.numpy().reshape(x.shape)
