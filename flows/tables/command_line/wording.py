"""Notices on standard error, with remedies as options of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from shlex import quote

from flows.core.plurals import listed
from flows.tables.columns.notices import (
    CheckFit,
    DropColumn,
    DropIncompleteRows,
    Inspect,
    Notice,
    ReadAsMissing,
    Remedy,
    Replace,
    SetFormat,
    SetKind,
    merged,
)


def shell_words(remedy: Remedy) -> str:
    """Tell a user of the command line how to apply a remedy."""
    match remedy:
        case SetKind(column, kind):
            return f"pass --column {quote(f'{column}={kind}')}"
        case DropColumn(column):
            return f"pass --drop {quote(column)}"
        case DropIncompleteRows():
            return "pass --missing drop"
        case ReadAsMissing(mark):
            return f"pass --na {quote(mark)}"
        case SetFormat(options):
            texts = [(name, quote(value.replace("\t", r"\t"))) for name, value in options]
            return "pass " + " ".join(f"--{name} {text}" for name, text in texts)
        case Replace(_, old, new):
            return f"write {new!r} in place of {listed([*map(repr, old)])} in the file"
        case Inspect():
            return "run flows inspect"
        case CheckFit():
            return "run flows check"


def show(notices: Iterable[Notice]) -> None:
    """Print notices, ``merged``, on standard error."""
    for notice in merged(notices):
        print(notice.text(shell_words), file=sys.stderr)
