"""Densities of your own tables: `python -m flows VERB`, where `VERB --help` says what it takes."""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flows
from flows.core.errors import UserError, errors_in_one_line, one_line

if TYPE_CHECKING:
    import pandas as pd

    from flows.answers import Source
    from flows.networks.image_flow import ImageFlow
    from flows.tables.frames import Format

ROWS = 1_000  # are drawn, unless the user says how many
SAMPLES = 10_000  # at least so many are drawn in a picture
DIGITS = 8  # of a prediction
DRAWS = 16  # of the noise u that spreads an image over its cell, where images are scored

# Torch and pandas are imported by the verbs that need them: help comes at once.


def main(words: Sequence[str] | None = None) -> None:
    """Run one verb. An error that the user can put right is one line and exit status 1."""
    arguments = _parser().parse_args(words)
    with errors_in_one_line("flows"):
        try:
            _spare_inputs(arguments)
            arguments.verb(arguments)
        except ImportError as error:
            raise UserError(
                f"this needs {error.name}: pip install '.[parquet,plot]' in the folder that flows "
                "came from"
            ) from None
        except (ValueError, LookupError, NotImplementedError) as error:
            raise UserError(one_line(error)) from None


def fit(arguments: argparse.Namespace) -> None:
    """Fit a density to a table, and write it to a file."""
    from flows.tables import files as table

    # Before hours of training are lost
    if arguments.output.is_dir() or arguments.output.name.lower().endswith(table.ENDINGS):
        raise UserError(
            f"{arguments.output}: is a folder or a table; a density goes into a file of its own, "
            "as table.flow"
        )
    kinds, settings = _once("--column", arguments.column), _once("-S", arguments.settings)
    which = {"only": arguments.only, "drop": arguments.drop}
    read = table.read(arguments.table, kinds, _format(arguments), **which)
    how = {name: getattr(arguments, name) for name in ("model", "members", "seed", "missing")}
    density = flows.fit(read, columns=kinds, settings=settings, **how)
    density.save(arguments.output)
    print(density)


def sample(arguments: argparse.Namespace) -> None:
    """Draw rows, or images, from a density; of what is given, rows that hold it."""
    from flows import answers
    from flows.command_line import image_files as images
    from flows.core.seeds import numpy_generator
    from flows.networks.image_flow import ImageFlow
    from flows.tables import files as table
    from flows.tables import frames

    n, seed, given = arguments.n, arguments.seed, _once("--given", arguments.given)
    rows, output = arguments.given_rows, arguments.output
    if rows is not None and (n is not None or given):
        raise UserError("--given-rows: a row is drawn for each of them; leave -n, --given out")
    if rows is None and _format(arguments) != frames.PLAIN:
        raise UserError("--sep, --decimal, --thousands and --encoding are of --given-rows")
    density = _load(arguments, asks=bool(given) or rows is not None)
    if isinstance(density.network, ImageFlow):
        drawn = density.network.ensemble_sample(n or ROWS, numpy_generator(seed, "sample"))
        return images.write(output, drawn.double().numpy(), density.network.levels)
    if rows is not None:
        return table.write(output, answers.completed(density, _source(arguments, rows), seed))
    table.write(output, answers.sampled(density, n or ROWS, seed, given or None))


def score(arguments: argparse.Namespace) -> None:
    """Write the rows of a table with their log-densities, or the least likely of them.

    Nothing is fitted. The scores of images are their log-probabilities.
    """
    from flows import answers
    from flows.networks.image_flow import ImageFlow

    given = next(csv.reader([arguments.given or ""], skipinitialspace=True), [])
    given = [name.strip() for name in given]
    density, count = _load(arguments, asks=bool(given)), arguments.anomalies
    if isinstance(density.network, ImageFlow):
        return _score_images(arguments, density.network)
    added = answers.SCORES if count is None else [*answers.SCORES, *answers.ODDITY]
    asked = density, _source(arguments, arguments.table, added)
    if count is None:
        return _write(arguments, density, answers.scored(*asked, arguments.missing, given))
    odd = answers.anomalies(*asked, count, arguments.missing, given)
    _write(arguments, density, [odd])


