"""Read tables from CSV and Parquet files, whole or in pieces, and write tables.

The first line of a CSV file that is not empty, not a comment and not ``sep=;`` has the column
names. The file may be compressed with gzip. A piece is a data frame whose index holds row numbers:
1 is the first row below the names. Pieces of a CSV file hold the text of the file. Every error of
reading is a ``TableError`` that names the file.
"""

import codecs
import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from flows.core import atomic
from flows.core.arrays import Array
from flows.core.errors import one_line
from flows.tables.columns.field import Field
from flows.tables.columns.kinds import Category, Real
from flows.tables.columns.notices import Notice, SetFormat, TableError
from flows.tables.columns.parsing import (
    Table,
    apply_missing_policy,
    numbers_of,
    parse,
    position,
    reads_labels,
)
from flows.tables.columns.spelling import Spelling, joined
from flows.tables.columns.types import type_of
from flows.tables.columns.values import PLAIN, Format, missing_values, to_floats

SPACES = r"\s+"  # the only separator of several characters
ROWS_PER_PIECE = 50_000  # limits the memory
SEPARATORS = {".csv": ",", ".tsv": "\t", ".csv.gz": ",", ".tsv.gz": "\t"}
ENDINGS = (*SEPARATORS, ".parquet")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(
    path: str | Path,
    kinds: Mapping[str, str | Field] | None = None,
    written: Format = PLAIN,
    *,
    only: Sequence[str] = (),
    drop: Sequence[str] = (),
    na: Sequence[str] = (),
) -> Table:
    r"""Read and parse a table.

    Args:
        path: a ``.csv``, ``.tsv``, ``.csv.gz``, ``.tsv.gz`` or ``.parquet`` file.
        kinds: the kinds that a user names, by column.
        written: the format of a CSV file.
        only: the columns to read; by default all.
        drop: columns to leave out.
        na: further marks of missing values.

    Raises ``TableError`` for a file that cannot be read, for an unknown column, and if no column is
    left.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from flows.tables.columns.files import read
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "patients.csv")
        ...     length = path.write_text("age,ward\n50,north\n62,south\n")
        ...     table = read(path, {"ward": "category"})
        >>> table.frame
            age   ward
        1  50.0  north
        2  62.0  south
    """
    kinds, parts, types = kinds or {}, list[Table](), dict[str, Any]()
    for piece in stream(path, written):
        # Without the index of a data frame, which Parquet files may hold
        names = [name for name in piece if not name.startswith("__index_level_")]
        for name in (*only, *drop):
            position(names, name, str(path))
        chosen = [name for name in names if name in (only or names) and name not in drop]
        if not chosen:
            raise _fault(path, f"no column is left; the columns are: {', '.join(names)}")
        words = {name: kinds.get(name, "") for name in chosen}
        if not is_csv(path):
            types = {name: type_of(piece[name]) for name in chosen}
        parts.append(parse(piece, words, str(path), written, na))
    padded = {name for part in parts for name in part.padded}
    if any(padded - part.padded for part in parts):  # numbers of other pieces are text, too
        as_text = dict.fromkeys(padded, Category.kind)
        return read(path, {**kinds, **as_text}, written, only=only, drop=drop, na=na)
    spellings = _spellings(parts, str(path))
    frame = pd.concat([part.frame for part in parts])
    # The fields of a CSV file are text: as a label, 7 is a number, and 007 is not
    labels = [reads_labels(kinds.get(name, "")) and is_csv(path) for name in frame]
    for name in frame.columns[labels]:
        digits = frame[name].dropna().astype(str).str.fullmatch(r"-?(0|[1-9]\d{0,14})")
        if digits.all():
            frame[name] = pd.to_numeric(frame[name])
    return Table(frame, str(path), types, written, spellings=spellings)


def _spellings(parts: Sequence[Table], source: str) -> dict[str, Spelling]:
    """Return the signs of columns, which are the same in all pieces of a file."""
    found = dict[str, Spelling]()
    for name in sorted({name for part in parts for name in part.spellings}):
        own = list[Spelling | None]()
        try:
            for values, spelling in (
                (part.frame[name], part.spellings.get(name)) for part in parts
            ):
                known = values[~missing_values(values)]
                if spelling is None:
                    to_floats(known, name, is_fit=True)  # such as $1,234, which no option reads
                if len(known):
                    own.append(spelling)
            spelling = joined(name, own)
        except TableError as error:
            raise TableError(error.faults, source) from None
        if spelling is not None:
            found[name] = spelling
    return found


