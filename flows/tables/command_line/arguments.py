"""Arguments that several verbs share. Torch is not imported here."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from flows.core.errors import UserError
from flows.tables.columns import files
from flows.tables.columns.options import FitOptions, InspectOptions, Options, options_of, resolve
from flows.tables.columns.parsing import Table
from flows.tables.columns.values import PLAIN, Format


def options_in(arguments: argparse.Namespace, kind: type[Options]) -> Options:
    """Return all options of ``fit`` or ``inspect``. Raises ``UserError`` for a name given twice."""
    given = {}
    for name, (hint, option) in options_of(kind).items():
        if name in arguments:
            given[name] = getattr(arguments, name)
            if any(get_origin(part) is Mapping for part in get_args(hint)):
                given[name] = once(option.flag or f"--{name}", given[name])
    return resolve(kind, given, arguments.verb)


def read_table(arguments: argparse.Namespace, options: InspectOptions | FitOptions) -> Table:
    """Return the parsed table of ``fit`` or ``inspect``."""
    which = {"only": arguments.only, "drop": arguments.drop, "na": options["na"]}
    return files.read(arguments.table, options["columns"] or {}, format_of(arguments), **which)


def format_of(arguments: argparse.Namespace, fitted: Format = PLAIN) -> Format:
    """Return the format of the CSV files that a command reads and writes.

    Args:
        arguments: the arguments of the command, whose options name parts of the format.
        fitted: the format of the table that the density was fitted to, for all other parts.

    Raises ``UserError`` for an empty mark, and for two equal marks.
    """
    named = {name: getattr(arguments, name, None) for name in Format._fields}
    if named["sep"] == "":
        raise UserError("--sep is empty; name the mark between fields, or leave the option out")
    found = fitted._replace(**{name: own for name, own in named.items() if own is not None})
    if found.thousands == found.decimal:
        raise UserError(f"--thousands and --decimal are both {found.decimal!r}; name two marks")
    return found


def format_in(arguments: argparse.Namespace, path: Path, fitted: Format) -> Format:
    """Return the format of a file that a command reads. An option that is named comes first."""
    return format_of(arguments, files.format_for(path, fitted))


def once(option: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a dict. Raises ``UserError`` for a name that occurs twice."""
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise UserError(f"{option} {name}=... is given {count} times; give it once")
    return dict(pairs)