def impute(arguments: argparse.Namespace) -> None:
    """Fill the gaps of a table, given what is known of each row.

    They hold conditional medians, and the likeliest label of a category.
    """
    from flows import answers

    density, draws = _load(arguments), arguments.draws
    source = _source(arguments, arguments.table, ["draw"] * bool(draws))
    _write(arguments, density, answers.imputed(density, source, draws, arguments.seed))


def predict(arguments: argparse.Namespace) -> None:
    """Write the rows of a table with the distribution of a column, given the rest of each row."""
    import pandas as pd

    from flows import answers
    from flows.conditionals import questions

    density, column, levels = _load(arguments), arguments.column, arguments.quantiles
    if levels and density.kinds.get(column) == "category":
        raise UserError(f"--quantiles: {column} is a category; its labels have probabilities")
    levels = levels or questions.QUANTILES
    nothing = density.predict(pd.DataFrame(columns=density.names), column, levels)
    source = _source(arguments, arguments.table, [*map(str, nothing)])

    def beside() -> Iterator[pd.DataFrame]:
        for piece, found in answers.predicted(density, source, column, levels):
            rounded = found.map(lambda x: float(f"{x:.{DIGITS}g}"))
            yield piece.assign(**rounded.rename(columns=str))

    _write(arguments, density, beside())


def _load(arguments: argparse.Namespace, asks: bool = True) -> flows.Density:
    """Return the density. Raises ``UserError`` for one of images, where columns are asked about."""
    density = flows.Density.load(arguments.model)
    if asks and not density.names:
        raise UserError(
            f"{arguments.model}: is a model of images, which has no columns to ask about or draw; "
            "`flows sample` draws images to a .png"
        )
    return density


def _source(arguments: argparse.Namespace, path: Path, added: Sequence[str] = ()) -> Source:
    from flows import answers

    return answers.read(path, _format(arguments), arguments.verb.__name__, added)


def _write(
    arguments: argparse.Namespace, density: flows.Density, pieces: Iterable[pd.DataFrame]
) -> None:
    from flows import answers

    answers.write(density, _format(arguments), arguments.output, pieces)


def _score_images(arguments: argparse.Namespace, model: ImageFlow) -> None:
    """Score the images of an ``.npy`` file by the ensemble.

    Write log-probabilities in nats, ``(n,)``, to an ``.npy`` file; or the images themselves, the
    least likely first, to a ``.png``; or, without a file, print their bits per dimension.
    """
    import numpy as np

    from flows.command_line import image_files as images
    from flows.core import atomic
    from flows.evaluation.bits import bits_per_dimension, ensemble_log_density

    output, count = arguments.output, arguments.anomalies
    if count is not None and _suffix(output) != ".png":
        raise UserError("--anomalies of images are a picture of them: -o FILE.png")
    whole = images.read(arguments.table, tuple(model.event_shape))
    dimensions = model.event_shape.numel()
    log_q = ensemble_log_density(model, whole, DRAWS)
    bound = bits_per_dimension(log_q, dimensions)
    weighted = bits_per_dimension(log_q, dimensions, weighted=True)
    if output is None:
        print(
            f"bits per dimension of {len(whole)} images: {bound.mean():.3f} as a bound, "
            f"{weighted.mean():.3f} importance weighted; {DRAWS} draws an image"
        )
    elif _suffix(output) == ".npy":
        with atomic.replacing(output) as unfinished, unfinished.open("wb") as file:
            np.save(file, -weighted * dimensions * np.log(2))
    else:
        least = np.argsort(-weighted, kind="stable")[:count]
        images.write(output, whole[least], model.levels)


def info(arguments: argparse.Namespace) -> None:
    """Print what a file holds: columns, members, their training, and the score on held-out rows."""
    print(_load(arguments, asks=False))