def count_rows(path: str | Path) -> int | None:
    """Return the number of rows of a file, for a progress bar; ``None`` if the file is not read.

    The number of a CSV file is about the number of its lines.
    """
    path = Path(path)
    try:
        if not is_csv(path):
            import pyarrow.parquet as pq

            return pq.ParquetFile(path).metadata.num_rows
        with _open(path, "rb") as file:
            blocks = iter(lambda: file.read(2**20), b"")
            return max(1, sum(block.count(b"\n") for block in blocks) - 1)
    except (OSError, EOFError, ValueError, zlib.error):
        return None


def read_numbers(path: str | Path) -> tuple[list[str], Array]:
    """Return the column names of a file that holds only numbers, and its rows ``(n, D)``.

    Raises ``TableError`` for a missing value, and for text that is not a number.
    """
    table = read(path)
    names = list(table.frame)
    return names, numbers_of([Real(name) for name in names], apply_missing_policy(table))


def stream(
    path: str | Path, written: Format = PLAIN, rows: int | None = None
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file in pieces of ``rows`` rows, by default ``ROWS_PER_PIECE``.

    ``written`` is the format of a CSV file. Raises ``TableError`` for a file that is not a table or
    has no rows.
    """
    path, first, rows = Path(path), 1, rows or ROWS_PER_PIECE
    if not is_csv(path) and written != PLAIN:
        raise _fault(path, "is a Parquet file; separators and encodings are for CSV files")
    pieces = _csv(path, written, rows) if is_csv(path) else _parquet(path, rows)
    try:
        for piece in pieces:
            if len(piece):
                yield piece.set_axis(range(first, first + len(piece)))
            first += len(piece)
    except TableError:
        raise
    except UnicodeError:
        raise _wrong_encoding(path, written.encoding) from None
    except pd.errors.EmptyDataError:
        raise _fault(path, "is empty") from None
    except (OSError, EOFError, ValueError, LookupError, zlib.error) as error:
        # Pandas and Arrow raise a ValueError for a damaged file; a LookupError names an encoding
        reader = "pandas.read_csv" if is_csv(path) else "pyarrow.parquet"
        cause = getattr(error, "strerror", None) or f"{reader}: {one_line(error)}"
        raise _fault(path, cause) from None
    if first == 1:
        raise _fault(path, "holds no rows")


def _fault(
    path: str | Path, problem: str, aim: str = "read the file", **options: str
) -> TableError:
    """Return an error about a file, with the advice to use ``options`` of ``Format``, if any."""
    advice = ((aim, SetFormat.of(**options)),) if options else ()
    return TableError([Notice(problem, advice=advice)], str(path))


def _wrong_encoding(path: Path, encoding: str) -> TableError:
    """Return the error about a file that is not text in the ``encoding``."""
    problem = f"is not {encoding.upper()} text"
    with _open(path, "rb") as file:
        if file.read(2) in UTF_16:
            return _fault(path, problem, encoding="utf-16")
    advice = {"encoding": "cp1252"} if encoding == PLAIN.encoding else {}
    aim = "read a file that Excel saved in Western Europe"
    return _fault(path, problem, aim, **advice)


def is_csv(path: str | Path) -> bool:
    """Return whether the name of a file has an ending of CSV files, such as ``.csv``.

    Raises ``TableError`` for a name that has no ending of a table.
    """
    return _ending(Path(path)) != ".parquet"


def format_for(path: str | Path, written: Format) -> Format:
    """Return the format of a file beside files of the format ``written``.

    The ending .tsv names the separator, and a Parquet file has no format.
    """
    ending = _ending(Path(path))
    if ending not in SEPARATORS:
        return PLAIN
    return written._replace(sep=None) if SEPARATORS[ending] == "\t" else written


def is_table(path: str | Path) -> bool:
    """Return whether the name of a file has the ending of a table."""
    return str(path).lower().endswith(ENDINGS)


def _ending(path: Path) -> str:
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return ending
    raise _fault(path, f"the name of a table ends in {', '.join(ENDINGS[:-1])} or .parquet")


def _open(path: Path, mode: str, **options: Any) -> Any:
    return (gzip.open if path.suffix.lower() == ".gz" else open)(path, mode, **options)


def _separator(written: Format, ending: str) -> str:
    """Return the separator of a format; a shell may write a tab as a backslash and a t."""
    return (written.sep or SEPARATORS[ending]).replace(r"\t", "\t")


def _csv(path: Path, written: Format, rows: int) -> Iterator[pd.DataFrame]:
    separator = _separator(written, _ending(path))
    if separator != SPACES and len(separator) > 1:
        raise _fault(path, rf"sep = {separator!r}: must be one character, or '\s+' for spaces")
    # With or without a byte-order mark
    encoding = re.sub("^utf-?8$", "utf-8-sig", written.encoding, flags=re.IGNORECASE)
    above, separator, lines = _start(path, separator, encoding)
    how: Any = {"encoding": encoding, "sep": separator, "skiprows": above, "dtype": object}
    how |= {"na_filter": False, "skipinitialspace": True}
    # The names as the file has them: pandas would change empty and repeated ones
    first = pd.read_csv(path, header=None, nrows=1, **how).iloc[0].str.strip()
    if len(first) == 1:
        _check_separator(path, lines)
    names = [name or f"Unnamed: {place}" for place, name in enumerate(first)]
    for name in names:
        position(names, name, str(path))  # raises TableError for a repeated name
    with pd.read_csv(path, header=0, names=names, chunksize=rows, **how) as pieces:
        for piece in pieces:
            if not isinstance(piece.index, pd.RangeIndex):  # pandas took columns as the index
                problem = "its rows have more fields than its first line has names"
                advice = "name every column, and end no line with a separator"
                raise _fault(path, f"{problem}; {advice}")
            yield piece


def _start(path: Path, separator: str, encoding: str) -> tuple[int, str, tuple[str, str]]:
    """Return the number of lines above the names of a CSV file, its separator, and two lines.

    The lines above may be comments, empty lines, and ``sep=;``, which spreadsheets write. The two
    lines are the line of the names and the next one. Raises ``UnicodeError`` for text in another
    encoding.
    """
    with _open(path, "rt", encoding=encoding) as file:
        above, line = 0, ""
        for line in file:
            declared = re.fullmatch(r"sep=(.)\s*", line)
            separator = declared[1] if declared else separator
            if line.strip() and not declared and not line.startswith("#"):
                break
            above += 1
        if "\0" in line:
            raise UnicodeError("UTF-16 or a binary file")
        return above, separator, (line, next(file, ""))


def _check_separator(path: Path, lines: tuple[str, str]) -> None:
    """Raise ``TableError`` if another separator splits the ``lines`` of a file with one column."""
    for other in (";", "\t", "|", ",", SPACES):
        names, fields = (len(line.split(None if other == SPACES else other)) for line in lines)
        if 1 < names == fields:
            has_comma = other != "," and re.search(r"\d,\d", lines[1])
            options = {"sep": other} | ({"decimal": ","} if has_comma else {})
            raise _fault(path, "has another separator", **options)


def _parquet(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def pandas_type(kind: pa.DataType) -> pd.ArrowDtype | None:
        # Arrow's types keep whole numbers whole beside missing values; pandas has categories itself
        return None if pa.types.is_dictionary(kind) else pd.ArrowDtype(kind)

    with path.open("rb") as file:
        # Without a buffer for a whole group of rows, because a group may be the whole file
        whole = pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
        for batch in whole.iter_batches(batch_size=rows):
            yield batch.to_pandas(types_mapper=pandas_type, ignore_metadata=True)


def write(path: Path | None, pieces: Iterable[pd.DataFrame], written: Format = PLAIN) -> None:
    """Write the ``pieces`` of a table to ``path``, whole or not at all.

    Without a path, write CSV to standard output. ``written`` is the format of a CSV file; numbers
    have no mark between thousands, and standard output keeps its encoding.

    Raises ``TableError`` for a name without an ending of a table, and ``OSError`` if the file
    cannot be written.
    """
    if path is None:
        _write_csv(sys.stdout, pieces, ".csv", written)
        return
    ending = _ending(path)
    with atomic.replacing(path) as unfinished:
        if ending == ".parquet":
            _write_parquet(unfinished, pieces)
        else:
            _write_csv(unfinished, pieces, ending, format_for(path, written))


def _write_csv(out: Any, pieces: Iterable[pd.DataFrame], ending: str, written: Format) -> None:
    own = _separator(written, ending)
    options: Any = {"sep": " " if own == SPACES else own, "index": False, "lineterminator": "\n"}
    options["decimal"] = written.decimal
    if out is not sys.stdout:
        options["encoding"] = written.encoding
    if ending.endswith(".gz"):
        options["compression"] = {"method": "gzip", "mtime": 0}  # the same bytes each time
    for number, frame in enumerate(pieces):
        frame.to_csv(out, header=number == 0, mode="a" if number else "w", **options)


def _write_parquet(out: Path, pieces: Iterable[pd.DataFrame]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = (pa.Table.from_pandas(piece, preserve_index=False) for piece in pieces)
    first = next(tables)
    with pq.ParquetWriter(out, first.schema) as writer:
        for each in chain([first], tables):
            writer.write_table(each)
