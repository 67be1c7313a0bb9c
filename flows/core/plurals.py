"""Counts with their nouns, and short lists of names, for messages."""

from __future__ import annotations

from collections.abc import Sequence

LISTED = 8  # names of a list that is printed, at most


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


def listed(names: Sequence[str]) -> str:
    """Return names with commas; after the first eight, the number of the others.

    Args:
        names: the names.

    Examples:
        >>> from flows.core.plurals import listed
        >>> listed(["age", "bmi"])
        'age, bmi'
        >>> listed([f"x{k}" for k in range(12)])
        'x0, x1, x2, x3, x4, x5, x6, x7 and 4 others'
    """
    shown, others = ", ".join(names[:LISTED]), len(names) - LISTED
    if others == 1:  # the last name is as short as "1 other"
        return ", ".join(names)
    return f"{shown} and {counted(others, 'other')}" if others > 0 else shown
