"""What the libraries train on and are scored by, all standardised: NumPy alone."""

from __future__ import annotations

import numpy as np

from flows import targets
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.data.splits import draw

TRUTH = targets.make("ring")
ROWS, TEST_ROWS = 1_000, 200  # of the main pipeline


def ring(data_seed: int, fresh: int = 1) -> dict[str, Array]:
    """``points``, the main pipeline's 800 training rows of this seed; and so many fresh ``draws`` of the truth, with ``log_p`` there in nats."""
    rows = draw(TRUTH, ROWS, TEST_ROWS, seed=data_seed, split_seed=0)[0]
    draws = TRUTH.sample(fresh, numpy_generator(data_seed, "fresh"))
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    log_p = TRUTH.log_prob(draws) + np.log(deviation).sum()
    return {"points": (rows - mean) / deviation, "draws": (draws - mean) / deviation, "log_p": log_p}


def many_features(rows: int, dim: int) -> Array:
    """Rows ``(rows, dim)`` of a normal distribution with random correlations."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((dim, dim)) / np.sqrt(dim) + np.eye(dim)
    return standardized(rng.standard_normal((rows, dim)) @ mixing)


def standardized(rows: Array) -> Array:
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)
