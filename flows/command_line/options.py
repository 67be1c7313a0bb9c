"""Options that several verbs share. Torch is not imported here."""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from typing import Any

from flows.core.errors import UserError
from flows.tables import files
from flows.tables.parsing import Table, TableOptions
from flows.tables.values import Format


def table_options(arguments: argparse.Namespace) -> TableOptions:
    """Return the options of ``fit`` or ``inspect`` for a table."""
    names = ("missing", "strict", "group", "na", "weights")
    own = {name: getattr(arguments, name) for name in names}
    kinds, targets = once("--column", arguments.column), column_names(arguments.target)
    return TableOptions(kinds, targets=targets, **own)


def read_table(arguments: argparse.Namespace, options: TableOptions) -> Table:
    """Return the parsed table of ``fit`` or ``inspect``."""
    which = {"only": arguments.only, "drop": arguments.drop, "na": options.na}
    return files.read(arguments.table, options.kinds, format_of(arguments), **which)


def column_names(text: str | None) -> list[str]:
    """Return the names of columns between commas; a name with a comma is in double quotes."""
    names = next(csv.reader([text or ""], skipinitialspace=True), [])
    return [name.strip() for name in names]


def format_of(arguments: argparse.Namespace) -> Format:
    """Return how the CSV files of a command are written. Raises ``UserError``."""
    if arguments.sep == "":
        raise UserError("--sep is empty; name the mark between fields, or leave the option out")
    if arguments.thousands == arguments.decimal:
        raise UserError(f"--thousands and --decimal are both {arguments.decimal!r}; name two marks")
    return Format(*(getattr(arguments, name) for name in Format._fields))


def once(option: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a dict. Raises ``UserError`` for a name that occurs twice."""
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise UserError(f"{option} {name}=... is given {count} times; give it once")
    return dict(pairs)
