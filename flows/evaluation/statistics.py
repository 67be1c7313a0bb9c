"""Error bars of means, and tests of differences."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import bootstrap, mannwhitneyu, norm, rankdata

from flows.core.arrays import Array

LEVEL = 0.05  # of every test
# With up to so many values, of both sides together, the p of the rank-sum test is exact
EXACT = 100


def mean_ci95(values: Array, rng: np.random.Generator) -> float:
    """Return half the width of ``mean_interval``."""
    low, high = mean_interval(values, rng)
    return (high - low) / 2


def mean_interval(values: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95% interval of the mean of ``values`` ``(n,)``.

    It is by the bias-corrected and accelerated bootstrap (Efron 1987). Where all values are equal,
    both ends are that value; where one is not finite, both are ``NaN``.
    """
    if not np.isfinite(values).all():
        return float("nan"), float("nan")
    if np.ptp(values) == 0:  # the acceleration would be 0/0
        return float(values[0]), float(values[0])
    interval = bootstrap(
        (values,), np.mean, confidence_level=0.95, method="BCa", n_resamples=9999, rng=rng
    ).confidence_interval
    return float(interval.low), float(interval.high)


def rank_sum_p(left: Array, right: Array) -> float:
    """Return the two-sided p of Wilcoxon's rank-sum test (1945).

    It is the share of all ways to divide the values into two sides whose rank sum is as far from
    the middle. Ties have the mean of their ranks, and ``NaN`` counts as larger than all numbers.
    With more than ``EXACT`` values it is the normal approximation.
    """
    values = np.concatenate([left, right])
    ranks = rankdata(np.where(np.isnan(values), np.inf, values))
    if len(values) > EXACT:
        mine, others = np.split(ranks, [len(left)])
        return float(mannwhitneyu(mine, others, method="asymptotic").pvalue)
    doubled = np.rint(2 * ranks).astype(int)  # whole numbers
    # ways[k, s]: how many choices of k values have the doubled rank sum s
    ways = np.zeros((len(left) + 1, doubled.sum() + 1))
    ways[0, 0] = 1
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, :-rank]
    middle = len(left) * (len(values) + 1)
    distance = np.abs(np.arange(ways.shape[1]) - middle)
    observed = abs(doubled[: len(left)].sum() - middle)
    return float(ways[-1, distance >= observed].sum() / ways[-1].sum())


def least_rank_sum_p(left: int, right: int) -> float:
    """Return the least p of so many values: all of one side are above all of the other."""
    return 2 / math.comb(left + right, left)


def shift(left: Array, right: Array) -> tuple[float, tuple[float, float]]:
    """Return the median of all differences ``right - left`` of two values, and its 95% interval.

    The ends are ``NaN`` for too few values. Source: Hodges and Lehmann 1963; the interval by the
    normal approximation, as in Hollander and Wolfe 1999, equation 4.41.
    """
    differences = np.sort((right[:, None] - left).ravel())
    count, total = len(differences), len(left) + len(right)
    outside = math.floor(count / 2 - norm.ppf(0.975) * math.sqrt(count * (total + 1) / 12))
    low = high = float("nan")
    if outside >= 1:
        low, high = float(differences[outside - 1]), float(differences[-outside])
    return float(np.median(differences)), (low, high)


def holm(p_values: Array) -> Array:
    """Return the adjusted p-values ``(k,)`` of a family of tests (Holm 1979).

    They are ``max over j <= i of (k - j) p_(j)``, at most 1, for sorted p counted from 0.
    """
    order = np.argsort(p_values)
    remaining = len(p_values) - np.arange(len(p_values))
    adjusted = np.maximum.accumulate(remaining * p_values[order]).clip(max=1)
    return adjusted[np.argsort(order)]
