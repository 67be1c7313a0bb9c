"""Noise over the cells of rounded values and labels, which gives them a density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flows.core.arrays import Array, Whole
from flows.tables.columns.field import Field


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
