"""The map of the rows of a table to the real line. Torch is imported when rows are mapped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Array, as_points, as_rows
from flows.tables.field import Field


def to_real(fields: Sequence[Field], rows: Array) -> Array:
    """Map rows ``(n, D)`` in the user's units to the real line, column by column."""
    from flows.tables.column_maps import ColumnMaps

    return np.ascontiguousarray(as_rows(ColumnMaps(fields)(as_points(rows))[0]))


def round_rows(fields: Sequence[Field], rows: Array) -> Array:
    """Return rows ``(n, D)`` in the user's units, rounded to the values of samples."""
    return np.stack([field.round(x) for field, x in zip(fields, rows.T, strict=True)], axis=1)
