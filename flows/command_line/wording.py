"""How users of the command line apply the remedies of notices."""

from __future__ import annotations

from shlex import quote

from flows.tables.notices import DropColumn, DropIncompleteRows, Remedy, SetFormat, SetKind


def shell_words(remedy: Remedy) -> str:
    """Return the options that apply a remedy."""
    match remedy:
        case SetKind(column, kind):
            return f"pass --column {quote(f'{column}={kind}')}"
        case DropColumn(column):
            return f"pass --drop {quote(column)}"
        case DropIncompleteRows():
            return "pass --missing drop"
        case SetFormat(options):
            texts = [(name, quote(value.replace("\t", r"\t"))) for name, value in options]
            return "pass " + " ".join(f"--{name} {text}" for name, text in texts)
