"""Calibration: ranks of rows and of values among draws, their cover, and test statistics.

The rank u of a row is the probability that a draw has a lower log-density. The rank of a value is
the probability that the column has a lower value given the other values of the row. Both use the
members that did not learn from the row. Ties are broken at random: for draws of the density itself,
ranks are uniform, also for labels and rounded values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from flows.core.arrays import Array, Whole, subsample
from flows.core.rows import by_value, effective_rows
from flows.core.seeds import numpy_generator
from flows.tables.checking.result import FRAMES, Check
from flows.tables.checking.rows import CheckedRows, members_of
from flows.tables.columns.field import Field
from flows.tables.columns.parsing import round_rows
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.draw import Draw

DRAWS = 5_000  # of the density, among which rows are ranked
TARGET_DRAWS = 128  # the same for each row of a density of a target
ROWS = 100  # rows for the ranks of values, at most; of a target, all rows
TARGET_ROWS = 2_000  # rows for the ranks of a target, at most
LEVELS = (0.5, 0.9)
CONFIDENCE = 0.95
BINS = 10  # of predicted probabilities


class Ranks(NamedTuple):
    """Ranks from 0 to 1, ``NaN`` for unknown ones.

    Args:
        rows: the ranks of the log-densities of n rows, ``(n,)``; unknown for a row with a gap.
        places: the rows whose values are ranked, ``(m,)``.
        values: the ranks of values given the others of their row, ``(m, D)``; with targets, only
            targets are known.
    """

    rows: Array
    places: Whole
    values: Array


def rank(
    density: ArrayDensity,
    rows: CheckedRows,
    seed: int,
    on_part: Callable[[], object] = lambda: None,
) -> Ranks:
    """Return the ranks of rows, and of the values of up to ``ROWS`` rows.

    Args:
        density: the density.
        rows: the rows.
        seed: the seed of the draws and of the ties.
        on_part: called after the values of each fold, such as ``bar.update``.
    """
    held_out, dim = np.flatnonzero(rows.is_held_out), len(density.columns)
    places = subsample(held_out, TARGET_ROWS if density.targets else ROWS)
    generator, values = numpy_generator(seed, "metric"), np.full((len(places), dim), np.nan)
    outputs = np.flatnonzero(~density.inputs)
    # Targets are ranked given the other columns, and other columns one by one
    together, u = [outputs] if density.targets else np.split(outputs, len(outputs)), values.copy()
    for hidden in together:
        u[:, hidden] = generator.random((len(hidden), len(places))).T
    for fold, own in by_value(rows.fold[places]):
        values[own] = _rank_values(density.of_fold(fold), rows, places[own], together, u[own])
        on_part()
    ranked = places if density.targets else held_out
    ranked = ranked[~np.isnan(rows.values[ranked]).any(axis=1)]
    found = np.full(len(rows.values), np.nan)
    if len(ranked):
        found[ranked] = _rank_rows(density, rows, ranked, seed)
    return Ranks(found, places, values)


def _rank_rows(density: ArrayDensity, rows: CheckedRows, places: Whole, seed: int) -> Array:
    """Rank complete rows among draws, ``(m,)``: with targets, draws given the context of the row.

    Without targets, all rows share the draws. Draws are those of the whole ensemble q. For a fold
    with the ensemble q_f, a draw has the weight q_f / q, which is at most the number of folds for
    equal weights of the folds.
    """
    if density.targets:
        asked = Region(rows.values[places], places).hiding(np.flatnonzero(~density.inputs).tolist())
        drawn = Draw(TARGET_DRAWS, seed).answer(density, asked)["rows"]
    else:
        drawn = np.concatenate([*density.draw(DRAWS, seed)])[None]
    together = drawn.reshape(-1, drawn.shape[-1])
    shown, shape = round_rows(density.columns, together), (*drawn.shape[:2], -1)
    log_drawn = log_shown = density.log_density(together).reshape(shape)
    if (shown != together).any():
        log_shown = density.log_density(shown).reshape(shape)
    log_q = density.log_density(rows.values[places], rows.values[places])
    fold, found = rows.fold[places], np.empty(len(places))
    u = numpy_generator(seed, "metric", 1).random(len(places))
    for f, own in by_value(fold):
        members = members_of(density, f)
        for each in own[:, None] if density.targets else [own]:  # rows that share draws
            k = int(each[0]) if density.targets else 0
            found[each] = _rank_among(
                density.ensemble(log_shown[k], members),
                np.exp(density.ensemble(log_drawn[k], members) - density.ensemble(log_drawn[k])),
                density.ensemble(log_q[each], members),
                u[each],
            )
    return found


def _rank_values(
    density: ArrayDensity, rows: CheckedRows, places: Whole, together: Sequence[Whole], u: Array
) -> Array:
    """Rank the known values of some rows given the others of their row, ``(m, D)``.

    Args:
        density: the density of members that did not learn from the rows.
        rows: the rows.
        places: the indices of m rows.
        together: groups of columns. The values of a group are ranked given the other columns.
        u: uniform numbers, which break ties, ``(m, D)``.
    """
    found, asked = np.full(u.shape, np.nan), list[tuple[int, Whole]]()
    hidden = rows.values[places][:0]
    for columns in together:
        known = np.flatnonzero(~np.isnan(rows.values[places][:, columns]).any(axis=1))
        region = Region(rows.values[places[known]], places[known]).hiding(columns.tolist())
        hidden = np.concatenate([hidden, region.rows])
        asked += [(j, columns) for j in known.tolist()]
    numbers = places[[j for j, _ in asked]]
    for k, posterior in density.posteriors(Region(hidden, numbers)):
        j, columns = asked[k]
        for d in columns.tolist():
            pair = rows.values[places[j], d], u[j, d]
            x, weights = posterior.values[:, d], posterior.weights
            found[j, d] = _rank_value(density.columns[d], x, weights, *pair)
    return found


def _rank_among(levels: Array, weights: Array, x: Array, u: Array) -> Array:
    """Return the ranks of ``x`` ``(n,)`` among weighted ``levels`` ``(N,)`` and itself.

    Args:
        levels: log-densities of draws.
        weights: the weights of the draws.
        x: log-densities of rows, each of which counts as one more draw of the mean weight.
        u: uniform numbers, which break ties, ``(n,)``.
    """
    order = np.argsort(levels, kind="stable")
    total = np.concatenate([[0.0], weights[order].cumsum()])
    below = total[np.searchsorted(levels[order], x, side="left")]
    at_most = total[np.searchsorted(levels[order], x, side="right")]
    own = weights.mean()
    return np.asarray((below + u * (at_most - below + own)) / (total[-1] + own))


def _rank_value(column: Field, values: Array, weights: Array, x: float, u: float) -> float:
    """Return the rank of a value ``x`` of a column among weighted ``values`` ``(N,)``."""
    if column.labels:
        codes = np.asarray(column.round(values))
        return float(weights[codes < x].sum() + u * weights[codes == x].sum())
    order = np.argsort(values, kind="stable")
    total = weights[order].cumsum() - weights[order] / 2
    ends = column.cells_of(column.round(np.array([x])))[0] if column.is_discrete else (x, x)
    low, high = np.interp(ends, values[order], total, left=0.0, right=1.0)
    return float(low + u * (high - low))


def cover(ranks: Ranks, rows: CheckedRows, names: list[str]) -> pd.DataFrame:
    """Return how many rows lie in regions that should hold 50% and 90%, as a data frame.

    The region of a row is that of highest density; the region of a column is the central interval
    given the other values. Columns: ``region``, ``level``, ``cover``, ``low`` and ``high`` (an
    interval of 95% for the number of rows, Clopper and Pearson 1934) and ``rows``.

    Args:
        ranks: the ranks.
        rows: the rows; copies count as one row in the intervals.
        names: the names of the columns.
    """
    lines = []
    parts = [(Check.WHOLE, 1 - ranks.rows, np.arange(len(rows.values)))]
    parts += [
        (name, np.abs(2 * own - 1), ranks.places)
        for name, own in zip(names, ranks.values.T, strict=True)
    ]
    for region, needed, places in parts:
        known = ~np.isnan(needed)
        if known.any():
            n = effective_rows(rows.copies[places][known])
            for level in LEVELS:
                share = float((needed[known] < level).mean())
                low, high = binomial_interval(share, n)
                lines.append((region, level, share, low, high, int(known.sum())))
    return pd.DataFrame(lines, columns=[*FRAMES["cover"]])


def reliability(codes: Array, shares: Array) -> pd.DataFrame:
    """Return how many rows have a label, in bins of the probability that was predicted.

    The columns are ``predicted``, the mean of the probabilities of a bin, ``share``, the share of
    rows that have the label, and ``low`` and ``high``, its interval of 95%.

    Args:
        codes: the codes of the labels of rows, ``(n,)``.
        shares: the predicted probabilities of the labels, ``(n, K)``.
    """
    is_label, lines = codes[:, None] == np.arange(shares.shape[1]), []
    for _, own in by_value(np.minimum(shares * BINS, BINS - 1).astype(np.int64).ravel()):
        share = float(is_label.ravel()[own].mean())
        lines.append((shares.ravel()[own].mean(), share, *binomial_interval(share, len(own))))
    return pd.DataFrame(lines, columns=["predicted", "share", "low", "high"])


def binomial_interval(share: float, n: float) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson for a share of about ``n`` rows."""
    interval = scipy.stats.binomtest(round(share * n), round(n)).proportion_ci(CONFIDENCE)
    return float(interval.low), float(interval.high)


