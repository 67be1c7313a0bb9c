"""Write files whole or not at all, and read files with errors that name the file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.core import atomic
from flows.core.arrays import Array
from flows.core.errors import UserError, one_line, reason

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def reading(path: Path, problem: str = "cannot be read") -> Iterator[None]:
    """Turn any error in the block into a ``UserError`` that names ``path``.

    A damaged file may raise errors of pandas, NumPy, zipfile and zlib.
    """
    try:
        yield
    except Exception as error:
        raise UserError(f"{path}: {problem} ({one_line(error)})") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` in the block into a ``UserError`` that names ``path``.

    A full disk and a read-only checkout raise an ``OSError``.
    """
    try:
        yield
    except OSError as error:  # does not name the file if the disk is full
        raise UserError(f"{path}: cannot be written ({reason(error)})") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises ``UserError`` if writing fails."""
    with writing(path), atomic.replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file. Raises ``ValueError`` for a number that is not finite: JSON has none."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_csv(path: Path, columns: Mapping[str, Any], float_format: str) -> None:
    import pandas as pd

    frame = pd.DataFrame(dict(columns))
    text = frame.to_csv(index=False, float_format=float_format, lineterminator="\n", na_rep="NaN")
    write_bytes(path, text.encode())


def write_npy(path: Path, array: Array) -> None:
    np.save(buffer := io.BytesIO(), array)
    write_bytes(path, buffer.getvalue())


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    np.savez(buffer := io.BytesIO(), **arrays)
    write_bytes(path, buffer.getvalue())


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV file of numbers. Raises ``UserError`` if it holds text or cannot be read."""
    import pandas as pd

    with reading(path):
        table = pd.read_csv(path)
        table.astype(float)  # raises ValueError for text
        return table


def read_npy(path: Path) -> Array:
    with reading(path):
        return np.load(path, allow_pickle=False)


def read_npz(path: Path) -> dict[str, Any]:
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def read_json(path: Path) -> dict[str, Any]:
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))
