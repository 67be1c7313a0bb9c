"""Twenty-five equal modes of standard deviation 0.25 on a 5 x 5 grid with spacing 2."""

from __future__ import annotations

import numpy as np

from flows.mixtures.mixture import Mixture


def make() -> Mixture:
    """Return the mixture, with 25 components in 2 dimensions.

    Examples:
        >>> from flows import truths
        >>> truths.make("grid").means[:3].tolist()
        [[-4.0, -4.0], [-4.0, -2.0], [-4.0, 0.0]]
    """
    axis = 2.0 * np.arange(-2, 3)
    means = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return Mixture.isotropic(means, deviation=0.25)
