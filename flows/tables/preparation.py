"""Maps of the rows of a table: to the real line, and to the steps of whole columns.

Torch is imported only for rows that have columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flows.core.arrays import Array, as_points, as_rows
from flows.tables.columns import Column

if TYPE_CHECKING:
    from torch import Tensor

    from flows.tables.to_real import ToReal


def to_real(columns: Sequence[Column], rows: Array) -> Array:
    """Map rows ``(n, D)`` in the user's units to the real line, column by column."""
    return _mapped(columns, lambda maps, x: maps(x)[0], rows)


def round_rows(columns: Sequence[Column], rows: Array) -> Array:
    """Return rows ``(n, D)`` in the user's units, with whole columns rounded to their steps."""
    return _mapped(columns, lambda maps, x: maps.round_whole(x), rows)


def _mapped(
    columns: Sequence[Column], apply: Callable[[ToReal, Tensor], Tensor], rows: Array
) -> Array:
    """Call ``apply`` with the columns' maps and points ``(1, D, n)``; return rows ``(n, D)``."""
    from flows.tables.to_real import ToReal

    return np.ascontiguousarray(as_rows(apply(ToReal(columns), as_points(rows))))
