"""Ask questions about the rows of a file, chunk by chunk, and write the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from flows.command_line.wording import shell_words
from flows.core.errors import UserError
from flows.core.progress import progress
from flows.density.array_density import ArrayDensity
from flows.density.chunks import Chunks
from flows.tables import files
from flows.tables.field import Field
from flows.tables.notices import show
from flows.tables.values import Format, as_numbers

Ask = Callable[[Chunks, pd.DataFrame], pd.DataFrame]


def answers(
    density: ArrayDensity,
    path: Path,
    written: Format,
    verb: str,
    ask: Ask,
    added: Sequence[str] = (),
) -> Iterator[pd.DataFrame]:
    """Yield the results of ``ask`` for each chunk of a file.

    A bar shows the progress of the ``verb``. Notices are printed at the end. Raises ``UserError``
    if a column of the file has the name of a column that the verb adds (``added``).
    """
    with progress(verb, files.count_rows(path), "row") as bar:
        chunks = Chunks(density, str(path), written, bar.update)
        for chunk in files.stream(path, written):
            for name in chunk.columns.intersection(added)[:1]:
                raise UserError(
                    f"{path}: column {name}: `{verb}` adds a column of this name; rename yours, "
                    "or leave the column out"
                )
            yield ask(chunks, chunk.astype("string") if files.is_csv(path) else chunk)
    show(chunks.notices(), shell_words)


def write(
    output: Path | None, columns: Sequence[Field], written: Format, frames: Iterable[pd.DataFrame]
) -> None:
    """Write frames to a file, or to standard output without a file.

    In a Parquet file, numbers of the density's ``columns`` that are text become numbers.
    """
    names = [column.name for column in columns if not column.labels]

    def with_numbers(frame: pd.DataFrame) -> pd.DataFrame:
        texts = frame.select_dtypes("string").columns.intersection(names)
        return frame.assign(**{name: as_numbers(frame[name], written) for name in texts})

    is_csv = output is None or files.is_csv(output)
    files.write(output, frames if is_csv else map(with_numbers, frames))
