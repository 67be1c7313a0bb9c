"""Samples beside rows: statistics of each column, and associations of pairs of columns.

Differences are in standard errors of a table of this size: the deviation of a statistic over tables
of as many rows that are drawn from the density.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from flows.core.arrays import Array, Whole, subsample
from flows.core.associations import MOST_ROWS, associations
from flows.core.plurals import counted
from flows.tables.checking.result import (
    FAR,
    FRAMES,
    MEASURES,
    NOT_ALLOWED,
    SHARE_OF,
    SHOWN,
)
from flows.tables.checking.rows import CheckedRows, draw_tables
from flows.tables.columns.field import Field
from flows.tables.columns.kinds.unlearned import computed
from flows.tables.columns.notices import CheckFit, Notice
from flows.tables.columns.rounding import many_rows
from flows.tables.posterior.array_density import ArrayDensity

DRAWN_ROWS = 100_000  # drawn rows together, about
TABLES = (20, 100)  # the least and the largest number of drawn tables
VALUES = 5  # repeated values of a column of numbers, at most
LOST = 0.2  # the least difference of an association that a fit calls lost
LOST_ROWS = 1_000  # rows that are compared at the end of a fit, at most
TARGET_ROWS = 200  # the same for a target, which is drawn given each row
LEAST_ROWS = 10  # the same, at least
FEW_COLUMNS = 10  # columns of numbers whose associations a fit does not compare
NUMBERS: dict[str, Callable[[Array], Array]] = {  # of tables (R, n), one number for each
    "mean": lambda x: np.nanmean(x, axis=1),
    "sd": lambda x: np.nanstd(x, axis=1),
    "q0.05": lambda x: np.nanquantile(x, 0.05, axis=1),
    "q0.5": lambda x: np.nanquantile(x, 0.5, axis=1),
    "q0.95": lambda x: np.nanquantile(x, 0.95, axis=1),
    "smallest": lambda x: np.nanmin(x, axis=1),
    "largest": lambda x: np.nanmax(x, axis=1),
}


class Comparison(NamedTuple):
    """Statistics of rows and of drawn tables, by column, by pair of columns and by label.

    The columns ``rows`` and ``samples`` are the statistics, ``error`` is the standard error of a
    table of this size, and ``difference`` is (rows - samples) / error.

    Args:
        samples: statistics of columns, with ``column``, ``statistic``, ``of_rows`` and
            ``of_samples``, the statistics as text.
        pairs: associations of ``first`` and ``second``, the largest difference first.
        by_label: means of a ``column`` of numbers given a ``label`` of the column ``labels``, with
            ``of_rows`` and ``of_samples``, the largest difference first.
        drawn: the drawn tables, ``(R, n, D)``.
    """

    samples: pd.DataFrame
    pairs: pd.DataFrame
    by_label: pd.DataFrame
    drawn: Array


def compare(density: ArrayDensity, rows: CheckedRows, seed: int) -> Comparison:
    """Return rows beside tables that are drawn like the rows (``draw_tables``).

    With targets, only targets are compared, and pairs that have a target.

    Args:
        density: the density.
        rows: the rows, of which ``MOST_ROWS`` are compared.
        seed: the seed of the draws.
    """
    if len(rows.values) > MOST_ROWS:
        few = subsample(np.arange(len(rows.values)), MOST_ROWS)
        rows = rows.take(few)
    count = int(np.clip(DRAWN_ROWS // len(rows.values), *TABLES))
    tables = np.concatenate([rows.values[None], draw_tables(density, rows, count, seed)])
    compared = np.flatnonzero(~density.inputs).tolist()
    lines, found = [], []
    for d in compared:
        column, x = density.columns[d], tables[:, :, d]
        if np.isnan(x).all(axis=1).any():
            continue
        own = {} if column.labels else {name: of(x) for name, of in NUMBERS.items()}
        for value in repeated(column, x[0]):
            text = str(column.labels[int(value)]) if column.labels else column.text(value)
            own[SHARE_OF + text] = (x == value).sum(axis=1) / (~np.isnan(x)).sum(axis=1)
        for name, values in own.items():
            texts = (_text(column, name, each) for each in (values[0], values[1:].mean()))
            lines.append((column.name, name, *texts))
            found.append(values)
    n = len(rows.values)
    for name, refused_value, share in rows.not_allowed:
        if name in density.names and not density.inputs[density.schema.find(name)]:
            lines.append((name, SHARE_OF + NOT_ALLOWED + refused_value, f"{share:.0%}", "0%"))
            found.append(np.append(share, np.zeros(count)))
    columns = _measured(pd.DataFrame(lines, columns=[*FRAMES["samples"][:4]]), found, n)
    pairs = _compare_pairs(density, tables)
    order = np.argsort(-pairs["difference"].abs().to_numpy(), kind="stable")
    pairs = pairs.iloc[order].reset_index(drop=True)
    return Comparison(columns, pairs, _by_label(density, tables), tables[1:])


def _by_label(density: ArrayDensity, tables: Array) -> pd.DataFrame:
    """Return the means of columns of numbers given a label, the largest difference first.

    Labels of at least ``LEAST_ROWS`` rows are compared. With targets, the column of labels or that
    of numbers is a target.

    Args:
        density: the density.
        tables: the rows and drawn tables, ``(1 + R, n, D)``.
    """
    columns, lines, found = density.columns, [], []
    numbers = [d for d, column in enumerate(columns) if not column.labels]
    for a, column in enumerate(columns):
        for d in numbers if column.labels else ():
            if density.inputs[a] and density.inputs[d]:
                continue
            counts, means = _means_by_code(tables[:, :, a], tables[:, :, d], len(column.labels))
            for code in np.flatnonzero(counts.min(axis=0) >= LEAST_ROWS).tolist():
                pair = means[0, code], means[1:, code].mean()
                texts = (_text(columns[d], "mean", each) for each in pair)
                lines.append((columns[d].name, column.name, str(column.labels[code]), *texts))
                found.append(means[:, code])
    frame = _measured(pd.DataFrame(lines, columns=[*FRAMES["by_label"][:5]]), found, 0)
    order = np.argsort(-frame["difference"].abs().to_numpy(), kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def _means_by_code(codes: Array, x: Array, count: int) -> tuple[Whole, Array]:
    """Return the number and the mean of the values of each code in each table, ``(T, K)``.

    Args:
        codes: the codes of tables, ``(T, n)``, ``NaN`` for gaps.
        x: the values, ``(T, n)``.
        count: the number of codes, K.
    """
    known = ~np.isnan(codes) & ~np.isnan(x)
    cell = (np.arange(len(codes))[:, None] * count + np.where(known, codes, 0)).astype(np.int64)
    shape, size = (len(codes), count), len(codes) * count
    counts = np.bincount(cell[known], minlength=size).reshape(shape)
    sums = np.bincount(cell[known], weights=x[known], minlength=size).reshape(shape)
    return counts, sums / np.maximum(counts, 1)


def lost_associations(density: ArrayDensity, rows: CheckedRows, seed: int) -> list[Notice]:
    """Return a notice on pairs of columns whose association is lost in samples, if there are any.

    An association is lost if the one in samples differs from the one in rows by more than ``LOST``
    and by more than ``FAR`` standard errors, and is smaller or has the other sign. The largest
    differences are named.

    Tables of numbers with at most ``FEW_COLUMNS`` columns are not compared, nor are several
    targets, whose draws take longer than the fit. With a target, complete rows are compared.

    Args:
        density: the density.
        rows: the training rows, of which ``LOST_ROWS`` or ``TARGET_ROWS`` are compared.
        seed: the seed of the draws.
    """
    columns, targets = density.columns, density.targets
    is_small = len(columns) <= FEW_COLUMNS and not any(column.labels for column in columns)
    places, most = np.arange(len(rows.values)), LOST_ROWS
    if targets:
        places, most = np.flatnonzero(~np.isnan(rows.values).any(axis=1)), TARGET_ROWS
    if is_small or len(targets) > 1 or len(places) < LEAST_ROWS:
        return []
    rows = rows.take(subsample(places, most))
    tables = [rows.values[None], draw_tables(density, rows, TABLES[0], seed)]
    pairs = _compare_pairs(density, np.concatenate(tables))
    lost = (pairs["rows"] - pairs["samples"]) * np.sign(pairs["rows"])
    pairs = pairs.assign(lost=lost)[(lost > LOST) & (pairs["difference"].abs() > FAR)]
    if pairs.empty:
        return []
    largest = pairs.sort_values("lost", ascending=False, kind="stable")[:SHOWN]
    named = [
        f"`{line['first']}` and `{line['second']}` have the association "
        f"{line['samples'] + 0.0:.2f}, in rows {line['rows']:.2f}"
        for _, line in largest.iterrows()
    ]
    if others := len(pairs) - len(named):
        named.append(f"{counted(others, 'other pair')} also lost association")
    return [Notice(f"in samples, {'; '.join(named)}", advice=(("see all pairs", CheckFit()),))]


def _compare_pairs(density: ArrayDensity, tables: Array) -> pd.DataFrame:
    """Return the associations of pairs of columns of ``tables`` ``(1 + R, n, D)``, rows first.

    With targets, each pair has a target.
    """
    outputs = {*np.flatnonzero(~density.inputs).tolist()}
    pairs = [pair for pair in combinations(range(len(density.columns)), 2) if {*pair} & outputs]
    names = [(density.names[a], density.names[b]) for a, b in pairs]
    sizes = [len(column.labels) for column in density.columns]
    together = np.array([associations(own, sizes, pairs) for own in tables])
    frame = pd.DataFrame(names, columns=[*FRAMES["pairs"][:2]])
    return _measured(frame, [*together.T], tables.shape[1])


def compare_carried(density: ArrayDensity, seed: int) -> pd.DataFrame:
    """Return the columns that samples compute, as the frame ``carried`` of ``Check``.

    Args:
        density: the density. With targets, rows give the columns, and the result is empty.
        seed: the seed of the samples.
    """
    shown = [] if density.targets else [each for each in density.schema.carried if each.terms]
    drawn = np.concatenate([*density.draw(MOST_ROWS if shown else 0, seed)])
    columns, lines = computed(density.columns, density.schema.carried, drawn), []
    for each in shown:
        allowed = each.field.allowed if np.isfinite(each.field.ends).any() else ""
        lines.append((each.name, each.formula, allowed, each.within(columns[each.name])))
    return pd.DataFrame(lines, columns=[*FRAMES["carried"]])


def _text(column: Field, name: str, value: float) -> str:
    """Return a statistic of a column as text, in the unit of the column."""
    if name.startswith(SHARE_OF):
        return f"{value:.0%}"
    return f"{value:.4g}" if column.is_numeric or name == "sd" else column.short_text(value)


def repeated(column: Field, x: Array) -> list[float]:
    """Return the values of a column whose shares are compared: labels, and repeated values."""
    known = x[~np.isnan(x)]
    values, counts = np.unique(known, return_counts=True)
    if column.labels:
        return [float(code) for code in range(len(column.labels))]
    often = counts >= many_rows(len(known))
    most = np.argsort(-counts[often], kind="stable")[:VALUES]
    return np.sort(values[often][most]).tolist()


def _measured(frame: pd.DataFrame, found: Sequence[Array], n: int) -> pd.DataFrame:
    """Add the statistics ``found``, ``(1 + R,)`` each, whose first number is that of the rows."""
    table = np.array(found).reshape(len(frame), -1) if len(frame) else np.zeros((0, 2))
    rows, samples = table[:, 0], table[:, 1:].mean(axis=1)
    error = table[:, 1:].std(axis=1, ddof=min(1, table.shape[1] - 2))
    if "statistic" in frame:  # a share that is 0 or 1 in all drawn tables
        is_share = frame["statistic"].str.startswith(SHARE_OF).to_numpy(bool)
        p = np.clip((samples * n + 0.5) / (n + 1), 0, 1)  # of a share
        error = np.where(is_share & (error == 0), np.sqrt(p * (1 - p) / n), error)
    with np.errstate(divide="ignore", invalid="ignore"):
        is_same = np.isclose(rows, samples, rtol=1e-12, atol=1e-15)  # but for rounding errors
        difference = np.where(is_same, 0.0, (rows - samples) / error)
    values = [rows, samples, error, difference]
    return frame.assign(**dict(zip(MEASURES, values, strict=True)))
