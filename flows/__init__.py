"""Normalizing flows for small data sets, as populations of independently seeded networks.

``import flows`` is light: torch is imported when a name that needs it is first used.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

# Where a public name lives. A model needs no line here: ``RealNVP`` is looked for in ``flows/realnvp.py``, ``GAN`` in ``flows/baselines/gan.py``.
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
    home = _home(name)
    if home is None:
        raise LookupError(f"no model {name!r}: there is no flows/{name}.py or flows/baselines/{name}.py with a class of that name")
    return next(value for key, value in vars(import_module(home)).items() if key.lower() == name and isinstance(value, type))


def has_model(name: str) -> bool:
    """Whether there is a file ``flows/<name>.py`` or ``flows/baselines/<name>.py`` with a class of that name. Imports nothing."""
    return _home(name) is not None


def _home(name: str) -> str | None:
    """The module of the model ``name``."""
    if not (name.isidentifier() and name.islower()):
        return None
    for package in ("flows", "flows.baselines"):
        file = Path(__file__).parent.joinpath(*package.split(".")[1:], f"{name}.py")
        if file.is_file() and re.search(rf"^class {name}\b", file.read_text(encoding="utf-8"), re.I | re.M):
            return f"{package}.{name}"
    return None


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"flows.{_HOMES[name]}"), name)
    if not name.startswith("_") and name != name.lower() and has_model(name.lower()):
        return model_class(name.lower())
    raise AttributeError(f"module 'flows' has no attribute {name!r}")
