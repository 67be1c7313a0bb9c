"""Rows of the learned columns of a table as numbers: refused, rounded, or spread over cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.tables.columns.field import Field
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError, collecting
from flows.tables.columns.parsing import Table, parse_fields


def numbers_of(fields: Sequence[Field], table: Table) -> Array:
    """Return the columns ``fields`` of a parsed table as numbers ``(n, D)``, with codes for labels.

    Raises ``TableError``, with the faults of all columns, for values that are not numbers.
    """
    found, faults = list[Array](), list[Notice]()
    for field in fields:
        with collecting(faults):
            found.append(field.numbers(table.frame[field.name]))
    if faults:
        raise TableError(faults, table.source)
    return np.stack(found, axis=1)


def numbers_of_values(field: Field, values: Sequence[Any], na: Sequence[str]) -> Array:
    """Return values that a user writes for a column outside of a table as numbers, ``(n,)``.

    Raises ``TableError`` for text that is not a number, also if it counts as missing in the table.
    """
    field = replace(field, text_is_missing=False)
    written = pd.DataFrame({field.name: pd.Series([*values], dtype=object)})
    found = numbers_of([field], parse_fields(written, [field], na=na))[:, 0]
    for value, number in zip(values, found, strict=True):
        if isinstance(value, str) and not np.isnan(number) and (why := field.misread(value)):
            raise TableError([Notice(f"holds {value!r}, {why}", field.name)])
    return found


def refused(fields: Sequence[Field], values: Array) -> Mask:
    """Return which numbers ``(n, D)`` the kinds of their columns do not allow, ``(n, D)``."""
    held = [field.holds(x) for field, x in zip(fields, values.T, strict=True)]
    return ~(np.stack(held, axis=1) | np.isnan(values))


def round_rows(fields: Sequence[Field], rows: Array) -> Array:
    """Return numbers ``(n, D)`` in the user's units, rounded to the values of samples."""
    return np.stack([field.round(x) for field, x in zip(fields, rows.T, strict=True)], axis=1)


def dequantise(
    fields: Sequence[Field], values: Array, copies: Whole, seed: int, **which: Any
) -> Array:
    """Return ``values`` ``(n, D)`` with noise over their cells (``spread``).

    The noise depends only on ``seed`` and the shape, so a table gets the same noise for every
    model. Copies of a row get the same noise and remain copies.

    Args:
        fields: the columns.
        values: their values, with codes for labels.
        copies: the result of ``first_copies``, ``(n,)``.
        seed: the seed of the noise.
        which: the options of ``spread``.
    """
    u = np.random.default_rng(seed).uniform(-0.5, 0.5, values.shape)[copies]
    return spread(fields, values, u, **which)


def spread(
    fields: Sequence[Field],
    values: Array,
    u: Array,
    *,
    given: int = 0,
    is_narrow: bool = False,
    only_discrete: bool = False,
) -> Array:
    """Return ``values`` ``(n, D)`` with noise over their cells (``Field.spread``).

    Args:
        fields: the columns.
        values: their values, with codes for labels.
        u: uniform numbers between -1/2 and 1/2, ``(n, D)``.
        given: the number of first columns that keep their values.
        is_narrow: whether labels keep a distance from the ends of their cells.
        only_discrete: whether only values that samples are rounded to get noise.
    """
    result = values.copy()
    for d, field in enumerate(fields):
        if d >= given and field.cell and (field.is_discrete or not only_discrete):
            result[:, d] = field.spread(values[:, d], u[:, d], is_narrow=is_narrow)
    return result
