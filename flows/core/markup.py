"""HTML for the cells of notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def lines(title: str, texts: Sequence[str]) -> str:
    """Return a title and a list of texts as HTML; names in the texts are escaped.

    Args:
        title: the title.
        texts: the texts; without a text, only the title is returned.

    Examples:
        >>> from flows.core import markup
        >>> markup.lines("columns", ["age", "<b>"])
        '<p><b>columns</b></p><ul><li>age</li><li>&lt;b&gt;</li></ul>'
    """
    head = f"<p><b>{escape(title)}</b></p>"
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"{head}<ul>{items}</ul>" if items else head
