"""Ask a question about data frames, pieces of files or conditions, through one function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from flows.core.arrays import Whole
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError
from flows.tables.columns.values import PLAIN, Format
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import NoDrawsError
from flows.tables.posterior.region import Region
from flows.tables.questions.collector import Collector
from flows.tables.questions.question import Answer, Asked, Question
from flows.tables.questions.reading import Reader
from flows.tables.questions.refusals import refuse, refuse_known

PIECE = 50_000  # rows that are converted at a time: limits the memory
BLOCK = 500  # rows that are asked about at a time, between two calls of ``on_rows``


def run(
    question: Question,
    density: ArrayDensity,
    pieces: Iterable[pd.DataFrame] | Region,
    collector: Collector,
    *,
    source: str = "",
    written: Format = PLAIN,
    row_numbers: Whole | None = None,
    on_rows: Callable[[int], Any] = lambda count: None,
) -> Iterator[tuple[Asked, Answer]]:
    """Ask a question about rows, and yield the rows with the answers, piece by piece.

    Rows are numbered over all pieces and asked about in blocks of fixed row numbers, so the answers
    do not depend on the division into pieces.

    Args:
        question: the question.
        density: the density.
        pieces: data frames with the columns of the table, in any order and among others, or the
            region of conditions.
        collector: counts what users should know about the rows and the answers.
        source: the file that holds the rows; empty for a data frame.
        written: the format of text in the rows.
        row_numbers: the numbers of the rows ``(n,)``, if there is one piece; by default from 0.
        on_rows: called after each block with its number of rows.

    Raises ``UserError`` for wrong settings, and for a question that the density cannot answer, and
    ``TableError`` for rows that are not rows of the table.
    """
    question.check(density)
    reader = Reader(density, question, collector, source, written)
    if isinstance(pieces, Region):
        refuse_known(question, density, pieces)
        reader.note_far(pieces.rows[:1])
        asked: Iterable[Asked] = map(reader.of_conditions, _blocks(pieces))
    elif row_numbers is not None:
        asked = (reader.read(piece, row_numbers) for piece in pieces)
    else:
        asked = (reader.read(*each) for each in numbered(pieces, PIECE))
    for each in asked:
        parts = []
        for block in _blocks(each.region):
            refuse(question, density, block)
            parts.append(_answer(question, density, block, each, source))
            on_rows(len(block))
        answer = Answer.joined(parts)
        rough = answer.effective[answer.effective < question.enough]
        least, total = min(rough, default=np.inf), len(answer.effective)
        collector.add(
            "rough",
            question.noun,
            count=len(rough),
            of=total,
            least=least,
            values=[question.roughness],
        )
        yield each, answer


def _answer(
    question: Question, density: ArrayDensity, block: Region, asked: Asked, source: str
) -> Answer:
    """Return the answer for a block of rows. Raises ``TableError`` for a row without draws."""
    try:
        return question.answer(density, block)
    except NoDrawsError as error:
        start = int(np.searchsorted(asked.region.row_numbers, block.row_numbers[0]))
        for k in range(len(block)):  # find the row
            try:
                question.answer(density, block.take(slice(k, k + 1)))
            except NoDrawsError:
                if not len(asked.frame.columns):
                    raise TableError([Notice(str(error))], "given") from None
                problem = "has no draw of the unknown values that meets the constraints"
                if not density.constraints:
                    problem = "is too far outside of the table for draws of its unknown values"
                fault = Notice(problem, None, asked.frame.index[start + k])
                raise TableError([fault], source) from None
        raise


def numbered(pieces: Iterable[pd.DataFrame], size: int) -> Iterator[tuple[pd.DataFrame, Whole]]:
    """Yield the rows of frames in new pieces of ``size`` rows, with their numbers from 0.

    The last piece may have fewer rows. There is at least one piece.
    """
    start, rest = 0, None
    for piece in pieces:
        rest = piece if rest is None else pd.concat([rest, piece])
        while len(rest) >= size:
            yield rest[:size], np.arange(start, start + size)
            start, rest = start + size, rest[size:]
    if rest is not None and (len(rest) or not start):
        yield rest, np.arange(start, start + len(rest))


def _blocks(region: Region) -> Iterator[Region]:
    """Yield the rows of a region in blocks, at least one. A block has one range of row numbers."""
    ends = np.flatnonzero(np.diff(region.row_numbers // BLOCK)) + 1
    starts = [0, *ends.tolist()]
    for start, end in zip(starts, [*starts[1:], len(region)], strict=True):
        yield region.take(slice(start, end))
