"""The parser of the command line: a verb, the files that it reads, and its options.

``VERBS`` declares the verbs. This module imports neither torch nor pandas, so help appears at once.
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
from flows.tables.columns.options import (
    TABLE_RECIPES,
    FitOptions,
    InspectOptions,
    Missing,
    MissingAsked,
    options_of,
)

REPEATS = "; may be repeated"
REPEATED: dict[str, Any] = {"action": "append", "default": []}
MARK: dict[str, Any] = {"metavar": "MARK"}


def parser() -> argparse.ArgumentParser:
    """Return the parser, which stores the name of the verb as ``verb``."""
    whole = argparse.ArgumentParser(
        prog="flows", description="Fit the density of a table, and ask questions about the table."
    )
    whole.add_argument("--version", action="version", version=f"flows {VERSION}")
    verbs = whole.add_subparsers(required=True, metavar="VERB", dest="verb")
    for name, (text, *arguments) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text)
        for add in arguments:
            add(verb)
    return whole


Argument = Callable[[Any], Any]  # adds arguments to the parser of a verb


def argument(names: str, text: str, **how: Any) -> Argument:
    """Return an argument.

    Args:
        names: its names, with a comma between them.
        text: its help.
        how: other arguments of ``ArgumentParser.add_argument``.
    """
    return lambda verb: verb.add_argument(*names.split(", "), help=text, **how)


def together(*arguments: Argument) -> Argument:
    """Return several arguments as one."""
    return lambda verb: [add(verb) for add in arguments]


def one_of(*arguments: Argument) -> Argument:
    """Return arguments that exclude each other."""

    def add(verb: argparse.ArgumentParser) -> None:
        group = verb.add_mutually_exclusive_group()
        for each in arguments:
            each(group)

    return add


def options(kind: Any) -> Argument:
    """Return the columns to read, and the options of a class of ``tables/columns/options.py``."""
    left_out, learned = "a column to leave out", "a column to learn; others are left out"
    found = [
        argument("--drop", left_out + REPEATS, metavar="NAME", **REPEATED),
        argument("--only", learned + REPEATS, metavar="NAME", **REPEATED),
    ]
    for name, (hint, option) in options_of(kind).items():
        how = READ[hint] | ({"metavar": option.metavar} if option.metavar else {})
        text = option.shell or option.text.rstrip(".")
        if type(option.default) is int:
            text += f" ({option.default})"
        if how.get("action") == "append":
            text += REPEATS
        how = {"dest": name, "default": argparse.SUPPRESS, **how}
        found.append(argument(option.flag or f"--{name}", text.replace("%", "%%"), **how))
    return together(*found)


def _file(text: str) -> Path:
    """Return a file to write. Raises an error for standard output."""
    if text == "-":
        raise _expected("a file", text)
    return Path(text)


def _file_or_standard_output(text: str) -> Path | None:
    return None if text == "-" else Path(text)


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
    if name == "recipe":
        allowed = " or ".join(TABLE_RECIPES)
        raise argparse.ArgumentTypeError(f"recipe has an option of its own: --recipe {allowed}")
    # Only JSON reads 1e-3 as a number, and only YAML [a, b] as a list
    for read in (json.loads, yaml.safe_load):
        with suppress(ValueError, yaml.YAMLError):
            return name, read(value)
    return name, value


def _recipe(text: str) -> tuple[str, str]:
    """Return the setting that ``--recipe`` means."""
    if text not in TABLE_RECIPES:
        raise _expected(" or ".join(TABLE_RECIPES), text)
    return "recipe", text


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        with suppress(ValueError):
            if least <= int(text) < 2**63:
                return int(text)
        raise _expected(f"a whole number of at least {least} and below 2**63", text)

    return parse


def _expected(what: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {what}; got {text!r}")


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


# Arguments that several verbs share

MODEL = argument("model", "a file that fit wrote", metavar="MODEL", type=Path)
TABLE_TEXT = "a .csv, .tsv, .csv.gz, .tsv.gz or .parquet file, or - for standard input"
TABLE = argument("table", TABLE_TEXT, metavar="TABLE", type=Path)
OPTIONAL_TABLE = argument("table", TABLE_TEXT, metavar="TABLE", type=Path, nargs="?")
FILE = argument("-o, --output", "the file to write", metavar="FILE", type=_file, required=True)
OUTPUT = argument(
    "-o, --output",
    "the file to write; by default, or with -, rows are written as CSV to standard output",
    metavar="FILE",
    type=_file_or_standard_output,
)


def csv_format(what: str, default: str) -> Argument:
    """Return the options of the format of CSV files.

    Args:
        what: the files on which the options act.
        default: the format without the options.
    """
    group = f"the format of {what}; by default, {default}"
    marks = together(
        argument("--sep", r"the mark between fields: ';', '\t', '\s+'", **MARK),
        argument("--decimal", "the mark before decimals", choices=[".", ","], **MARK),
        argument("--thousands", "the mark between thousands", choices=[",", ".", " ", "'"], **MARK),
        argument("--encoding", "the encoding of the text: latin-1, utf-16, ...", metavar="NAME"),
    )
    return lambda verb: marks(verb.add_argument_group(group))


USUAL = "commas (tabs in .tsv), decimal points and UTF-8"
TABLE_FORMAT = csv_format("the table, if it is a CSV file", USUAL)
FORMAT = csv_format(
    "CSV files that are read and written", f"that of the table of the fit, mostly {USUAL}"
)
SEED = argument("--seed", "the seed of all random numbers (0)", type=_whole(0), default=0)
MISSING = argument(
    "--missing",
    "keep rows with missing values (default), stop at the first one, or drop and count such rows",
    choices=[*get_args(MissingAsked)],
    default="keep",
)

REFITS = together(
    argument(
        "--refits",
        "the number of fits to tables drawn from the density, which give p-values, such as 19 "
        "(0); the environment variable FLOWS_WORKERS is the number of processes",
        metavar="N",
        type=_whole(0),
        default=0,
    ),
    argument("--minutes", "the time that the refits may take", metavar="M", type=float),
)
INTERVAL = argument(
    "--interval",
    "the level of the interval that few rows leave in each result, such as 0.95: columns NAME_low "
    "and NAME_high",
    metavar="LEVEL",
    type=float,
)


def given(what: str) -> Argument:
    """Return the conditions of a question."""
    text = f"{what}: a value, a range 60..70, 60.. or ..70, or a set A,B" + REPEATS
    return argument("--given", text, metavar="NAME=CONDITION", type=_pair, **REPEATED)


def anomalies(text: str, **how: Any) -> Argument:
    """Return the number of least likely rows."""
    return argument("--anomalies", text, metavar="N", type=_whole(1), **how)


# The text of each verb, and its arguments
VERBS: dict[str, tuple[Any, ...]] = {
    "inspect": (
        "Print what a fit would learn, carry along and exclude, column by column.",
        TABLE,
        TABLE_FORMAT,
        options(InspectOptions),
    ),
    "fit": (
        "Fit a density to a table, and write the density to a file.",
        TABLE,
        FILE,
        TABLE_FORMAT,
        argument(
            "--model",
            "nsf (default), realnvp or glow; with --target: conditional (default), nsf or realnvp",
            dest="architecture",
        ),
        argument(
            "--recipe",
            "auto (default), or quick: a rough fit in a few seconds, to try a program",
            dest="settings",
            action="append",
            type=_recipe,
            metavar="RECIPE",
            default=argparse.SUPPRESS,
        ),
        options(FitOptions),
    ),
    "sample": (
        "Draw rows from a density. Values of some columns may be given.",
        MODEL,
        OUTPUT,
        FORMAT,
        SEED,
        argument("-n", "the number of rows (1000)", type=_whole(1)),
        given("a condition that all rows meet"),
        argument(
            "--given-rows",
            "a table; draw one row for each row of the table, given its values",
            metavar="TABLE",
            type=Path,
        ),
    ),
    "score": (
        "Write the rows of a table with their log-densities, or only the least likely rows.",
        MODEL,
        TABLE,
        OUTPUT,
        FORMAT,
        MISSING,
        anomalies(
            "write only the N least likely rows, with a tail probability and the oddest column; N "
            "may be left out with --fdr",
            nargs="?",
            const=0,
        ),
        argument(
            "--fdr",
            "with --anomalies, for new rows: write only the rows that the procedure of Benjamini "
            "and Hochberg keeps at this expected share of false discoveries, such as 0.1",
            metavar="RATE",
            type=float,
        ),
        argument(
            "--given",
            "columns to condition on: score the other columns given these; put a name with a "
            "comma in double quotes",
            metavar="NAME,NAME",
            type=_names,
            default=[],
        ),
        INTERVAL,
    ),
    "impute": (
        "Fill the missing values of a table, given the other values of each row. A number "
        "becomes the conditional median, a category the most probable label.",
        MODEL,
        TABLE,
        OUTPUT,
        FORMAT,
        SEED,
        argument(
            "--draws",
            "write N versions of each row, with missing values drawn at random; a column `draw` "
            "numbers the versions",
            metavar="N",
            type=_whole(1),
            default=0,
        ),
    ),
    "predict": (
        "Write the rows of a table with the distribution of a column, given the other "
        "values of each row; or the distribution given conditions.",
        MODEL,
        OPTIONAL_TABLE,
        OUTPUT,
        FORMAT,
        argument(
            "--column",
            "the column to predict; the default is the target of a fit with --target",
            metavar="NAME",
        ),
        given("a condition instead of a table"),
        argument(
            "--quantiles",
            "the levels of quantiles, between 0 and 1 (0.05,0.5,0.95)",
            metavar="Q,Q",
            type=_levels,
        ),
        INTERVAL,
    ),
    "probability": (
        "Print the probability of an event, such as age=60.. or ward=A,B, with the interval that "
        "few rows leave, and with the error of the integration.",
        MODEL,
        SEED,
        argument(
            "event",
            "a range 60..70, 60.. or ..70, a set A,B, or a label; all must hold",
            metavar="NAME=RANGE",
            type=_pair,
            nargs="+",
        ),
        given("a condition"),
    ),
    "check": (
        "Print a check of a fit: samples beside the rows of the training table, out-of-fold "
        "calibration, and traces of single rows.",
        MODEL,
        TABLE,
        FORMAT,
        SEED,
        argument("-o, --output", "a picture of the check, .png", metavar="FILE", type=_file),
        REFITS,
        argument(
            "--store", "write the result into MODEL, where info prints it", action="store_true"
        ),
    ),
    "report": (
        "Write a report of a fit as one page of HTML: what to mind, columns, pairs, calibration "
        "and the strangest rows.",
        MODEL,
        TABLE,
        FILE,
        FORMAT,
        SEED,
        REFITS,
    ),
    "export": (
        "Write a density to another file, for example without values of single rows.",
        MODEL,
        FILE,
        argument(
            "--without-record",
            "replace the out-of-fold scores of the training rows, which identify the rows, by "
            "counts in bins; the rest of the record stays",
            action="store_true",
        ),
    ),
    "info": (
        "Print the columns, the networks, their training and their score on rows that were held "
        "out of training.",
        MODEL,
    ),
    "verify": (
        "Train again from the record of a fit, and compare the new file with the old one, byte for "
        "byte.",
        MODEL,
        argument("table", f"the table of the fit: {TABLE_TEXT}", metavar="TABLE", type=Path),
    ),
    "plot": (
        "Plot samples over the rows of a table, or the target along a column; the surprising "
        "values of unlikely rows; or the distributions of the values of one row.",
        MODEL,
        TABLE,
        FILE,
        FORMAT,
        MISSING,
        one_of(
            argument(
                "--row",
                "draw the distribution of each value of row K given the rest of the row; 1 is "
                "the first",
                metavar="K",
                type=_whole(1),
            ),
            anomalies("draw the values of the N least likely rows, coloured by their surprise"),
            argument(
                "--along",
                "draw the target along a column (by default the most associated one)",
                metavar="NAME",
            ),
        ),
    ),
}
