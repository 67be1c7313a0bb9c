"""Scores of a conditional density on a grid of y, as arXiv 2603.26611 defines them.

The grid has ``POINTS`` equally spaced points over the range of the training values, wider by 5% of
the range at each end. The density at a value is interpolated between points, and the distribution
function at a point is the sum of the densities up to the point, times the distance of points.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from flows.core.arrays import Array

POINTS, WIDER = 200, 0.05
FLOOR = 1e-10  # a smaller density counts as this one
TAILS = (0.05, 0.95)  # of a 90% interval


def grid(train: Array) -> Array:
    """Return the points for training values ``train`` ``(n,)``."""
    more = WIDER * np.ptp(train)
    return np.linspace(train.min() - more, train.max() + more, POINTS)


def scores(density: Array, points: Array, y: Array) -> dict[str, float]:
    """Return the scores of values y ``(m,)``.

    - ``grid_log_likelihood``: the mean of log q(y | x).
    - ``cde_loss``: the mean of ``integral q(z | x)^2 dz - 2 q(y | x)`` (Izbicki and Lee 2017).
    - ``pit_ks``: the Kolmogorov-Smirnov distance of the probability integral transforms from the
      uniform distribution.
    - ``coverage`` and ``width`` of the intervals from the 5% to the 95% quantile.

    Args:
        density: q at the points, ``(m, POINTS)``.
        points: the grid.
        y: a value per row.
    """
    distribution = np.cumsum(density, axis=1) * (points[1] - points[0])
    at_y = np.array([np.interp(*each) for each in zip(y, [points] * len(y), density, strict=True)])
    below = [np.interp(*each) for each in zip(y, [points] * len(y), distribution, strict=True)]
    low, high = np.array([np.interp(TAILS, each, points) for each in distribution]).T
    return {
        "grid_log_likelihood": np.log(np.maximum(at_y, FLOOR)).mean(),
        "cde_loss": (np.trapezoid(density**2, points, axis=1) - 2 * at_y).mean(),
        "pit_ks": stats.kstest(np.clip(below, 0, 1), "uniform").statistic,
        "coverage": ((low <= y) & (y <= high)).mean(),
        "width": (high - low).mean(),
    }
