"""The true distribution of data: its interface, and its entropy."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from flows.core.arrays import Array


class Truth(Protocol):
    """The true distribution of data, with a known density."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n independent points, ``(n, *event)``."""

    def log_prob(self, x: Array) -> Array:
        """Return the log-densities in nats, ``(n,)``, of points ``(n, *event)``."""


def entropy(truth: Truth, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """Estimate the entropy ``-E log p`` of ``truth`` in nats from ``n`` draws.

    Return the estimate and its standard error.
    """
    surprise = -truth.log_prob(truth.sample(n, rng))
    return float(surprise.mean()), float(surprise.std(ddof=1) / np.sqrt(n))
