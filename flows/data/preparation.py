"""The preparation of tables: numbers become real rows, which a ``Scaler`` then standardises.

The pipeline's ``prepare`` and ``flows.fit`` prepare their rows by these functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from flows.bijections import ToReal
from flows.core.arrays import Array
from flows.core.columns import Column, dequantise


def learnable(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """Return real rows ``(n, D)`` to learn from: rounded values are spread over their steps."""
    return to_real(columns, dequantise(columns, values, seed)) if columns else values


def scorable(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """Return real rows ``(n, D)`` to score: integers stay whole, as they are drawn."""
    if not columns:
        return values
    whole = [column.kind == "integer" for column in columns]
    return to_real(columns, np.where(whole, values, dequantise(columns, values, seed)))


def to_real(columns: Sequence[Column], rows: Array) -> Array:
    """Return rows ``(n, D)`` in the user's units with every column on the real line by its kind."""
    x = ToReal(columns)(torch.from_numpy(rows.T.copy())[None])[0]
    return np.ascontiguousarray(x[0].numpy().T)


def from_real(columns: Sequence[Column], rows: Array, *, whole: bool = False) -> Array:
    """Return real rows ``(n, D)`` in the user's units; ``whole`` rounds integer columns."""
    map_ = ToReal(columns)
    x = map_.inverse(torch.from_numpy(rows.T.copy())[None])[0]
    return np.ascontiguousarray((map_.rounded(x) if whole else x)[0].numpy().T)
