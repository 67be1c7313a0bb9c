"""The verbs of the command line.

A function does the work of a verb: it takes the command and the settings of the verb. ``QUESTIONS``
has the verbs that only ask a question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pandas as pd

from flows import saving
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.core.progress import progress, timed
from flows.tables.checking import check as checking
from flows.tables.checking.rows import CheckedRows, read_rows
from flows.tables.columns import files
from flows.tables.columns.notices import Notice, TableError
from flows.tables.columns.options import FitOptions
from flows.tables.columns.parsing import Table, apply_missing_policy, rows_left_out
from flows.tables.command_line.command import Command, once
from flows.tables.command_line.streams import answers, rows_in, write
from flows.tables.command_line.wording import shell_words, show
from flows.tables.density import pictures, verifying
from flows.tables.density.anomalies import check_rate, least_likely
from flows.tables.density.description import describe
from flows.tables.density.fitting import fit_table, load_array_density
from flows.tables.fitting.fit_request import FitRequest
from flows.tables.questions.asking import Asking
from flows.tables.questions.conditions import conditions, event_conditions, parse_conditions
from flows.tables.questions.draw import Draw, Sampling
from flows.tables.questions.impute import Impute
from flows.tables.questions.predict import QUANTILES, Predict
from flows.tables.questions.probability import EventProbability
from flows.tables.questions.question import Question
from flows.tables.questions.score import Score

ROWS = 1_000  # default number of rows to draw
ODDITY = ["row", "oddest", "surprise"]  # added to the least likely rows
NO_TAIL = Notice(
    "tail_probability is empty; it needs out-of-fold scores of complete rows, which the density "
    "does not have"
)


def fit(
    command: Command,
    architecture: str | None,
    only: Sequence[str],
    drop: Sequence[str],
    **given: Any,
) -> None:
    """Fit a density to a table, and write it to a file."""
    # Check the output before training, which may take hours
    output = command.output
    if output.is_dir() or files.is_table(output):
        raise UserError(
            f"{output}: is a folder or a table; write the density to a file of its own, "
            "such as table.flow"
        )
    options = command.options(FitOptions, given)
    read = partial(command.read, options, only, drop)
    density = fit_table(read, FitRequest.of(architecture, options), on_notices=show)
    density.save(output)
    print(density)


def sample(
    command: Command,
    seed: int,
    n: int | None,
    given: Sequence[tuple[str, str]],
    given_rows: Path | None,
) -> None:
    """Draw rows from a density."""
    values = once("--given", given)
    if given_rows is not None and (n is not None or values):
        raise UserError("--given-rows draws a row for each row of its table; leave out -n, --given")
    density, n = command.density, n or ROWS
    if given_rows is not None:
        return write(command, answers(command, Draw(1, seed), given_rows))
    region = conditions(density, parse_conditions(density, values))
    said = list[Notice]()
    with progress("sample", n, "row") as bar:
        write(command, Sampling(density, n, seed, region, said.extend, timed(bar)))
    show(said)  # below the bar


def score(
    command: Command,
    missing: str,
    anomalies: int | None,
    fdr: float | None,
    given: Sequence[str],
    interval: float | None,
) -> None:
    """Write the rows of a table with their log-densities, or only the least likely rows."""
    density = command.density
    if interval is not None and anomalies is not None:
        raise UserError("--interval does not go with --anomalies")
    if fdr is None and anomalies == 0:
        raise UserError("--anomalies needs a number of rows, or --fdr")
    if fdr is not None:
        if anomalies is None or given:
            raise UserError("--fdr belongs to --anomalies, without --given")
        check_rate(fdr, density)
    if anomalies is None:
        question = Score(given, missing, interval=interval)
        return write(command, answers(command, question, command.table))
    write(command, _anomalies(command, given, missing, anomalies or None, fdr))


def check(command: Command, seed: int, refits: int, minutes: float | None, store: bool) -> None:
    """Print the check of a fit, draw the check (--output), and keep it in the file (--store)."""
    output = command.output
    _check_ending(output, ".png", "a picture")
    density = command.density
    found = checking.check(density, _checked(command), refits, minutes, seed, store=store)
    print(found)
    if output is not None:
        from flows.plotting.style import save

        save(found.plot(), output)
    if store:
        saving.save(density.population, command.model, density.record, density.schema.to_json())


def report(command: Command, seed: int, refits: int, minutes: float | None) -> None:
    """Write the report of a fit as a page of HTML."""
    from flows.tables.density import report as reports  # imports matplotlib and Jinja2

    output = command.output
    _check_ending(output, ".html", "a report")
    found = reports.report(
        command.density,
        _checked(command),
        shell_words,
        title=command.model.name,
        repeat=f"flows verify {quote(str(command.model))} TABLE",
        refits=refits,
        minutes=minutes,
        seed=seed,
    )
    found.save(output)


def _checked(command: Command) -> CheckedRows:
    """Return the rows of the table of a command for a check."""
    path, written, schema = command.table, command.format_in(command.table), command.density.schema

    def read(kinds: Mapping[str, Any]) -> Table:
        there = [*map(str, next(iter(files.stream(path, written, 1))))]
        only = [name for name in there if name in schema.names]
        return files.read(path, kinds, written, only=only or schema.learned, na=schema.na)

    return read_rows(command.density, read)


def ask(command: Command, given: Sequence[tuple[str, str]] = (), **settings: Any) -> None:
    """Ask the question of a verb about the rows of a table, or about conditions."""
    if command.takes_table and (command.table is None) == (not given):
        raise UserError(f"{command.verb} needs either a table or --given")
    density = command.density
    question = QUESTIONS[command.verb](command, **settings)
    if command.table is not None:
        return write(command, answers(command, question, command.table))
    region = conditions(density, parse_conditions(density, once("--given", given)))
    write(command, [*Asking(question, density, region, show).rows()])


def _impute(command: Command, seed: int, draws: int) -> Question:
    return Impute(draws, seed, command.written.decimal, one_type=True)


def _predict(
    command: Command,
    column: str | None,
    quantiles: Sequence[float] | None,
    interval: float | None,
) -> Question:
    density = command.density
    names = density.targets if column is None else [column]
    if not names:
        raise UserError("--column is needed: the density has no target")
    for name in names if quantiles else ():
        if density.columns[density.schema.find(name)].labels:
            raise UserError(f"--quantiles: {name} is a category; its labels have probabilities")
    return Predict(names, quantiles or QUANTILES, interval)


def _probability(command: Command, seed: int, event: Sequence[tuple[str, str]]) -> Question:
    found = parse_conditions(command.density, once("event", event))
    return EventProbability(event_conditions(command.density, found), seed)


# The question of each verb that only asks one, from the command and the settings of the verb
QUESTIONS: dict[str, Callable[..., Question]] = {
    "impute": _impute,
    "predict": _predict,
    "probability": _probability,
}


def export(command: Command, without_record: bool) -> None:
    """Write a density to another file, perhaps without values of single rows."""
    found = saving.load(command.model)
    record = found.record
    if record is not None and without_record:
        record = record.without_rows()
    saving.save(found.population, command.output, record, found.table)


def info(command: Command) -> None:
    """Print the columns, the networks, their training and their out-of-fold score."""
    density = load_array_density(command.model)
    print(describe(density.population, density.schema, density.record))


def verify(command: Command) -> None:
    """Train again from the record of a fit, and compare the files."""
    try:
        found = verifying.verify(command.model, command.table)
    except TableError:
        raise  # names the table
    except UserError as error:
        raise UserError(f"{command.model}: {error}") from None
    if found is not None:
        raise UserError(f"{command.model}: another fit; {found}")
    print(f"{command.model}: the same bytes")


def plot(
    command: Command,
    missing: str,
    row: int | None,
    anomalies: int | None,
    along: str | None,
) -> None:
    """Plot samples over the rows of a table, the surprising values of rows, or one row."""
    from flows.plotting.style import save

    output, path = command.output, command.table
    _check_ending(output, ".png", "a picture")
    density = command.density
    if anomalies is not None:
        from flows.plotting.single_rows import draw_odd_cells

        frame, surprise = _least_likely(command, [], missing, anomalies, None)
        log_density = frame["log_density"].to_numpy()
        return save(draw_odd_cells(density.names, frame, log_density, surprise), output)
    kinds, na = {column.name: column for column in density.columns}, density.schema.na
    table = files.read(path, kinds, command.format_in(path), only=list(kinds), na=na)
    kept = apply_missing_policy(table, missing).frame
    said = rows_left_out(len(table.frame) - len(kept))
    which: Any = {"row": row, "along": along, "source": str(path)}
    figure = pictures.plot(density, kept, said.extend, **which)
    show(said)
    save(figure, output)


def _check_ending(path: Path | None, ending: str, what: str) -> None:
    """Raise ``UserError`` for a file whose name has another ending."""
    if path is not None and path.suffix.lower() != ending:
        raise UserError(f"{path}: {what} goes into a {ending} file")


def _anomalies(
    command: Command, given: Sequence[str], missing: str, count: int | None, rate: float | None
) -> Iterator[pd.DataFrame]:
    """Yield the least likely rows, with their number and the column of the largest surprise."""
    frame, surprise = _least_likely(command, given, missing, count, rate)
    frame = frame.reset_index(names="row")
    if not given and len(frame) and frame["tail_probability"].isna().all():
        show([NO_TAIL])
    most = np.nan_to_num(surprise, nan=-np.inf, posinf=np.inf)
    names = np.array(command.density.names)[most.argmax(axis=1)]
    most = most.max(axis=1)
    most = np.where(np.isneginf(most), np.nan, most)  # a row without known values
    yield frame.assign(oddest=np.where(most > 0, names, ""), surprise=most.round(6))


def _least_likely(
    command: Command, given: Sequence[str], missing: str, count: int | None, rate: float | None
) -> tuple[pd.DataFrame, Array]:
    """Return the least likely rows with their scores, and the surprises of their values ``(n, D)``.

    The index holds the row numbers in the file. Unless columns are given, rows have tail
    probabilities, and rows with missing values are left out and counted, because log-densities of
    fewer values are not comparable.
    """
    density, path = command.density, command.table
    question = Score(given, "drop" if missing == "keep" and not given else missing, not given)
    said = list[Notice]()
    with progress("score", files.count_rows(path), "row") as bar:
        rows = rows_in(command, path, [*question.adds(density), *ODDITY])
        asking = Asking(question, density, rows, said.extend, timed(bar))
        found = least_likely(asking, count, rate, first=1)
    show(said)  # below the bar
    return found
