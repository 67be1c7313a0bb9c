"""Densities of your own tables: `python -m flows VERB`, where `VERB --help` says what it takes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.core.errors import UserError, errors_in_one_line, one_line

if TYPE_CHECKING:
    import pandas as pd

    from flows.data.frames import Format
    from flows.density import Density
    from flows.networks.image_flow import ImageFlow

SAMPLES = 10_000  # at least so many are drawn in a picture
DRAWS = 16  # of the noise u that spreads an image over its cell, where images are scored

# Torch and pandas are imported by the verbs that need them: help comes at once.


def main(words: Sequence[str] | None = None) -> None:
    """Run one verb. An error that the user can put right is one line and exit status 1."""
    arguments = _parser().parse_args(words)
    with errors_in_one_line("flows"):
        try:
            _spare_inputs(arguments)
            arguments.verb(arguments)
            sys.stdout.flush()
        except ImportError as error:
            raise UserError(
                f"this needs {error.name}: pip install '.[parquet,plot]' in the folder that flows "
                "came from"
            ) from None
        except (ValueError, LookupError, NotImplementedError) as error:
            raise UserError(one_line(error)) from None
        except OSError as error:
            # What is left to be written would fail again at Python's exit, with a traceback
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):  # the reader had enough, as `head`
                sys.exit(1)
            raise


def fit(arguments: argparse.Namespace) -> None:
    """Fit a density to a table, and write it to a file."""
    from flows.data import table
    from flows.density import fit as fit_density

    # Before hours of training are lost
    if arguments.output.is_dir() or arguments.output.name.lower().endswith(table.ENDINGS):
        raise UserError(
            f"{arguments.output}: is a folder or a table; a density goes into a file of its own, "
            "as table.flow"
        )
    kinds, settings = _once("--column", arguments.column), _once("-S", arguments.settings)
    which = {"only": arguments.only, "drop": arguments.drop}
    density = fit_density(
        table.read(arguments.table, kinds, _format(arguments), **which),
        arguments.model,
        members=arguments.members,
        columns=kinds,
        settings=settings,
        seed=arguments.seed,
        missing=arguments.missing,
    )
    density.save(arguments.output)
    print(density)


def sample(arguments: argparse.Namespace) -> None:
    """Draw rows, or images, from a density."""
    from flows.core.seeds import numpy_generator
    from flows.data import images
    from flows.data.table import write
    from flows.density import Density, draw
    from flows.networks.image_flow import ImageFlow

    density = Density.load(arguments.model)
    if isinstance(density.network, ImageFlow):
        drawn = draw(density.network, arguments.n, numpy_generator(arguments.seed, "sample"))
        return images.write(arguments.output, drawn, density.network.levels)
    write(arguments.output, density.pieces(arguments.n, arguments.seed))


def score(arguments: argparse.Namespace) -> None:
    """Write the rows of a table with their log-densities, or the least likely of them.

    Nothing is fitted. The scores of images are their log-probabilities.
    """
    from flows.data import table
    from flows.density import Density
    from flows.networks.image_flow import ImageFlow

    density = Density.load(arguments.model)
    if isinstance(density.network, ImageFlow):
        return _score_images(arguments, density.network)
    table.write(arguments.output, _scored(arguments, density))


def _scored(arguments: argparse.Namespace, density: Density) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table with their log-densities, or last the least likely of them."""
    import numpy as np
    import pandas as pd

    from flows.core.progress import progress
    from flows.data import frames, table

    source, output, count = arguments.table, arguments.output, arguments.anomalies
    written, unknown, dropped = _format(arguments), Counter[str](), 0
    added = ["log_density", "log_density_sd"]
    if count is not None:
        added += ["row", "tail_probability"]
    least: pd.DataFrame | None = None
    with progress("score", None, "row") as bar:
        for piece in table.stream(source, written):
            for name in piece.columns.intersection(added)[:1]:
                raise UserError(
                    f"{source}: column {name}: `score` adds a column of this name; "
                    "rename yours, or leave it out"
                )
            parsed = frames.parse(piece, density.kinds, str(source), written)
            kept = frames.complete(parsed, arguments.missing)
            values = frames.numbers(kept, density.columns)
            unknown += frames.count_unknown(kept, density.columns, values)
            frame = piece.loc[kept.frame.index]
            if output is not None and table.is_csv(source) and not table.is_csv(output):
                # The fields of a CSV file are text; in a Parquet file numbers are numbers
                columns = zip(density.columns, values.T, strict=True)
                frame = frame.assign(**{c.name: x for c, x in columns if not c.labels})
            log_q = density.log_prob_numbers(values)
            # 0 where all are minus infinity
            sd = np.nan_to_num(log_q, neginf=0.0).std(axis=1, ddof=min(1, log_q.shape[1] - 1))
            log_density = density.ensemble(log_q).round(6)
            frame = frame.assign(log_density=log_density, log_density_sd=sd.round(6))
            if count is None:
                yield frame
            else:
                lowest = np.argsort(log_density, kind="stable")[:count]
                tail = density.tail_probability(log_q[lowest]).round(6)
                frame = frame.iloc[lowest].assign(tail_probability=tail)
                least = pd.concat([least, frame]).sort_values("log_density", kind="stable")[:count]
            dropped += len(piece) - len(values)
            bar.update(len(piece))
    notices = [*frames.unknown_labels(unknown), *frames.left_out(dropped)]
    if least is not None:
        yield least.reset_index(names="row")
        if "held_out" not in density.network.history:
            notices.append(
                "tail_probability is empty: only the automatic recipe keeps rows unseen, "
                "and this density was not fitted by it"
            )
    frames.say(notices)


