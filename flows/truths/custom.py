"""Any mixture of Gaussians, in any number of dimensions, from a list of its components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flows.core.plurals import counted
from flows.mixtures.mixture import Mixture


def make(components: Sequence[Mapping[str, Any]]) -> Mixture:
    """Return the mixture of ``components``, whose weights are divided by their sum.

    Each component has a ``weight``, a ``mean`` (D) and a ``covariance`` (D x D). Raises
    ``ValueError`` if the components do not describe a mixture.

    Examples:
        >>> from flows import truths
        >>> left = {"weight": 1, "mean": [-2.0], "covariance": [[0.25]]}
        >>> right = {"weight": 3, "mean": [2.0], "covariance": [[1.0]]}
        >>> truths.make("custom", components=[left, right]).weights
        array([0.25, 0.75])
    """
    if not components:
        raise ValueError("components = []: must hold at least one component")
    keys = ("weight", "mean", "covariance")
    for k, component in enumerate(components):
        if lacking := [key for key in keys if key not in component]:
            raise ValueError(f"component {k} lacks {lacking[0]}; it needs {', '.join(keys)}")
    dim = len(components[0]["mean"])
    for k, component in enumerate(components):
        mean, covariance = component["mean"], component["covariance"]
        if len(mean) != dim or len(covariance) != dim or any(len(row) != dim for row in covariance):
            wanted = f"a mean of {counted(dim, 'number')} and a covariance of {dim} x {dim}"
            wanted += f", as the first mean has {dim}"
            raise ValueError(f"component {k} must have {wanted}; it has {mean} and {covariance}")
    parts = (np.array([each[key] for each in components], dtype=np.float64) for key in keys)
    weights, means, covariances = parts
    if not (weights > 0).all():
        raise ValueError(f"the weights must be above 0; they are {weights.tolist()}")
    return Mixture(weights / weights.sum(), means, covariances)
