"""Users' tables, CSV or Parquet by extension: read whole or a piece at a time, checked, and written.

CSV is UTF-8 text with commas, and names in its first line; its fields are passed on as they were written. A piece is a data frame whose
index holds the numbers of its rows: 1 is the first below the names. Whatever is wrong is one ``UserError`` that names file, column and row.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flows.core import atomic
from flows.core.arrays import Array, Whole
from flows.core.errors import UserError, one_line

if TYPE_CHECKING:
    import pandas as pd

PIECE = 50_000  # rows: bounds the memory
MISSING = {"", "na", "n/a", "nan", "null", "none", "<na>"}  # how a missing value is written, in any case


class Table(NamedTuple):
    """The numbers of a file: ``values`` ``(n, D)``, how many rows were ``dropped``, and the ``rows``' numbers in the file ``(n,)``."""

    names: list[str]
    values: Array
    dropped: int
    rows: Whole


def read(path: str | Path, missing: str = "stop", names: Sequence[str] | None = None) -> Table:
    """The columns ``names`` of a file, all where ``None``. Rows with a missing value are dropped and counted where ``missing`` is ``"drop"``;
    else they are an error.
    """
    pieces = [(len(piece), *numbers(piece, names, str(path), missing)) for piece in stream(path)]
    values = np.concatenate([values for _, values, _ in pieces])
    rows = np.concatenate([kept.index.to_numpy() for _, _, kept in pieces])
    return Table(list(pieces[0][2].columns if names is None else names), values, sum(count for count, _, _ in pieces) - len(rows), rows)


def stream(path: str | Path, rows: int = PIECE) -> Iterator[pd.DataFrame]:
    """The file, ``rows`` rows at a time and at least one piece. Raises ``UserError`` for what is no table, or has no rows."""
    path, found = Path(path), False
    try:
        for piece in _parquet(path, rows) if _is_parquet(path) else _csv(path, rows):
            found = True
            yield piece
    except (OSError, ValueError, csv.Error) as error:  # a ValueError is Arrow's for a damaged file, and that of text which is not UTF-8
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or 'is no table: ' + one_line(error)}") from None
    if not found:
        raise UserError(f"{path}: holds no rows")


def numbers(frame: pd.DataFrame, names: Sequence[str] | None, source: str = "the table", missing: str = "stop") -> tuple[Array, pd.DataFrame]:
    """The columns ``names`` (all where ``None``) of a piece, in any order there, as ``(n, D)``, and the rows that these are.

    A missing value is an error where ``missing`` is ``"stop"``; its row is left out of both where it is ``"drop"``.
    """
    held = [str(name) for name in frame.columns]
    names = held if names is None else names
    for name in names:
        if held.count(name) != 1:
            count = held.count(name) or "no"
            raise UserError(f"{source}: holds {count} column{'s' * (count != 'no')} {name}, and one is needed; its columns are: {', '.join(held)}")
    values = np.stack([_column(frame.iloc[:, held.index(name)], name, source) for name in names], axis=1)
    wrong = np.isinf(values) if missing == "drop" else ~np.isfinite(values)
    for place, d in np.argwhere(wrong)[:1]:
        said = f"{values[place, d]}; every value must be finite"
        if np.isnan(values[place, d]):
            said = "no value; `--missing drop` (in the pipeline `data.missing: drop`) leaves such rows out"
        raise UserError(f"{source}: column {names[d]}, row {frame.index[place]} holds {said}")
    keep = np.isnan(values).sum(axis=1) == 0
    return (values, frame) if keep.all() else (values[keep], frame[keep])


@contextmanager
def writing(path: Path | None) -> Iterator[Callable[[pd.DataFrame], None]]:
    """What writes a table a piece at a time, to ``path`` whole or not at all; as CSV to standard output where that is ``None``."""
    with ExitStack() as stack:
        if path is None:
            yield _csv_writer(sys.stdout)
            return
        parquet = _is_parquet(path)
        unfinished = stack.enter_context(atomic.replacing(path))
        yield _parquet_writer(unfinished, stack) if parquet else _csv_writer(stack.enter_context(unfinished.open("w", encoding="utf-8", newline="")))


