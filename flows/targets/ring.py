"""Eight equal modes of standard deviation 0.5 on a circle of radius 4."""

from __future__ import annotations

import numpy as np

from flows.mixtures.mixture import Mixture


def make() -> Mixture:
    """Return the ring."""
    angle = 2 * np.pi * np.arange(8) / 8
    return Mixture.isotropic(4 * np.stack([np.cos(angle), np.sin(angle)], axis=1), deviation=0.5)
