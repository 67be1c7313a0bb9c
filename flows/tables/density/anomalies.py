"""Anomalies: the least likely rows, and a limit on the expected share of false discoveries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from flows.core.arrays import Array, Mask
from flows.core.errors import UserError
from flows.tables.columns.notices import Notice, TableError
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.questions.asking import Asking
from flows.tables.questions.reading import UserRows
from flows.tables.questions.surprise import Surprise


def least_likely(
    asking: Asking, count: int | None, rate: float | None = None, first: int = 0
) -> tuple[pd.DataFrame, Array]:
    """Return the least likely rows with their scores, and the surprises of their values ``(n, D)``.

    Args:
        asking: a ``Score`` of rows of a user, whose index numbers them.
        count: the number of rows to return; ``None`` for all.
        rate: the expected share of false discoveries, if only discoveries are returned; the score
            then adds tail probabilities.
        first: the label of the first row in the index.

    Raises ``TableError`` if no row is complete and the score leaves out other rows, and
    ``UserError`` for a learned column that has the name of a score.
    """
    for name in {*asking.question.adds(asking.density)} & {*asking.density.names}:
        raise UserError(f"column {name}: the scores have a column of this name; rename yours")
    least = pd.DataFrame()
    for scored in asking.rows():
        least = pd.concat([least, scored])
        if rate is None and count is not None:
            least = least.nsmallest(count, "log_density")
    if least.empty:
        raise TableError([Notice("no row is complete, so no row can be ranked")], asking.source)
    if rate is not None:
        least = least[discoveries(least["tail_probability"].to_numpy(), rate)]
        least = least.sort_values("log_density", kind="stable")[:count]
    if least.empty:
        return least, np.empty((0, len(asking.density.columns)))
    assert isinstance(asking.about, UserRows)
    numbers = least.index.to_numpy() - first
    again = replace(asking.about, pieces=[least], row_numbers=numbers)
    # Without notices, because the score gives those on the same rows
    found = Asking(Surprise(), asking.density, again, lambda notices: None).answer()
    return least, found["surprise"]


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
            "a rate of false discoveries needs out-of-fold scores of complete rows, which the "
            "density does not have"
        )