def plot(arguments: argparse.Namespace) -> None:
    """Draw samples of a density over the rows of a table, odd cells of rows, or one row's rest."""
    import numpy as np
    import pandas as pd

    from flows import answers
    from flows.networks.registry import find, names
    from flows.plotting import Row, Scene, draw
    from flows.plotting.single_rows import draw_conditionals, draw_odd_cells
    from flows.tables import files as table
    from flows.tables import frames

    output, number = arguments.output, arguments.row
    if _suffix(output) != ".png":
        raise UserError(f"{output}: a picture goes into a .png file")
    density = _load(arguments)
    if arguments.anomalies is not None:
        source = answers.read(arguments.table, _format(arguments), "score")
        count = arguments.anomalies
        least, surprise = answers.least_likely(density, source, count, arguments.missing)
        return draw_odd_cells(output, density.names, least, surprise)
    read = table.read(arguments.table, density.kinds, _format(arguments), only=density.names)
    if number is not None:
        if arguments.missing == "drop":
            raise UserError("--missing drop: is for pictures of all rows, not of --row")
        if number > len(read.frame):
            raise UserError(f"--row {number}: {arguments.table} holds {len(read.frame)} rows")
        rows, surprise, curves = answers.conditionals(density, read, number)
        return draw_conditionals(output, density.columns, rows, number, surprise, curves)
    rows = frames.numbers(frames.complete(read, arguments.missing), density.columns)
    frames.say(frames.left_out(len(read.frame) - len(rows)))
    samples = {"samples": np.concatenate([*density.draws(max(len(rows), SAMPLES))])}
    name = density.network.description["model"]
    if name not in names():
        raise UserError(f"{arguments.model}: is a reference; only models can be drawn")
    kind = find(name)
    row = Row(name, kind.label, kind.color, {}, pd.DataFrame(), samples, is_model=True)
    scene = Scene([row], {}, density.columns, rows, None, None, 0, rows)
    draw("pairs.png" if len(density.names) > 1 else "margins.png", scene, output)


