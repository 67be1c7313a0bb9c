"""Calibration of a density: the true probabilities of regions of known probability under the model.

The truth is the true distribution P of the data, and the level of a region is its probability under
the model. If the true probability is above the level, the model is too wide; if it is below, the
model is too narrow or misplaced.
"""

import numpy as np
from scipy.special import gammaincinv

from flows.core.arrays import Array

LEVELS = np.arange(1, 50) / 50  # 0.02 to 0.98


def hdr_coverage(log_q_on_own: Array, log_q_on_truth: Array, levels: Array = LEVELS) -> Array:
    """Return the true probabilities of the highest-density regions of each member q, ``(M, L)``.

    They are equal to ``levels`` ``(L,)`` if q is the truth::

        R_a = {x : log q(x) >= t_a},  t_a the (1 - a) quantile of log q(x'), x' ~ q
        Q(R_a) = a
        coverage_a = P(R_a)

    Args:
        log_q_on_own: log-densities of each member on its own samples, ``(n, M)``.
        log_q_on_truth: log-densities of each member on draws from the truth, ``(n', M)``.
        levels: the probabilities a of the regions under q, ``(L,)``.

    A member with a log-density that is not finite has ``NaN`` at all levels. Sources: Hyndman 1996
    (the region from a quantile of the density on its own samples); Hermans et al. 2022 (its
    expected coverage).

    Examples:
        >>> import numpy as np
        >>> from flows.evaluation.calibration import hdr_coverage
        >>> own, draws = np.random.default_rng(0).normal(size=(2, 10_000, 1)) * [[[2.0]], [[1.0]]]
        >>> log_q = lambda x: -(x**2) / 8  # of a normal q that is twice as wide as the truth
        >>> hdr_coverage(log_q(own), log_q(draws), np.array([0.5])).round(1)  # above 0.5: too wide
        array([[0.8]])
    """
    with np.errstate(invalid="ignore"):  # quantiles of infinities
        edges = np.quantile(log_q_on_own, 1 - levels, axis=0).T
    members = zip(np.sort(log_q_on_truth, axis=0).T, edges, strict=True)
    share = [1 - np.searchsorted(member, edge) / len(member) for member, edge in members]
    finite = np.isfinite(log_q_on_own).all(axis=0) & np.isfinite(log_q_on_truth).all(axis=0)
    return np.where(np.expand_dims(finite, 1), share, np.nan)


def radius_coverage(square: Array, dim: int, levels: Array = LEVELS) -> Array:
    """Return the share of the truth that each member maps into balls of noise, ``(M, L)``.

    The balls have the probabilities ``levels`` ``(L,)`` under ``N(0, I)``::

        |z|^2 ~ chi-square with D degrees of freedom, if z = f(x) is standard normal
        coverage_a = P(|f(x)|^2 <= F^-1(a)),  F its distribution function

    Args:
        square: ``|f(x)|^2`` for draws x from the truth, ``(n, M)``.
        dim: the number of dimensions D.
        levels: the probabilities a of the balls, ``(L,)``.

    A member with a value that is not finite has ``NaN`` at all levels. Source: Wilk and
    Gnanadesikan 1968 (the P-P plot).
    """
    edges = 2 * gammaincinv(dim / 2, levels)  # F^-1; scipy.stats is slow to import
    count = [np.searchsorted(np.sort(member), edges, side="right") for member in square.T]
    finite = np.isfinite(square).all(axis=0)
    return np.where(np.expand_dims(finite, 1), np.array(count) / len(square), np.nan)


def error(curves: Array, levels: Array = LEVELS) -> Array:
    """Return the mean absolute deviation ``(M,)`` of curves ``(M, L)`` from ``levels`` ``(L,)``.

    0 is perfect.
    """
    return np.abs(curves - levels).mean(axis=1)