def pointwise_tests(u: Array) -> float:
    """Return the statistic T of Tesso and Vehtari (arXiv 2603.02928) for ranks ``u`` ``(n,)``.

    The i-th smallest of n uniform ranks has the distribution Beta(i, n + 1 - i). Its p-value p_i is
    two-sided, and p-values are combined as in a truncated Cauchy test::

        T = 1/n sum_i 1(p_i < 1/2) tan((1/2 - p_i) pi),    p_i = 2 min(B_i, 1 - B_i)

    ``B_i`` is the distribution function at the i-th smallest rank. Unknown ranks are left out; the
    result is ``NaN`` without a known rank.
    """
    ordered = np.sort(u[~np.isnan(u)])
    n = len(ordered)
    if not n:
        return np.nan
    i = np.arange(1, n + 1)
    law = scipy.stats.beta(i, n + 1 - i)
    p = 2 * np.minimum(law.cdf(ordered), law.sf(ordered))
    return float(np.where(p < 0.5, np.tan((0.5 - p) * np.pi), 0.0).mean())


def distance_from_uniform(u: Array) -> float:
    """Return the Kolmogorov-Smirnov distance of ranks ``u`` ``(n,)`` from uniform ranks."""
    known = u[~np.isnan(u)]
    return float(scipy.stats.kstest(known, "uniform").statistic) if len(known) else np.nan
