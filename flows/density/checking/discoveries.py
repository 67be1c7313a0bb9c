"""Anomalies among new rows, with a limit on the expected share of false discoveries."""

from __future__ import annotations

import numpy as np

from flows.core.arrays import Array, Mask
from flows.core.errors import UserError
from flows.density.array_density import ArrayDensity


def discoveries(p: Array, rate: float) -> Mask:
    """Return which rows the procedure of Benjamini and Hochberg (1995) keeps, ``(n,)``.

    With p-values in ascending order, the procedure keeps the k smallest, for the largest k with
    ``p_(k) <= rate k / n``.

    Args:
        p: the p-values ``(n,)``; a ``NaN`` is not kept, and does not count.
        rate: the expected share of false discoveries among the kept rows, at most.
    """
    known = np.sort(p[~np.isnan(p)])
    below = np.flatnonzero(known <= rate * np.arange(1, len(known) + 1) / max(len(known), 1))
    return p <= known[below[-1]] if len(below) else np.zeros(len(p), bool)


def check_rate(rate: float, density: ArrayDensity) -> None:
    """Raise ``UserError`` for a wrong rate, and for a density without tail probabilities."""
    if not 0 < rate < 1:
        raise UserError(f"fdr = {rate:g}: must be above 0 and below 1")
    if density.record is None or not density.record.fold_scores():
        raise UserError(
            "a rate of false discoveries needs out-of-fold scores of complete rows, which only the "
            "automatic recipe computes"
        )
