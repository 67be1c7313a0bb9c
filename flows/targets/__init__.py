"""The catalogue of truths: one file a truth, named like it, with a function ``make`` that gives it.

NumPy alone.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from flows.core.mixture import Truth


def names() -> list[str]:
    """The truths there are. Imports none of them."""
    return sorted(module.name for module in iter_modules(__path__))


def make(name: str, **arguments: Any) -> Truth:
    """The truth of the file ``flows/targets/<name>.py``.

    Raises ``LookupError`` where there is none, ``ValueError`` for arguments that make none.
    """
    if name not in names():
        raise LookupError(f"no target {name!r}; there are: {', '.join(names())}")
    return import_module(f"flows.targets.{name}").make(**arguments)
