"""Known distributions to learn, one per file; the function ``make`` of a file returns it.

Only NumPy is needed.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from flows.core.truth import Truth


def names() -> list[str]:
    """Return the names of all truths, without importing their files."""
    return sorted(module.name for module in iter_modules(__path__))


def make(name: str, **arguments: Any) -> Truth:
    """Return the distribution of the file ``flows/truths/<name>.py``.

    Raises ``LookupError`` if there is no such file, and ``ValueError`` if the arguments do not
    describe a distribution.

    Examples:
        >>> from flows import truths
        >>> "ring" in truths.names()
        True
        >>> truths.make("ring").means.shape
        (8, 2)
    """
    if name not in names():
        raise LookupError(f"no truth {name!r}; there are: {', '.join(names())}")
    return import_module(f"flows.truths.{name}").make(**arguments)
