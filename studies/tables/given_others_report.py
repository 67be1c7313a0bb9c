"""The page of the cells of ``given_others.py``: each column given all others.

The *size* of a score is the logarithm of a ratio of numbers, or a difference of log-losses of
labels. Both are in nats: the logarithm of a ratio of mean absolute errors is the difference of the
log-losses of Laplace distributions with these scales.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from flows.core import seeds
from flows.tables.columns.order import FEW_LABELS
from studies import markdown
from studies.engine import SMALL, Study
from studies.markdown import NONE, frame, number, within
from studies.tables import realistic
from studies.verdicts import sign_of

FITS = {"joint": "joint fit", "target": "target fit", "better": "better of the two"}
WORST = 5  # columns that are named
FAR = 1.3  # a ratio of errors from which a column of numbers is far behind
RESAMPLES = 2_000  # of the tables, for an interval


def document(study: Study) -> str:
    """Return the text of ``given_others.md``."""
    scores = read(study)
    is_number = scores["labels"] == 0
    kinds = {"numbers": scores[is_number], "labels": scores[~is_number]}
    return study.template("given_others_template.md").format(
        **{name: study.params["given_others"][name] for name in ("train", "test")},
        tables=scores["table"].nunique(),
        **{f"{kind}_count": len(own) for kind, own in kinds.items()},
        **{kind: summary(own) for kind, own in kinds.items()},
        worst=worst(scores),
        changes=changes(scores),
        by_table=by_table(scores),
        by_column=by_column(scores),
    )


def read(study: Study) -> pd.DataFrame:
    """Return the scores, one row per column of a table; ``better`` is that of the better fit."""
    lines = []
    for name, settings in study.cells.items():
        family, *parts = name.split("/")
        if family == "given_others" and SMALL not in parts:
            table, column = realistic.short(str(settings["table"])), settings["column"]
            lines.append({"table": table, "column": column, **study.table(name).iloc[0]})
    scores = pd.DataFrame(lines)
    return scores.assign(better=scores[["joint", "target"]].min(axis=1))


def size(scores: pd.DataFrame, fit: str) -> pd.Series:
    """Return the sizes of the scores of a fit."""
    is_number = scores["labels"] == 0
    return scores[fit].where(~is_number, np.log(scores[fit].where(is_number, 1.0)))


def shown(are_numbers: bool, *sizes: float) -> str:
    """Return a size, perhaps with its interval, as a ratio or as a difference."""
    values = np.exp(sizes) if are_numbers else np.array(sizes)
    digits, sign = (2, "") if are_numbers else (3, "+")
    text: Callable[..., str] = within if len(sizes) > 1 else number
    return text(*values.tolist(), digits=digits, sign=sign)


def interval(scores: pd.DataFrame, fit: str) -> tuple[float, float]:
    """Return the 95% interval of the mean size over columns: a bootstrap over tables."""
    sums = size(scores, fit).groupby(scores["table"]).agg(["sum", "count"]).to_numpy()
    rng = seeds.numpy_generator(0, "metric", 1)
    again = sums[rng.integers(0, len(sums), (RESAMPLES, len(sums)))].sum(axis=1)
    low, high = np.quantile(again[:, 0] / again[:, 1], [0.025, 0.975])
    return float(low), float(high)


def summary(scores: pd.DataFrame) -> str:
    """Return the table of all columns of numbers, or of labels, with a row for each fit."""
    are_numbers = bool((scores["labels"] == 0).all())
    lines = {}
    for fit, name in FITS.items():
        sizes = size(scores, fit)
        over_tables = float(sizes.groupby(scores["table"]).mean().mean())
        own = {
            "mean over columns": shown(are_numbers, float(sizes.mean()), *interval(scores, fit)),
            "over tables": shown(are_numbers, over_tables),
        }
        if fit != "better":
            signs = verdicts(scores, fit)
            own |= {"better": str((signs < 0).sum()), "worse": str((signs > 0).sum())}
        if are_numbers:
            own[f"above {FAR}"] = str((scores[fit] > FAR).sum())
        lines[name] = own
    return frame(pd.DataFrame.from_dict(lines, orient="index").fillna(""))


def verdicts(scores: pd.DataFrame, name: str) -> pd.Series:
    """Return -1 for a score that is better beyond its interval, 1 for a worse one, 0 for others."""
    neutral = (scores["labels"] == 0).astype(float)  # a ratio of 1, a difference of 0
    low, high = (scores[f"{name}_{end}"] - neutral for end in ("low", "high"))
    return pd.Series([*map(sign_of, low, high)], scores.index)


def worst(scores: pd.DataFrame) -> str:
    """Return the columns whose better fit is the farthest behind boosting, as a list."""
    order = size(scores, "better").sort_values(ascending=False, kind="stable").index[:WORST]
    lines = []
    for _, row in scores.loc[order].iterrows():
        what = "log-loss" if row["labels"] else "ratio"
        values = ", ".join(f"{FITS[fit]} {_text(row, fit)}" for fit in ("joint", "target"))
        lines.append(f"- `{row['column']}` of {row['table']} ({what}): {values}")
    return "\n".join(lines)


def changes(scores: pd.DataFrame) -> str:
    """Return the table of the target fit beside the joint fit."""
    few = scores["labels"] <= FEW_LABELS
    parts = {
        "numbers": scores["labels"] == 0,
        f"labels, at most {FEW_LABELS}": (scores["labels"] > 0) & few,
        f"labels, more than {FEW_LABELS}": ~few,
    }
    lines = {}
    for name, is_own in parts.items():
        own = scores[is_own]
        signs, sizes = verdicts(own, "change"), size(own, "change")
        lines[name] = {
            "columns": str(len(own)),
            "mean": shown(name == "numbers", float(sizes.mean()), *interval(own, "change")),
            "target fit better": str((signs < 0).sum()),
            "joint fit better": str((signs > 0).sum()),
            "not decided": str((signs == 0).sum()),
        }
    return frame(pd.DataFrame.from_dict(lines, orient="index"))


def by_table(scores: pd.DataFrame) -> str:
    """Return the means of each table."""
    lines = []
    for table, own in scores.groupby("table", sort=False):
        cells = [str(table)]
        for are_numbers in (True, False):
            part = own[(own["labels"] == 0) == are_numbers]
            cells.append(str(len(part)) if len(part) else NONE)
            for fit in FITS:
                mean = float(size(part, fit).mean())
                cells.append(shown(are_numbers, mean) if len(part) else NONE)
        lines.append(cells)
    names = [" ".join([kind, fit]).strip() for kind in ("numbers", "labels") for fit in ("", *FITS)]
    return markdown.table(["table", *names], lines, "lr")


def by_column(scores: pd.DataFrame) -> str:
    """Return the scores of each column, with their intervals."""
    rows = [
        [
            row["table"],
            f"`{row['column']}`",
            f"{row['labels']:.0f}" if row["labels"] else "",
            f"{row['boosting']:.3g}",
            *(_text(row, name) for name in ("joint", "target", "change")),
        ]
        for _, row in scores.iterrows()
    ]
    names = ["table", "column", "labels", "loss of boosting", "joint fit", "target fit"]
    return markdown.table([*names, "target against joint"], rows, "lllr")


def _text(row: pd.Series, name: str) -> str:
    """Return a score with its interval."""
    digits, sign = (3, "+") if row["labels"] else (2, "")
    mean, low, high = (float(row[each]) for each in (name, f"{name}_low", f"{name}_high"))
    return within(mean, low, high, digits, sign)
