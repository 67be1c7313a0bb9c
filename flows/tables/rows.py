"""Rows of the learned columns of a table: as numbers, as ``Rows``, and which values are refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Array, Mask
from flows.core.rows import Rows
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


def separated(fields: Sequence[Field], values: Array) -> Rows:
    """Return numbers ``(n, D)`` with codes for labels as rows of numbers and labels."""
    is_label = _are_labels(fields)
    codes = np.maximum(np.nan_to_num(values[:, is_label], nan=-1), -1).astype(np.int64)
    sizes = tuple(len(field.labels) for field in fields if field.labels)
    return Rows(values[:, ~is_label], codes, sizes)


def joined(fields: Sequence[Field], rows: Rows, is_refused: Mask | None = None) -> Array:
    """Return rows as numbers ``(n, D)`` with codes for labels, in the order of the fields.

    A gap is ``NaN``.

    Args:
        fields: the D fields of the rows.
        rows: the rows.
        is_refused: which values are refused, ``(n, D)``; a refused label has the code -1.
    """
    is_label = _are_labels(fields)
    values = np.empty((len(rows.numbers), len(fields)))
    values[:, ~is_label] = rows.numbers
    gaps = rows.codes < 0
    if is_refused is not None:
        gaps &= ~is_refused[:, is_label]
    values[:, is_label] = np.where(gaps, np.nan, rows.codes)
    return values


def _are_labels(fields: Sequence[Field]) -> Mask:
    return np.array([bool(field.labels) for field in fields])
