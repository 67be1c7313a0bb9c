"""Standardisation with the mean and the standard deviation of the training rows, per feature."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flows.core.arrays import Array, rounded


@dataclass(frozen=True)
class Scaler:
    """A fixed affine map per feature::

        scale:    z = (x - mean) / deviation
        restore:  x = mean + deviation z

    Args:
        mean: the means, ``(*event)`` for rows ``(n, *event)``; with one set per member,
            ``(M or 1, *event)`` for rows ``(n, M or 1, *event)``.
        deviation: the standard deviations, of the same shape.

    Examples:
        >>> import numpy as np
        >>> from flows.core.scaler import Scaler
        >>> scaler = Scaler.fit(np.array([[1.0, 10.0], [3.0, 30.0]]))
        >>> scaler.scale(np.array([[2.0, 40.0]]))
        array([[0., 2.]])
        >>> scaler.restore(np.array([[0.0, 2.0]]))
        array([[ 2., 40.]])
    """

    mean: Array
    deviation: Array

    @classmethod
    def fit(cls, rows: Array, names: Sequence[str] = ()) -> Scaler:
        """Return the scaler with the moments of ``rows`` ``(n, ...)`` over the first axis.

        ``NaN`` values are left out. ``names`` are the names of the columns, for messages. Raises
        ``ValueError``, which names the column, if a feature does not vary or is not finite.
        """
        with warnings.catch_warnings():  # columns without a finite value raise an error below
            warnings.simplefilter("ignore", RuntimeWarning)
            mean, deviation = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
            # Rounding may give a constant column a deviation of 1e-17
            is_constant = np.nanmax(rows, axis=0) == np.nanmin(rows, axis=0)
            deviation = np.where(is_constant, 0.0, deviation)
        for place in np.argwhere(~((deviation > 0) & np.isfinite(deviation)))[:1].tolist():
            name = names[place[-1]] if names else place[-1] if len(place) < 3 else place
            raise ValueError(
                f"column {name} has standard deviation {deviation[tuple(place)]} in the training "
                "rows; it must vary"
            )
        return cls(mean, deviation)

    def to_nine_digits(self) -> Scaler:
        """Return the scaler with moments of nine digits, in units of the deviation for the mean.

        They are the same on every machine, also if the rows are logarithms.
        """
        deviation = rounded(self.deviation)
        return Scaler(deviation * np.round(self.mean / deviation, 9), deviation)

    def padded(self, count: int) -> Scaler:
        """Return the scaler of rows with ``count`` further columns first, which do not change."""
        if not count:
            return self
        shape = (*self.mean.shape[:-1], count)
        parts = (np.zeros(shape), self.mean), (np.ones(shape), self.deviation)
        return Scaler(*(np.concatenate(each, axis=-1) for each in parts))

    def scale(self, rows: Array) -> Array:
        """Return ``rows`` in standardised units."""
        scaled = rows - self.mean
        scaled /= self.deviation  # in place, to save memory
        return scaled

    def restore(self, rows: Array) -> Array:
        """Return standardised ``rows`` in their original units."""
        return self.mean + self.deviation * rows
