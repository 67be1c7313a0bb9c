"""Standardisation: the mean and the standard deviation of the training rows, feature by feature."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flows.core.arrays import Array


@dataclass(frozen=True)
class Scaler:
    """A fixed affine map per feature::

        scale:    z = (x - mean) / deviation
        restore:  x = mean + deviation z

    ``mean`` and ``deviation`` have the shape of a row, ``(*event)``, or ``(M or 1, *event)`` where
    rows are ``(n, M or 1, *event)``: every member then has a scaler of its own.
    """

    mean: Array
    deviation: Array

    @classmethod
    def fit(cls, rows: Array, names: Sequence[str] = ()) -> Scaler:
        """Return the scaler of ``rows``, by the moments over their first axis.

        Gaps, which are ``NaN``, are left out. ``names`` are those of the columns. Raises
        ``ValueError``, with the name of the column, where a feature does not vary.
        """
        with warnings.catch_warnings():  # a column of gaps or infinities is refused below
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

    def scale(self, rows: Array) -> Array:
        """Return real ``rows`` as standardised ones."""
        scaled = rows - self.mean
        scaled /= self.deviation  # in place, as there may be many
        return scaled

    def restore(self, rows: Array) -> Array:
        """Return standardised ``rows`` as real ones."""
        return self.mean + self.deviation * rows
