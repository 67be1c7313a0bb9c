"""Error bars of means, and families of tests."""

import numpy as np

from flows.core.arrays import Array

LEVEL = 0.05  # of every test


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
    from scipy.stats import bootstrap  # a second of start-up, which most callers never need

    interval = bootstrap(
        (values,), np.mean, confidence_level=0.95, method="BCa", n_resamples=9999, rng=rng
    ).confidence_interval
    return float(interval.low), float(interval.high)


def holm(p_values: Array) -> Array:
    """Return the adjusted p-values ``(k,)`` of a family of tests (Holm 1979).

    They are ``max over j <= i of (k - j) p_(j)``, at most 1, for sorted p counted from 0.
    """
    order = np.argsort(p_values)
    remaining = len(p_values) - np.arange(len(p_values))
    adjusted = np.maximum.accumulate(remaining * p_values[order]).clip(max=1)
    return adjusted[np.argsort(order)]
