"""Intervals of numbers: which numbers lie inside, their probabilities, and quantiles inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import log_ndtr, ndtri_exp

from flows.core.arrays import Array, Mask, Whole


def in_intervals(x: Array | Whole, intervals: Array) -> Mask:
    """Return which numbers ``x`` ``(n,)`` lie in one of their intervals, ends included.

    Args:
        x: the numbers.
        intervals: the intervals of all numbers ``(I, 2)``, or of each number ``(n, I, 2)``.
    """
    low, high = np.moveaxis(intervals, -1, 0)
    return np.asarray(((low <= x[:, None]) & (x[:, None] <= high)).any(axis=1))


def intersection(left: Array, right: Array) -> Array:
    """Return the intervals ``(n, I J, 2)`` of the numbers in intervals of both sides.

    Empty intervals have infinite ends.

    Args:
        left: intervals ``(n, I, 2)`` that do not overlap.
        right: intervals ``(n or 1, J, 2)`` that do not overlap.
    """
    low = np.maximum(left[:, :, None, 0], right[:, None, :, 0])
    high = np.minimum(left[:, :, None, 1], right[:, None, :, 1])
    both = np.stack([low, high], axis=-1)
    both[low >= high] = np.inf
    return both.reshape(len(both), -1, 2)


def log_interval(log_cdf: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Return log P(low < u <= high) of a distribution that is symmetric around 0.

    Differences are computed in the lower tail, where they keep their digits. An interval without a
    number has minus infinity.

    Args:
        log_cdf: the logarithm of the distribution function.
        low: lower ends of any shape, possibly infinite.
        high: upper ends of the same shape.
    """
    _, a, b = _lower_tail(low, high)
    if np.isneginf(a).all():
        return np.where(low < high, log_cdf(b), -np.inf)
    log_low, log_high = log_cdf(a), log_cdf(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = log_high + np.log(-np.expm1(np.minimum(log_low - log_high, 0.0)))
    return np.where(low < high, found, -np.inf)


def truncated_quantile(
    log_cdf: Callable[[Array], Array],
    quantile: Callable[[Array], Array],
    low: Array,
    high: Array,
    level: Array,
) -> Array:
    """Return quantiles of a distribution that is symmetric around 0, restricted to intervals.

    Of an interval that lies further above 0 than below, the quantiles are counted from its upper
    end, where the tail has its digits. Uniform levels give draws in either case.

    Args:
        log_cdf: the logarithm of the distribution function.
        quantile: its inverse.
        low: lower ends of any shape, possibly infinite.
        high: upper ends of the same shape.
        level: the levels of the quantiles, from 0 to 1, of the same shape.
    """
    mirrored, a, b = _lower_tail(low, high)
    with np.errstate(divide="ignore"):
        log_p = np.logaddexp(np.log1p(-level) + log_cdf(a), np.log(level) + log_cdf(b))
    u = np.clip(quantile(log_p), a, b)
    return np.where(mirrored, -u, u)


def truncated_normal(low: Array, high: Array, level: Array) -> Array:
    """Return quantiles of the standard normal distribution, as ``truncated_quantile``."""
    return truncated_quantile(log_ndtr, ndtri_exp, low, high, level)


def _lower_tail(low: Array, high: Array) -> tuple[Mask, Array, Array]:
    """Return which intervals were mirrored at 0, and the ends that lie nearer the lower tail."""
    mirrored = low > -high
    return mirrored, np.where(mirrored, -high, low), np.where(mirrored, -low, high)
