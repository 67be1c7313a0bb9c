"""The verbs of the command line.

A function does the work of a verb, and ``QUESTIONS`` has the verbs that only ask a question.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flows import saving
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.core.progress import progress, timed
from flows.tables.checking import check as checking
from flows.tables.columns import files
from flows.tables.columns.notices import Notice, TableError, show
from flows.tables.columns.options import FitOptions
from flows.tables.columns.parsing import Table, apply_missing_policy, rows_left_out
from flows.tables.columns.values import Format
from flows.tables.command_line.arguments import format_in, format_of, once, options_in, read_table
from flows.tables.command_line.streams import answers, pieces_of, write
from flows.tables.command_line.wording import shell_words
from flows.tables.density import pictures, verifying
from flows.tables.density.anomalies import check_rate, least_likely
from flows.tables.density.description import describe
from flows.tables.density.fitting import fit_table, load_array_density
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.questions.asking import run
from flows.tables.questions.collector import Collector
from flows.tables.questions.conditions import conditions, event_conditions, parse_conditions
from flows.tables.questions.draw import Draw
from flows.tables.questions.impute import Impute
from flows.tables.questions.predict import QUANTILES, Predict
from flows.tables.questions.probability import EventProbability
from flows.tables.questions.question import Question
from flows.tables.questions.sampling import sample as rows_of
from flows.tables.questions.score import Score

ROWS = 1_000  # default number of rows to draw
ODDITY = ["row", "oddest", "surprise"]  # added to the least likely rows
NO_TAIL = Notice(
    "tail_probability is empty; it needs out-of-fold scores of complete rows, which the density "
    "does not have"
)


def fit(arguments: argparse.Namespace) -> None:
    """Fit a density to a table, and write it to a file."""
    # Check the output before training, which may take hours
    if arguments.output.is_dir() or files.is_table(arguments.output):
        raise UserError(
            f"{arguments.output}: is a folder or a table; write the density to a file of its own, "
            "such as table.flow"
        )
    options = options_in(arguments, FitOptions)
    read, say = partial(read_table, arguments, options), partial(show, words=shell_words)
    density = fit_table(read, arguments.model, options, on_notices=say)
    density.save(arguments.output)
    print(density)


def sample(arguments: argparse.Namespace) -> None:
    """Draw rows from a density."""
    n, given = arguments.n, once("--given", arguments.given)
    rows = arguments.given_rows
    if rows is not None and (n is not None or given):
        raise UserError("--given-rows draws a row for each row of its table; leave out -n, --given")
    density = _load(arguments)
    n, seed = n or ROWS, arguments.seed
    if rows is not None:
        source = format_in(arguments, rows, density.schema.written)
        return _write(arguments, density, answers(Draw(1, seed), density, rows, source, "sample"))
    collector, region = Collector(), conditions(density, parse_conditions(density, given))
    with progress("sample", n, "row") as bar:
        found = rows_of(density, n, seed, region, collector, timed(bar))
        _write(arguments, density, found)
    show(collector.notices(), shell_words)


def score(arguments: argparse.Namespace) -> None:
    """Write the rows of a table with their log-densities, or only the least likely rows."""
    density = _load(arguments)
    _check_fdr(arguments, density)
    if arguments.anomalies is None:
        return _ask(arguments, density, Score(arguments.given, arguments.missing))
    _write(arguments, density, _anomalies(arguments, density))


def _check_fdr(arguments: argparse.Namespace, density: ArrayDensity) -> None:
    """Raise ``UserError`` for a wrong --fdr, and for --anomalies without a number and --fdr."""
    if (rate := arguments.fdr) is None:
        if arguments.anomalies == 0:
            raise UserError("--anomalies needs a number of rows, or --fdr")
        return
    if arguments.anomalies is None or arguments.given:
        raise UserError("--fdr belongs to --anomalies, without --given")
    check_rate(rate, density)


def check(arguments: argparse.Namespace) -> None:
    """Print the check of a fit, draw the check (--output), and keep it in the file (--store)."""
    output, path = arguments.output, arguments.table
    _check_picture(output)
    density = _load(arguments)
    schema, written = density.schema, format_in(arguments, path, density.schema.written)

    def read(kinds: Mapping[str, Any]) -> Table:
        there = [*map(str, next(iter(files.stream(path, written, 1))))]
        only = [name for name in there if name in schema.names]
        return files.read(path, kinds, written, only=only or density.names, na=schema.na)

    how = arguments.refits, arguments.minutes, arguments.seed
    found = checking.check(density, read, *how, store=arguments.store)
    print(found)
    if output is not None:
        from flows.plotting.style import save

        save(found.plot(), output)
    if arguments.store:
        saving.save(density.population, arguments.model, density.record, schema.to_json())


def ask(arguments: argparse.Namespace) -> None:
    """Ask the question of a verb about the rows of a table, or about conditions."""
    there = vars(arguments)
    if {"table", "given"} <= there.keys() and (there["table"] is None) == (not there["given"]):
        raise UserError(f"{arguments.verb} needs either a table or --given")
    density = _load(arguments)
    _ask(arguments, density, QUESTIONS[arguments.verb](arguments, density))


def _impute(arguments: argparse.Namespace, density: ArrayDensity) -> Question:
    decimal = _written(arguments, density).decimal
    return Impute(arguments.draws, arguments.seed, decimal, one_type=True)


def _predict(arguments: argparse.Namespace, density: ArrayDensity) -> Question:
    names = density.targets if arguments.column is None else [arguments.column]
    if not names:
        raise UserError("--column is needed: the density has no target")
    for name in names if arguments.quantiles else ():
        if density.columns[density.schema.find(name)].labels:
            raise UserError(f"--quantiles: {name} is a category; its labels have probabilities")
    return Predict(names, arguments.quantiles or QUANTILES)


def _probability(arguments: argparse.Namespace, density: ArrayDensity) -> Question:
    event = parse_conditions(density, once("event", arguments.event))
    return EventProbability(event_conditions(density, event), arguments.seed)


# The question of each verb that only asks one
QUESTIONS: dict[str, Callable[[argparse.Namespace, ArrayDensity], Question]] = {
    "impute": _impute,
    "predict": _predict,
    "probability": _probability,
}


def export(arguments: argparse.Namespace) -> None:
    """Write a density to another file, perhaps without values of single rows."""
    found = saving.load(arguments.model)
    record = found.record
    if record is not None and arguments.without_record:
        record = record.without_rows()
    saving.save(found.population, arguments.output, record, found.table)


def info(arguments: argparse.Namespace) -> None:
    """Print the columns, the networks, their training and their out-of-fold score."""
    density = load_array_density(arguments.model)
    print(describe(density.population, density.schema, density.record))


def verify(arguments: argparse.Namespace) -> None:
    """Train again from the record of a fit, and compare the files."""
    try:
        found = verifying.verify(arguments.model, arguments.table)
    except TableError:
        raise  # names the table
    except UserError as error:
        raise UserError(f"{arguments.model}: {error}") from None
    if found is not None:
        raise UserError(f"{arguments.model}: another fit; {found}")
    print(f"{arguments.model}: the same bytes")


def plot(arguments: argparse.Namespace) -> None:
    """Plot samples over the rows of a table, the surprising values of rows, or one row."""
    from flows.plotting.style import save

    output = arguments.output
    _check_picture(output)
    density, path = _load(arguments), arguments.table
    if arguments.anomalies is not None:
        from flows.plotting.single_rows import draw_odd_cells

        frame, surprise = _least_likely(arguments, density, [])
        log_density = frame["log_density"].to_numpy()
        return save(draw_odd_cells(density.names, frame, log_density, surprise), output)
    kinds, na = {column.name: column for column in density.columns}, density.schema.na
    written = format_in(arguments, path, density.schema.written)
    table = files.read(path, kinds, written, only=list(kinds), na=na)
    kept = apply_missing_policy(table, arguments.missing).frame
    which = {"row": arguments.row, "along": arguments.along, "source": str(path)}
    figure, notices = pictures.plot(density, kept, **which)
    show([*rows_left_out(len(table.frame) - len(kept)), *notices], shell_words)
    save(figure, output)


def _check_picture(path: Path | None) -> None:
    """Raise ``UserError`` for a picture of another format than PNG."""
    if path is not None and path.suffix.lower() != ".png":
        raise UserError(f"{path}: a picture goes into a .png file")


def _load(arguments: argparse.Namespace) -> ArrayDensity:
    """Return the density of a table in a file.

    Raises ``UserError`` for a model of images and, before the file is read, for wrong marks of a
    CSV file.
    """
    format_of(arguments)
    density = load_array_density(arguments.model)
    if not density.columns:
        raise UserError(
            f"{arguments.model}: is a model of images; load it in Python with flows.load"
        )
    return density


def _ask(arguments: argparse.Namespace, density: ArrayDensity, question: Question) -> None:
    """Ask a question about the rows of a table, or about conditions, and write the answers."""
    table, given = getattr(arguments, "table", None), getattr(arguments, "given", [])
    if table is not None:
        source = format_in(arguments, table, density.schema.written)
        return _write(arguments, density, answers(question, density, table, source, arguments.verb))
    collector = Collector()
    region = conditions(density, parse_conditions(density, once("--given", given)))
    found = run(question, density, region, collector)
    frames = [question.rows(density, *each) for each in found]
    show(collector.notices(), shell_words)
    _write(arguments, density, frames)


def _write(
    arguments: argparse.Namespace, density: ArrayDensity, frames: Iterable[pd.DataFrame]
) -> None:
    output = getattr(arguments, "output", None)
    write(output, density.columns, _written(arguments, density), frames)


def _written(arguments: argparse.Namespace, density: ArrayDensity) -> Format:
    """Return the format of the CSV file that a command writes."""
    return format_of(arguments, density.schema.written)


def _anomalies(arguments: argparse.Namespace, density: ArrayDensity) -> Iterator[pd.DataFrame]:
    """Yield the least likely rows, with their number and the column of the largest surprise."""
    frame, surprise = _least_likely(arguments, density, arguments.given)
    frame = frame.reset_index(names="row")
    if not arguments.given and len(frame) and frame["tail_probability"].isna().all():
        show([NO_TAIL], shell_words)
    most = np.nan_to_num(surprise, nan=-np.inf, posinf=np.inf)
    names = np.array(density.names)[most.argmax(axis=1)]
    most = most.max(axis=1)
    most = np.where(np.isneginf(most), np.nan, most)  # a row without known values
    yield frame.assign(oddest=np.where(most > 0, names, ""), surprise=most.round(6))


def _least_likely(
    arguments: argparse.Namespace, density: ArrayDensity, given: Sequence[str]
) -> tuple[pd.DataFrame, Array]:
    """Return the least likely rows with their scores, and the surprises of their values ``(n, D)``.

    The index holds the row numbers in the file. Unless columns are given, rows have tail
    probabilities, and rows with missing values are left out and counted, because log-densities of
    fewer values are not comparable.
    """
    path = arguments.table
    written = format_in(arguments, path, density.schema.written)
    missing = "drop" if arguments.missing == "keep" and not given else arguments.missing
    question, collector = Score(given, missing, tails=not given), Collector()
    with progress("score", files.count_rows(path), "row") as bar:
        pieces = pieces_of(path, written, [*question.adds(density), *ODDITY], "score")
        how: Any = {"source": str(path), "written": written, "on_rows": timed(bar), "first": 1}
        count, how["rate"] = arguments.anomalies or None, getattr(arguments, "fdr", None)
        found = least_likely(density, pieces, question, count, collector, **how)
    show(collector.notices(), shell_words)
    return found
