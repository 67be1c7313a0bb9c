"""The verbs of the command line. Each function does the work of one verb."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from flows import saving
from flows.command_line import image_files
from flows.command_line.arguments import format_of, once, options_in, read_table
from flows.command_line.streams import Ask, answers, write
from flows.command_line.wording import shell_words
from flows.core.arrays import Array, rounded
from flows.core.errors import UserError
from flows.core.progress import progress
from flows.core.seeds import numpy_generator
from flows.density import pictures
from flows.density.array_density import ArrayDensity
from flows.density.chunks import Chunks, about_probability, prediction_names
from flows.density.conditions import conditions, event_conditions, parse_conditions
from flows.density.description import describe
from flows.density.fitting import fit_table, load_array_density
from flows.density.frame_density import QUANTILES, Samples
from flows.networks.image_flow import ImageFlow
from flows.tables import files
from flows.tables.notices import Notice, show
from flows.tables.options import FitOptions
from flows.tables.parsing import apply_missing_policy, rows_left_out
from flows.tables.values import PLAIN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 1_000  # default number of rows to draw
DIGITS = 8  # significant digits of a prediction
SCORES = ["log_density", "log_density_sd", "log_density_se"]
ODDITY = ["row", "tail_probability", "oddest", "surprise"]  # added to the least likely rows
NO_TAIL = Notice(
    "tail_probability is empty; it needs out-of-fold scores of complete rows, which only the "
    "automatic recipe computes"
)


def fit(arguments: argparse.Namespace) -> None:
    """Fit a density to a table, and write it to a file."""
    # Check the output before training, which may take hours
    if arguments.output.is_dir() or arguments.output.name.lower().endswith(files.ENDINGS):
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
    """Draw rows or images from a density."""
    n, given = arguments.n, once("--given", arguments.given)
    rows, output = arguments.given_rows, arguments.output
    if rows is not None and (n is not None or given):
        raise UserError("--given-rows draws a row for each row of its table; leave out -n, --given")
    if rows is None and format_of(arguments) != PLAIN:
        raise UserError("--sep, --decimal, --thousands and --encoding need --given-rows")
    density = _load(arguments, needs_columns=bool(given) or rows is not None)
    n = n or ROWS
    if isinstance(density.population, ImageFlow):
        images = density.population.ensemble_sample(n, numpy_generator(arguments.seed, "sample"))
        return image_files.write(output, images.double().numpy(), density.population.levels)
    if rows is not None:
        complete = partial(Chunks.complete, seed=arguments.seed)
        completed = answers(density, rows, format_of(arguments), arguments.verb, complete)
        return files.write(output, completed)
    samples = Samples(density, parse_conditions(density, given) if given else None)
    files.write(output, _with_progress(samples.draw(n, arguments.seed), n))
    show(samples.notices(), shell_words)


def score(arguments: argparse.Namespace) -> None:
    """Write the rows of a table with their log-densities, or only the least likely rows."""
    given = arguments.given
    density, count = _load(arguments, needs_columns=bool(given)), arguments.anomalies
    if isinstance(density.population, ImageFlow):
        return image_files.score(density.population, arguments.table, arguments.output, count)
    if count is None:
        return _write(arguments, density, _scored(arguments, density, given, arguments.missing))
    if arguments.output is not None:
        files.is_csv(arguments.output)  # raise the error for an unknown ending before scoring
    frame, surprise = _least_likely(arguments, density, given)
    _write(arguments, density, [_anomalies(density, frame, surprise)])


def impute(arguments: argparse.Namespace) -> None:
    """Fill the missing values of a table, given the other values of each row."""
    density, draws = _load(arguments), arguments.draws

    def ask(chunks: Chunks, chunk: pd.DataFrame) -> pd.DataFrame:
        filled = chunks.impute(_with_floats(density, chunk), draws, arguments.seed)
        if draws:
            number = np.arange(len(filled)) % draws + 1
            filled.insert(0, "draw", number, allow_duplicates=True)
        return filled

    added = ["draw"] if draws else []
    _write(arguments, density, _answers(arguments, density, ask, added))


def predict(arguments: argparse.Namespace) -> None:
    """Write the rows of a table with the distribution of a column, given the rest of each row."""
    density, levels = _load(arguments), arguments.quantiles or QUANTILES
    names = density.targets if arguments.column is None else [arguments.column]
    if not names:
        raise UserError("--column is needed: the density has no target")
    columns = [density.columns[density.schema.find(name)] for name in names]
    for column in columns:
        if arguments.quantiles and column.labels:
            raise UserError(
                f"--quantiles: {column.name} is a category; its labels have probabilities"
            )

    def shown(found: pd.DataFrame) -> dict[str, Any]:
        def short(x: pd.Series) -> Any:
            x = x.dt.total_seconds() if x.dtype.kind == "m" else x  # durations of data frames
            return rounded(x, DIGITS) if x.dtype.kind == "f" else x

        return {str(name): short(x) for name, x in found.items()}

    if (arguments.table is None) == (not arguments.given):
        raise UserError("predict needs either a table or --given")
    if arguments.given:
        given = parse_conditions(density, once("--given", arguments.given))
        chunks = Chunks(density)
        found = chunks.predict_given(conditions(density, given), names, levels)
        show(chunks.notices(), shell_words)
        return _write(arguments, density, [pd.DataFrame(shown(found))])

    def ask(chunks: Chunks, chunk: pd.DataFrame) -> pd.DataFrame:
        return chunk.assign(**shown(chunks.predict(chunk, names, levels)))

    added = [*map(str, prediction_names(columns, levels))]
    _write(arguments, density, _answers(arguments, density, ask, added))


def probability(arguments: argparse.Namespace) -> None:
    """Print the probability of an event under conditions, with its standard error."""
    density = _load(arguments)
    event, given = (
        parse_conditions(density, once(name, getattr(arguments, name.lstrip("-"))))
        for name in ("event", "--given")
    )
    asked = conditions(density, given), arguments.seed
    found = density.probability(event_conditions(density, event), *asked)
    show(about_probability(found), shell_words)
    print(f"probability,standard_error\n{found.probability:.6g},{found.error:.2g}")


def export(arguments: argparse.Namespace) -> None:
    """Write a density to another file, perhaps without values of single rows."""
    found = saving.load(arguments.model)
    record = found.record
    if record is not None and arguments.without_record:
        record = record.without_rows()
    saving.save(found.population, arguments.output, record, found.table)


def info(arguments: argparse.Namespace) -> None:
    """Print the columns, the networks, their training and their out-of-fold score."""
    density = _load(arguments, needs_columns=False)
    print(describe(density.population, density.schema, density.record))


def plot(arguments: argparse.Namespace) -> None:
    """Plot samples over the rows of a table, the surprising values of rows, or one row."""
    from flows.plotting.style import save

    output = arguments.output
    if output.suffix.lower() != ".png":
        raise UserError(f"{output}: a picture goes into a .png file")
    density = _load(arguments)
    save(_figure(arguments, density), output)


def _figure(arguments: argparse.Namespace, density: ArrayDensity) -> Figure:
    """Return the picture that the options of ``plot`` ask for."""
    number, source = arguments.row, str(arguments.table)
    if arguments.anomalies is not None:
        from flows.plotting.single_rows import draw_odd_cells

        frame, surprise = _least_likely(arguments, density, [])
        return draw_odd_cells(density.names, frame, frame[SCORES[0]].to_numpy(), surprise)
    kinds, na = {column.name: column for column in density.columns}, density.schema.na
    table = files.read(arguments.table, kinds, format_of(arguments), only=list(kinds), na=na)
    if number is not None and arguments.missing != "keep":
        raise UserError(f"--missing {arguments.missing} is for pictures of all rows, not for --row")
    if number is not None and number > len(table.frame):
        raise UserError(f"--row {number}: {source} holds {len(table.frame)} rows")
    kept = apply_missing_policy(table, arguments.missing).frame
    figure, notices = pictures.plot(
        density,
        kept,
        row=number,
        along=arguments.along,
        source=source,
        model=f"{arguments.model}:",
        argument=lambda name, value: f"--{name} {value}",
    )
    show([*rows_left_out(len(table.frame) - len(kept)), *notices], shell_words)
    return figure


def _load(arguments: argparse.Namespace, *, needs_columns: bool = True) -> ArrayDensity:
    """Return the density in a file. Raises ``UserError`` if ``needs_columns`` and it has none."""
    density = load_array_density(arguments.model)
    if needs_columns and not density.columns:
        raise UserError(
            f"{arguments.model}: is a model of images, which has no columns; `flows sample` draws "
            "images to a .png file"
        )
    return density


def _answers(
    arguments: argparse.Namespace, density: ArrayDensity, ask: Ask, added: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    return answers(density, arguments.table, format_of(arguments), arguments.verb, ask, added)


def _write(
    arguments: argparse.Namespace, density: ArrayDensity, frames: Iterator[pd.DataFrame] | list[Any]
) -> None:
    write(arguments.output, density.columns, format_of(arguments), frames)


def _scored(
    arguments: argparse.Namespace,
    density: ArrayDensity,
    given: Sequence[str],
    missing: str,
) -> Iterator[pd.DataFrame]:
    """Yield rows with the log-density, its deviation over members, and its standard error.

    Rows of which the least likely are wanted have tail probabilities, unless columns are given.
    """

    def ask(chunks: Chunks, chunk: pd.DataFrame) -> pd.DataFrame:
        kept, (log_q, log_ensemble, error, _) = chunks.log_prob(chunk, given, missing)
        found = np.stack([log_ensemble, density.deviation(log_q), error]).round(6)
        scored = kept.assign(**dict(zip(SCORES, found, strict=True)))
        if arguments.anomalies is None or given:
            return scored
        return scored.assign(tail_probability=density.tail_probability(log_q).round(6))

    added = SCORES if arguments.anomalies is None else [*SCORES, *ODDITY]
    return _answers(arguments, density, ask, added)


def _least_likely(
    arguments: argparse.Namespace, density: ArrayDensity, given: Sequence[str]
) -> tuple[pd.DataFrame, Array]:
    """Return the least likely rows with their scores, and the surprises of their values ``(n, D)``.

    The index holds the row numbers in the file. Unless columns are given, rows with missing values
    are left out and counted, because log-densities of fewer values are not comparable.
    """
    missing = "drop" if arguments.missing == "keep" and not given else arguments.missing
    frame = pd.DataFrame()
    for scored in _scored(arguments, density, given, missing):
        frame = pd.concat([frame, scored]).nsmallest(arguments.anomalies, SCORES[0])
    if frame.empty:
        raise UserError(
            f"{arguments.table}: no row is complete, so no row can be ranked; --given ranks "
            "rows with missing values, too"
        )
    chunks = Chunks(density, str(arguments.table), format_of(arguments))
    surprise = chunks.surprise(frame, frame.index.to_numpy() - 1)
    show(chunks.notices(), shell_words)
    return frame, surprise


def _anomalies(density: ArrayDensity, frame: pd.DataFrame, surprise: Array) -> pd.DataFrame:
    """Return the least likely rows with the column of the largest surprise, if it is above 0."""
    frame = frame.reset_index(names="row")
    if "tail_probability" in frame and frame["tail_probability"].isna().all():
        show([NO_TAIL], shell_words)
    most = np.nan_to_num(surprise, nan=-np.inf, posinf=np.inf)
    names = np.array(density.names)[most.argmax(axis=1)]
    most = most.max(axis=1)
    most = np.where(np.isneginf(most), np.nan, most)  # a row without known values
    return frame.assign(oddest=np.where(most > 0, names, ""), surprise=most.round(6))


def _with_floats(density: ArrayDensity, chunk: pd.DataFrame) -> pd.DataFrame:
    """Return a chunk with integers as floats in columns that may be filled with floats.

    All chunks of a file then have the same types, whichever chunk has missing values.
    """
    real = [each.name for each in density.columns if not each.is_discrete or each.cell % 1]
    whole = chunk.select_dtypes("integer").columns.intersection(real)
    return chunk.astype(dict.fromkeys(whole, np.float64))


def _with_progress(frames: Iterator[pd.DataFrame], n: int) -> Iterator[pd.DataFrame]:
    with progress("sample", n, "row") as bar:
        for frame in frames:
            yield frame
            bar.update(len(frame))
