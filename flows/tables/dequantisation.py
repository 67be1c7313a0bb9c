"""Dequantisation: noise that gives rounded values a density."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Array, Whole
from flows.tables.columns import Column
from flows.tables.duplicates import first_copies


def dequantise(
    columns: Sequence[Column], values: Array, seed: int, copies: Whole | None = None
) -> Array:
    """Return ``values`` ``(n, D)`` with uniform noise of the width of the step added::

        x + step u,  u uniform on (-1/2, 1/2)

    Near a bound of the column the noise is narrower, so values stay within the bounds. The numbers
    ``u`` depend only on ``seed`` and the shape, so a table gets the same noise for every model.
    Copies of a row get the same noise and remain copies: ``copies`` ``(n,)`` are the results of
    ``first_copies``, which is called if they are not given.
    """
    steps = np.array([column.step or 0.0 for column in columns])
    if not steps.any():
        return values
    copies = first_copies(values) if copies is None else copies
    u = np.random.default_rng(seed).uniform(-0.5, 0.5, values.shape)[copies]
    low, high = np.array([column.bounds for column in columns]).T
    return values + u * np.minimum(steps, 2 * np.minimum(values - low, high - values))
