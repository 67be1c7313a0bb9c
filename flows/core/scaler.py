"""Standardisation: the mean and the standard deviation of the training rows, feature by feature."""

from __future__ import annotations

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

        Raises ``ValueError``, with the name of the column, where a feature does not vary.
        """
        with np.errstate(invalid="ignore"):
            scaler = cls(rows.mean(axis=0), rows.std(axis=0))
        good = (scaler.deviation > 0) & np.isfinite(scaler.deviation)
        for *member, feature in np.argwhere(~good)[:1].tolist() if good.ndim else ():
            name = names[feature] if names else feature
            value = scaler.deviation[(*member, feature)]
            raise ValueError(
                f"column {name} has standard deviation {value} in the training rows; it must vary"
            )
        return scaler

    def scale(self, rows: Array) -> Array:
        """Return real ``rows`` as standardised ones."""
        return (rows - self.mean) / self.deviation

    def restore(self, rows: Array) -> Array:
        """Return standardised ``rows`` as real ones."""
        return self.mean + self.deviation * rows

    def after(self, first: Scaler) -> Scaler:
        """Return the scaler that does what ``first`` does, and then this one."""
        return Scaler(first.restore(self.mean), first.deviation * self.deviation)
