"""Scores of densities of tables with labels and missing values (``realistic.py``).

Numbers are in units of the standard deviations of the training rows, and labels have probabilities.
Uniform noise as wide as their step is added to rounded numbers once (``sources.dequantised``), so
every model sees the same rows. The score of a row is the log-density of its known values, in nats::

    log q(x, c) = log (density of the numbers x and probability of the labels c)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

import flows
from flows.core.arrays import Mask
from flows.core.errors import UserError
from flows.core.rows import Rows
from studies.engine import quiet
from studies.tables import latent_classes, realistic, sources
from studies.verdicts import standard_error

OURS = "nsf"


class Split(NamedTuple):
    """The training rows and the test rows of one split, with the names of the columns."""

    train: Rows
    test: Rows
    numbers: list[str]
    labels: dict[str, list[str]]  # of each column of labels

    def frame(self, rows: Rows) -> pd.DataFrame:
        """Return rows as a data frame, as a user would have them."""
        text = {
            name: pd.Series(codes).map(dict(enumerate(names)))
            for (name, names), codes in zip(self.labels.items(), rows.codes.T, strict=True)
        }
        return pd.DataFrame({**dict(zip(self.numbers, rows.numbers.T, strict=True)), **text})

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds of all columns, for ``flows.fit``."""
        return {**dict.fromkeys(self.numbers, "real"), **dict.fromkeys(self.labels, "category")}


def load(name: str, number: int, train: int, test: int, *, keeps_labels: bool = False) -> Split:
    """Return split ``number`` of a table, with at most ``train`` and ``test`` rows.

    With ``keeps_labels``, no label is pooled. Raises ``UserError`` as ``realistic.load`` does.
    """
    table = realistic.load(name, keeps_labels=keeps_labels)
    labels = {label: realistic.ordered(table[label]) for label in realistic.labels(table)}
    numbers = [str(column) for column in table if column not in labels]
    x = sources.dequantised(table[numbers].to_numpy(np.float64))
    codes = [realistic.codes(table[label]).fillna(-1).to_numpy(np.int64) for label in labels]
    c = np.stack(codes, axis=1) if codes else np.empty((len(x), 0), np.int64)
    first, last = sources.split(np.arange(len(x)), number, train)
    mean, deviation = np.nanmean(x[first], axis=0), np.nanstd(x[first], axis=0)
    rows = Rows((x - mean) / deviation, c, tuple(map(len, labels.values())))
    return Split(rows.take(first), rows.take(last[:test]), numbers, labels)


def ours(split: Split, members: int) -> flows.Density:
    """Fit our density with all defaults to the data frame of the training rows.

    Raises ``UserError`` if a column is not learned: the scores could not be compared then.
    """
    with quiet():
        density = flows.fit(split.frame(split.train), OURS, members=members, columns=split.kinds)
    if missing := {*split.kinds} - {column.name for column in density.columns}:
        raise UserError(f"our density does not learn the columns {', '.join(sorted(missing))}")
    return density


def likelihood(
    model: str, members: int, table: str, split: int, train: int, test: int
) -> dict[str, float]:
    """Fit ours or a peer of ``latent_classes.FITS``; return the scores of the test rows.

    ``noise`` is the standard error of the mean from our own draws; ``gaps`` the share of test rows
    with a missing value, and ``gapped`` the mean over these rows, ``NaN`` if there are none.
    """
    rows = load(table, split, train, test)
    error = np.zeros(len(rows.test.numbers))
    if model == OURS:
        density = ours(rows, members)
        with quiet():
            log_q, error = density.log_prob_and_error(rows.frame(rows.test))
    else:
        log_q = latent_classes.FITS[model](rows.train).log_prob(rows.test)
    gaps = has_gap(rows.test)
    return {
        "train": len(rows.train.numbers),
        "rows": len(log_q),
        "log_likelihood": log_q.mean(),
        "se": standard_error(log_q),
        "median": np.median(log_q),
        "worst": log_q.min(),
        "lost": int((~np.isfinite(log_q)).sum()),
        "noise": np.linalg.norm(error) / len(error),
        "gaps": gaps.mean(),
        "gapped": log_q[gaps].mean() if gaps.any() else np.nan,
    }


def has_gap(rows: Rows) -> Mask:
    """Return which rows have a missing value, ``(n,)``."""
    gaps = np.column_stack([np.isnan(rows.numbers), rows.codes < 0])
    return np.asarray(gaps.any(axis=1))
