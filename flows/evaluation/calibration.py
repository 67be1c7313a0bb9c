"""Calibration of a density: shares of the truth within regions that ought to hold a given share.

Where a share is above its level, the region holds more of the truth than it should, so the model is
too wide; where it is below, the model is too narrow or misplaced.
"""

import numpy as np
from scipy.stats import chi2

from flows.core.arrays import Array

LEVELS = np.arange(1, 50) / 50  # 0.02 to 0.98


def hdr_coverage(log_q_on_own: Array, log_q_on_truth: Array, levels: Array = LEVELS) -> Array:
    """Return the share of the truth in the highest-density regions of q, per member, ``(M, L)``.

    It is equal to ``levels`` ``(L,)`` if q is the truth::

        R_a = {x : log q(x) >= t_a},  t_a the (1 - a) quantile of log q(x'), x' ~ q
        Q(R_a) = a
        coverage_a = P(R_a)

    ``log_q_on_own`` ``(n, M)`` are a member's log-densities on its own samples, ``log_q_on_truth``
    ``(n', M)`` those on draws from the truth. A member with one that is not finite has ``NaN`` at
    all levels. Sources: Hyndman 1996 (the region by a quantile of the density on its own samples);
    Hermans et al. 2022 (its expected coverage).
    """
    with np.errstate(invalid="ignore"):  # quantiles of infinities
        edges = np.quantile(log_q_on_own, 1 - levels, axis=0).T
    members = zip(np.sort(log_q_on_truth, axis=0).T, edges, strict=True)
    share = [1 - np.searchsorted(member, edge) / len(member) for member, edge in members]
    finite = np.isfinite(log_q_on_own).all(axis=0) & np.isfinite(log_q_on_truth).all(axis=0)
    return np.where(np.expand_dims(finite, 1), share, np.nan)


def radius_coverage(square: Array, dim: int, levels: Array = LEVELS) -> Array:
    """Return the share of the truth within the balls of the noise, per member: ``(M, L)``.

    The balls hold the share ``levels`` ``(L,)`` of ``N(0, I)``::

        |z|^2 ~ chi-square with D degrees of freedom, if z = f(x) is standard normal
        coverage_a = P(|f(x)|^2 <= F^-1(a)),  F its distribution function

    ``square`` ``(n, M)``: ``|f(x)|^2`` of draws x from the truth. A member with one that is not
    finite has ``NaN`` at all levels. Source: Wilk and Gnanadesikan 1968 (the P-P plot).
    """
    edges = chi2.ppf(levels, dim)
    count = [np.searchsorted(np.sort(member), edges, side="right") for member in square.T]
    finite = np.isfinite(square).all(axis=0)
    return np.where(np.expand_dims(finite, 1), np.array(count) / len(square), np.nan)


def error(curves: Array, levels: Array = LEVELS) -> Array:
    """Return the mean absolute deviation, ``(M,)``, of curves ``(M, L)`` from the diagonal.

    0 is perfect.
    """
    return np.abs(curves - levels).mean(axis=1)
