"""Normalizing flows for small data sets, as populations of independently seeded networks.

``import flows`` is light: torch is imported when a name that needs it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Density": "flows.density",
    "Flow": "flows.networks.flow",
    "GaussianMixture": "flows.core.reference",
    "Mixture": "flows.core.mixture",
    "Population": "flows.core.population",
    "Problem": "flows.evaluation.problem",
    "StandardNormal": "flows.networks.base",
    "TrainingSettings": "flows.core.settings",
    "build": "flows.networks.registry",
    "ensemble_log_prob": "flows.core.population",
    "fit": "flows.density",
    "load": "flows.networks.registry",
    "save": "flows.core.checkpoint",
}

__all__ = list(_HOMES)  # found when they are asked for


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'flows' has no attribute {name!r}; it has: {', '.join(sorted(_HOMES))}")
