"""Error bars."""

from __future__ import annotations

import numpy as np
from scipy.stats import bootstrap

from flows.targets import Array


def mean_ci95(values: Array, rng: np.random.Generator) -> float:
    """Half the width of the 95% interval of the mean of ``values`` ``(n,)``: bias-corrected and accelerated bootstrap (Efron 1987).

    ``NaN`` where a value is not finite.
    """
    if not np.isfinite(values).all():
        return float("nan")
    interval = bootstrap((values,), np.mean, confidence_level=0.95, method="BCa", n_resamples=9999, rng=rng).confidence_interval
    return float(interval.high - interval.low) / 2
