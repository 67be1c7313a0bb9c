"""The name that ``flows.truths`` had until release 0.3, for one more release."""

from __future__ import annotations

import sys
from importlib import import_module
from warnings import warn

from flows.truths import make as make
from flows.truths import names as names

__path__: list[str] = []  # so that flows.targets.ring can be imported
for _name in names():
    sys.modules[f"{__name__}.{_name}"] = import_module(f"flows.truths.{_name}")
warn(
    "flows.targets is flows.truths since version 0.4, and goes with version 0.5",
    FutureWarning,
    stacklevel=2,
)
