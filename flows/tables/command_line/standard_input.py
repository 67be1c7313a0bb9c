"""A table on standard input, as a file that can be read more than once."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.core.errors import UserError

NAME = "standard input"
# First bytes of files that are not CSV, each with the ending of such a file
ENDINGS = ((b"PAR1", ".parquet"), (b"\x1f\x8b", ".csv.gz"))


@contextmanager
def standard_input(arguments: argparse.Namespace) -> Iterator[None]:
    """Replace an argument ``-`` by a file with the content of standard input.

    Errors of the block call the file by the name ``standard input``.
    """
    paths = {name: value for name, value in vars(arguments).items() if value == Path("-")}
    if not paths:
        yield
        return
    if len(paths) > 1:
        raise UserError(f"- is named for {' and '.join(paths)}; standard input holds one table")
    with tempfile.TemporaryDirectory() as folder:
        start = sys.stdin.buffer.read(4)
        ending = next((ending for mark, ending in ENDINGS if start.startswith(mark)), ".csv")
        path = Path(folder, "table" + ending)
        with path.open("wb") as file:
            file.write(start)
            shutil.copyfileobj(sys.stdin.buffer, file)
        for name in paths:
            setattr(arguments, name, path)
        try:
            yield
        except UserError as error:
            raise UserError(str(error).replace(str(path), NAME)) from None
