"""A chi-square test of samples in the plane against a density."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats


def p_values(
    log_prob: Callable[[np.ndarray], np.ndarray],
    samples: np.ndarray,
    low: tuple[float, float],
    high: tuple[float, float],
    cells: int,
    fine: int,
) -> list[float]:
    """Return the p-value of each member: are its samples draws of its density?

    ``log_prob`` returns ``(n, M)`` for points ``(n, 2)``, and the samples are ``(n, M, 2)``. The
    box from ``low`` to ``high`` has ``cells`` cells per axis, whose probabilities are computed by
    the midpoint rule with ``fine`` points per axis. Cells with fewer than 5 expected samples, and
    all points outside, form one cell.
    """
    edges = np.linspace(low, high, cells + 1).T
    width = np.subtract(high, low) / (cells * fine)
    middles = np.arange(cells * fine) + 0.5
    axes = [start + step * middles for start, step in zip(low, width, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(log_prob(points)) * width.prod()
    count, found = len(samples), []
    for member in range(samples.shape[1]):
        shares = density[:, member].reshape(cells, fine, cells, fine).sum((1, 3))
        drawn = np.histogram2d(*samples[:, member].T, bins=list(edges))[0]
        often = shares * count >= 5
        expected = np.append(shares[often], 1 - shares[often].sum()) * count
        observed = np.append(drawn[often], count - drawn[often].sum())
        found.append(float(stats.chisquare(observed, expected).pvalue))
    return found
