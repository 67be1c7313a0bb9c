"""Compare two branches by rank tests of members: ``make compare A=main B=deeper``.

The command reads the committed settings and metrics of both branches, trains nothing, and prints
Markdown. `dvc params diff`, `dvc metrics diff` and `dvc plots diff` show settings, headline numbers
and figures.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from common import storage
from common.labels import label_and_color
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.evaluation.statistics import LEVEL, holm
from stages.pipeline import files
from tools import command, markdown
from tools.rank_tests import least_rank_sum_p, rank_sum_p, shift

COUNTED = ("parameters", "flops_per_epoch")  # known exactly, so they need no test
IN_NATS = ("test_nll", "test_excess_nll", "kl", "kl_reverse")
SHARED = ("data", "prepare", "evaluate")
CAVEAT = (
    "The settings of the data or of the evaluation differ. All members of a branch share the data "
    "and the draws, so a difference may be due to these. The row of the truth then differs, too."
)


class Side(NamedTuple):
    """The committed settings of a revision, and its metrics of members by model."""

    name: str
    params: dict[str, Any]
    members: dict[str, pd.DataFrame]


@dataclass
class Number:
    """A metric of a model on both sides, with a value per member, and a test of the difference."""

    model: str
    metric: str
    left: Array
    right: Array
    difference: float = np.nan
    interval: tuple[float, float] = (np.nan, np.nan)  # 95% interval of the difference
    p: float = np.nan  # adjusted
    verdict: str = ""


def main(*revisions: str) -> None:
    if len(revisions) != 2:
        raise UserError("give two branches, tags or commits: make compare A=main B=deeper")
    a, b = map(read, revisions)
    print("\n\n".join(report(a, b, numbers(a, b))))


def read(revision: str) -> Side:
    """Read the committed results of ``revision``.

    Raises ``UserError`` for an unknown revision, and for a revision without results.
    """
    settings = command.git("show", f"{revision}:{files.PARAMS}")
    with storage.reading(Path(f"{revision}:{files.PARAMS}")):
        params = yaml.safe_load(settings)
        models = [*params["references"], *params["models"]]
    members = {}
    for model in models:
        path = f"{revision}:{files.members(model)}"
        table = command.git("show", path)
        with storage.reading(Path(path)):
            members[model] = pd.read_csv(io.StringIO(table)).astype(float)
    return Side(revision, params, members)


def numbers(a: Side, b: Side) -> list[Number]:
    """Return all metrics of the models that both sides have, with p-values adjusted together.

    Metrics without a number on either side are left out.
    """
    found = [
        number(model, metric, left[metric].to_numpy(), right[metric].to_numpy())
        for model, left in a.members.items()
        if (right := b.members.get(model)) is not None
        for metric in left.columns[1:].intersection(right.columns, sort=False)
        if left[metric].notna().any() or right[metric].notna().any()
    ]
    tested = [one for one in found if not one.verdict]
    for one, p in zip(tested, holm(np.array([one.p for one in tested])), strict=True):
        one.p = float(p)
        enough = least_rank_sum_p(len(one.left), len(one.right)) * len(tested) < LEVEL
        one.verdict = "different" if p < LEVEL else "within noise" if enough else "too few members"
    return found


def number(model: str, metric: str, left: Array, right: Array) -> Number:
    """Return one comparison; the verdict is empty if the p-value must be adjusted first."""
    one = Number(model, metric, left, right)
    if np.isfinite(left).all() and np.isfinite(right).all():
        one.difference, one.interval = shift(left, right)
    is_constant = len(np.unique(np.concatenate([left, right]))) == 1  # for any numbers of members
    if is_constant or np.array_equal(left, right, equal_nan=True):
        one.verdict = "same"
    elif metric in COUNTED:
        one.verdict = "different"
    elif min(len(left), len(right)) < 2:
        one.verdict = "changed"
    else:  # a rank test, because one flow without regularisation can score 1,000 times the others
        one.p = rank_sum_p(left, right)
    return one


def report(a: Side, b: Side, found: list[Number]) -> Iterator[str]:
    """Yield the paragraphs and tables of the report."""
    if any(a.params.get(section) != b.params.get(section) for section in SHARED):
        yield CAVEAT
    head = ["metric", "verdict", a.name, b.name, "difference (95%)", "p (Holm)"]
    models = dict.fromkeys(one.model for one in found)
    differ = dict.fromkeys(one.model for one in found if one.verdict != "same")
    if same := [label(model) for model in models if model not in differ]:
        yield f"Models with the same numbers for each member: {', '.join(same)}."
    for model in differ:
        rows = (cells(one) for one in found if one.model == model)
        yield f"### {label(model)}\n\n{markdown.table(head, rows, 'llr')}"
    for side, other in ((a, b), (b, a)):
        if only := [label(name) for name in side.members if name not in other.members]:
            yield f"Only on {side.name}: {', '.join(only)}."


def label(name: str) -> str:
    """Return the label of a model, or its name if this checkout does not have the model."""
    try:
        return label_and_color(name)[0]
    except LookupError:
        return name


def cells(one: Number) -> list[str]:
    """Return the texts of a row of the report."""
    difference = "0" if one.verdict == "same" else f"{one.difference:+.3g}"
    if np.isnan(one.difference):
        difference = markdown.NONE
    elif one.verdict != "same" and one.metric not in COUNTED and not np.isnan(one.interval[0]):
        difference += " ({:+.3g} to {:+.3g})".format(*one.interval)
    name = f"{one.metric} (nat)" if one.metric in IN_NATS else one.metric
    p = "" if np.isnan(one.p) else f"{one.p:.2g}"
    return [name, one.verdict, value(one.left), value(one.right), markdown.minus(difference), p]


def value(values: Array) -> str:
    """Return the mean and the standard deviation over members.

    The standard deviation is left out for a single member, and if members differ only by rounding.
    """
    lacking = int(np.isnan(values).sum())
    if lacking:
        return markdown.NONE if lacking == len(values) else f"none in {lacking} of {len(values)}"
    mean = float(values.mean())
    middle = str(int(mean)) if mean == round(mean) and abs(mean) < 1e6 else f"{mean:.4g}"
    if np.ptp(values) <= 1e-9 * np.abs(values).max():
        return middle
    return f"{middle} \u00b1 {np.std(values, ddof=1):.2g}"


if __name__ == "__main__":
    command.run("compare", lambda: main(*sys.argv[1:]))
