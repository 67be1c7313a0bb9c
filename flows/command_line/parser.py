"""The parser of the command line: a verb, the files that it reads, and its options.

This module imports neither torch nor pandas, so help appears at once.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from flows.core.version import VERSION
from flows.tables.options import FitOptions, InspectOptions, Missing, options_of

VERBS = {
    "inspect": "Print what a fit would learn, carry along and exclude, column by column.",
    "fit": "Fit a density to a table, and write the density to a file.",
    "sample": "Draw rows, or images, from a density. Values of some columns may be given.",
    "score": "Write the rows of a table with their log-densities, or only the least likely rows. "
    "Images are scored by their log-probabilities.",
    "impute": "Fill the missing values of a table, given the other values of each row. A number "
    "becomes the conditional median, a category the most probable label.",
    "predict": "Write the rows of a table with the distribution of a column, given the other "
    "values of each row; or the distribution given conditions.",
    "probability": "Print the probability of an event, such as age=60.. or ward=A,B, with its "
    "standard error.",
    "export": "Write a density to another file, for example without values of single rows.",
    "info": "Print the columns, the networks, their training and their score on rows that were "
    "held out of training.",
    "plot": "Plot samples over the rows of a table, or the target along a column; the surprising "
    "values of unlikely rows; or the distributions of the values of one row.",
}
TABLE = "a .csv, .tsv, .csv.gz, .tsv.gz or .parquet file, or - for standard input"
OUTPUT = "the file to write"
STANDARD_OUTPUT = "; by default, or with -, rows are written as CSV to standard output"
REPEATS = "; may be repeated"
REPEATED: dict[str, Any] = {"action": "append", "default": []}


def parser() -> argparse.ArgumentParser:
    """Return the parser, which stores the name of the verb as ``verb``."""
    whole = argparse.ArgumentParser(
        prog="flows", description="Fit the density of a table, and ask questions about the table."
    )
    whole.add_argument("--version", action="version", version=f"flows {VERSION}")
    verbs = whole.add_subparsers(required=True, metavar="VERB", dest="verb")
    verb_parsers = {
        name: verbs.add_parser(name, help=text, description=text) for name, text in VERBS.items()
    }
    for name in ("sample", "score", "impute", "predict", "probability", "export", "info", "plot"):
        verb_parsers[name].add_argument(
            "model", metavar="MODEL", type=Path, help="a file that fit wrote"
        )
    for name in ("inspect", "fit", "score", "impute", "predict", "plot"):
        text = f"{TABLE}; for a model of images, an .npy file" if name == "score" else TABLE
        optional: dict[str, Any] = {"nargs": "?"} if name == "predict" else {}
        verb_parsers[name].add_argument("table", metavar="TABLE", type=Path, help=text, **optional)
    for name in ("fit", "sample", "score", "impute", "predict", "plot"):
        is_optional = name not in ("fit", "plot")
        _add_output(verb_parsers[name], is_optional=is_optional)
        _add_format(verb_parsers[name])
    _add_format(verb_parsers["inspect"])
    for name in ("sample", "impute", "probability"):
        text = "the seed of all random numbers (0)"
        verb_parsers[name].add_argument("--seed", type=_whole(0), default=0, help=text)
    for name in ("score", "plot"):
        verb_parsers[name].add_argument(
            "--missing",
            choices=["keep", "stop", "drop"],
            default="keep",
            help="keep rows with missing values (default), stop at the first one, or drop and "
            "count such rows",
        )
    _add_options(verb_parsers["inspect"], InspectOptions)
    _add_model(verb_parsers["fit"])
    _add_options(verb_parsers["fit"], FitOptions)
    _add_sample(verb_parsers["sample"])
    _add_score(verb_parsers["score"])
    verb_parsers["impute"].add_argument(
        "--draws",
        metavar="N",
        type=_whole(1),
        default=0,
        help="write N versions of each row, with missing values drawn at random; a column `draw` "
        "numbers the versions",
    )
    _add_predict(verb_parsers["predict"])
    _add_probability(verb_parsers["probability"])
    _add_export(verb_parsers["export"])
    _add_plot(verb_parsers["plot"])
    return whole


def _add_output(verb: argparse.ArgumentParser, *, is_optional: bool) -> None:
    def parse(text: str) -> Path | None:
        if text != "-":
            return Path(text)
        if is_optional:
            return None
        raise _expected("a file", text)

    text = OUTPUT + STANDARD_OUTPUT * is_optional
    verb.add_argument(
        "-o", "--output", metavar="FILE", type=parse, required=not is_optional, help=text
    )


def _add_format(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    text = r"the mark between fields: ';', '\t', '\s+' (a comma; a tab in .tsv)"
    add("--sep", metavar="MARK", help=text)
    text = "the mark before decimals (.)"
    add("--decimal", metavar="MARK", choices=[".", ","], default=".", help=text)
    text = "the mark between thousands (none)"
    add("--thousands", metavar="MARK", choices=[",", ".", " ", "'"], help=text)
    text = "the encoding of the text: latin-1, utf-16, ... (utf-8)"
    add("--encoding", metavar="NAME", default="utf-8", help=text)


def _add_model(verb: argparse.ArgumentParser) -> None:
    text = (
        "nsf (default), realnvp, glow, vae or flow_matching; with --target: conditional (default), "
    )
    verb.add_argument("--model", help=text + "nsf or realnvp")


def _add_options(verb: argparse.ArgumentParser, kind: Any) -> None:
    """Add the columns to read and the options of a class of ``tables/options.py``."""
    add = verb.add_argument
    add("--drop", metavar="NAME", help="a column to leave out" + REPEATS, **REPEATED)
    add(
        "--only",
        metavar="NAME",
        help="a column to learn; others are left out" + REPEATS,
        **REPEATED,
    )
    for name, (hint, option) in options_of(kind).items():
        how = READ[hint] | ({"metavar": option.metavar} if option.metavar else {})
        text = option.shell or option.text.rstrip(".")
        if type(option.default) is int:
            text += f" ({option.default})"
        if how.get("action") == "append":
            text += REPEATS
        flag = option.flag or f"--{name}"
        add(flag, dest=name, default=argparse.SUPPRESS, help=text.replace("%", "%%"), **how)


def _add_sample(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    add("-n", type=_whole(1), help="the number of rows or images (1000)")
    _add_given(verb, "a condition that all rows meet")
    text = "a table; draw one row for each row of the table, given its values"
    add("--given-rows", metavar="TABLE", type=Path, help=text)


def _add_score(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    text = "write only the N least likely rows, with a tail probability and the oddest column"
    add("--anomalies", metavar="N", type=_whole(1), help=text)
    text = "columns to condition on: score the other columns given these; put a name with a comma "
    add("--given", metavar="NAME,NAME", type=_names, default=[], help=text + "in double quotes")


def _add_predict(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    text = "the column to predict; the default is the target of a fit with --target"
    add("--column", metavar="NAME", help=text)
    _add_given(verb, "a condition instead of a table")
    text = "the levels of quantiles, between 0 and 1 (0.05,0.5,0.95)"
    add("--quantiles", metavar="Q,Q", type=_levels, help=text)


def _add_given(verb: argparse.ArgumentParser, what: str) -> None:
    text = f"{what}: a value, a range 60..70, 60.. or ..70, or a set A,B" + REPEATS
    verb.add_argument("--given", metavar="NAME=CONDITION", type=_pair, help=text, **REPEATED)


def _add_probability(verb: argparse.ArgumentParser) -> None:
    text = "a range 60..70, 60.. or ..70, a set A,B, or a label; all must hold"
    verb.add_argument("event", metavar="NAME=RANGE", type=_pair, nargs="+", help=text)
    _add_given(verb, "a condition")


def _add_export(verb: argparse.ArgumentParser) -> None:
    _add_output(verb, is_optional=False)
    text = (
        "replace the out-of-fold scores of the training rows, which identify the rows, by counts "
        "in bins; the rest of the record stays"
    )
    verb.add_argument("--without-record", action="store_true", help=text)


def _add_plot(verb: argparse.ArgumentParser) -> None:
    add = verb.add_mutually_exclusive_group().add_argument
    text = "draw the distribution of each value of row K given the rest of the row; 1 is the first"
    add("--row", metavar="K", type=_whole(1), help=text)
    text = "draw the values of the N least likely rows, coloured by their surprise"
    add("--anomalies", metavar="N", type=_whole(1), help=text)
    text = "draw the target along a column (by default the most correlated one)"
    add("--along", metavar="NAME", help=text)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.rpartition("=")
    if not name or not value.strip():
        raise _expected("a name and a value with = between them", text)
    return name, value


def _names(text: str) -> list[str]:
    """Return names between commas; a name with a comma is in double quotes."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return [name.strip() for name in names]


def _levels(text: str) -> list[float]:
    with suppress(ValueError):
        return [float(word) for word in text.split(",")]
    raise _expected("numbers, such as 0.05,0.5", text)


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


# How argparse reads an option of each type
READ: dict[Any, dict[str, Any]] = {
    bool: {"action": "store_true"},
    int: {"type": int},
    float | None: {"type": float},
    str | None: {},
    Missing: {"choices": get_args(Missing)},
    str | Sequence[str] | None: {"type": _names},
    Sequence[Any]: {"action": "append"},
    Mapping[str, str] | None: {"action": "append", "type": _pair},
    Mapping[str, Any] | None: {"action": "append", "type": _setting},
}


def _expected(what: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {what}; got {text!r}")
