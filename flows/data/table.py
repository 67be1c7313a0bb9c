"""Users' tables, CSV or Parquet by extension: read whole or a piece at a time, and written with columns added.

A CSV file is UTF-8 text with commas, and names in its first line; its fields are passed on as they are written. Parquet needs pyarrow.
Rows are numbered from 1, without the line of names. Whatever is wrong is one ``UserError`` that names the file, the column and the row.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.core import atomic
from flows.core.arrays import Array, Whole
from flows.core.errors import UserError, one_line

ROWS = 50_000  # of a piece: bounds the memory
MISSING = {"", "na", "n/a", "nan", "null", "none"}  # how a missing value is written, in any case
EXTENSIONS = (".csv", ".parquet")
MUST = "every value must be a number"


class Table(NamedTuple):
    """The numbers of a file: ``values`` ``(n, D)``, how many rows were ``dropped``, and the ``rows``' numbers in the file ``(n,)``."""

    names: list[str]
    values: Array
    dropped: int
    rows: Whole


@dataclass
class Chunk:
    """Some rows of a file, just as they stand there: lists of fields (CSV), or a table of Arrow's (Parquet)."""

    source: str
    names: list[str]
    content: Any
    rows: Whole  # their numbers in the file

    def numbers(self, names: Sequence[str], missing: str = "stop") -> tuple[Array, Chunk]:
        """The columns ``names`` as ``(n, D)``, whatever their order in the file, and the rows that these are.

        A missing value is an error where ``missing`` is ``"stop"``; its row is left out where it is ``"drop"``.
        """
        _check_present(self.source, names, self.names)
        values = (self._fields if isinstance(self.content, list) else self._arrow)(names)
        keep = complete(values, names, self.source, self.rows, missing)
        return (values, self) if keep.all() else (values[keep], self.take(np.flatnonzero(keep)))

    def take(self, places: Whole) -> Chunk:
        """The rows at ``places``, in this order."""
        content = [self.content[place] for place in places] if isinstance(self.content, list) else self.content.take(places)
        return Chunk(self.source, self.names, content, self.rows[places])

    def join(self, other: Chunk) -> Chunk:
        """These rows, then the ``other``'s."""
        if isinstance(self.content, list):
            content = self.content + other.content
        else:
            import pyarrow as pa

            content = pa.concat_tables([self.content, other.content])
        return Chunk(self.source, self.names, content, np.concatenate([self.rows, other.rows]))

    def _fields(self, names: Sequence[str]) -> Array:
        places = [self.names.index(name) for name in names]
        size = len(self.content) * len(places)
        fields = self.content if places == list(range(len(self.names))) else ([row[place] for place in places] for row in self.content)
        try:
            values = np.fromiter(map(float, chain.from_iterable(fields)), np.float64, size)
        except ValueError:  # a missing value, or a text: slower, and told apart
            values = np.array([self._number(row[place], self.names[place], i) for i, row in enumerate(self.content) for place in places])
        return values.reshape(-1, len(places))

    def _number(self, field: str, name: str, place: int) -> float:
        if field.strip().lower() in MISSING:
            return np.nan
        try:
            return float(field)
        except ValueError:
            raise UserError(f"{self.source}: column {name} holds {field!r} in row {self.rows[place]}; {MUST}") from None

    def _arrow(self, names: Sequence[str]) -> Array:
        import pyarrow as pa

        parts = []
        for name in names:
            column = self.content[name]
            if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
                row, value = _first(zip(self.rows, column.to_pylist(), strict=True))
                raise UserError(f"{self.source}: column {name} (of type {column.type}) holds {value!r} in row {row}; {MUST}")
            parts.append(column.cast(pa.float64(), safe=False).to_numpy())
        return np.stack(parts, axis=1)


def read(path: str | Path, missing: str = "stop") -> Table:
    """All columns of a file. Rows with a missing value are dropped and counted where ``missing`` is ``"drop"``; else they are an error."""
    names: list[str] = []
    seen, values, rows = 0, [], []
    for piece in stream(path):
        numbers, kept = piece.numbers(piece.names, missing)
        names, seen = piece.names, seen + len(piece.rows)
        values.append(numbers)
        rows.append(kept.rows)
    whole = np.concatenate(values)
    return Table(names, whole, seen - len(whole), np.concatenate(rows))


