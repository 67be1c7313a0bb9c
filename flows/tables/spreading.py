"""Noise over the cells of rounded values and labels, which gives them a density."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Array, Whole
from flows.tables.field import Field


def dequantise(
    fields: Sequence[Field],
    values: Array,
    copies: Whole,
    seed: int,
    *,
    given: int = 0,
    is_narrow: bool = False,
    only_discrete: bool = False,
) -> Array:
    """Return ``values`` ``(n, D)`` with noise over their cells (``Field.spread``).

    The noise depends only on ``seed`` and the shape, so a table gets the same noise for every
    model. Copies of a row get the same noise and remain copies.

    Args:
        fields: the columns.
        values: their values, with codes for labels.
        copies: the result of ``first_copies``, ``(n,)``.
        seed: the seed of the noise.
        given: the number of first columns that keep their values.
        is_narrow: whether labels keep a distance from the ends of their cells.
        only_discrete: whether only values that samples are rounded to get noise.
    """
    spreads = [
        bool(d >= given and field.cell and (field.is_discrete or not only_discrete))
        for d, field in enumerate(fields)
    ]
    if not any(spreads):
        return values
    u = np.random.default_rng(seed).uniform(-0.5, 0.5, values.shape)[copies]
    spread = values.copy()
    for d in np.flatnonzero(spreads).tolist():
        spread[:, d] = fields[d].spread(values[:, d], u[:, d], is_narrow=is_narrow)
    return spread
