"""The columns of the table of a density: by name, and those that are not learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Mask
from flows.density.array_density import ArrayDensity
from flows.tables.frames import position
from flows.tables.layout import Layout
from flows.tables.notices import Notice, TableError

DENSITY = "the density"  # the source in messages about an unknown column


def layout_of(density: ArrayDensity) -> Layout:
    """Return all columns of the table of a density, also those that are not learned."""
    return Layout.of(density.network.description, density.columns)


def find_column(density: ArrayDensity, name: str) -> int:
    """Return the index of the column ``name`` among the learned columns of a density.

    Raises ``TableError`` for any other column, which says why if the column is not learned.
    """
    names = density.names
    if name not in names and (why := layout_of(density).without_density(name)):
        raise TableError([Notice(f"{why}; the learned columns are: {', '.join(names)}", name)])
    return position(names, name, DENSITY)


def given_mask(density: ArrayDensity, given: Sequence[str]) -> Mask:
    """Return a mask ``(D,)`` of the columns of a density that are ``given``.

    Raises ``TableError`` for an unknown column, and if all columns are given.
    """
    if isinstance(given, str):
        problem = f"given = {given!r}: must be a list of columns, such as [{given!r}]"
        raise TableError([Notice(problem)])
    mask = np.zeros(len(density.columns), bool)
    mask[[find_column(density, str(name)) for name in given]] = True
    if mask.all():
        raise TableError([Notice("every column is given; leave out a column to score")])
    return mask