def _is_parquet(path: Path) -> bool:
    """Whether a table is Parquet rather than CSV. Raises ``UserError`` where it is neither."""
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UserError(f"{path}: the name of a table ends in .csv or .parquet")
    return path.suffix.lower() == ".parquet"


def _csv(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    import pandas as pd

    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = filter(None, csv.reader(file, strict=True))  # blank lines are none
        names = [name.strip() for name in next(lines, [])]
        if not names:
            raise UserError(f"{path}: is empty")
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            raise UserError(f"{path}: its first line is {names[0]!r}; columns must be separated by commas")
        if "" in names or all(map(_is_number, names)):
            raise UserError(f"{path}: its first line is {','.join(names)!r}; it must hold a name for every column")
        first = 1
        while content := list(islice(lines, rows)):
            if set(map(len, content)) != {len(names)}:
                row, fields = next(pair for pair in enumerate(content, first) if len(pair[1]) != len(names))
                raise UserError(f"{path}: row {row} has {len(fields)} fields, and the first line names {len(names)} columns")
            yield pd.DataFrame(content, columns=names, index=range(first, first + len(content)), dtype=object)
            first += len(content)


def _parquet(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    import pandas as pd
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        first = 1
        # Not a whole group of rows at once, which may be the whole file. Arrow's types: a whole number stays one beside a missing one.
        for batch in pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False).iter_batches(batch_size=rows):
            piece = batch.to_pandas(types_mapper=pd.ArrowDtype).set_axis(range(first, first + len(batch)))
            first += len(piece)
            yield piece


def _column(column: Any, name: str, source: str) -> Array:
    """A column as numbers ``(n,)``, ``NaN`` where a value is missing."""
    if column.dtype.kind in "iufb":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    try:
        return column.to_numpy(dtype=object).astype(np.float64)
    except (TypeError, ValueError):  # a missing value or a text: slower, and told apart
        missing = [str(value).strip().lower() in MISSING for value in column]
    for row, value, absent in zip(column.index, column, missing, strict=True):
        if not absent and not _is_number(value):
            raise UserError(f"{source}: column {name}, row {row} holds {str(value)!r}; every value must be a number")
    return np.array([np.nan if absent else float(value) for value, absent in zip(column, missing, strict=True)])


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _csv_writer(file: Any) -> Callable[[pd.DataFrame], None]:
    out, begun = csv.writer(file, lineterminator="\n"), False

    def write(frame: pd.DataFrame) -> None:
        nonlocal begun
        if not begun:
            out.writerow(frame.columns)
        begun = True
        if any(hasattr(kind, "pyarrow_dtype") for kind in frame.dtypes):  # of a Parquet file: Arrow writes it in a tenth of the time
            import pyarrow as pa
            import pyarrow.csv as pc

            pc.write_csv(pa.Table.from_pandas(frame, preserve_index=False), lines := io.BytesIO(), pc.WriteOptions(include_header=False))
            file.write(lines.getvalue().decode())
        else:  # numbers as Python writes them, so that they are read as they were
            out.writerows(zip(*(frame.iloc[:, d].tolist() for d in range(frame.shape[1])), strict=True))

    return write


def _parquet_writer(path: Path, stack: ExitStack) -> Callable[[pd.DataFrame], None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writers: list[Any] = []  # one, once the first piece says which columns there are

    def write(frame: pd.DataFrame) -> None:
        piece = pa.Table.from_pandas(frame, preserve_index=False)
        if not writers:
            writers.append(stack.enter_context(pq.ParquetWriter(path, piece.schema)))
        writers[0].write_table(piece)

    return write
