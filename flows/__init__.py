"""Normalizing flows for small data sets, as populations of independently seeded networks.

``import flows`` is light: torch is imported when a name that needs it is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# Threads that wait for others sleep. OpenMP lets them spin, so that one busy neighbour makes two
# threads several times slower than one. It reads this when torch is imported; no byte depends on
# it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_HOMES = {
    "Density": "flows.density",
    "Flow": "flows.networks.flow",
    "GaussianMixture": "flows.networks.gaussian_mixture",
    "Mixture": "flows.core.mixture",
    "Population": "flows.core.population",
    "Problem": "flows.evaluation.problem",
    "StandardNormal": "flows.networks.base_distribution",
    "TrainingSettings": "flows.core.settings",
    "build": "flows.networks.registry",
    "ensemble_log_prob": "flows.core.population",
    "load": "flows.networks.registry",
    "save": "flows.core.checkpoint",
}

__all__ = ["fit", *_HOMES]  # found when they are asked for


def fit(what: Any, *arguments: Any, **settings: Any) -> Any:
    """Fit a density to a data frame or an array of rows: ``flows.density.fit_table``.

    Train a network: ``flows.training.trainer.fit``.
    """
    from flows.core.population import Population

    home, name = (
        ("flows.training.trainer", "fit")
        if isinstance(what, Population)
        else ("flows.density", "fit_table")
    )
    return getattr(import_module(home), name)(what, *arguments, **settings)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(
        f"module 'flows' has no attribute {name!r}; it has: {', '.join(sorted(_HOMES))}"
    )