def stream(path: str | Path, rows: int = ROWS) -> Iterator[Chunk]:
    """The file, ``rows`` rows at a time and at least one piece. Raises ``UserError`` for what is no table, or has no rows."""
    path = Path(path)
    found = False
    try:
        for piece in _parquet(path, rows) if extension(path) == ".parquet" else _csv(path, rows):
            _check_names(path, piece.names)
            if len(piece.rows):
                found = True
                yield piece
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or one_line(error)}") from None
    if not found:
        raise UserError(f"{path}: holds no rows")


def extension(path: Path) -> str:
    """Of a table that can be read and written."""
    if path.suffix.lower() not in EXTENSIONS:
        raise UserError(f"{path}: a table's name ends in {' or '.join(EXTENSIONS)}")
    return path.suffix.lower()


def from_frame(frame: Any, names: Sequence[str] | None = None) -> tuple[list[str], Array]:
    """The columns ``names`` (all, unless given) of a data frame in any order, or of an array ``(n, D)`` in theirs; every value a finite number."""
    source = "the table"
    if hasattr(frame, "columns"):
        held = [str(name) for name in frame.columns]
        _check_names(source, held)
        names = held if names is None else list(names)
        _check_present(source, names, held)
        values = np.stack([_series(name, frame.iloc[:, held.index(name)]) for name in names], axis=1)
    else:
        values = np.asarray(frame, dtype=np.float64)
        if values.ndim != 2 or (names is not None and values.shape[1] != len(names)):
            raise UserError(f"{source} must hold rows of {len(names) if names else 'some'} numbers; got an array of shape {values.shape}")
        names = [f"x{d}" for d in range(values.shape[1])] if names is None else list(names)
    complete(values, names, source, np.arange(1, len(values) + 1), "stop")
    return names, values


def _series(name: str, column: Any) -> Array:
    if column.dtype.kind not in "iuf":  # a text that looks like a number is a text, and so is a truth value
        row, value = _first(enumerate(column.tolist(), 1))
        raise UserError(f"the table: column {name} (of type {column.dtype}) holds {value!r} in row {row}; {MUST}")
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _first(pairs: Iterable[tuple[int, Any]]) -> tuple[int, Any]:
    """The first row that holds something, and what."""
    return next(((row, value) for row, value in pairs if value is not None), (1, None))


def complete(values: Array, names: Sequence[str], source: str, rows: Whole, missing: str) -> NDArray[np.bool_]:
    """Which rows ``(n,)`` have all their values. Raises ``UserError`` for infinities, and for missing values where ``missing`` is ``"stop"``."""
    wrong = np.isinf(values) if missing == "drop" else ~np.isfinite(values)
    if wrong.any():
        place, column = np.argwhere(wrong)[0]
        value = values[place, column]
        said = "no value" if np.isnan(value) else repr(float(value))
        advice = "; `--missing drop` (in the pipeline `data.missing: drop`) leaves such rows out" if np.isnan(value) else f"; {MUST}, and finite"
        raise UserError(f"{source}: column {names[column]} holds {said} in row {rows[place]}{advice}")
    return np.isnan(values).sum(axis=1) == 0


def _check_names(source: str | Path, names: Sequence[str]) -> None:
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise UserError(f"{source}: its first line is {names[0]!r}; columns must be separated by commas")
    for place, name in enumerate(names):
        if not name.strip():
            raise UserError(f"{source}: column {place + 1} has no name; a data frame's index is left out by to_csv(index=False)")
        if name in names[:place]:
            raise UserError(f"{source}: two columns are called {name}")


def _check_present(source: str, names: Sequence[str], held: Sequence[str]) -> None:
    for name in names:
        if name not in held:
            raise UserError(f"{source}: holds no column {name}; its columns are: {', '.join(held)}")


