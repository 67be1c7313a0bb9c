"""Tables and numbers in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NONE = "\u2013"  # in place of a number that does not exist


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "l") -> str:
    """Return a table in Markdown.

    ``align`` has one letter per column, ``l`` for left or ``r`` for right. The last letter also
    holds for all further columns, so ``"lr"`` aligns all columns but the first to the right.
    """
    sides = align.ljust(len(head), align[-1])[: len(head)]
    marks = ["---:" if side == "r" else "---" for side in sides]
    return "\n".join([_row(head), f"|{'|'.join(marks)}|", *map(_row, rows)])


def minus(text: str) -> str:
    """Return ``text`` with a minus sign in place of each hyphen."""
    return text.replace("-", "\u2212")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
