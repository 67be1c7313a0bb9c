"""Rows with unknown values drawn, and samples of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flows.core.seeds import numpy_generator
from flows.density.array_density import ArrayDensity
from flows.density.asking import run
from flows.density.collector import Collector
from flows.density.question import Answer, Asked, Question
from flows.density.refusals import refuse
from flows.posterior.region import ENOUGH, MOST, Goal, Region
from flows.tables.lazy import pd
from flows.tables.rows import round_rows

PER_DRAW = 8  # effective draws for each draw that is kept, if many are kept
TOGETHER = MOST // PER_DRAW  # rows that are drawn from one posterior, at most


@dataclass(frozen=True)
class Draw(Question):
    """Complete rows: the known values of each row, and draws of its unknown values.

    The result is ``rows``, ``(n, count, D)``.

    Args:
        count: the number of draws per row.
        seed: the seed of the random streams.
    """

    count: int = 1
    seed: int = 0

    noun: ClassVar[str] = "draws"
    needs_all: ClassVar[bool] = False
    fills_gaps: ClassVar[bool] = True

    def stated(self, density: ArrayDensity, region: Region) -> Sequence[int]:
        return range(len(density.columns)) if region.is_everything else ()

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        n, dim = region.rows.shape
        found = region.rows[:, None].repeat(self.count, axis=1)
        effective = np.full(n, np.inf)
        places = np.flatnonzero(region.gaps.any(axis=1))
        goal = Goal(max(ENOUGH, PER_DRAW * self.count))
        met = density.constraints.met if density.constraints else None
        for place, posterior in density.posteriors(region.take(places), self.seed, goal):
            k = places[place]
            posterior.check(region.label(k))
            rng = numpy_generator(self.seed, "unknown", int(region.row_numbers[k]), 1)
            found[k] = posterior.pick(self.count, rng, met)
            effective[k] = posterior.effective
        drawn = round_rows(density.columns, found.reshape(-1, dim)).reshape(found.shape)
        known = region.rows[:, None]
        return Answer({"rows": np.where(np.isnan(known), drawn, known)}, effective)

    def rows(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        """Return rows with all columns of the table, and the index of the user's rows."""
        start = int(asked.region.row_numbers[0]) * self.count if len(asked.region) else 0
        drawn = answer["rows"].reshape(-1, len(density.columns))
        frame = density.schema.frame(drawn, seed=self.seed, start=start, rare=asked.region.rare)
        index = asked.frame.index.repeat(self.count)
        for column in density.columns:
            if column.pool is not None and column.name in asked.parsed:
                # A known rare label, which has the code of the pool
                own = asked.parsed[column.name].repeat(self.count).set_axis(frame.index)
                frame[column.name] = frame[column.name].where(own.isna(), own)
        return frame.set_axis(index)

    @property
    def enough(self) -> float:
        return ENOUGH if self.count == 1 else self.count

    def roughness(self, rough: int, rows: int, least: float) -> str:
        if self.count == 1:
            return super().roughness(rough, rows, least)
        share = f"{least / self.count:.0%}"
        return f"some rows repeat draws; the effective sample size is {share} of n"


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