def _csv(path: Path, rows: int) -> Iterator[Chunk]:
    """Pieces of a CSV file, the first of them without rows."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = filter(None, csv.reader(file, strict=True))  # blank lines are none
            names = [name.strip() for name in next(lines, [])]
            if not names:
                raise UserError(f"{path}: is empty")
            if all(map(_is_number, names)):
                raise UserError(f"{path}: its first line holds numbers; it must hold the names of the columns")
            yield Chunk(str(path), names, [], np.arange(0))
            first = 1
            while content := list(islice(lines, rows)):
                for row, fields in enumerate(content, first):
                    if len(fields) != len(names):
                        raise UserError(f"{path}: row {row} has {len(fields)} fields, and the first line names {len(names)} columns")
                yield Chunk(str(path), names, content, np.arange(first, first + len(content)))
                first += len(content)
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not a CSV file ({one_line(error)})") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(path: Path, rows: int) -> Iterator[Chunk]:
    """Pieces of a Parquet file."""
    pa, pq = _pyarrow(path)
    try:
        with path.open("rb") as file:
            first = 1
            # Not the whole group of rows at once, which may be the whole file.
            for batch in pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False).iter_batches(batch_size=rows):
                piece = pa.Table.from_batches([batch])
                yield Chunk(str(path), piece.column_names, piece, np.arange(first, first + len(piece)))
                first += len(piece)
    except pa.ArrowException as error:
        raise UserError(f"{path}: is not a Parquet file ({one_line(error)})") from None


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f"{path}: Parquet files need pyarrow: pip install pyarrow") from None
    return pa, pq


@contextmanager
def writing(path: Path | None, numbers: Sequence[str] = ()) -> Iterator[Writer]:
    """What writes a table a piece at a time, to ``path`` whole or not at all; as CSV to standard output where that is ``None``.

    ``numbers`` are the columns of a CSV file that become numbers in a Parquet file; its others stay text.
    """
    if path is None:
        yield Writer(sys.stdout, None, numbers)
    elif extension(path) == ".csv":
        with atomic.replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as text:
            yield Writer(text, None, numbers)
    else:
        modules = _pyarrow(path)
        with atomic.replacing(path) as unfinished, unfinished.open("wb") as file:
            writer = Writer(file, modules, numbers)
            try:
                yield writer
            finally:
                if writer.out is not None:
                    writer.out.close()


class Writer:
    """Writes pieces of a table; ``writing`` makes it."""

    def __init__(self, file: Any, modules: tuple[Any, Any] | None, numbers: Sequence[str]) -> None:
        self.file = file
        self.modules = modules  # pyarrow's, for Parquet
        self.numbers = numbers
        self.out: Any = None  # made when the first piece says which columns there are

    def write(self, chunk: Chunk, added: Mapping[str, Array]) -> None:
        """The rows of ``chunk``, with the columns ``added``. In CSV a number is written as Python does it: it is read as it was."""
        for name in added:
            if name in chunk.names:
                raise UserError(f"{chunk.source}: holds a column {name} already, and one of this name is added; rename it")
        (self._csv if self.modules is None else self._parquet)(chunk, added)

    def _csv(self, chunk: Chunk, added: Mapping[str, Array]) -> None:
        if self.out is None:
            self.out = csv.writer(self.file, lineterminator="\n")
            self.out.writerow([*chunk.names, *added])
        held = chunk.content if isinstance(chunk.content, list) else zip(*(part.to_pylist() for part in chunk.content.columns), strict=True)
        more = zip(*(part.tolist() for part in added.values()), strict=True)
        self.out.writerows((*row, *numbers) for row, numbers in zip(held, more, strict=True))

    def _parquet(self, chunk: Chunk, added: Mapping[str, Array]) -> None:
        assert self.modules is not None
        pa, pq = self.modules
        columns: dict[str, Any]
        if isinstance(chunk.content, list):
            parts = zip(*chunk.content, strict=True) if chunk.content else ((),) * len(chunk.names)
            columns = dict(zip(chunk.names, parts, strict=True))
            columns |= {name: np.array(columns[name], dtype=np.float64) for name in self.numbers}
        else:
            columns = dict(zip(chunk.names, chunk.content.columns, strict=True))
        whole = pa.table({**columns, **added})
        if self.out is None:
            self.out = pq.ParquetWriter(self.file, whole.schema)
        self.out.write_table(whole)
