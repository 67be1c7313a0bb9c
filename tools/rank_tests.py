"""Compare two samples by ranks: a test, and an estimate of the shift between them."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import mannwhitneyu, norm, rankdata

from flows.core.arrays import Array

EXACT = 100  # with at most this many values in both samples, the p-value is exact


def rank_sum_p(left: Array, right: Array) -> float:
    """Return the two-sided p-value of Wilcoxon's rank-sum test (1945).

    The p-value is the share of all divisions of the values into two samples of these sizes whose
    rank sum is at least as far from the middle. Tied values get the mean of their ranks, and
    ``NaN`` is larger than all numbers. With more than ``EXACT`` values, the p-value is the normal
    approximation.
    """
    values = np.concatenate([left, right])
    ranks = rankdata(np.where(np.isnan(values), np.inf, values))
    if len(values) > EXACT:
        mine, others = np.split(ranks, [len(left)])
        return float(mannwhitneyu(mine, others, method="asymptotic").pvalue)
    doubled = np.rint(2 * ranks).astype(int)  # whole numbers
    # ways[k, s]: the number of choices of k values with the doubled rank sum s
    ways = np.zeros((len(left) + 1, doubled.sum() + 1))
    ways[0, 0] = 1
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, :-rank]
    middle = len(left) * (len(values) + 1)
    distance = np.abs(np.arange(ways.shape[1]) - middle)
    observed = abs(doubled[: len(left)].sum() - middle)
    return float(ways[-1, distance >= observed].sum() / ways[-1].sum())


def least_rank_sum_p(left: int, right: int) -> float:
    """Return the least p-value for samples of sizes ``left`` and ``right``.

    It occurs if all values of one sample are above all values of the other.
    """
    return 2 / math.comb(left + right, left)


def shift(left: Array, right: Array) -> tuple[float, tuple[float, float]]:
    """Return the median of all differences ``right - left`` of two values, and its 95% interval.

    The ends are ``NaN`` for too few values. Source: Hodges and Lehmann 1963; the interval is the
    normal approximation of Hollander and Wolfe 1999, equation 4.41.
    """
    differences = np.sort((right[:, None] - left).ravel())
    count, total = len(differences), len(left) + len(right)
    outside = math.floor(count / 2 - norm.ppf(0.975) * math.sqrt(count * (total + 1) / 12))
    low = high = float("nan")
    if outside >= 1:
        low, high = float(differences[outside - 1]), float(differences[-outside])
    return float(np.median(differences)), (low, high)
