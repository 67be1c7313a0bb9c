"""The report on checks: ``results.md``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from flows.core.arrays import Array
from flows.tables.checking.calibration import binomial_interval
from flows.tables.checking.refits import p_value
from studies.engine import Study
from tools import markdown

NAMES = {"gaussian": "one Gaussian", "independent": "independent Gaussians"}
PARTS = ("fit", "density", "columns", "samples")  # the p-values
MISSES = {  # the part of a table that the fit cannot learn
    "normal": "nothing: alarms are false",
    "dependent": "a correlation of 0.5 of two columns",
    "modes": "two modes of a column, four deviations apart",
    "banana": "the square of a column that is added to another",
    "tails": "tails of t with 5 degrees of freedom, in all columns",
}


def report(study: Study) -> None:
    """Write the tables, and print the rates of the required cells."""
    study.write(
        "results.md",
        study.template().format(
            alpha=f"{study.params['alpha']:.0%}",
            level=level_table(study),
            power=power_table(study),
            traces=traces_table(study),
            seconds=f"{seconds(study).max():.0f}",
        ),
    )
    for rows in study.params["power"]["rows"]:
        table = study.table("power", "tails", rows)
        print(f"tails, {rows} rows: {rates(p_values(table), study.params['alpha'])}")


def p_values(table: pd.DataFrame) -> dict[str, Array]:
    """Return the p-values of n fits among the pooled refits, ``(n,)`` each.

    ``density`` compares the statistic of ranks, ``columns`` the largest deviation of a column,
    ``samples`` the largest difference between samples and rows, and ``fit`` the largest deviation
    of these three. Deviations are in deviations of the refits.
    """

    def largest(own: Array, again: Array) -> tuple[Array, Array]:
        mean, deviation = again.mean(axis=0), again.std(axis=0, ddof=1)
        first, second = (((each - mean) / deviation).max(axis=1) for each in (own, again))
        return first, second

    names = [name for name in table if name.startswith("distance_")]
    fits = table[table["statistic"].notna()]

    def of(*columns: str) -> tuple[Array, Array]:
        return fits[[*columns]].to_numpy(), table[[f"again_{name}" for name in columns]].to_numpy()

    parts = {
        "density": [each[:, 0] for each in of("statistic")],
        "columns": largest(*of(*names)),
        "samples": [each[:, 0] for each in of("difference")],
    }
    own, again = (np.column_stack(each) for each in zip(*parts.values(), strict=True))
    pairs = {"fit": largest(own, again), **parts}
    return {
        name: np.array([p_value(each, of_refits) for each in of_fits])
        for name, (of_fits, of_refits) in pairs.items()
    }


def rates(found: dict[str, Array], alpha: float) -> list[str]:
    """Return the share of p-values of at most ``alpha``, with its 95% interval."""
    words = []
    for p in found.values():
        share = float((p <= alpha).mean())
        low, high = binomial_interval(share, len(p))
        words.append(f"{share:.0%} ({low:.0%} to {high:.0%})")
    return words


def level_table(study: Study) -> str:
    """Return the table of alarms on tables of fitted densities."""
    rows = []
    for size, about in study.params["level"].items():
        table = level_scores(study, size)
        found, alpha = p_values(table), study.params["alpha"]
        alarms = [f"{(p <= alpha).sum()} of {len(p)}" for p in found.values()]
        kl = f"{table['kl'].mean():.2f} \u00b1 {table['kl'].std():.2f}"
        rows.append([f"{about['rows']} x {about['columns']}", *alarms, kl])
    names = [f"alarms: {name}" for name in PARTS]
    head = ["rows x columns", *names, "distance of a refit (nat)"]
    return markdown.table(head, rows, "lr")


def level_scores(study: Study, size: str) -> pd.DataFrame:
    """Return the scores of all tables of a size."""
    count = study.params["level"][size]["tables"]
    return pd.concat([study.table("level", size, k) for k in range(count)], ignore_index=True)


def power_table(study: Study) -> str:
    """Return the table of the rates at which defects are found."""
    rows, params = [], study.params["power"]
    for table, fitted in params["tables"].items():
        for n in params["rows"]:
            found = rates(p_values(study.table("power", table, n)), study.params["alpha"])
            rows.append([NAMES[fitted], MISSES[table], f"{n} x {params['columns']}", *found])
    head = ["fit", "misses", "rows x columns", *PARTS]
    return markdown.table(head, rows, "lllr")


def traces_table(study: Study) -> str:
    """Return the table of the AUC of networks, and of the place of a planted row."""
    rows = []
    own = values(study, "traces")["auc"]
    rows.append(["networks without noise, trained to the end", spread(own), ""])
    for size in study.params["level"]:
        table = level_scores(study, size)
        own = table["auc"].dropna()
        rows.append([f"default fits, {size}", spread(own), spread(own - table["again_auc"].mean())])
    table = markdown.table(["", "AUC", "minus the mean AUC of refits"], rows, "lr")
    placed = values(study, "planted")
    listed = f"{placed['is_listed'].sum():.0f} of {len(placed)}"
    return f"{table}\n\nThe planted far row is among the ten largest scores in {listed} fits."


def seconds(study: Study) -> pd.Series:
    """Return the seconds of checks without refits."""
    return values(study, "seconds")["seconds"]


def values(study: Study, family: str) -> pd.DataFrame:
    """Return the scores of a family, one row per seed."""
    count = study.params[family]["seeds"]
    return pd.concat([study.table(family, k) for k in range(count)], ignore_index=True)


def spread(found: Sequence[float] | Array | pd.Series) -> str:
    """Return the mean and the standard deviation."""
    each = np.asarray(found)
    return markdown.minus(f"{each.mean():.2f} \u00b1 {each.std(ddof=min(1, len(each) - 1)):.2f}")
