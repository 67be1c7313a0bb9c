"""Confidence intervals of means, and adjusted p-values of families of tests."""

import numpy as np
import scipy

from flows.core.arrays import Array

LEVEL = 0.05  # significance level of every test


def mean_ci95(values: Array, rng: np.random.Generator) -> float:
    """Return half the width of the interval of ``mean_interval``, with the same arguments."""
    low, high = mean_interval(values, rng)
    return (high - low) / 2


def mean_interval(values: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95% confidence interval of the mean of ``values`` ``(n,)``.

    The method is the bias-corrected and accelerated bootstrap (Efron 1987). If all values are
    equal, both ends are this value; if a value is not finite, both are ``NaN``.

    Examples:
        >>> import numpy as np
        >>> from flows.evaluation.statistics import mean_interval
        >>> rng = np.random.default_rng(0)
        >>> low, high = mean_interval(rng.normal(size=100), rng)
        >>> low < 0 < high
        True
    """
    if not np.isfinite(values).all():
        return float("nan"), float("nan")
    if np.ptp(values) == 0:  # the acceleration would be 0/0
        return float(values[0]), float(values[0])

    interval = scipy.stats.bootstrap(
        (values,), np.mean, confidence_level=0.95, method="BCa", n_resamples=9999, rng=rng
    ).confidence_interval
    return float(interval.low), float(interval.high)


def holm(p_values: Array) -> Array:
    """Return the adjusted p-values ``(k,)`` of a family of tests (Holm 1979).

    With the p-values sorted, ``p_(0) <= ... <= p_(k - 1)``, the adjusted value of ``p_(i)`` is the
    maximum of ``(k - j) p_(j)`` over j from 0 to i, and at most 1.

    Examples:
        >>> import numpy as np
        >>> from flows.evaluation.statistics import holm
        >>> holm(np.array([0.01, 0.04, 0.03]))
        array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p_values)
    remaining = len(p_values) - np.arange(len(p_values))
    adjusted = np.maximum.accumulate(remaining * p_values[order]).clip(max=1)
    return adjusted[np.argsort(order)]
