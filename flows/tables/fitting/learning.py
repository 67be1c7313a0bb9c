"""Learn the density of a table: from a request and rows to candidates, the recipe and a density.

``fitting.py`` has the functions for users, and ``checking/refits.py`` learns from drawn tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from flows.core.rows import digests
from flows.networks.densities import Densities
from flows.networks.flow import Flow
from flows.recipe.clock import Clock
from flows.recipe.fold import Learned
from flows.recipe.mass import MassError
from flows.recipe.recipe import learn
from flows.tables.columns.constraint import Constraints
from flows.tables.columns.learning import Sample, fit_schema
from flows.tables.columns.notices import Notice, TableError, warn
from flows.tables.columns.order import FEW_LABELS
from flows.tables.columns.parsing import Table
from flows.tables.columns.schema import Schema
from flows.tables.fitting.candidates import candidates_of, with_linear
from flows.tables.fitting.fit_request import FitRequest
from flows.tables.fitting.learned_columns import LearnedColumns
from flows.tables.fitting.rescoring import rescored, with_peaks
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.target_density import density_of
from flows.tables.posterior.target_population import TargetPopulation

WITHOUT_PROCESSES = (
    "the table has {:,} rows; Gaussian processes of the target are fitted to at most {:,} rows, so "
    "this fit has none"
)
ON_A_LINE = (
    "is a target of {} labels, which are learned as places on a line; a fit without a target "
    "predicts more than {} labels better on most tables that were tried"
)


def learn_table(
    read: Callable[[], Table],
    request: FitRequest,
    on_notices: Callable[[Sequence[Notice]], None] = warn,
) -> tuple[ArrayDensity, Sample]:
    """Learn the density of a table that ``read`` returns, and return both.

    ``on_notices`` is called with the notices on the table before training starts.
    """
    clock, table = request.clock(), read()
    schema, sample, notices = fit_schema(table, request.of_table)
    schema = replace(schema, require=(*request.require, *schema.require))
    _check_constraints(schema, sample, table.source)
    request.settings.check_batch_size(len(sample.values))
    targets = schema.fields[len(schema.fields) - sample.target_count :]
    are_numbers = bool(targets) and not any(field.labels for field in targets)
    most = request.recipe.process_rows
    if are_numbers and len(sample.values) > most:
        notices = [*notices, Notice(WITHOUT_PROCESSES.format(len(sample.values), most))]
    notices += [
        Notice(ON_A_LINE.format(len(field.labels), FEW_LABELS), field.name)
        for field in targets
        if len(field.labels) > FEW_LABELS and not field.ordered
    ]
    on_notices(notices)
    try:
        return _learned(request, clock, schema, sample, on_notices), sample
    except MassError:
        if request.require or not schema.require:
            raise
        bounds = " and ".join(schema.require)
        problem = f"hardly any draw meets {bounds}; the fit starts again without this constraint"
        on_notices([Notice(problem)])
        schema = replace(schema, require=())
        return _learned(request, clock.again(), schema, sample, on_notices), sample


def learn_again(request: FitRequest, schema: Schema, sample: Sample) -> ArrayDensity:
    """Learn the density of other rows as a recorded fit did.

    Args:
        request: the request of the fit, perhaps with another ``seed``.
        schema: the schema of the table. The kinds of the columns are not chosen again.
        sample: the rows.
    """
    return _learned(request, request.clock(), schema, sample, lambda notices: None)


def _learned(
    request: FitRequest,
    clock: Clock,
    schema: Schema,
    sample: Sample,
    on_notices: Callable[[Sequence[Notice]], None],
) -> ArrayDensity:
    """Return the density that is learned from the rows of a sample."""
    columns, constraints = LearnedColumns.of(schema, sample), Constraints.of(schema)
    request = with_linear(request, columns)
    candidates = candidates_of(request, columns)
    if len(candidates) > 1 and not columns.given:
        clock.reserve("mixtures")
    are_rounded = any(field.labels or field.cell for field in columns.learned)
    if is_rescored := columns.is_context and (are_rounded or bool(constraints)):
        clock.reserve("scores")
    learned = Learned(
        columns.points(sample, request.seed),
        columns.to_real.with_context(columns.given),
        columns.given,
        is_context=columns.is_context,
        groups=sample.groups,
        copies=sample.copies if sample.has_copies else None,
        seed=request.seed,
        recipe=request.recipe,
        possible=None if columns.is_context or not constraints else constraints.met,
    )
    ensemble, record = learn(learned, candidates, request.folds, clock)
    fit = request.model_dump(mode="json")
    record = replace(record, require=schema.require, fit=fit)
    population: Densities = ensemble
    if columns.is_context:
        flow = cast(Flow, ensemble.networks)
        flow.weights.copy_(ensemble.member_weights)
        population = TargetPopulation.of(flow, sample.values, request.seed, request.recipe)
    most = request.recipe.rescored_rows
    if isinstance(population, TargetPopulation):
        if is_rescored:
            record = rescored(population, schema, record, sample, clock, most)
    else:
        record = with_peaks(population, schema, record, sample.values, most)
    if late := clock.late():
        on_notices([Notice(late)])
    assert record.row_scores is not None
    scores = replace(record.row_scores, digest=digests(sample.values))
    return density_of(population, schema, replace(record, row_scores=scores))


def _check_constraints(schema: Schema, sample: Sample, source: str) -> None:
    """Raise ``TableError`` for rows of a sample that break a constraint of the schema."""
    constraints, faults = Constraints.of(schema), []
    for each, own in zip(constraints.each, constraints.broken(sample.values).T, strict=True):
        rows = [sample.labels[k] for k in np.flatnonzero(own).tolist()]
        if rows:
            count = len({*rows})  # a row is repeated by its weight
            more = f"; {count} rows do" if count > 1 else ""
            faults.append(Notice(f"breaks the constraint {each.text!r}{more}", None, rows[0]))
    if faults:
        raise TableError(faults, source)
