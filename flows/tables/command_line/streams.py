"""Ask a question about the rows of a file, piece by piece, and write the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from flows.core.errors import UserError
from flows.core.progress import progress, timed
from flows.tables.columns import files
from flows.tables.columns.field import Field
from flows.tables.columns.notices import show
from flows.tables.columns.values import Format, as_numbers
from flows.tables.command_line.wording import shell_words
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.questions.asking import run
from flows.tables.questions.collector import Collector
from flows.tables.questions.question import Question


def answers(
    question: Question, density: ArrayDensity, path: Path, written: Format, verb: str
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file with the answers to a question.

    A bar shows the progress of the ``verb``. Notices are printed at the end. Raises ``UserError``
    if a column of the file has the name of a column that the question adds.
    """
    collector = Collector()
    with progress(verb, files.count_rows(path), "row") as bar:
        pieces = pieces_of(path, written, question.adds(density), verb)
        how: Any = {"source": str(path), "written": written, "on_rows": timed(bar)}
        for asked, answer in run(question, density, pieces, collector, **how):
            yield question.rows(density, asked, answer)
    show(collector.notices(), shell_words)


def pieces_of(
    path: Path, written: Format, added: Sequence[str], verb: str
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file in pieces. Raises ``UserError`` for a column that a verb adds."""
    for piece in files.stream(path, written):
        for name in piece.columns.intersection([*added])[:1]:
            raise UserError(
                f"{path}: column {name}: `{verb}` adds a column of this name; rename yours, "
                "or leave the column out"
            )
        yield piece.astype("string") if files.is_csv(path) else piece


def write(
    output: Path | None, columns: Sequence[Field], written: Format, frames: Iterable[pd.DataFrame]
) -> None:
    """Write frames to a file, or to standard output without a file.

    In a Parquet file, numbers of the density's ``columns`` that are text become numbers.
    """
    names = [column.name for column in columns if column.is_numeric]

    def with_numbers(frame: pd.DataFrame) -> pd.DataFrame:
        texts = frame.select_dtypes("string").columns.intersection(names)
        return frame.assign(**{name: as_numbers(frame[name], written) for name in texts})

    is_csv = output is None or files.is_csv(output)
    files.write(output, frames if is_csv else map(with_numbers, frames), written)
