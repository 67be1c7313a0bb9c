"""The catalogue of target distributions, one per file; the function ``make`` of a file returns it.

Only NumPy is needed.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from flows.core.truth import Truth


def names() -> list[str]:
    """Return the names of all targets, without importing their files."""
    return sorted(module.name for module in iter_modules(__path__))


def make(name: str, **arguments: Any) -> Truth:
    """Return the distribution of the file ``flows/targets/<name>.py``.

    Raises ``LookupError`` if there is no such file, and ``ValueError`` if the arguments do not
    describe a distribution.

    Examples:
        >>> from flows import targets
        >>> "ring" in targets.names()
        True
        >>> targets.make("ring").means.shape
        (8, 2)
    """
    if name not in names():
        raise LookupError(f"no target {name!r}; there are: {', '.join(names())}")
    return import_module(f"flows.targets.{name}").make(**arguments)