def _spare_inputs(arguments: argparse.Namespace) -> None:
    """Raise ``UserError`` for an output that is, by whatever name, a file that the verb reads."""
    output = getattr(arguments, "output", None)
    if output is None or not output.exists():
        return
    paths = [value for value in vars(arguments).values() if isinstance(value, Path)]
    if any(path.exists() and path.samefile(output) for path in paths if path is not output):
        raise UserError(
            f"{output}: is read by this command, and would be written over; "
            "name another file after -o"
        )


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line: a verb, the files that it reads, its options."""
    parser = argparse.ArgumentParser(prog="flows", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb in (fit, sample, score, impute, predict, info, plot):
        made = verbs.add_parser(verb.__name__, help=verb.__doc__, description=verb.__doc__)
        made.set_defaults(verb=verb)
        add = made.add_argument
        if verb is not fit:
            add("model", metavar="MODEL", type=Path, help="what `fit` wrote")
        if verb in (fit, score, impute, predict, plot):
            what = "a .csv, .tsv, .csv.gz, .tsv.gz or .parquet file"
            if verb is score:
                what += ", or .npy of a model of images"
            add("table", metavar="TABLE", type=Path, help=what)
        if verb is not info:
            what = "the file to write; without it, rows are written as CSV to standard output"
            needed = verb in (fit, plot)
            add("-o", "--output", metavar="FILE", type=Path, required=needed, help=what)
        if verb in (fit, sample, impute):
            add("--seed", type=_whole(0), default=0, help="of all that is random (0)")
        if verb is fit:
            what = "what is there of rows with a missing value is learned from (learn, the "
            what += "default), or they are left out and counted (drop), or an error (stop)"
            add("--missing", choices=["learn", "drop", "stop"], default="learn", help=what)
        if verb in (score, plot):
            what = "a missing value is unknown (keep, the default), an error (stop), "
            what += "or its row is left out and counted (drop)"
            add("--missing", choices=["keep", "stop", "drop"], default="keep", help=what)
            what = "only the N least likely rows, with a tail probability, and the oddest column"
            if verb is plot:
                add = made.add_mutually_exclusive_group().add_argument
                what = "what the rest of row K says of each of its values; 1 is the first"
                add("--row", metavar="K", type=_whole(1), help=what)
                what = "the cells of the N least likely rows, by how odd they are"
            add("--anomalies", metavar="N", type=_whole(1), help=what)
        if verb is not info:
            add = made.add_argument
            # How a CSV file is written
            what = r"what stands between fields: ';', '\t', '\s+' (a comma; a tab in .tsv)"
            add("--sep", metavar="MARK", help=what)
            what = "what stands before decimals (.)"
            add("--decimal", metavar="MARK", choices=[".", ","], default=".", help=what)
            what = "what stands between thousands (nothing)"
            add("--thousands", metavar="MARK", choices=[",", ".", " ", "'"], help=what)
            what = "of the text: latin-1, utf-16, ... (utf-8)"
            add("--encoding", metavar="NAME", default="utf-8", help=what)
    add = verbs.choices["fit"].add_argument
    many: Any = {"action": "append", "default": []}
    add("--model", default="nsf", help="nsf (the default), realnvp, glow or vae")
    what = "networks that are kept: up to 5, or a multiple of 5 (10)"
    add("--members", type=int, default=10, help=what)
    what = "real, positive, interval:LOW:HIGH, integer, integer:STEP, count or category"
    add("--column", metavar="NAME=KIND", type=_pair, help=what, **many)
    add("--drop", metavar="NAME", help="a column to leave out", **many)
    add("--only", metavar="NAME", help="a column to learn, where others are left out", **many)
    what = "a setting of training or of the model"
    add("-S", dest="settings", metavar="KEY=VALUE", type=_setting, help=what, **many)
    add = verbs.choices["sample"].add_argument
    add("-n", type=_whole(1), help=f"how many rows ({ROWS})")
    what = "a column's value in all rows; may be repeated"
    add("--given", metavar="NAME=VALUE", type=_pair, help=what, **many)
    what = "a table; a row is drawn for each of its rows, given what that holds"
    add("--given-rows", metavar="TABLE", type=Path, help=what)
    what = "columns to condition on: the log-density is that of the others, given these; "
    what += "a name with a comma in double quotes"
    verbs.choices["score"].add_argument("--given", metavar="NAME,NAME", help=what)
    what = "a draw of all gaps of a row, so many times, with a column `draw`; in place of medians"
    add = verbs.choices["impute"].add_argument
    add("--draws", metavar="N", type=_whole(1), default=0, help=what)
    add = verbs.choices["predict"].add_argument
    add("--column", metavar="NAME", required=True, help="the column to predict")
    what = "between 0 and 1 (0.05,0.5,0.95)"
    add("--quantiles", metavar="Q,Q", type=_levels, help=what)
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.rpartition("=")
    if not name or not value.strip():
        raise _expected("a name and a value with = between them", text)
    return name, value


def _levels(text: str) -> list[float]:
    with suppress(ValueError):
        return [float(word) for word in text.split(",")]
    raise _expected("numbers, as 0.05,0.5", text)


def _setting(text: str) -> tuple[str, Any]:
    import yaml

    name, value = _pair(text)
    # Only JSON reads 1e-3 as a number, and only YAML [a, b] as a list
    for read in (json.loads, yaml.safe_load):
        with suppress(ValueError, yaml.YAMLError):
            return name, read(value)
    return name, value


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        with suppress(ValueError):
            if least <= int(text) < 2**63:
                return int(text)
        raise _expected(f"a whole number of at least {least} and below 2**63", text)

    return parse


def _expected(what: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {what}; got {text!r}")


def _format(arguments: argparse.Namespace) -> Format:
    from flows.tables.frames import Format

    if arguments.sep == "":
        raise UserError("--sep is empty; name the mark between fields, or leave it out")
    if arguments.thousands == arguments.decimal:
        raise UserError(f"--thousands and --decimal are both {arguments.decimal!r}; name two marks")
    return Format(*(getattr(arguments, name) for name in Format._fields))


def _once(option: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a dict. Raises ``UserError`` for a name that is there twice."""
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise UserError(f"{option} {name}=... is given {count} times; give it once")
    return dict(pairs)


def _suffix(path: Path | None) -> str:
    """Return the extension of a file in small letters; nothing for standard output."""
    return "" if path is None else path.suffix.lower()


if __name__ == "__main__":
    main()
