"""Densities of your own tables: `python -m flows VERB`, where `VERB --help` says what it takes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.core.errors import UserError, errors_in_one_line, one_line

if TYPE_CHECKING:
    import pandas as pd

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
            # Or what is left to be written fails again at the exit of Python, with a traceback
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):  # the reader had enough, as `head`
                sys.exit(1)
            raise


def fit(arguments: argparse.Namespace) -> None:
    """Fit a density to a table, and write it to a file."""
    from flows.density import fit as fit_density

    # Before there is something to lose
    if arguments.output.is_dir() or arguments.output.suffix.lower() in (".csv", ".parquet"):
        raise UserError(
            f"{arguments.output}: is a folder or a table; a density goes into a file of its own, "
            "as table.flow"
        )
    chosen: dict[str, Any] = {
        "members": arguments.members,
        "columns": dict(arguments.column),
        "settings": dict(arguments.settings),
    }
    density = fit_density(_read(arguments), arguments.model, seed=arguments.seed, **chosen)
    density.save(arguments.output)
    print(density)


def sample(arguments: argparse.Namespace) -> None:
    """Draw rows, or images, from a density."""
    from flows.core.seeds import numpy_generator
    from flows.data import images
    from flows.data.table import writing
    from flows.density import Density, draw
    from flows.networks.image_flow import ImageFlow

    density = Density.load(arguments.model)
    if isinstance(density.network, ImageFlow):
        drawn = draw(density.network, arguments.n, numpy_generator(arguments.seed, "sample"))
        return images.write(arguments.output, drawn, density.network.levels)
    with writing(arguments.output) as write:
        for piece in density.pieces(arguments.n, arguments.seed):
            write(piece)


def score(arguments: argparse.Namespace) -> None:
    """Write the rows of a table with their log-densities, or the least likely of them.

    Nothing is fitted. Of images: their log-probabilities.
    """
    import numpy as np
    import pandas as pd
    from tqdm import tqdm

    from flows.data import table
    from flows.density import Density
    from flows.networks.image_flow import ImageFlow

    density, least, dropped = Density.load(arguments.model), pd.DataFrame(), 0
    if isinstance(density.network, ImageFlow):
        return _score_images(arguments, density.network)
    added = [
        "log_density",
        "log_density_sd",
        *(["row", "tail_probability"] if arguments.anomalies else []),
    ]
    with (
        table.writing(arguments.output) as write,
        tqdm(unit="row", unit_scale=True, disable=None) as bar,
    ):
        for piece in table.stream(arguments.table):
            for name in piece.columns.intersection(added)[:1]:
                raise UserError(
                    f"{arguments.table}: column {name}: `score` adds a column of this name; "
                    "rename yours, or leave it out"
                )
            values, frame = table.numbers(
                piece, density.names, str(arguments.table), arguments.missing
            )
            if (
                arguments.output is not None
                and arguments.output.suffix.lower() == ".parquet"
                and (frame.dtypes == "object").all()
            ):
                # Text of a CSV file, into a Parquet file
                frame = frame.assign(**dict(zip(density.names, values.T, strict=True)))
            log_q = density.log_prob_members(values)
            # 0 where all are minus infinity
            sd = np.nan_to_num(log_q, neginf=0.0).std(axis=1, ddof=min(1, log_q.shape[1] - 1))
            frame = frame.assign(
                log_density=density.ensemble(log_q).round(6), log_density_sd=sd.round(6)
            )
            if arguments.anomalies is None:
                write(frame)
            else:
                lowest = np.argsort(frame["log_density"].to_numpy(), kind="stable")[
                    : arguments.anomalies
                ]
                frame = frame.iloc[lowest].assign(
                    tail_probability=density.tail_probability(log_q[lowest]).round(6)
                )
                least = pd.concat([least, frame]).sort_values("log_density", kind="stable")[
                    : arguments.anomalies
                ]
            dropped += len(piece) - len(values)
            bar.update(len(piece))
        if arguments.anomalies is not None:
            write(least.reset_index(names="row"))
            if "held_out" not in density.network.history:
                print(
                    (
                        "tail_probability is empty: only the automatic recipe keeps rows unseen, "
                        "and this density was not fitted by it"
                    ),
                    file=sys.stderr,
                )
    _say_dropped(dropped)


def _score_images(arguments: argparse.Namespace, model: ImageFlow) -> None:
    """The images of an ``.npy`` file as the ensemble sees them.

    Log-probabilities in nats, ``(n,)``, to an ``.npy`` file; or the images themselves, the least
    likely first, to a ``.png``; or, without a file, their bits per dimension.
    """
    import numpy as np

    from flows.core import atomic
    from flows.data import images
    from flows.evaluation.bits import bits_per_dimension, ensemble_log_density

    if arguments.anomalies is not None and (
        arguments.output is None or arguments.output.suffix.lower() != ".png"
    ):
        raise UserError("--anomalies of images are a picture of them: -o FILE.png")
    whole, dimensions = (
        images.read(arguments.table, tuple(model.event_shape)),
        model.event_shape.numel(),
    )
    log_q = ensemble_log_density(model, whole, DRAWS)
    bound, weighted = (bits_per_dimension(log_q, dimensions, weighted=way) for way in (False, True))
    if arguments.output is None:
        said = (
            f"bits per dimension of {len(whole)} images: {bound.mean():.3f} as a bound, "
            f"{weighted.mean():.3f} importance weighted"
        )
        print(f"{said}; {DRAWS} draws an image")
    elif arguments.output.suffix.lower() == ".npy":
        with atomic.replacing(arguments.output) as unfinished, unfinished.open("wb") as file:
            np.save(file, -weighted * dimensions * np.log(2))
    else:
        images.write(
            arguments.output,
            whole[np.argsort(-weighted, kind="stable")][: arguments.anomalies],
            model.levels,
        )


def info(arguments: argparse.Namespace) -> None:
    """Say what a file holds: columns, members, how it was trained, and its score on rows that it
    did not see.
    """
    from flows.density import Density

    print(Density.load(arguments.model))


def plot(arguments: argparse.Namespace) -> None:
    """Draw samples of a density over the rows of a table."""
    import pandas as pd

    from flows.density import Density
    from flows.networks.registry import find
    from flows.plotting import Row, Scene, draw

    if arguments.output.suffix.lower() != ".png":
        raise UserError(f"{arguments.output}: a picture goes into a .png file")
    density = Density.load(arguments.model)
    if not density.names:
        raise UserError(
            f"{arguments.model}: is a model of images, which has no page; "
            "`flows sample` draws images to a .png"
        )
    rows, name = _read(arguments, density.names).to_numpy(), density.network.description["model"]
    samples = {"samples": density.sample(max(len(rows), SAMPLES)).to_numpy(dtype=float)}
    row = Row(name, find(name).label, find(name).color, {}, pd.DataFrame(), samples, is_model=True)
    scene = Scene([row], {}, density.names, rows, None, None, 0, rows)
    draw("pairs.png" if len(density.names) > 1 else "margins.png", scene, arguments.output)


def _spare_inputs(arguments: argparse.Namespace) -> None:
    """Raises ``UserError`` for an output that is one of the files that the verb reads.

    By whatever name.
    """
    output = getattr(arguments, "output", None)
    for given in vars(arguments).values():
        if (
            output is not None
            and isinstance(given, Path)
            and given is not output
            and given.exists()
            and output.exists()
            and output.samefile(given)
        ):
            raise UserError(
                f"{output}: is read by this command, and would be written over; "
                "name another file after -o"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flows", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb, *places in (
        (fit, "TABLE"),
        (sample, "MODEL"),
        (score, "MODEL", "TABLE"),
        (info, "MODEL"),
        (plot, "MODEL", "TABLE"),
    ):
        made = verbs.add_parser(verb.__name__, help=verb.__doc__, description=verb.__doc__)
        made.set_defaults(verb=verb)
        for place in places:
            said = (
                f"a .csv or .parquet file{', or .npy of a model of images' * (verb is score)}"
                if place == "TABLE"
                else "what `fit` wrote"
            )
            made.add_argument(place.lower(), metavar=place, type=Path, help=said)
        if verb is not info:
            said = (
                "the file to write; without it, `sample` and `score` write CSV to standard output"
            )
            made.add_argument(
                "-o", "--output", metavar="FILE", type=Path, required=verb in (fit, plot), help=said
            )
        if verb in (fit, sample):
            made.add_argument("--seed", type=_whole(0), default=0, help="of all that is random (0)")
        if "TABLE" in places:
            said = (
                "rows with a missing value are an error (stop, the default), "
                "or left out and counted"
            )
            made.add_argument("--missing", choices=["stop", "drop"], default="stop", help=said)
    add = verbs.choices["fit"].add_argument
    add("--model", default="nsf", help="nsf (the default), realnvp or glow")
    add(
        "--members",
        type=int,
        default=10,
        help="networks that are kept: up to 5, or a multiple of 5 (10)",
    )
    add(
        "--column",
        metavar="NAME=KIND",
        type=_pair,
        action="append",
        default=[],
        help="real, positive, interval:LOW:HIGH, integer or integer:STEP",
    )
    add(
        "-S",
        dest="settings",
        metavar="KEY=VALUE",
        type=_setting,
        action="append",
        default=[],
        help="a setting of training or of the model",
    )
    verbs.choices["sample"].add_argument(
        "-n", type=_whole(1), default=1000, help="how many rows (1000)"
    )
    verbs.choices["score"].add_argument(
        "--anomalies",
        metavar="N",
        type=_whole(1),
        help="only the N least likely rows, with a tail probability",
    )
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
    # 1e-3 is a number to the one, [margins, cooling] a list to the other
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


def _read(arguments: argparse.Namespace, names: Sequence[str] | None = None) -> pd.DataFrame:
    """The columns ``names`` of the table (all, unless given) as a data frame.

    Its index holds the numbers of its rows.
    """
    import pandas as pd

    from flows.data import table

    found = table.read(arguments.table, arguments.missing, names)
    _say_dropped(found.dropped)
    return pd.DataFrame(found.values, columns=found.names, index=found.rows)


def _say_dropped(rows: int) -> None:
    if rows:
        print(f"left out: {rows} row{'s' * (rows > 1)} with a missing value", file=sys.stderr)


if __name__ == "__main__":
    main()
