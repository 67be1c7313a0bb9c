"""Users' tables as CSV or Parquet files, which are read, checked and written.

A file is read whole or a piece at a time. CSV is UTF-8 text with commas, and names in its first
line; its fields are passed on as they were written. A piece is a data frame whose index holds the
numbers of its rows: 1 is the first below the names. Any fault is one ``UserError`` that names file,
column and row.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flows.core import atomic
from flows.core.arrays import Array, Whole
from flows.core.errors import UserError, one_line

if TYPE_CHECKING:
    import pandas as pd

PIECE = 50_000  # rows: bounds the memory
FRAME = "the table"  # names a data frame in messages, as it has no file
# How a missing value is written, in any case
MISSING = {"", "na", "n/a", "nan", "null", "none", "<na>"}


class Table(NamedTuple):
    """Columns that were read from a file.

    ``values`` are ``(n, D)``, ``dropped`` is the number of rows that were left out, and ``rows``
    ``(n,)`` are the numbers of the others in the file.
    """

    names: list[str]
    values: Array
    dropped: int
    rows: Whole


def read(path: str | Path, missing: str = "stop", names: Sequence[str] | None = None) -> Table:
    """Return the columns ``names`` of a file (all, unless given); ``missing`` as in ``numbers``."""
    dropped, parts, rows = 0, [], []
    for piece in stream(path):
        if names is None:
            # Without the index of a data frame, which Parquet files may hold
            names = [name for name in piece.columns if not name.startswith("__index_level_")]
        values, kept = numbers(piece, names, str(path), missing)
        dropped += len(piece) - len(kept)
        parts.append(values)
        rows.append(kept.index.to_numpy())
    return Table(list(names or ()), np.concatenate(parts), dropped, np.concatenate(rows))


def stream(path: str | Path, rows: int = PIECE) -> Iterator[pd.DataFrame]:
    """Yield the file, ``rows`` rows at a time.

    Raises ``UserError`` for a file that is no table, or has no rows.
    """
    path, first = Path(path), 1
    pieces = _parquet(path, rows) if _is_parquet(path) else _csv(path, rows)
    try:
        for piece in pieces:
            names = ",".join(piece.columns)
            # No names, another separator, or numbers in place of names
            if re.search(r"(^|,)(Unnamed: |$)|[;\t|]|^[-\d.eE,]*\.[-\d.eE,]*$", names):
                raise UserError(
                    f"{path}: its columns are called {names!r}; each must have a name, "
                    "and commas must be between them"
                )
            if len(piece):
                yield piece.set_axis(range(first, first + len(piece)))
            first += len(piece)
    except (OSError, ValueError) as error:
        # What pandas and Arrow raise for a damaged file is a ValueError, too
        raise UserError(
            f"{path}: {getattr(error, 'strerror', None) or 'is no table: ' + one_line(error)}"
        ) from None
    if first == 1:
        raise UserError(f"{path}: holds no rows")


def numbers(
    frame: pd.DataFrame, names: Sequence[str], source: str = FRAME, missing: str = "stop"
) -> tuple[Array, pd.DataFrame]:
    """Return the columns ``names`` of a piece as ``(n, D)``, and the piece's rows that these are.

    The columns may be in any order there. A missing value is an error where ``missing`` is
    ``"stop"``; its row is left out of both where it is ``"drop"``.
    """
    values = np.stack([_column(frame, name, source) for name in names], axis=1)
    wrong = np.isinf(values) if missing == "drop" else ~np.isfinite(values)
    for place, d in np.argwhere(wrong)[:1]:
        problem = f"holds {values[place, d]}; every value must be finite"
        if np.isnan(values[place, d]):
            remedy = "`--missing drop` (in the pipeline `data.missing: drop`)"
            if source == FRAME:
                remedy = "frame.dropna()"
            problem = f"holds no value; {remedy} leaves such rows out"
        raise UserError(f"{source}: column {names[d]}, row {frame.index[place]} {problem}")
    keep = ~np.isnan(values).any(axis=1)
    return values[keep], frame[keep]


def _column(frame: pd.DataFrame, name: str, source: str) -> Array:
    """Return a column as numbers ``(n,)``, ``NaN`` where a value is missing."""
    import pandas as pd

    held = list(map(str, frame.columns))
    if name not in held:
        raise UserError(f"{source}: holds no column {name}; its columns are: {', '.join(held)}")
    column = frame.iloc[:, held.index(name)]
    if column.dtype.kind not in "iufb":
        column = column.astype(object)
    found = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    for row, value in column[np.isnan(found)].items():
        if str(value).strip().lower() not in MISSING:
            raise UserError(
                f"{source}: column {name}, row {row} holds {str(value)!r}; "
                "every value must be a number"
            )
    return found


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UserError(f"{path}: the name of a table ends in .csv or .parquet")
    return path.suffix.lower() == ".parquet"


def _csv(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    import pandas as pd

    as_written: Any = {"dtype": object, "na_filter": False, "skipinitialspace": True}
    with pd.read_csv(path, encoding="utf-8-sig", chunksize=rows, **as_written) as pieces:
        try:
            for piece in pieces:
                if not isinstance(piece.index, pd.RangeIndex):
                    raise ValueError("its rows have more fields than its first line names columns")
                yield piece
        except pd.errors.ParserError as error:
            ragged = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
            if not ragged:
                raise
            columns, line, fields = ragged.groups()
            raise ValueError(
                f"line {line} holds {fields} fields, and the first line names {columns} columns"
            ) from None


def _parquet(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    import pandas as pd
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        # Not a whole group of rows at once, which may be the whole file. Arrow's types: a whole
        # number stays one beside a missing one.
        whole = pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
        for batch in whole.iter_batches(batch_size=rows):
            yield batch.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)


@contextmanager
def writing(path: Path | None) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that writes a table a piece at a time.

    It writes to ``path``, whole or not at all, or as CSV to standard output where that is ``None``.
    """
    with ExitStack() as stack:
        parquet = path is not None and _is_parquet(path)
        out: Any = sys.stdout
        if path is not None:
            unfinished = stack.enter_context(atomic.replacing(path))
            out = None if parquet else stack.enter_context(unfinished.open("w", encoding="utf-8"))
        begun = False

        def write(frame: pd.DataFrame) -> None:
            nonlocal out, begun
            if parquet:
                import pyarrow as pa
                import pyarrow.parquet as pq

                piece = pa.Table.from_pandas(frame, preserve_index=False)
                out = out or stack.enter_context(pq.ParquetWriter(unfinished, piece.schema))
                out.write_table(piece)
            else:
                frame.to_csv(out, index=False, header=not begun, lineterminator="\n")
            begun = True

        yield write
