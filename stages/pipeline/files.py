"""The files that stages exchange: their paths, and functions that need no torch.

``models.py`` reads and writes models, with torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common import storage
from flows import truths
from flows.core.arrays import rounded
from flows.core.errors import UserError
from flows.core.scaler import Scaler
from flows.core.truth import Truth
from flows.evaluation.problem import Problem
from flows.mixtures.mixture import Mixture
from flows.tables.columns.field import Field
from stages.pipeline.preparation import from_real

PARAMS = Path("params.yaml")
SOURCE = Path("data/source")
RAW = Path("data/raw.csv")
TARGET = Path("data/target.json")
TRAIN = Path("data/prepared/train.npy")
TEST = Path("data/prepared/test.npy")
SCALER = Path("data/prepared/scaler.json")
RANKING = Path("metrics/ranking.json")
FIGURES = Path("figures")
WRONG_TARGET = "describes neither a mixture nor another truth nor the columns of a table"
DIGITS = 6  # significant digits of the numbers in metrics
MIXTURE = ("weights", "means", "covariances")  # the fields of a mixture in ``TARGET``


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


def number(value: float | None) -> float | None:
    """Return a number for a JSON file of metrics; ``None`` if it is unknown or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(rounded(value, DIGITS))


def write_target(
    truth: Truth | None,
    entropy: tuple[float, float] | None,
    columns: Sequence[Field] = (),
    name: str = "",
) -> None:
    """Write ``data/target.json``: the true density's kind, its parameters and its entropy in nats.

    A density that is not a mixture is written as its ``name`` in ``flows/truths`` and its settings,
    the fields of the data class. Without a true density, the file holds the
    ``columns`` of the table. Raises ``UserError`` for any other density.
    """
    content: dict[str, Any]
    if truth is None or entropy is None:
        described = [column.to_json() for column in columns]
        content = {"kind": None, "entropy": None, "entropy_se": None, "columns": described}
    else:
        nats, error = (round(each, 6) for each in entropy)
        content = {"kind": "target", "entropy": nats, "entropy_se": error}
        if isinstance(truth, Mixture):
            content["kind"] = "mixture"
            content |= {key: getattr(truth, key).tolist() for key in MIXTURE}
        elif is_dataclass(truth):
            content |= {"name": name, "settings": asdict(truth)}
        else:
            kind = type(truth).__name__
            raise UserError(f"{TARGET}: a truth must be a mixture or a data class; got a {kind}")
    storage.write_json(TARGET, content)


class Target(NamedTuple):
    """The content of ``data/target.json``.

    Attributes:
        truth: the true density; ``None`` for a table.
        entropy: its entropy in nats; ``None`` for a table.
        columns: the columns of the user's table; none for drawn data.
        name: the name of a truth that is no mixture; else empty.
    """

    truth: Truth | None
    entropy: float | None
    columns: list[Field]
    name: str


def read_target(*, with_truth: bool = True) -> Target:
    """Return the content of ``data/target.json``, with the truth only if ``with_truth``."""
    content = storage.read_json(TARGET)
    with storage.reading(TARGET, WRONG_TARGET):
        kind = content["kind"]
        truth: Truth | None = None
        if kind is None:
            return Target(None, None, [Field.from_json(each) for each in content["columns"]], "")
        if kind not in ("mixture", "target"):
            raise ValueError(f"its kind is {kind!r}")
        if with_truth and kind == "mixture":
            weights, means, covariances = (np.asarray(content[key], float) for key in MIXTURE)
            truth = Mixture(weights, means, covariances)
        elif with_truth:
            truth = truths.make(content["name"], **content["settings"])
        return Target(truth, float(content["entropy"]), [], content.get("name", ""))


class Prepared(NamedTuple):
    """The output of ``prepare``, with rows in the user's units.

    Attributes:
        problem: the training and test rows, ``(n, D)``, the true density, if it is known, and the
            columns of a table. The training rows of a table are dequantised. In its test rows,
            integers and counts are whole, as in samples.
        names: the names of the columns, also of drawn data.
        truth_name: the name of a truth that is no mixture; else empty.
    """

    problem: Problem
    names: list[str]
    truth_name: str


def read_prepared(*, with_truth: bool = True) -> Prepared:
    """Return the output of ``prepare``, with the true density only if ``with_truth``.

    Raises ``UserError``, which names the file, for a file that is missing or damaged.
    """
    truth, _, columns, name = read_target(with_truth=with_truth)
    names, scaler = read_scaler()
    train, test = storage.read_npy(TRAIN), storage.read_npy(TEST)
    train, test = scaler.restore(train), scaler.restore(test)
    to_real = None
    if columns:
        from flows.tables.columns.column_maps import ColumnMaps  # imports torch

        to_real = ColumnMaps(columns)
        train, test = from_real(columns, train), from_real(columns, test, whole=True)
    return Prepared(Problem(train, test, truth, to_real), names, name)


def read_scaler() -> tuple[list[str], Scaler]:
    """Return the column names, and their means and standard deviations."""
    content = storage.read_json(SCALER)
    with storage.reading(SCALER, "does not hold mean and std"):
        mean, std = (np.asarray(content[key], dtype=np.float64) for key in ("mean", "std"))
        return content["columns"], Scaler(mean, std)
