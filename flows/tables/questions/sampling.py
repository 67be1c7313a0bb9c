"""Samples of a density, perhaps under conditions, as data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flows.tables.columns.lazy import pd
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.goal import MOST
from flows.tables.posterior.region import Region
from flows.tables.questions.asking import run
from flows.tables.questions.collector import Collector
from flows.tables.questions.draw import PER_DRAW, Draw
from flows.tables.questions.refusals import refuse

TOGETHER = MOST // PER_DRAW  # rows that are drawn from one posterior, at most


def sample(
    density: ArrayDensity,
    n: int,
    seed: int,
    conditions: Region,
    collector: Collector,
    on_rows: Callable[[int], Any] = lambda count: None,
) -> Iterator[pd.DataFrame]:
    """Yield ``n`` rows that meet conditions, in data frames with all columns of the table.

    Args:
        density: the density.
        n: the number of rows.
        seed: the seed of the random streams.
        conditions: the region of one row; without conditions, rows of the whole density.
        collector: counts what users should know.
        on_rows: called with numbers of rows that are drawn.
    """
    if not conditions.is_everything:
        pieces = -(-n // TOGETHER)
        question = Draw(-(-n // max(pieces, 1)), seed)
        for asked, answer in run(question, density, conditions.repeated(pieces), collector):
            drawn = question.rows(density, asked, answer)[:n]
            n -= len(drawn)
            on_rows(len(drawn))
            yield drawn
        return
    refuse(Draw(1, seed), density, conditions)
    start = 0
    for rows in density.draw(n, seed):
        yield density.schema.frame(rows, seed=seed, start=start)
        start += len(rows)
        on_rows(len(rows))
