"""The maps from the numbers of a table to real rows and back.

A ``Scaler`` then standardises real rows. Torch is imported only for rows that have columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flows.core.arrays import Array, as_points, as_rows
from flows.tables.columns import Column
from flows.tables.duplicates import first_copies
from flows.tables.rounding import dequantise

if TYPE_CHECKING:
    from torch import Tensor

    from flows.tables.to_real import ToReal


def learnable(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """Map rows ``(n, D)`` to learn from to the real line; rounded values are dequantised."""
    if not columns:
        return values
    return to_real(columns, dequantise(columns, values, first_copies(values), seed))


def scorable(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """Map rows ``(n, D)`` to score to the real line.

    Integers and counts stay whole, because samples are whole. Categories are dequantised with the
    same noise for every model.
    """
    if not columns:
        return values
    dequantised = dequantise(columns, values, first_copies(values), seed)
    whole = [column.kind in ("integer", "count") for column in columns]
    return to_real(columns, np.where(whole, values, dequantised))


def to_real(columns: Sequence[Column], rows: Array) -> Array:
    """Map rows ``(n, D)`` in the user's units to the real line, column by column."""
    return _mapped(columns, lambda maps, x: maps(x)[0], rows)


def from_real(columns: Sequence[Column], rows: Array, *, whole: bool = False) -> Array:
    """Map real rows ``(n, D)`` to the user's units; ``whole`` rounds integers and counts."""
    spread = _mapped(columns, lambda maps, z: maps.inverse(z)[0], rows)
    if not whole:
        return spread
    is_category = [column.kind == "category" for column in columns]
    return np.where(is_category, spread, round_rows(columns, spread))


def round_rows(columns: Sequence[Column], rows: Array) -> Array:
    """Return rows ``(n, D)`` in the user's units, with whole columns rounded to their steps."""
    return _mapped(columns, lambda maps, x: maps.round_whole(x), rows)


def _mapped(
    columns: Sequence[Column], apply: Callable[[ToReal, Tensor], Tensor], rows: Array
) -> Array:
    """Call ``apply`` with the columns' maps and points ``(1, D, n)``; return rows ``(n, D)``."""
    from flows.tables.to_real import ToReal

    return np.ascontiguousarray(as_rows(apply(ToReal(columns), as_points(rows))))
