"""The words and numbers of the report: labels, verdicts, scores and losses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from common.labels import label_and_color
from common.settings import read_yaml
from studies import markdown
from studies.engine import Study
from studies.tables import imputation
from studies.tables.questions import DETECTORS, IMPUTERS
from studies.verdicts import sign_of

LABELS = read_yaml(Path(__file__).with_name("params.yaml"))["labels"]


def label(model: str | tuple[str, ...]) -> str:
    """Return the name of a model in tables and figures; ``model`` may have a level after it."""
    if isinstance(model, tuple):
        return ", ".join([label(model[0]), *model[1:]])
    if model in (*IMPUTERS, *DETECTORS, *imputation.IMPUTERS):
        return model
    return LABELS.get(model) or label_and_color(model)[0]


def verdict(low: float, high: float) -> str:
    """Return the verdict on a gain with this interval: ``win``, ``loss`` or ``tie``."""
    return {1: "win", -1: "loss", 0: "tie"}[sign_of(low, high)]


def losses(gains: pd.DataFrame) -> str:
    """Return the losses of NSF, the largest first; the first key is a method.

    A loss counts also if its interval includes 0, unless it would be shown as 0.00.
    """
    each = gains.stack().drop("truth", errors="ignore")
    return markdown.losses(each[each < -0.005].rename(index=label, level=0))


def words(table: str) -> str:
    """Return the name of a table in words."""
    return table.replace("_", " ")


def answers(
    study: Study, family: str, tables: Sequence[str], splits: int, methods: Sequence[str]
) -> pd.DataFrame:
    """Return the scores of methods, means over splits, one row per table and method."""
    lines = [
        study.table(family, table, split).assign(method=methods, table=table)
        for table, split in product(tables, range(splits))
    ]
    return pd.concat(lines).groupby(["table", "method"], sort=False).mean()


def number(value: float) -> str:
    """Return a number with two decimals."""
    return markdown.number(value, 2)
