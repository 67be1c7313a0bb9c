"""The preparation of tables: numbers become real rows, which a ``Scaler`` then standardises.

The pipeline's ``prepare`` and ``flows.fit`` prepare their rows by these functions.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array
from flows.tables.columns import Column, dequantise
from flows.tables.to_real import ToReal


def learnable(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """Return real rows ``(n, D)`` to learn from: rounded values are spread over their steps."""
    return to_real(columns, dequantise(columns, values, seed)) if columns else values


def scorable(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """Return real rows ``(n, D)`` to score: integers and counts stay whole, as they are drawn.

    A category is spread over its cell, where every model then scores the same point.
    """
    if not columns:
        return values
    whole = [column.kind in ("integer", "count") for column in columns]
    return to_real(columns, np.where(whole, values, dequantise(columns, values, seed)))


def to_real(columns: Sequence[Column], rows: Array) -> Array:
    """Return rows ``(n, D)`` in the user's units with every column on the real line by its kind."""
    return _mapped(lambda x: ToReal(columns)(x)[0], rows)


def from_real(columns: Sequence[Column], rows: Array, *, whole: bool = False) -> Array:
    """Return real rows ``(n, D)`` in the user's units; ``whole`` rounds integers and counts."""
    spread = _mapped(lambda z: ToReal(columns).inverse(z)[0], rows)
    if not whole:
        return spread
    is_category = [column.kind == "category" for column in columns]
    return np.where(is_category, spread, as_drawn(columns, spread))


def as_drawn(columns: Sequence[Column], rows: Array) -> Array:
    """Return rows ``(n, D)`` in the user's units as models draw them: rounded, by their kinds."""
    return _mapped(ToReal(columns).rounded, rows)


def _mapped(one: Callable[[Tensor], Tensor], rows: Array) -> Array:
    """Return rows ``(n, D)`` after a map of points ``(1, D, n)``."""
    return np.ascontiguousarray(one(torch.from_numpy(rows.T.copy())[None])[0].numpy().T)
