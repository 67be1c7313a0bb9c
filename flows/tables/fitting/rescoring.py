"""Score held-out rows like new rows: rows with peaks, and rows of a rounded target."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from flows.core.arrays import Array, Whole, subsample
from flows.core.rows import standard_error
from flows.networks.densities import Densities
from flows.recipe import stacking
from flows.recipe.clock import Clock
from flows.recipe.record import DECIMALS, Record, RowScores, RowState
from flows.tables.columns.learning import Sample
from flows.tables.columns.schema import Schema
from flows.tables.posterior.region import Region
from flows.tables.posterior.target_density import density_of
from flows.tables.posterior.target_population import TargetPopulation
from flows.tables.questions.score import Score

TRIED = 50  # rows that are scored to measure the time
STACKED = 50  # complete rows to which the weights of the members are fitted, at least


def rescored(
    population: TargetPopulation,
    schema: Schema,
    record: Record,
    sample: Sample,
    clock: Clock,
    most: int,
) -> Record:
    """Score held-out rows of a rounded target like new rows, and stack the members again.

    A rounded value has the probability of its cell. At most ``most`` complete rows are scored; the
    other rows lose their score. The new weights of the members replace those of the recipe, which
    were fitted to densities at dequantised values. If there are fewer than ``STACKED`` complete
    rows and most rows have gaps, the weights of the recipe stay.

    Args:
        population: the ensemble, which gets the new weights.
        schema: the schema of the table, with its constraints.
        record: the record of the recipe.
        sample: the training rows.
        clock: decides how many rows are scored.
        most: the largest number of rows that are scored.

    Returns the record with the new scores.
    """
    own, folds, values = record.row_scores, record.folds, sample.values
    assert own is not None
    assert folds is not None
    density = density_of(population, schema, record)
    scored = np.flatnonzero(own.state == RowState.SCORED)

    def score(count: int) -> tuple[Whole, Array]:
        few = subsample(scored, count)
        return few, Score().answer(density, Region(values[few], few))["members"]

    part = clock.scores()
    most = part.recorded or most
    if clock.seconds < math.inf:
        part.measure(0)
        score(TRIED)
        part.measure(TRIED)
        most = max(TRIED, part.left(most))
    places, log_q = score(most)
    fold = own.fold[places]
    held_out = int((own.state != RowState.NOT_HELD_OUT).sum())
    if len(places) >= min(STACKED, held_out / 2):
        weights = stacking.member_weights(log_q, fold, folds)
        population.flow.weights.copy_(torch.from_numpy(weights))
    state, scores = own.state.copy(), np.full(len(own.state), np.nan)
    state[scored], state[places] = RowState.NOT_RESCORED, RowState.SCORED
    found = scores[places] = density.out_of_fold(log_q, fold).round(DECIMALS)
    record = replace(
        record,
        row_scores=RowScores(own.fold, state, scores),
        held_out=float(found.mean()),
        held_out_se=standard_error(found, sample.groups[places]),
    )
    if clock.is_recorded and len(places):
        record = replace(record, cuts={**record.cuts, "rescored": len(places)})
    if any(column.labels for column in density.columns[-population.target_count :]):
        # The references are densities of codes; the frequencies of the labels replace them
        frequencies = _label_frequencies(values[places, -1]) if population.target_count == 1 else {}
        record = replace(record, references=frequencies)
    return record


def with_peaks(
    population: Densities, schema: Schema, record: Record, values: Array, most: int
) -> Record:
    """Return the record with the scores that new rows with values at peaks have.

    The scores of the recipe are those of dequantised values: one random point of the cell of a
    peak. ``held_out`` stays, because the references are densities at the same values. If more than
    ``most`` rows have a value at a peak, a part of all rows keeps its scores.

    Args:
        population: the joint density.
        schema: the schema of the table, with its constraints.
        record: the record of the recipe.
        values: the training rows ``(n, D)``, with codes for labels.
        most: the largest number of rows that are scored, about.
    """
    own = record.row_scores
    assert own is not None
    density = density_of(population, schema, record)
    places = np.flatnonzero(own.state == RowState.SCORED)
    at = np.asarray(density.peaks.at(values).any(axis=1))
    if not (count := int(at[places].sum())):
        return record
    kept = subsample(places, max(1, len(places) * most // count))
    state, scores = own.state.copy(), np.full(len(own.state), np.nan)
    state[places], state[kept] = RowState.NOT_RESCORED, RowState.SCORED
    scores[kept], some = own.log_density[kept], kept[at[kept]]
    log_q = density.log_density(values[some], values[some])
    scores[some] = density.out_of_fold(log_q, own.fold[some]).round(DECIMALS)
    return replace(record, row_scores=RowScores(own.fold, state, scores, own.digest))


def _label_frequencies(codes: Array) -> dict[str, float]:
    """Return the mean log-frequency of labels with these ``codes`` ``(n,)``, as a reference."""
    counts = np.unique(codes, return_counts=True)[1]
    shares = counts / counts.sum()
    return {"frequencies of the labels": round(float(shares @ np.log(shares)), DECIMALS)}
