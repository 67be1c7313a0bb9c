"""The files that stages hand to each other. Writing is whole or not at all; reading names the file that is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from flows.core import atomic
from flows.core.arrays import Array
from flows.core.columns import Column
from flows.core.errors import UserError, one_line, reason
from flows.core.mixture import Mixture, Truth

if TYPE_CHECKING:  # pandas and torch are imported where a table or a model is read or written: not every stage has one
    import pandas as pd

    from flows.core.population import Population
    from flows.evaluation.problem import Problem

SOURCE = Path("data/source")
RAW = Path("data/raw.csv")
TARGET = Path("data/target.json")
TRAIN = Path("data/prepared/train.npy")
TEST = Path("data/prepared/test.npy")
SCALER = Path("data/prepared/scaler.json")
RANKING = Path("metrics/ranking.json")
FIGURES = Path("figures")


def checkpoint(name: str) -> Path:
    return Path(f"models/{name}.safetensors")


def history(model: str) -> Path:
    return Path(f"metrics/{model}/history.csv")


def headline(name: str) -> Path:
    return Path(f"metrics/{name}.json")


def members(name: str) -> Path:
    return Path(f"metrics/{name}/members.csv")


def plot_data(name: str) -> Path:
    return Path(f"data/plots/{name}.npz")


@contextmanager
def reading(path: Path, wrong: str = "can't be read") -> Iterator[None]:
    """Whatever goes wrong inside becomes a ``UserError`` that names ``path``: a damaged file has errors of pandas, NumPy, zipfile, zlib."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{path}: {wrong} ({one_line(error)})") from None


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
    np.save(buffer := io.BytesIO(), array)
    write_bytes(path, buffer.getvalue())


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    np.savez(buffer := io.BytesIO(), **arrays)
    write_bytes(path, buffer.getvalue())


def write_model(name: str, model: Population) -> None:
    from flows.core.checkpoint import save

    with writing(checkpoint(name)):
        save(model, checkpoint(name))


def read_model(name: str) -> Population:
    from flows.core.checkpoint import CheckpointError
    from flows.networks.registry import load

    try:
        return load(checkpoint(name))
    except CheckpointError as error:
        raise UserError(f"{error}; `dvc repro train@{name}` makes it anew") from None


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file of finite numbers."""
    import pandas as pd

    with reading(path):
        table = pd.read_csv(path)
    for column in table.columns:
        if len(table) and not pd.api.types.is_numeric_dtype(table[column]):
            bad = table[column][pd.to_numeric(table[column], errors="coerce").isna()].iloc[0]
            raise UserError(f"{path}: column {column} holds {bad!r}; every value must be a number")
    return table


def read_raw() -> tuple[list[str], Array]:
    """The column names and the rows of ``data/raw.csv``."""
    from flows.data import table

    found = table.read(RAW)
    return found.names, found.values


def source() -> Path:
    """The one table in ``data/source/``."""
    tables = sorted(path for path in SOURCE.glob("*") if path.suffix not in (".dvc", "") and not path.name.startswith("."))
    if len(tables) != 1:
        there = ", ".join(path.name for path in tables) or "nothing"
        raise UserError(f"{SOURCE}/: must hold one CSV or Parquet file, as data.target is table; it holds {there}")
    return tables[0]


def write_truth(truth: Truth | None, entropy: tuple[float, float] | None, columns: Sequence[Column] = ()) -> None:
    """``data/target.json``: of which kind the truth is, what makes it, its entropy in nats. Where there is none, the ``columns`` of the table."""
    content: dict[str, Any] = {"kind": None, "entropy": None, "entropy_se": None, "columns": [column.to_dict() for column in columns]}
    if truth is not None and entropy is not None:
        if not isinstance(truth, Mixture):
            raise UserError(f"{TARGET}: can hold mixtures of Gaussians alone; this truth is a {type(truth).__name__}")
        arrays = {key: getattr(truth, key).tolist() for key in ("weights", "means", "covariances")}
        content = {"kind": "mixture", "entropy": round(entropy[0], 6), "entropy_se": round(entropy[1], 6), **arrays}
    write_json(TARGET, content)


def read_truth() -> tuple[Mixture | None, float | None]:
    """The truth and its entropy in nats; ``None`` twice where there is none."""
    content = read_json(TARGET)
    with reading(TARGET, "does not describe a mixture"):
        if content["kind"] is None:
            return None, None
        if content["kind"] != "mixture":
            raise ValueError(f"its kind is {content['kind']!r}")
        arrays = [np.asarray(content[key], dtype=np.float64) for key in ("weights", "means", "covariances")]
        return Mixture(*arrays), float(content["entropy"])


def read_columns() -> list[Column]:
    """The columns of the user's table; none where the truth is known."""
    content = read_json(TARGET)
    with reading(TARGET, "does not describe the columns of a table"):
        return [Column.from_dict(column) for column in content.get("columns", [])]


def read_problem() -> Problem:
    """What ``prepare`` left to learn and to score, in the user's units."""
    from flows.evaluation.problem import Problem, on_line

    truth, kinds = read_truth()[0], read_columns()
    names, mean, std = read_scaler()
    train, test = (_rows(path, len(names)) * std + mean for path in (TRAIN, TEST))
    if kinds:
        train, test = on_line(kinds, train, inverse=True), on_line(kinds, test, inverse=True, whole=True)
    return Problem(train, test, truth, names, kinds)


def read_standardized() -> tuple[Array, Array, Array]:
    """The training rows ``(n, D)`` as they are prepared, and mean and standard deviation of every column."""
    _, mean, std = read_scaler()
    return _rows(TRAIN, len(mean)), mean, std


def read_scaler() -> tuple[list[str], Array, Array]:
    """The column names, and mean and standard deviation per column, each ``(D,)``."""
    content = read_json(SCALER)
    with reading(SCALER, "does not hold mean and std"):
        mean, std = (np.asarray(content[key], dtype=np.float64) for key in ("mean", "std"))
        if not mean.shape == std.shape == (len(content["columns"]),):
            raise ValueError("a number for each of the columns is needed")
        return content["columns"], mean, std


def _rows(path: Path, columns: int) -> Array:
    """Standardised rows ``(n, columns)``."""
    rows = read_npy(path)
    if rows.ndim != 2 or rows.shape[1] != columns or not np.issubdtype(rows.dtype, np.floating):
        raise UserError(f"{path}: holds {rows.dtype} of shape {rows.shape}; it must hold rows of {columns} numbers")
    return rows


def rounded(value: float | None) -> float | None:
    """To six digits, as all numbers of the metrics are."""
    return None if value is None else float(f"{value:.6g}")


def read_npy(path: Path) -> Array:
    with reading(path):
        return np.load(path, allow_pickle=False)


def read_npz(path: Path) -> dict[str, Any]:
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def read_headline(name: str) -> dict[str, Any]:
    return read_json(headline(name))


def read_json(path: Path) -> dict[str, Any]:
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))
