"""The words and numbers of the report: labels, intervals and losses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from common.labels import label_and_color
from common.settings import read_yaml
from flows.core.arrays import Array
from studies.engine import Study
from studies.tables import imputation, sources
from studies.tables.questions import DETECTORS, IMPUTERS
from tools import markdown

LABELS = read_yaml(Path(__file__).with_name("params.yaml"))["labels"]


def label(model: str | tuple[str, ...]) -> str:
    """Return the name of a model in tables and figures; ``model`` may have a level after it."""
    if isinstance(model, tuple):
        return ", ".join([label(model[0]), *model[1:]])
    if model in (*IMPUTERS, *DETECTORS, *imputation.IMPUTERS):
        return model
    return LABELS.get(model) or label_and_color(model)[0]


def interval(
    differences: Array, ratio: float = sources.TEST / sources.TRAIN
) -> tuple[float, float, float]:
    """Return the mean of paired differences over J splits, and its 95% interval::

        mean +- t_(J-1) sqrt((1 / J + ratio) var)

    The second term of the variance accounts for rows that splits share (Nadeau and Bengio 2003);
    ``ratio`` is the number of test rows per training row. For one split, the limits are ``NaN``.
    """
    count, mean = len(differences), float(differences.mean())
    if not np.isfinite(mean):
        return mean, mean, mean
    if count == 1:
        return mean, np.nan, np.nan
    variance = (1 / count + ratio) * np.var(differences, ddof=1)
    half = float(stats.t.ppf(0.975, count - 1) * np.sqrt(variance))
    return mean, mean - half, mean + half


def verdict(low: float, high: float) -> str:
    """Return the verdict on a gain with this interval: ``win``, ``loss`` or ``tie``."""
    return "win" if low > 0 else "loss" if high < 0 else "tie"


def losses(gains: pd.DataFrame) -> str:
    """Return the losses of NSF, the largest first; the first key is a method.

    A loss counts also if its interval includes 0, unless it would be shown as 0.00.
    """
    each = gains.stack().drop("truth", errors="ignore").sort_values(kind="stable")
    behind = [
        f"{label(method)} on {', '.join(where)} ({number(-gain)})"
        for (method, *where), gain in each[each < -0.005].items()
    ]
    return "; ".join(behind) or "nowhere"


def names_of(tables: Iterable[str]) -> list[str]:
    """Return the names of tables in words."""
    return [table.replace("_", " ") for table in tables]


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
    """Return a number with two decimals, or with a power of ten from 10,000 on."""
    text = f"{value:,.2f}" if abs(value) < 10_000 else f"{value:.0e}"
    return markdown.minus(text).replace("inf", "\u221e").replace("nan", markdown.NONE)
