"""Rows with their unknown values drawn, and whole rows that meet conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from flows.core.errors import UserError
from flows.core.seeds import numpy_generator
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice
from flows.tables.columns.parsing import round_rows
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import ENOUGH, MOST, Goal
from flows.tables.posterior.region import Region
from flows.tables.questions.asking import Asking
from flows.tables.questions.question import Answer, Asked, Question

PER_DRAW = 8  # effective draws for each draw that is kept, if many are kept
TOGETHER = MOST // PER_DRAW  # rows that are drawn from one posterior, at most


@dataclass(frozen=True)
class Draw(Question):
    """Complete rows: the known values of each row, and draws of its unknown values.

    If the density has targets, all targets are drawn. The result is ``rows``, ``(n, count, D)``.

    Args:
        count: the number of draws per row.
        seed: the seed of the random streams.
    """

    count: int = 1
    seed: int = 0

    noun: ClassVar[str] = "draws"
    needs_all: ClassVar[bool] = False
    fills_gaps: ClassVar[bool] = True

    def check(self, density: ArrayDensity) -> None:
        if self.count < 0:
            raise UserError(f"count = {self.count}: must be 0 or more")

    def hidden(self, density: ArrayDensity) -> Sequence[str]:
        return density.targets

    def describes(self, density: ArrayDensity, region: Region) -> Sequence[str]:
        return density.names if region.is_everything else ()

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        n, dim = region.rows.shape
        found = region.rows[:, None].repeat(self.count, axis=1)
        effective = np.full(n, np.inf)
        places = np.flatnonzero(region.gaps.any(axis=1))
        goal = Goal(max(ENOUGH, PER_DRAW * self.count))
        for place, posterior in density.posteriors(region.take(places), self.seed, goal):
            k = places[place]
            rng = numpy_generator(self.seed, "unknown", int(region.row_numbers[k]), 1)
            met = (
                partial(density.constraints.met, known=region.rows[k])
                if density.constraints
                else None
            )
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
        return f"some rows repeat draws; the effective sample size is {share} of their number"


class Sampling:
    """``n`` rows that meet conditions, as an iterable of data frames with all columns of the table.

    Args:
        density: the density.
        n: the number of rows.
        seed: the seed of the random streams.
        conditions: the region of one row; without conditions, rows of the whole density.
        on_notices: called after the last row that meets conditions with what users should know.
        on_drawn: called with numbers of rows that are drawn.
    """

    def __init__(
        self,
        density: ArrayDensity,
        n: int,
        seed: int,
        conditions: Region,
        on_notices: Callable[[Sequence[Notice]], Any],
        on_drawn: Callable[[int], Any] = lambda count: None,
    ) -> None:
        self.density, self.n, self.seed, self.conditions = density, n, seed, conditions
        self.on_notices, self.on_drawn = on_notices, on_drawn

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield data frames of ``n`` rows in all."""
        left = self.n
        for frame in self._of_density() if self.conditions.is_everything else self._given():
            drawn = frame[:left]
            left -= len(drawn)
            self.on_drawn(len(drawn))
            yield drawn

    def _given(self) -> Iterator[pd.DataFrame]:
        """Yield at least ``n`` rows that meet the conditions."""
        pieces = -(-self.n // TOGETHER)
        question = Draw(-(-self.n // max(pieces, 1)), self.seed)
        about = self.conditions.repeated(pieces)
        return Asking(question, self.density, about, self.on_notices).rows()

    def _of_density(self) -> Iterator[pd.DataFrame]:
        """Yield rows of the whole density, which need no posterior and no notice."""
        Draw(self.n, self.seed).refuse(self.density, self.conditions)
        start = 0
        for rows in self.density.draw(self.n, self.seed):
            yield self.density.schema.frame(rows, seed=self.seed, start=start)
            start += len(rows)
