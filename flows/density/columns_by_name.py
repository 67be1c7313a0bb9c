"""Columns that a user names as given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Mask
from flows.tables.notices import Notice, TableError
from flows.tables.schema import Schema


def given_mask(schema: Schema, given: Sequence[str]) -> Mask:
    """Return a mask ``(D,)`` of the learned columns that are ``given``.

    Raises ``TableError`` for an unknown column, and if all columns are given.
    """
    if isinstance(given, str):
        problem = f"given = {given!r}: must be a list of columns, such as [{given!r}]"
        raise TableError([Notice(problem)])
    mask = np.zeros(len(schema.fields), bool)
    mask[[schema.find(str(name)) for name in given]] = True
    if mask.all():
        raise TableError([Notice("every column is given; leave out a column to score")])
    return mask
