"""The catalogue of truths: one file a truth, with a function ``make`` that returns it.

Only NumPy is needed.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from flows.mixtures.mixture import Truth


def names() -> list[str]:
    """Return the names of all truths; none is imported."""
    return sorted(module.name for module in iter_modules(__path__))


def make(name: str, **arguments: Any) -> Truth:
    """Return the truth of the file ``flows/targets/<name>.py``.

    Raises ``LookupError`` where there is no such file, ``ValueError`` for arguments that make no
    truth.
    """
    if name not in names():
        raise LookupError(f"no target {name!r}; there are: {', '.join(names())}")
    return import_module(f"flows.targets.{name}").make(**arguments)