def _score_images(arguments: argparse.Namespace, model: ImageFlow) -> None:
    """Score the images of an ``.npy`` file by the ensemble.

    Write log-probabilities in nats, ``(n,)``, to an ``.npy`` file; or the images themselves, the
    least likely first, to a ``.png``; or, without a file, print their bits per dimension.
    """
    import numpy as np

    from flows.core import atomic
    from flows.data import images
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
    from flows.density import Density

    print(Density.load(arguments.model))


def plot(arguments: argparse.Namespace) -> None:
    """Draw samples of a density over the rows of a table."""
    import numpy as np
    import pandas as pd

    from flows.data import frames, table
    from flows.density import Density
    from flows.networks.registry import find
    from flows.plotting import Row, Scene, draw

    if _suffix(arguments.output) != ".png":
        raise UserError(f"{arguments.output}: a picture goes into a .png file")
    density = Density.load(arguments.model)
    if not density.names:
        raise UserError(
            f"{arguments.model}: is a model of images, which has no page; "
            "`flows sample` draws images to a .png"
        )
    source = table.read(arguments.table, density.kinds, _format(arguments), only=density.names)
    rows = frames.numbers(frames.complete(source, arguments.missing), density.columns)
    frames.say(frames.left_out(len(source.frame) - len(rows)))
    samples = {"samples": np.concatenate([*density.draws(max(len(rows), SAMPLES))])}
    name = density.network.description["model"]
    kind = find(name)
    row = Row(name, kind.label, kind.color, {}, pd.DataFrame(), samples, is_model=True)
    scene = Scene([row], {}, density.columns, rows, None, None, 0, rows)
    draw("pairs.png" if len(density.names) > 1 else "margins.png", scene, arguments.output)


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
    for verb in (fit, sample, score, info, plot):
        made = verbs.add_parser(verb.__name__, help=verb.__doc__, description=verb.__doc__)
        made.set_defaults(verb=verb)
        add = made.add_argument
        if verb is not fit:
            add("model", metavar="MODEL", type=Path, help="what `fit` wrote")
        if verb in (fit, score, plot):
            what = "a .csv, .tsv, .csv.gz, .tsv.gz or .parquet file"
            if verb is score:
                what += ", or .npy of a model of images"
            add("table", metavar="TABLE", type=Path, help=what)
        if verb is not info:
            what = (
                "the file to write; without it, `sample` and `score` write CSV to standard output"
            )
            needed = verb in (fit, plot)
            add("-o", "--output", metavar="FILE", type=Path, required=needed, help=what)
        if verb in (fit, sample):
            add("--seed", type=_whole(0), default=0, help="of all that is random (0)")
        if verb in (fit, score, plot):
            what = (
                "rows with a missing value are an error (stop, the default), "
                "or left out and counted"
            )
            words = ["stop", "drop"]
            if verb is fit:
                what = (
                    "what is there of rows with a missing value is learned from (learn, the "
                    "default), or they are left out and counted, or an error"
                )
                words = ["learn", "drop", "stop"]
            add("--missing", choices=words, default=words[0], help=what)
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
    add("-n", type=_whole(1), default=1000, help="how many rows (1000)")
    what = "only the N least likely rows, with a tail probability"
    add = verbs.choices["score"].add_argument
    add("--anomalies", metavar="N", type=_whole(1), help=what)
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.rpartition("=")
    if not sign:
        raise argparse.ArgumentTypeError(
            f"expected a name and a value with = between them; got {text!r}"
        )
    return name, value


def _setting(text: str) -> tuple[str, Any]:
    import yaml

    name, value = _pair(text)
    # Only JSON reads 1e-3 as a number, and only YAML [margins, cooling] as a list
    for read in (json.loads, yaml.safe_load):
        with suppress(ValueError, yaml.YAMLError):
            return name, read(value)
    return name, value


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        with suppress(ValueError):
            if least <= int(text) < 2**63:
                return int(text)
        raise argparse.ArgumentTypeError(
            f"expected a whole number of at least {least} and below 2**63; got {text!r}"
        )

    return parse


def _format(arguments: argparse.Namespace) -> Format:
    from flows.data.frames import Format

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
