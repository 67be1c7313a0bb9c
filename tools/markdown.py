"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "l") -> str:
    """Return a table in Markdown.

    ``align`` has an ``l`` or an ``r`` a column, left or right; the columns beyond it are as its
    last, so ``"lr"`` aligns all but the first to the right.
    """
    sides = align.ljust(len(head), align[-1])[: len(head)]
    marks = ["---:" if side == "r" else "---" for side in sides]
    return "\n".join([_row(head), f"|{'|'.join(marks)}|", *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
