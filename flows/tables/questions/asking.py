"""Ask a question about rows of a user or about conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flows.core.arrays import Mask
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import NoDrawsError
from flows.tables.posterior.region import Region
from flows.tables.questions.few_rows import without_interval
from flows.tables.questions.question import Answer, Asked, Question
from flows.tables.questions.reading import Reader, UserRows

BLOCK = 500  # rows that are asked about at a time, between two calls of ``on_rows``


class Asking:
    """A question about rows or conditions, as an iterable of rows with their answers.

    Rows are asked about in blocks of fixed row numbers, so neither the answers nor the notices
    depend on the division of the rows into pieces.

    Args:
        question: the question.
        density: the density.
        about: the rows of a user, or the region of conditions.
        on_notices: called after the last answer with what users should know about the rows and the
            answers.
        on_rows: called after each block with its number of rows.

    Raises ``UserError`` for wrong settings. Iterating raises ``UserError`` for a question that the
    density cannot answer, and ``TableError`` for rows that are not rows of the table.
    """

    def __init__(
        self,
        question: Question,
        density: ArrayDensity,
        about: UserRows | Region,
        on_notices: Callable[[Sequence[Notice]], Any],
        on_rows: Callable[[int], Any] = lambda count: None,
    ) -> None:
        question.check(density)
        self.question, self.density, self.about = question, density, about
        self.on_notices, self.on_rows = on_notices, on_rows
        self.source = "given" if isinstance(about, Region) else about.source

    def __iter__(self) -> Iterator[tuple[Asked, Answer]]:
        """Yield the rows with the answers, piece by piece."""
        reader = Reader(self.question, self.density)
        rough, count = list[float](), 0  # effective numbers of draws, and the number of rows
        unanswered = 0  # the number of rows without an answer
        without = list[tuple[Mask, Mask]]()  # which rows lack an interval, and are filled
        for asked in self._asked(reader):
            parts = []
            for block in _blocks(asked.region):
                parts.append(self._of_block(asked, block))
                self.on_rows(len(parts[-1].effective))
            answer = Answer.joined(parts)
            rough += answer.effective[answer.effective < self.question.enough].tolist()
            count += len(asked.region)
            unanswered += self.question.unanswered(self.density, asked.region).sum()
            without.append((answer.lacks_interval, self.density.fills_context(asked.region)))
            yield asked, answer
        notices = reader.notices()
        if unanswered:
            targets, noun = self.density.targets, self.question.noun
            which = targets[0] if len(targets) == 1 else f"one of {', '.join(targets)}"
            problem = f"rows without a value of {which} have no {noun}: {unanswered} of {count}"
            notices.append(Notice(problem))
        if rough:
            notices.append(Notice(self.question.roughness(len(rough), count, min(rough))))
        lacks, is_filled = map(np.concatenate, zip(*without, strict=True))
        notices += [Notice(each) for each in without_interval(self.density, lacks, is_filled)]
        self.on_notices(notices)

    def answer(self) -> Answer:
        """Return the answer for all rows as arrays."""
        return Answer.joined([answer for _, answer in self])

    def added(self) -> pd.DataFrame:
        """Return the columns that the answer adds to all rows."""
        return pd.concat([self.question.added(self.density, *each) for each in self])

    def frame(self) -> pd.DataFrame:
        """Return all rows with the answers."""
        # From a list: a warning inside of a function of pandas would name a line of pandas
        return pd.concat([*self.rows()])

    def rows(self) -> Iterator[pd.DataFrame]:
        """Yield data frames of the rows with the answers, piece by piece."""
        for asked, answer in self:
            yield self.question.rows(self.density, asked, answer)

    def _asked(self, reader: Reader) -> Iterator[Asked]:
        """Yield the rows as numbers, piece by piece."""
        if isinstance(self.about, Region):
            self.question.refuse(self.density, self.about)
            reader.note_conditions(self.about)
            for block in _blocks(self.about):
                yield Asked.of_conditions(self.about.take(block))
        else:
            yield from reader.read(self.about)

    def _of_block(self, asked: Asked, block: slice) -> Answer:
        """Return the answer for a block of rows. Raises ``TableError`` for a row without draws."""
        question, density, region = self.question, self.density, asked.region.take(block)
        question.refuse(density, region)
        try:
            return question.answer(density, region)
        except NoDrawsError as error:
            for k in range(len(region)):  # find the row
                try:
                    question.answer(density, region.take(slice(k, k + 1)))
                except NoDrawsError:
                    if isinstance(self.about, Region):
                        raise TableError([Notice(str(error))], self.source) from None
                    problem = "has no draw of the unknown values that meets the constraints"
                    if not density.constraints:
                        problem = "is too far outside of the table for draws of its unknown values"
                    fault = Notice(problem, None, asked.frame.index[block.start + k])
                    raise TableError([fault], self.source) from None
            raise


def _blocks(region: Region) -> Iterator[slice]:
    """Yield the places of the blocks of a region, at least one.

    A block has one range of row numbers.
    """
    ends = np.flatnonzero(np.diff(region.row_numbers // BLOCK)) + 1
    starts = [0, *ends.tolist()]
    yield from map(slice, starts, [*starts[1:], len(region)])
