"""The cells of the study of alarms.

A table is drawn, fitted and checked; then a table is drawn from the fit, fitted and checked in the
same way. Few refits per table are enough if the refits of all tables of a cell, or of all cells of
a group, are pooled (the warp-speed bootstrap of Giacomini, Politis and White 2013).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch

from flows import NSF, TrainingSettings, build, train
from flows.core.arrays import Array
from flows.core.seeds import integer, numpy_generator
from flows.recipe.recipe import cut_into_folds
from flows.tables.checking.calibration import rank
from flows.tables.checking.check import LARGEST, check
from flows.tables.checking.comparison import compare
from flows.tables.checking.refits import FRESH, Statistics
from flows.tables.checking.rows import CheckedRows, draw_tables, read_rows
from flows.tables.checking.traces import mean_auc, trace
from flows.tables.columns.parsing import from_user
from flows.tables.density.fitting import fit
from flows.tables.posterior.array_density import ArrayDensity
from flows.workers import PACKAGES as PACKAGES
from studies.alarms.tables import FITS, TABLES, mixed
from studies.engine import SMALL, Cell, Family, check_names, quiet


def checked(
    density: ArrayDensity, values: Array, seed: int
) -> tuple[CheckedRows, dict[str, float]]:
    """Return the rows with their folds, and the statistics and the AUC of a fit on its rows."""
    assert density.record is not None
    assert density.record.row_scores is not None
    rows = CheckedRows(values, density.record.row_scores.held_out_in)
    found = Statistics.of(rank(density, rows, seed), compare(density, rows, seed)[:2])
    columns = {f"distance_{d}": float(x) for d, x in enumerate(found.columns)}
    auc = trace(density, rows).auc
    whole = {"statistic": found.rows, "difference": found.samples}
    return rows, {**whole, **columns, "auc": auc}


def refitted(fitted: str, values: Array, seed: int, refits: int = 1) -> pd.DataFrame:
    """Return the statistics of a fit, and those of refits to tables that are drawn from the fit.

    There is a row for each refit. The statistics of the fit are in the first row, and ``NaN`` in
    others. The names of those of a refit start with ``again_``; ``kl`` is the divergence of the
    refit from the fit.
    """
    first = FITS[fitted](values, integer(seed, "train"))
    rows, own = checked(first, values, seed)
    fresh = np.concatenate([*first.draw(FRESH, integer(seed, "fresh"))])
    log_p, found = first.ensemble(first.log_density(fresh)), []
    tables = draw_tables(first, rows, refits, integer(seed, "generate", 1))
    for b, table in enumerate(tables, 1):
        second = FITS[fitted](table, integer(seed, "train", b))
        _, again = checked(second, table, integer(seed, "metric", 1 + b))
        log_q = second.ensemble(second.log_density(fresh))
        own_or_none = own if b == 1 else dict.fromkeys(own, np.nan)
        named = {f"again_{name}": value for name, value in again.items()}
        found.append({**own_or_none, **named, "kl": float((log_p - log_q).mean())})
    return pd.DataFrame(found)


@cache
def base(rows: int, columns: int, number: int) -> ArrayDensity:
    """Return the default fit of a random table, which several cells of a worker share."""
    values = mixed(rows, columns, numpy_generator(number, "split"))
    return FITS["default"](values, number)


def level(rows: int, columns: int, refits: int, base_seed: int, seed: int) -> dict[str, Array]:
    """Check the default fit of a table that is drawn from a fitted density."""
    density = base(rows, columns, base_seed)
    drawn = np.concatenate([*density.draw(rows, integer(seed, "generate", 2))])
    return scores(refitted("default", drawn, seed, refits))


def power(table: str, fitted: str, rows: int, columns: int, tables: int) -> dict[str, Array]:
    """Check restricted fits of tables, one row per table."""
    found = []
    for seed in range(tables):
        values = TABLES[table](rows, columns, numpy_generator(seed, "generate"))
        found.append(refitted(fitted, values, seed))
    return scores(pd.concat(found))


def scores(table: pd.DataFrame) -> dict[str, Array]:
    """Return the columns of a table."""
    return {str(name): column.to_numpy() for name, column in table.items()}


def traces(rows: int, columns: int, seed: int, epochs: int) -> dict[str, float]:
    """Return the AUC of networks that are trained without noise, to the end."""
    values = mixed(rows, columns, numpy_generator(seed, "generate"))
    fold = cut_into_folds(np.arange(rows), seed)
    log_q = np.empty((rows, 5))
    settings = TrainingSettings(epochs=epochs, noise=0.0, sharpen=0.0, seed=seed)
    for k in range(5):
        with quiet():
            network = build(NSF(), (columns,), members=1, seed=seed + k)
            network = train(network, values[fold != k], settings=settings)
        with torch.no_grad():
            log_q[:, k] = network.log_prob(values).double().numpy()[:, 0]
    auc, error = mean_auc(log_q, fold[:, None] == np.arange(5))
    return {"auc": auc, "error": error}


def planted(rows: int, columns: int, seed: int, distance: float) -> dict[str, float]:
    """Return the place of a far row among the memorisation scores of a default fit, from 1."""
    values = numpy_generator(seed, "generate").normal(size=(rows, columns))
    values[0] = distance
    density = FITS["default"](values, seed)
    assert density.record is not None
    assert density.record.row_scores is not None
    found = trace(density, CheckedRows(values, density.record.row_scores.held_out_in)).scores
    places = {kind: 1 + int((own > own[0]).sum()) for kind, own in found.items()}
    return {**places, "is_listed": float(places["networks"] <= LARGEST)}


def seconds(rows: int, columns: int, seed: int) -> dict[str, float]:
    """Return the seconds of a check without refits."""
    values = mixed(rows, columns, numpy_generator(seed, "generate"))
    with quiet():
        found = fit(values, seed=seed)
    density = ArrayDensity(found.population, found.schema, found.record)
    begin = time.perf_counter()
    check(density, read_rows(density, lambda kinds: from_user(values, {})))
    return {"seconds": time.perf_counter() - begin}


# Last bits depend on the processor, and so do the decisions of a recipe; seconds do entirely
TOLERANCE = {"*": 0.2}
FAMILIES = {
    "level": Family(level, version=2, tolerance=TOLERANCE),
    "power": Family(power, version=2, tolerance=TOLERANCE),
    "traces": Family(traces, tolerance=TOLERANCE),
    "planted": Family(planted, tolerance={"*": 20.0}),
    "seconds": Family(seconds, tolerance={"*": 100.0}),
}


def cells(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield all cells of ``params.yaml``, named by size and seed, or by table, fit and rows."""
    for size, about in params["level"].items():
        for seed in range(about["tables"]):
            sizes = {name: about[name] for name in ("rows", "columns", "refits")}
            own = {**sizes, "base_seed": seed * about["bases"] // about["tables"], "seed": seed}
            yield f"level/{size}/{seed}", own
    columns = params["power"]["columns"]
    for table, fitted in params["power"]["tables"].items():
        check_names([table], TABLES, "power.tables")
        check_names([fitted], FITS, f"power.tables.{table}")
        own = {"table": table, "fitted": fitted, "columns": columns}
        for rows in params["power"]["rows"]:
            count = params["power"]["count"]
            yield f"power/{table}/{rows}", {**own, "rows": rows, "tables": count}
        if table == params["power"][SMALL]:
            yield f"power/{table}/{SMALL}", {**own, "rows": 100, "tables": 2}
    for family in ("traces", "planted", "seconds"):
        about = params[family]
        rest = {key: value for key, value in about.items() if key != "seeds"}
        for seed in range(about["seeds"]):
            yield f"{family}/{seed}", {**rest, "seed": seed}
