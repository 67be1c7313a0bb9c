"""Normalizing flows for small data sets, as populations of independently seeded networks.

``import flows`` is light: torch is imported when a name that needs it is first used.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

# Where a public name lives. A model needs no line here: the class ``RealNVP`` is looked for in ``flows/realnvp.py``.
_HOMES = {
    "Flow": "flow",
    "GaussianMixture": "mixture",
    "Population": "population",
    "Target": "targets",
    "ensemble_log_prob": "population",
    "fit": "training",
    "load": "checkpoint",
    "save": "checkpoint",
}


def model_class(name: str) -> Any:
    """The model class that a name of ``params.yaml`` means: ``"realnvp"`` gives ``RealNVP`` of ``flows/realnvp.py``.

    Raises ``LookupError`` where there is no such file, or no class of that name (in any case) in it.
    """
    if not has_model(name):
        raise LookupError(f"no model {name!r}: there is no file flows/{name}.py")
    for attribute, value in vars(import_module(f"flows.{name}")).items():
        if attribute.lower() == name and isinstance(value, type):
            return value
    raise LookupError(f"no model {name!r}: flows/{name}.py has no class of that name")


def has_model(name: str) -> bool:
    """Whether there is a file ``flows/<name>.py`` with a class of that name. Imports nothing."""
    if not (name.isidentifier() and name.islower()):
        return False
    file = Path(__file__).with_name(f"{name}.py")
    if not file.is_file():
        return False
    return bool(re.search(rf"^class {name}\b", file.read_text(encoding="utf-8"), re.I | re.M))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"flows.{_HOMES[name]}"), name)
    if not name.startswith("_") and name != name.lower() and has_model(name.lower()):
        return model_class(name.lower())
    raise AttributeError(f"module 'flows' has no attribute {name!r}")
