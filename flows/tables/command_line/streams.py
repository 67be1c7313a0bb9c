"""Ask a question about the rows of a file, piece by piece, and write the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from flows.core.errors import UserError
from flows.core.progress import progress, timed
from flows.tables.columns import files
from flows.tables.columns.notices import Notice
from flows.tables.columns.values import as_numbers
from flows.tables.command_line.command import Command
from flows.tables.command_line.wording import show
from flows.tables.questions.asking import Asking
from flows.tables.questions.question import Question
from flows.tables.questions.reading import UserRows


def answers(command: Command, question: Question, path: Path) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file with the answers to a question, and then print the notices.

    A bar shows the progress. Raises ``UserError`` if a column of the file has the name of a column
    that the question adds.
    """
    said = list[Notice]()
    with progress(command.verb, files.count_rows(path), "row") as bar:
        rows = rows_in(command, path, question.adds(command.density))
        yield from Asking(question, command.density, rows, said.extend, timed(bar)).rows()
    show(said)  # below the bar


def rows_in(command: Command, path: Path, added: Sequence[str]) -> UserRows:
    """Return the rows of a file. Raises ``UserError`` for a column that the verb adds."""
    written = command.format_in(path)

    def pieces() -> Iterator[pd.DataFrame]:
        for piece in files.stream(path, written):
            for name in piece.columns.intersection([*added])[:1]:
                raise UserError(
                    f"{path}: column {name}: `{command.verb}` adds a column of this name; rename "
                    "yours, or leave the column out"
                )
            yield piece.astype("string") if files.is_csv(path) else piece

    return UserRows(pieces(), str(path), written)


def write(command: Command, frames: Iterable[pd.DataFrame]) -> None:
    """Write frames to the output of a command.

    In a Parquet file, numbers of learned columns that are text become numbers, unless they have a
    sign.
    """
    output, written = command.output, command.written
    columns = command.density.columns
    names = [each.name for each in columns if each.is_numeric and each.spelling is None]

    def with_numbers(frame: pd.DataFrame) -> pd.DataFrame:
        texts = frame.select_dtypes("string").columns.intersection(names)
        return frame.assign(**{name: as_numbers(frame[name], written) for name in texts})

    is_csv = output is None or files.is_csv(output)
    files.write(output, frames if is_csv else map(with_numbers, frames), written)
