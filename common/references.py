"""The fits of the references with the settings of their sections in ``params.yaml``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flows.mixtures.bandwidth import bandwidths
from flows.mixtures.fitting import fit_gaussian, fit_gmm, fit_kde
from flows.mixtures.mixture import Mixture
from flows.training.smoothing import fit_sharpened_kde

NAMES = ("independent", "gaussian", "gmm", "kde", "sharpened_kde")


def fit_of(name: str, settings: Mapping[str, Any], seed: int) -> Callable[..., Mixture]:
    """Return the function that fits the reference ``name`` to rows ``(n, D)``.

    Args:
        name: one of ``NAMES``.
        settings: the content of the section ``references.<name>``.
        seed: the seed of the folds and of the starts of EM.

    Raises ``LookupError`` for another name.
    """
    match name:
        case "independent" | "gaussian":
            return partial(fit_gaussian, correlated=name == "gaussian")
        case "gmm":
            components = list(range(1, settings["max_components"] + 1))
            return partial(fit_gmm, components=components, folds=settings["folds"], seed=seed)
        case "kde":
            grid = bandwidths(settings["bandwidths"])
            return partial(fit_kde, bandwidths=grid, folds=settings["folds"], seed=seed)
        case "sharpened_kde":
            factor, strength = settings["noise_factor"], settings["sharpen"]
            return partial(fit_sharpened_kde, noise_factor=factor, strength=strength)
    raise LookupError(f"{name!r} is not a reference; the references are: {', '.join(NAMES)}")
