"""Eight equal modes of standard deviation 0.5 on a circle of radius 4."""

from __future__ import annotations

import numpy as np

from flows.mixtures.mixture import Mixture


def make() -> Mixture:
    """Return the mixture, with 8 components in 2 dimensions.

    Examples:
        >>> from flows import truths
        >>> truths.make("ring").means[2].round(3).tolist()
        [0.0, 4.0]
    """
    angle = 2 * np.pi * np.arange(8) / 8
    return Mixture.isotropic(4 * np.stack([np.cos(angle), np.sin(angle)], axis=1), deviation=0.5)
