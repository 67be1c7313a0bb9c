"""Counts with their nouns, for messages."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: ``counted(1, "row")`` is "1 row".

    Args:
        count: the count.
        noun: the noun in the singular, with its adjectives.
        plural: the plural of the noun; by default, the noun with an s.

    Examples:
        >>> from flows.core.plurals import counted
        >>> counted(1, "row"), counted(2, "row"), counted(0, "copy", "copies")
        ('1 row', '2 rows', '0 copies')
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
