"""The part of the report on tables with labels and missing values, and on labelled anomalies."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from studies.engine import Study
from studies.tables import anomalies, imputation, realistic
from studies.tables.realistic_scores import OURS
from studies.tables.wording import answers, interval, label, losses, names_of, number, verdict
from tools import markdown

TREATED = "stacked"  # the peer with the treatment of our flows


def document(study: Study) -> str:
    """Return the text of this part."""
    own: dict[str, Any] = study.params["realistic"]
    if not own["tables"]:
        return "No table with labels and missing values was selected."
    scores = read(study)
    mean = means(scores)
    log_q = mean["log_likelihood"].unstack("model").loc[:, [OURS, *own["peers"]]]
    tables, splits = [*map(realistic.short, own["tables"])], own["imputation"]["splits"]
    drawn = answers(study, "imputation", tables, splits, imputation.METHODS)["crps"].unstack()
    odd = study.params["anomalies"]
    found = answers(study, "anomalies", odd["tables"], odd["splits"], anomalies.METHODS)
    found = found["precision"].unstack()
    return (
        study.template("realistic_template.md")
        .format(
            **{name: own[name] for name in ("train", "test", "splits")},
            means=grid(log_q, "max", sizes(own["tables"])),
            gains=gains(scores, own["peers"]),
            losses=losses((-log_q.T).add(log_q[OURS])),
            noise=mean["noise"].max(),
            lost=scores["lost"].sum(),
            rows=own["imputation"]["rows"],
            imputed=own["imputation"]["splits"],
            drawn=grid(drawn, "min"),
            losses_drawn=losses(drawn.T - drawn[OURS]),
            share=anomalies.SHARE,
            found=odd["splits"],
            precision=grid(found, "max"),
            losses_found=losses((-found.T).add(found[OURS])),
        )
        .rstrip()
    )


def read(study: Study) -> pd.DataFrame:
    """Return the likelihoods, one row per cell, with its model, table and split."""
    own = study.params["realistic"]
    lines = []
    models = [OURS, *own["peers"]]
    for name, model, split in product(own["tables"], models, range(own["splits"])):
        table = realistic.short(name)
        row = study.table("realistic", model, table, split).iloc[0]
        lines.append({"model": model, "table": table, "split": split, **row})
    return pd.DataFrame(lines)


def means(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the means over splits, one row per table and model, in the order of the scores."""
    grouped = scores.groupby(["table", "model"], sort=False)
    return grouped.agg(lambda each: each.mean(skipna=False))


def sizes(tables: list[str]) -> pd.DataFrame:
    """Return the size of each table: rows, columns of numbers and of labels, rows with gaps."""
    lines = {}
    for name in tables:
        table = realistic.load(name)
        labels = len(realistic.labels(table))
        lines[realistic.short(name)] = {
            "rows": f"{len(table):,}",
            "numbers": str(table.shape[1] - labels),
            "labels": str(labels),
            "with gaps": f"{table.isna().any(axis=1).mean():.0%}",
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def gains(scores: pd.DataFrame, peers: list[str]) -> str:
    """Return the gains of NSF over stacked mixtures and over the best other peer of each table."""
    rows = []
    for table, own in scores.groupby("table", sort=False):
        wide = own.pivot(index="split", columns="model", values="log_likelihood")
        best = wide[[each for each in peers if each != TREATED]].mean().idxmax()
        cells = [str(table)]
        for peer in (TREATED, str(best)):
            mean, low, high = interval((wide[OURS] - wide[peer]).to_numpy())
            cells += [] if peer == TREATED else [label(peer)]
            limits = f"{number(low)} to {number(high)}" if np.isfinite(low) else markdown.NONE
            cells += [number(mean), limits, f"**{verdict(low, high)}**" if np.isfinite(low) else ""]
        rows.append(cells)
    treated = ["gain over stacked mixtures (nat)", "95% interval", ""]
    names = ["table", *treated, "best other peer", "gain (nat)", "95% interval", ""]
    return markdown.table(names, rows, "lrrrlr")


def grid(values: pd.DataFrame, best: str, first: pd.DataFrame | None = None) -> str:
    """Return one row per table and one column per model, with the ``best`` of a line in bold.

    ``first`` has the texts of more columns, which come first.
    """
    text = values.map(number)
    text = text.where(values.ne(values.agg(best, axis=1), axis=0), "**" + text + "**")
    text = text.rename(columns=label)
    if first is not None:
        text = pd.concat([first, text], axis=1)
    rows = zip(names_of(text.index), *(text[name] for name in text), strict=True)
    return markdown.table(["", *text.columns], rows, "lr")
