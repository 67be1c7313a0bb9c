"""The maps from the rows of a file to the rows that the pipeline learns from and scores.

A ``Scaler`` then standardises these rows. Torch is imported only for rows that have columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Array, as_points, as_rows
from flows.tables.columns.duplicates import first_copies
from flows.tables.columns.field import Field
from flows.tables.columns.parsing import round_rows
from flows.tables.columns.spreading import dequantise


def learnable(columns: Sequence[Field], values: Array, seed: int) -> Array:
    """Map rows ``(n, D)`` to learn from to the real line; rounded values are dequantised."""
    if not columns:
        return values
    return _to_real(columns, dequantise(columns, values, first_copies(values), seed))


def scorable(columns: Sequence[Field], values: Array, seed: int) -> Array:
    """Map rows ``(n, D)`` to score to the real line.

    Whole numbers stay whole, because samples are whole. Categories are dequantised with the
    same noise for every model.
    """
    if not columns:
        return values
    dequantised = dequantise(columns, values, first_copies(values), seed)
    whole = [column.is_discrete and not column.labels for column in columns]
    return _to_real(columns, np.where(whole, values, dequantised))


def _to_real(columns: Sequence[Field], rows: Array) -> Array:
    from flows.tables.columns.column_maps import ColumnMaps

    return ColumnMaps(columns).map_rows(rows[:, None])[:, 0]


def from_real(columns: Sequence[Field], rows: Array, *, whole: bool = False) -> Array:
    """Map real rows ``(n, D)`` to the user's units; ``whole`` rounds integers and counts."""
    from flows.tables.columns.column_maps import ColumnMaps

    spread = np.ascontiguousarray(as_rows(ColumnMaps(columns).inverse(as_points(rows))[0]))
    if not whole:
        return spread
    is_category = [bool(column.labels) for column in columns]
    return np.where(is_category, spread, round_rows(columns, spread))
