"""The part of the report on tables with labels and missing values, and on labelled anomalies."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from studies import markdown
from studies.engine import Study
from studies.markdown import NONE, bold, frame, grid
from studies.tables import anomalies, imputation, realistic
from studies.tables.realistic_scores import OURS
from studies.tables.wording import answers, label, losses, number, verdict, words
from studies.verdicts import paired_interval

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
            means=by_table(log_q, "max", sizes(own["tables"])),
            gains=gains(scores, own["peers"]),
            losses=losses((-log_q.T).add(log_q[OURS])),
            noise=mean["noise"].max(),
            lost=scores["lost"].sum(),
            rows=own["imputation"]["rows"],
            imputed=own["imputation"]["splits"],
            drawn=by_table(drawn, "min"),
            losses_drawn=losses(drawn.T - drawn[OURS]),
            share=anomalies.SHARE,
            found=odd["splits"],
            precision=by_table(found, "max"),
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
            mean, low, high = paired_interval((wide[OURS] - wide[peer]).to_numpy())
            known = np.isfinite(low)
            cells += [] if peer == TREATED else [label(peer)]
            cells += [number(mean), f"{number(low)} to {number(high)}" if known else NONE]
            cells += [bold(verdict(low, high)) if known else ""]
        rows.append(cells)
    treated = ["gain over stacked mixtures (nat)", "95% interval", ""]
    names = ["table", *treated, "best other peer", "gain (nat)", "95% interval", ""]
    return markdown.table(names, rows, "lrrrlr")


def by_table(values: pd.DataFrame, best: str, *first: pd.DataFrame) -> str:
    """Return a table with one row per table and one column per model, after ``first``."""
    texts = pd.concat([*first, grid(values, best).rename(columns=label)], axis=1)
    return frame(texts.rename(index=words))
