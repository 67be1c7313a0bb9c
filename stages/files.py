"""The files that stages hand to each other. Writing is whole or not at all; reading names the file that is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

import flows
from flows import atomic
from flows.targets import Array, Target
from stages.settings import UserError, reason

if TYPE_CHECKING:  # pandas is imported where a table is read or written: not every stage has one
    import pandas as pd

    from flows.population import Population

RAW = Path("data/raw.csv")
TARGET = Path("data/target.json")
TRAIN = Path("data/prepared/train.npy")
TEST = Path("data/prepared/test.npy")
SCALER = Path("data/prepared/scaler.json")
FIGURES = Path("figures")


def checkpoint(name: str) -> Path:
    return Path(f"models/{name}.safetensors")


def member_histories(model: str) -> Path:
    return Path(f"data/histories/{model}.npz")


def history(model: str) -> Path:
    return Path(f"metrics/{model}/history.csv")


def headline(name: str) -> Path:
    return Path(f"metrics/{name}.json")


def members(name: str) -> Path:
    return Path(f"metrics/{name}/members.csv")


def plot_data(name: str) -> Path:
    return Path(f"data/plots/{name}.npz")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An ``OSError`` in writing ``path`` inside (a full disk, a read-only checkout) becomes a ``UserError`` that names it."""
    try:
        yield
    except OSError as error:  # of a full disk, it doesn't name the file
        raise UserError(f"{path}: can't be written ({reason(error)})") from None


@contextmanager
def open_table(path: Path) -> Iterator[TextIO]:
    """A file that is written line by line, so that it can be watched as it grows."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="\n", buffering=io.DEFAULT_BUFFER_SIZE) as table:
            yield table


def write_bytes(path: Path, content: bytes) -> None:
    """Write whole or not at all. Raises ``UserError`` where that can't be done."""
    with writing(path), atomic.replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def write_csv(path: Path, columns: Mapping[str, Any], float_format: str) -> None:
    import pandas as pd

    write_bytes(path, pd.DataFrame(dict(columns)).to_csv(index=False, float_format=float_format, lineterminator="\n", na_rep="NaN").encode())


def write_npy(path: Path, array: Array) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_bytes(path, buffer.getvalue())


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def write_model(name: str, model: Population) -> None:
    with writing(checkpoint(name)):
        flows.save(model, checkpoint(name))


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file of finite numbers."""
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({_line(error)})") from None
    for column in table.columns:
        if len(table) and not pd.api.types.is_numeric_dtype(table[column]):
            bad = table[column][pd.to_numeric(table[column], errors="coerce").isna()].iloc[0]
            raise UserError(f"{path}: column {column} holds {bad!r}; every value must be a number")
    return table


def read_raw() -> tuple[list[str], Array]:
    """The column names and the rows of ``data/raw.csv``."""
    table = read_table(RAW)
    if table.empty:
        raise UserError(f"{RAW}: holds 0 rows")
    rows = table.to_numpy(dtype=np.float64)
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise UserError(f"{RAW}: row {row + 1}, column {table.columns[column]} holds {rows[row, column]}; every value must be finite")
    return list(table.columns), rows


def read_target() -> tuple[Target, float]:
    """The truth and its entropy in nats."""
    content = _read_json(TARGET)
    try:
        arrays = [np.asarray(content[key], dtype=np.float64) for key in ("weights", "means", "covariances")]
        return Target(*arrays), float(content["entropy"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{TARGET}: does not describe a mixture ({_line(error)})") from None


def read_scaler() -> tuple[Array, Array]:
    """Mean and standard deviation per column, each ``(D,)``."""
    content = _read_json(SCALER)
    try:
        mean, std = (np.asarray(content[key], dtype=np.float64) for key in ("mean", "std"))
        if not mean.shape == std.shape == (len(content["columns"]),):
            raise ValueError("a number for each of the columns is needed")
        return mean, std
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{SCALER}: does not hold mean and std ({_line(error)})") from None


def read_rows(path: Path) -> Array:
    """Standardised rows ``(n, D)``, as many columns as the scaler has."""
    rows, columns = read_npy(path), len(read_scaler()[0])
    if rows.ndim != 2 or rows.shape[1] != columns or not np.issubdtype(rows.dtype, np.floating):
        raise UserError(f"{path}: holds {rows.dtype} of shape {rows.shape}; it must hold rows of {columns} numbers")
    return rows


def read_npy(path: Path) -> Array:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: can't be read ({_line(error)})") from None


def read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except Exception as error:  # zipfile, zlib and numpy each have their own errors for a damaged file
        raise UserError(f"{path}: can't be read ({_line(error)})") from None


def read_headline(name: str) -> dict[str, Any]:
    return _read_json(headline(name))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({_line(error)})") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
