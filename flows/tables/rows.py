"""Rows of the learned columns of a table as numbers, and which values are refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Array, Mask
from flows.tables.field import Field
from flows.tables.notices import Notice, TableError, collecting
from flows.tables.parsing import Table


def numbers_of(fields: Sequence[Field], table: Table, *, is_fit: bool = False) -> Array:
    """Return the columns ``fields`` of a parsed table as numbers ``(n, D)``, with codes for labels.

    Raises ``TableError``, with the faults of all columns, for values that are not numbers.
    """
    found, faults = list[Array](), list[Notice]()
    for field in fields:
        with collecting(faults):
            found.append(field.numbers(table.frame[field.name], is_fit=is_fit))
    if faults:
        raise TableError(faults, table.source)
    return np.stack(found, axis=1)


def refused(fields: Sequence[Field], values: Array) -> Mask:
    """Return which numbers ``(n, D)`` the kinds of their columns do not allow, ``(n, D)``."""
    held = [field.holds(x) for field, x in zip(fields, values.T, strict=True)]
    return ~(np.stack(held, axis=1) | np.isnan(values))


def round_rows(fields: Sequence[Field], rows: Array) -> Array:
    """Return numbers ``(n, D)`` in the user's units, rounded to the values of samples."""
    return np.stack([field.round(x) for field, x in zip(fields, rows.T, strict=True)], axis=1)
