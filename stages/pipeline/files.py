"""The files that stages hand to each other.

A file is written whole or not at all; an error in reading names the file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flows.core import atomic
from flows.core.arrays import Array
from flows.core.errors import UserError, one_line, reason
from flows.core.scaler import Scaler
from flows.evaluation.problem import Problem
from flows.mixtures.mixture import Mixture, Truth
from flows.tables.columns import Column
from flows.tables.preparation import from_real

if TYPE_CHECKING:
    import pandas as pd

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
    """Turn any error in the block into a ``UserError`` that names ``path``.

    A damaged file raises errors of pandas, NumPy, zipfile, zlib.
    """
    try:
        yield
    except Exception as error:
        raise UserError(f"{path}: {wrong} ({one_line(error)})") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` in writing ``path`` into a ``UserError`` that names it.

    Such errors come of a full disk or a read-only checkout. The folder of ``path`` is made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:  # on a full disk, it doesn't name the file
        raise UserError(f"{path}: can't be written ({reason(error)})") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises ``UserError`` where that can't be done."""
    with writing(path), atomic.replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


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
    """Return a CSV file of numbers."""
    import pandas as pd

    with reading(path):
        table = pd.read_csv(path)
        table.astype(float)  # fails for what is no number
        return table


def write_target(
    truth: Truth | None, entropy: tuple[float, float] | None, columns: Sequence[Column] = ()
) -> None:
    """Write ``data/target.json``: the kind of the truth, its parameters and its entropy in nats.

    Where there is no truth, the file holds the ``columns`` of the table.
    """
    content: dict[str, Any]
    if truth is None or entropy is None:
        described = [column.to_dict() for column in columns]
        content = {"kind": None, "entropy": None, "entropy_se": None, "columns": described}
    elif isinstance(truth, Mixture):
        nats, error = (round(each, 6) for each in entropy)
        arrays = {key: getattr(truth, key).tolist() for key in ("weights", "means", "covariances")}
        content = {"kind": "mixture", "entropy": nats, "entropy_se": error, **arrays}
    else:
        kind = type(truth).__name__
        raise UserError(f"{TARGET}: can hold mixtures of Gaussians alone; this truth is a {kind}")
    write_json(TARGET, content)


def read_target() -> tuple[Mixture | None, float | None, list[Column]]:
    """Return the truth, its entropy in nats, and the columns of the user's table.

    The truth and its entropy are ``None`` for a table.
    """
    content = read_json(TARGET)
    with reading(TARGET, "describes neither a mixture nor the columns of a table"):
        if content["kind"] is None:
            return None, None, [Column.from_dict(column) for column in content["columns"]]
        if content["kind"] != "mixture":
            raise ValueError(f"its kind is {content['kind']!r}")
        arrays = (np.asarray(content[key], float) for key in ("weights", "means", "covariances"))
        return Mixture(*arrays), float(content["entropy"]), []


class Prepared(NamedTuple):
    """The output of ``prepare``, with rows in the user's units.

    Attributes:
        problem: the rows to learn from and to score, ``(n, D)``, the truth, if it is known, and the
            columns of a table. The training rows of a table are dequantised. Integers and counts of
            its test rows are whole, because those of samples are.
        scaler: the scaler that the files are scaled by: the moments of the training rows after the
            maps of the columns' kinds. A model fits the same scaler, up to rounding.
        names: the names of the columns, of drawn data too.
    """

    problem: Problem
    scaler: Scaler
    names: list[str]


def read_prepared() -> Prepared:
    """Return the rows of ``prepare`` in the user's units.

    Raises ``UserError``, which names the file, for a file that is missing or damaged.
    """
    truth, _, columns = read_target()
    names, scaler = read_scaler()
    train, test = read_npy(TRAIN), read_npy(TEST)
    for path, rows in ((TRAIN, train), (TEST, test)):
        if rows.shape[1:] != (len(names),) or rows.dtype.kind != "f":
            raise UserError(
                f"{path}: holds {rows.dtype} of shape {rows.shape}; "
                f"it must hold rows of {len(names)} numbers"
            )
    train, test = scaler.restore(train), scaler.restore(test)
    if columns:
        train, test = from_real(columns, train), from_real(columns, test, whole=True)
    return Prepared(Problem(train, test, truth, columns), scaler, names)


def read_scaler() -> tuple[list[str], Scaler]:
    """Return the column names, and their means and standard deviations."""
    content = read_json(SCALER)
    with reading(SCALER, "does not hold mean and std"):
        mean, std = (np.asarray(content[key], dtype=np.float64) for key in ("mean", "std"))
        if not mean.shape == std.shape == (len(content["columns"]),):
            raise ValueError("a number for each of the columns is needed")
        return content["columns"], Scaler(mean, std)


def rounded(value: float | None) -> float | None:
    """Return ``value`` rounded to six digits, as all numbers of the metrics are."""
    return None if value is None else float(f"{value:.6g}")


def read_npy(path: Path) -> Array:
    with reading(path):
        return np.load(path, allow_pickle=False)


def read_npz(path: Path) -> dict[str, Any]:
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def read_json(path: Path) -> dict[str, Any]:
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))
