"""Learn the density of a table: from a request and rows to candidates, the recipe and a density.

``fitting.py`` has the functions for users, and ``checking/refits.py`` learns from drawn tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from flows.core.rows import digests
from flows.networks.architecture import Architecture
from flows.networks.densities import Densities
from flows.networks.flow import Flow
from flows.recipe.fold import Learned
from flows.recipe.mass import MassError, Possible
from flows.recipe.recipe import learn
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.constraint import Constraints
from flows.tables.columns.learning import Sample, fit_schema
from flows.tables.columns.notices import Notice, TableError, warn
from flows.tables.columns.options import FitOptions
from flows.tables.columns.parsing import Table
from flows.tables.columns.schema import Schema
from flows.tables.columns.spreading import dequantise
from flows.tables.fitting.fit_request import FitRequest
from flows.tables.fitting.rescoring import rescored, with_peaks
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.target_density import density_of
from flows.tables.posterior.target_population import TargetPopulation

WITHOUT_PROCESSES = (
    "the table has {:,} rows; Gaussian processes of the target are fitted to at most {:,} rows, so "
    "this fit has none"
)


def learn_table(
    read: Callable[[], Table],
    model: str | Architecture | None,
    options: FitOptions,
    on_notices: Callable[[Sequence[Notice]], None] = warn,
) -> ArrayDensity:
    """Learn the density of a table that ``read`` returns, with all options.

    The options are as ``resolve`` has them. Arguments that are wrong for any table are refused
    before the table is read, which may take long. ``on_notices`` is called with the notices on the
    table before training starts.
    """
    request = FitRequest.of(model, options)
    options, most = request.options, request.training.numbers.process_rows
    table = read()
    schema, sample, notices = fit_schema(table, options)
    schema = replace(schema, require=(*options["require"], *schema.require))
    _check_constraints(schema, sample, table.source)
    request.training.check_batch_size(len(sample.values))
    targets = schema.fields[len(schema.fields) - sample.target_count :]
    are_numbers = bool(targets) and not any(field.labels for field in targets)
    if are_numbers and len(sample.values) > most:
        notices = [*notices, Notice(WITHOUT_PROCESSES.format(len(sample.values), most))]
    on_notices(notices)
    try:
        return _learned(request, schema, sample, on_notices)
    except MassError:
        if options["require"] or not schema.require:
            raise
        bounds = " and ".join(schema.require)
        problem = f"hardly any draw meets {bounds}; the fit starts again without this constraint"
        on_notices([Notice(problem)])
        schema = replace(schema, require=())
        return _learned(FitRequest.of(model, options), schema, sample, on_notices)


def learn_again(
    architecture: Architecture, options: FitOptions, schema: Schema, sample: Sample
) -> ArrayDensity:
    """Learn the density of other rows with the recorded arguments of a fit.

    Args:
        architecture: the architecture, and
        options: the options, as ``arguments_of`` returns them, perhaps with another ``seed``.
        schema: the schema of the table. The kinds of the columns are not chosen again.
        sample: the rows.
    """
    return _learned(FitRequest.of(architecture, options), schema, sample, lambda notices: None)


def _learned(
    request: FitRequest,
    schema: Schema,
    sample: Sample,
    on_notices: Callable[[Sequence[Notice]], None],
) -> ArrayDensity:
    """Return the density that is learned from the rows of a sample."""
    options, recipe, clock = request.options, request.training.numbers, request.clock
    constraints = Constraints.of(schema)
    fields, copies = schema.fields, sample.copies if sample.has_copies else None
    values = sample.values
    context = len(fields) - sample.target_count if sample.target_count else 0
    request = request.for_targets(fields[context:] if context else ())
    labels = 0 if context else sum(bool(field.labels) for field in fields)
    places = list(range(len(fields)))
    if labels:  # come first
        places.sort(key=lambda d: not fields[d].labels)
    ordered = [fields[d] for d in places]
    given, to_real, seed = context or labels, ColumnMaps(ordered), options["seed"]
    families = request.families(len(fields) - given, to_real, labels=labels, context=context)
    # Known values of a context are not spread
    points = dequantise(
        ordered, values[:, places], sample.copies, seed, given=given, is_narrow=bool(context)
    )
    is_rounded = bool(context) and any(field.labels or field.cell for field in fields[context:])
    candidates = request.candidates(families, labels=labels, context=context)
    if not (labels or context) and len(candidates) > 1:
        clock.reserve("mixtures")
    if is_rounded or (context and constraints):
        clock.reserve("scores")
    learned = Learned(
        points,
        to_real.with_context(given),
        given=given,
        is_context=bool(context),
        groups=sample.groups,
        copies=copies,
        seed=seed,
        recipe=recipe,
        possible=None if context else _possible(constraints, places),
    )
    ensemble, record = learn(learned, candidates, request.folds, clock)
    if labels and record.gaps:
        in_order = dict(zip(places, record.gaps, strict=True))
        record = replace(record, gaps=[in_order[d] for d in range(len(fields))])
    if constraints:
        record = replace(record, require=schema.require)
    population: Densities
    if context:
        flow = cast(Flow, ensemble.networks)
        flow.weights.copy_(ensemble.member_weights)
        population = of_target = TargetPopulation.of(flow, values, seed, recipe)
        if is_rounded or constraints:
            most = recipe.rescored_rows
            record = rescored(of_target, schema, record, values, copies, clock, most)
    else:
        population = ensemble.placed(places, ColumnMaps(fields)) if labels else ensemble
        record = with_peaks(population, schema, record, values, recipe.rescored_rows)
    if late := clock.late():
        on_notices([Notice(late)])
    record = replace(record, fit=request.arguments())
    if record.row_scores is not None:
        record = replace(record, row_scores=replace(record.row_scores, digest=digests(values)))
    return density_of(population, schema, record)


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


def _possible(constraints: Constraints, places: Sequence[int]) -> Possible | None:
    """Return which rows meet the constraints, with columns in the order ``places`` of the table."""
    if not constraints:
        return None
    order = np.argsort(places)
    return lambda rows: constraints.met(rows[:, order])
