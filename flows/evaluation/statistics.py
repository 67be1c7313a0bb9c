"""Error bars, and what may be said of a difference between models.

The models were measured on the same replicates.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.stats import bootstrap, mannwhitneyu, norm, rankdata, ttest_1samp, wilcoxon

from flows.core.arrays import Array

Verdict = Literal["equivalent", "supported", "refuted", "inconclusive"]
LEVEL = 0.05  # of every test
# So many values of both sides together have their rank-sum p from all ways to share them out
EXACT = 100


def mean_ci95(values: Array, rng: np.random.Generator) -> float:
    """Half the width of the 95% interval of the mean of ``values`` ``(n,)``.

    Bias-corrected and accelerated bootstrap (Efron 1987).

    ``NaN`` where a value is not finite.
    """
    low, high = mean_interval(values, rng)
    return (high - low) / 2


def mean_interval(values: Array, rng: np.random.Generator) -> tuple[float, float]:
    """The 95% interval itself.

    Values that are all equal have that value as both ends; ``NaN`` twice where one is not finite.
    """
    if not np.isfinite(values).all():
        return float("nan"), float("nan")
    if np.ptp(values) == 0:  # the acceleration would be 0/0
        return float(values[0]), float(values[0])
    interval = bootstrap(
        (values,), np.mean, confidence_level=0.95, method="BCa", n_resamples=9999, rng=rng
    ).confidence_interval
    return float(interval.low), float(interval.high)


def signed_rank_p(differences: Array) -> float:
    """Two-sided p of Wilcoxon's signed-rank test (1945).

    That ``differences`` ``(n,)`` are symmetric about 0; 1 where all are 0.

    A difference of ``inf`` or ``-inf`` counts as larger than all others: only ranks matter. Zeros
    are left out.
    """
    ranked = np.where(
        np.isinf(differences),
        np.sign(differences) * (2 * np.abs(differences[np.isfinite(differences)]).max(initial=1.0)),
        differences,
    )
    return float(wilcoxon(ranked).pvalue) if ranked.any() else 1.0


def rank_sum_p(left: Array, right: Array) -> float:
    """Two-sided p of Wilcoxon's rank-sum test (1945).

    The share of all ways to share the values out that are as far from the middle.

    Ties have the mean of their ranks. ``NaN`` counts as larger than all numbers. With more than
    ``EXACT`` values it is the normal approximation.
    """
    ranked = np.concatenate([left, right])
    ranks = rankdata(np.where(np.isnan(ranked), np.inf, ranked))
    if len(ranked) > EXACT:
        return float(
            mannwhitneyu(ranks[: len(left)], ranks[len(left) :], method="asymptotic").pvalue
        )
    doubled = np.rint(2 * ranks).astype(int)  # whole numbers
    # How many choices of so many values have that sum of ranks
    ways = np.zeros((len(left) + 1, doubled.sum() + 1))
    ways[0, 0] = 1
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, :-rank]
    middle = len(left) * (len(ranked) + 1)
    distance = np.abs(np.arange(ways.shape[1]) - middle)
    return float(
        ways[-1, distance >= abs(doubled[: len(left)].sum() - middle)].sum() / ways[-1].sum()
    )


def least_rank_sum_p(left: int, right: int) -> float:
    """The p of so many values where all of one side are above all of the other.

    No test can be surer.
    """
    return 2 / math.comb(left + right, left)


def shift(left: Array, right: Array) -> tuple[float, tuple[float, float]]:
    """The median of all differences between a value of ``right`` and one of ``left``.

    And its 95% interval: ``NaN`` for too few values.

    Source: Hodges and Lehmann 1963; the interval by the normal approximation, as in Hollander and
    Wolfe 1999, equation 4.41.
    """
    differences = np.sort((right[:, None] - left).ravel())
    count, total = len(differences), len(left) + len(right)
    outside = math.floor(count / 2 - norm.ppf(0.975) * math.sqrt(count * (total + 1) / 12))
    interval = (
        (float(differences[outside - 1]), float(differences[-outside]))
        if outside >= 1
        else (float("nan"), float("nan"))
    )
    return float(np.median(differences)), interval


def equivalence_p(differences: Array, margin: float) -> float:
    """p of the two one-sided paired t-tests (Schuirmann 1987).

    They test that the mean difference is outside ``(-margin, margin)``.

    Below 0.05 exactly where the 90% t-interval lies within the margins. 1 where a difference is not
    finite.
    """
    if not np.isfinite(differences).all():
        return 1.0
    if np.ptp(differences) == 0:  # no scatter: no doubt
        return float(abs(differences[0]) >= margin)
    above = ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = ttest_1samp(differences, margin, alternative="less").pvalue
    return float(max(above, below))


def holm(p_values: Array) -> Array:
    """Adjusted p-values ``(k,)`` of a family of tests (Holm 1979).

    ``max over j <= i of (k - j) p_(j)``, at most 1, for sorted p counted from 0.
    """
    order = np.argsort(p_values)
    adjusted = np.maximum.accumulate(
        (len(p_values) - np.arange(len(p_values))) * np.asarray(p_values)[order]
    ).clip(max=1)
    result = np.empty(len(p_values))
    result[order] = adjusted
    return result


def verdict(interval: tuple[float, float], p_adjusted: float, p_equivalence: float) -> Verdict:
    """What a claimed *positive* difference comes to; the first of these that holds.

    ``equivalent``: it is nil for all practical purposes, even where it is significant.
    ``supported`` or ``refuted``: significant, and the whole ``interval`` on the claim's side of 0
    or on the other (so that ranks and mean agree). Else ``inconclusive``.
    """
    low, high = interval
    if p_equivalence < LEVEL:
        return "equivalent"
    if p_adjusted < LEVEL and low > 0:
        return "supported"
    if p_adjusted < LEVEL and high < 0:
        return "refuted"
    return "inconclusive"
