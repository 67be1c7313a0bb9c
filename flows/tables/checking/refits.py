"""Refits: the same recipe on tables that are drawn from the density.

A refit meets the question of a check under the hypothesis that the density is right: every
statistic of the check has its distribution over the refits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from flows import workers
from flows.core.arrays import Array
from flows.core.progress import progress
from flows.core.seeds import integer
from flows.tables.checking.calibration import Ranks, distance_from_uniform, pointwise_tests, rank
from flows.tables.checking.comparison import compare
from flows.tables.checking.rows import CheckedRows, draw_tables
from flows.tables.checking.traces import trace
from flows.tables.columns.learning import Sample
from flows.tables.columns.schema import Schema
from flows.tables.fitting.fit_request import FitRequest
from flows.tables.fitting.learning import learn_again
from flows.tables.posterior.array_density import ArrayDensity

FRESH = 2_000  # fresh rows at which refits are compared with the density
MOST_ERRORS = 1e6  # the largest difference, in place of infinity if all samples are equal


class Statistics(NamedTuple):
    """The statistics of a fit, of which p-values are made.

    Args:
        rows: the statistic T of the ranks of rows (``pointwise_tests``) as a normal score. T has
            tails of a Cauchy distribution, whose mean and deviation do not exist.
        columns: for each column, the distance of its ranks from uniform ranks, ``(D,)``.
        samples: the largest difference between samples and rows, of statistics of columns and of
            associations of pairs, in standard errors (``compare``).
    """

    rows: float
    columns: Array
    samples: float

    @classmethod
    def of(cls, ranks: Ranks, compared: Sequence[pd.DataFrame]) -> Statistics:
        """Return the statistics of a fit.

        Args:
            ranks: the ranks of its rows.
            compared: the frames of ``compare``.
        """
        columns = np.array([distance_from_uniform(u) for u in ranks.values.T])
        differences = pd.concat([frame["difference"] for frame in compared]).abs()
        with np.errstate(divide="ignore"):
            rows = -ndtri(np.arctan(1 / np.float64(pointwise_tests(ranks.rows))) / np.pi)
        return cls(float(rows), columns, min(float(differences.max()), MOST_ERRORS))


class Refit(NamedTuple):
    """What a refit tells.

    Args:
        statistics: its statistics.
        ranks: the ranks of its rows, ``(n,)``, for the band of the figure.
        auc: the AUC of its networks.
        distance: its distance from the density that its table was drawn from, in nats per row: the
            Kullback-Leibler divergence.
        reference: the same distance of the best of the references, which are scored out of fold;
            ``NaN`` for a table with gaps, and without references.
    """

    statistics: Statistics
    ranks: Array
    auc: float
    distance: float
    reference: float


def refits_of(
    density: ArrayDensity,
    rows: CheckedRows,
    count: int,
    minutes: float | None,
    seed: int,
) -> list[Refit]:
    """Return refits to drawn tables, fewer than ``count`` if the minutes are over.

    The refits run on the workers of ``FLOWS_WORKERS``.

    Args:
        density: the density.
        rows: the training rows.
        count: the number of refits.
        minutes: the limit of time, in which the first refit ends in any case; ``None`` for none.
        seed: the seed of the draws and of the refits.
    """
    begin, found = time.monotonic(), list[Refit]()
    tasks = tasks_of(density, rows, count, seed)
    limit = np.inf if minutes is None else 60 * minutes
    outcomes = workers.completed(refit, tasks)
    with progress("check", count, "refit") as bar, closing(outcomes):
        for _, outcome, _ in outcomes:
            found.append(outcome)
            bar.update()
            seconds = time.monotonic() - begin
            together = max(len(found), workers.processes())  # end at about the same time
            if seconds * (1 + 1 / together) > limit and len(found) < count:
                break
    return found


def tasks_of(
    density: ArrayDensity, rows: CheckedRows, count: int, seed: int
) -> list[tuple[Any, ...]]:
    """Return the arguments of ``refit`` for ``count`` tables that are drawn from the density."""
    assert density.record is not None
    assert rows.sample is not None
    request = FitRequest.recorded(density.record)
    if density.targets:
        [fresh] = draw_tables(density, rows, 1, integer(seed, "fresh"))
        fresh = fresh[~np.isnan(fresh).any(axis=1)]
    else:
        fresh = np.concatenate([*density.draw(FRESH, integer(seed, "fresh"))])
    log_p = density.ensemble(density.log_density(fresh))
    tables = draw_tables(density, rows, count, integer(seed, "generate"))
    seeds = [integer(seed, "generate", 1 + b) for b in range(count)]

    def level(table: Array) -> float:
        if np.isnan(table).any():
            return np.nan
        return float(density.ensemble(density.log_density(table)).mean())

    requests = [request.model_copy(update={"seed": own}) for own in seeds]
    return [
        (own, density.schema, rows.sample, table, fresh, log_p, level(table))
        for table, own in zip(tables, requests, strict=True)
    ]


def refit(
    request: FitRequest,
    schema: Schema,
    sample: Sample,
    table: Array,
    fresh: Array,
    log_p: Array,
    level: float,
) -> Refit:
    """Fit the recorded recipe to a drawn table; this runs on a worker.

    Args:
        request: what the fit was asked for, with the seed of the refit and of its ranks.
        schema: the schema of the table.
        sample: the training rows, whose copies and groups the drawn table has.
        table: the drawn table, ``(n, D)``.
        fresh: rows of the density, ``(N, D)``.
        log_p: the log-densities of these rows, ``(N,)``.
        level: the mean log-density of the rows of the table; ``NaN`` for a table with gaps.
    """
    sample = sample._replace(values=table)
    density = learn_again(request, schema, sample)
    record = density.record
    assert record is not None
    rows = CheckedRows.of_fit(density, sample)
    ranks, traces = rank(density, rows, request.seed), trace(density, rows)
    statistics = Statistics.of(ranks, compare(density, rows, request.seed)[:2])
    distance = reference = np.nan
    if len(fresh):
        distance = float((log_p - density.ensemble(density.log_density(fresh))).mean())
    if record.references:
        reference = level - max(record.references.values())
    return Refit(statistics, ranks.rows, traces.auc, distance, reference)


def p_value(own: float, others: Array) -> float:
    """Return (1 + the number of ``others`` ``(B,)`` of at least ``own``) / (B + 1).

    An unknown one counts as large.
    """
    if np.isnan(own) or not len(others):
        return np.nan
    return float((1 + (~(others < own)).sum()) / (len(others) + 1))


def largest_deviations(own: Array, others: Array) -> tuple[float, Array, int]:
    """Return the largest deviation of K statistics, for a fit and for each of B refits ``(B,)``.

    A deviation is (the statistic - the mean over others) / the deviation over others. The others of
    a fit are its refits; those of a refit are the fit and the other refits. So, if the density is
    right, the fit and its refits are exchangeable. The results are ``NaN`` for fewer than two
    refits.

    Args:
        own: the statistics of the fit, ``(K,)``; ``NaN`` for an unknown one.
        others: those of the refits, ``(B, K)``.

    Also returns the index of the statistic with the largest deviation of the fit; -1 for none.
    """
    known = ~np.isnan(own)
    if len(others) < 2 or not known.any():
        return np.nan, np.full(len(others), np.nan), -1
    every, deviations = np.vstack([own, others])[:, known], []
    for b, x in enumerate(every):
        among = np.delete(every, b, axis=0)
        spread = among.std(axis=0, ddof=1)
        away = x - among.mean(axis=0)
        deviations.append(away / np.where(spread > 0, spread, 1.0))
    largest = np.max(deviations, axis=1)
    return float(largest[0]), largest[1:], int(np.flatnonzero(known)[np.argmax(deviations[0])])
