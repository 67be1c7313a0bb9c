"""Draw the data set from the true density that ``data:`` describes, or read the user's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from common import storage
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.core.plurals import counted
from flows.core.seeds import numpy_generator
from flows.core.truth import entropy
from flows.tables.columns.field import Field
from flows.tables.columns.files import read
from flows.tables.columns.learning import fit_schema
from flows.tables.columns.notices import Notice, TableError, leave_out
from flows.tables.columns.options import InspectOptions, resolve
from stages.pipeline import files, runner, schema
from stages.pipeline.runner import pipeline_words

ENTROPY_DRAWS = 1_000_000  # standard error about 0.001 nat


def main() -> None:
    params = schema.load()
    data, truth = params.data, params.data.make_truth()
    columns: list[Field] = []
    if truth is None:
        columns, rows = take(params)
        scores = None
    else:
        rows = truth.sample(data.samples, numpy_generator(data.seed, "generate"))
        scores = entropy(truth, ENTROPY_DRAWS, numpy_generator(data.seed, "entropy"))
    drawn = ["x", "y"] if rows.shape[1] == 2 else [f"x{k}" for k in range(rows.shape[1])]
    names = [column.name for column in columns] or drawn
    digits = "%.17g" if columns else "%.9g"
    storage.write_csv(files.RAW, dict(zip(names, rows.T, strict=True)), float_format=digits)
    files.write_target(truth, scores, columns, data.target)
    known = "density unknown" if scores is None else "entropy {:.4f} +- {:.4f} nat".format(*scores)
    print(f"{len(rows)} rows of {counted(len(names), 'column')} from {data.target}, {known}")


def take(params: schema.Settings) -> tuple[list[Field], Array]:
    """Return the columns and the rows ``(n, D)`` of the user's table, and print the notices.

    The columns are in the order of the table, because the pipeline learns codes of labels.
    """
    kinds = params.data.columns
    tables = [path for path in files.SOURCE.glob("[!.]*") if path.suffix not in (".dvc", "")]
    if len(tables) != 1:
        there = ", ".join(sorted(path.name for path in tables)) or "nothing"
        wanted = "must hold one CSV or Parquet file, as data.target is table"
        raise UserError(f"{files.SOURCE}/: {wanted}; it holds {there}")
    source = tables[0]
    found = read(source, kinds)
    for name in kinds:
        if name not in found.frame:
            place, there = f"{files.PARAMS}: data.columns.{name}", ", ".join(found.frame)
            raise UserError(f"{place}: {source} has no such column; its columns are: {there}")
    own: Any = {"columns": kinds, "missing": params.data.missing}
    table, sample, notices = fit_schema(found, resolve(InspectOptions, own, "generate"))
    refuse_decisions(notices, str(source))
    schema.check_rows(params, len(sample.copies))
    for notice in notices:
        print(notice.text(pipeline_words))
    names = [field.name for field in table.fields]
    order = [names.index(name) for name in found.frame if name in names]
    return [table.fields[d] for d in order], sample.values[:, order]


def refuse_decisions(notices: Sequence[Notice], source: str) -> None:
    """Raise ``TableError`` for columns that a fit does not learn as the table holds them.

    The pipeline compares models, so its user decides what becomes of each column of the file
    ``source``. The faults are the ``notices`` on such columns, with the advice to leave them out.
    """
    faults = [
        replace(each, advice=(*each.advice, leave_out(each.column)))
        for each in notices
        if each.is_decision and each.column is not None
    ]
    if faults:
        problem = "the pipeline learns each column as it is; decide what becomes of these columns"
        raise TableError([Notice(problem), *faults], source)


if __name__ == "__main__":
    runner.run(main)
