"""Weights of rows: a weight is the number of times that a row occurs in the table.

A fit repeats each row by its weight, so every mean over the rows is a weighted mean. Copies of a
row are in one fold, and the noise of the training has its neighbours among different rows.
"""

from __future__ import annotations

import numpy as np

from flows.core.arrays import Array, Whole, plain
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError
from flows.tables.columns.values import as_numbers, missing_values

COPIES = 4  # largest mean number of copies per row
ROWS = 100_000  # fractions are not resolved by more copies in a table with more rows


def weights_of(values: pd.Series) -> Array:
    """Return the weights ``(n,)`` in a column, whose index names the rows.

    Raises ``TableError``, which names the first row, for a value that is not a finite number of at
    least 0, and if every weight is 0.
    """
    is_missing = missing_values(values)
    weights = as_numbers(values.mask(is_missing))
    for k in np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))[:1].tolist():
        found = "no value" if is_missing[k] else repr(plain(values.iloc[k]))
        problem = f"holds {found}; a weight must be a finite number of at least 0"
        raise TableError([Notice(problem, str(values.name), values.index[k])])
    if not weights.any():
        raise TableError([Notice("holds only weights of 0", str(values.name))])
    return weights


def counts(weights: Array) -> Whole:
    """Return the number of copies of each row, ``(n,)``, for weights ``(n,)`` above 0.

    Whole weights with a mean of at most ``COPIES`` are the numbers themselves. Other weights are
    scaled to a mean of ``COPIES``, or less for a table with many rows, and rounded by systematic
    resampling (Madow 1949)::

        count_i = [c W_i + 1/2] - [c W_(i-1) + 1/2],    W_i = w_1 + ... + w_i

    Sums of counts over successive rows then differ by less than 1 from the sums of scaled weights.
    """
    n, total = len(weights), weights.sum()
    if (weights % 1 == 0).all() and total <= COPIES * n:
        return weights.astype(np.int64)
    wanted = min(COPIES * n, max(n, ROWS))
    edges = np.floor(weights.cumsum() * (wanted / total) + 0.5)
    return np.diff(edges, prepend=0).astype(np.int64)
