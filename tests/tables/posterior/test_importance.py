"""Adaptive importance sampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from flows.core.seeds import numpy_generator
from flows.tables.posterior.importance import Draws, effective


def test_importance_sampling_adapts_to_a_wrong_first_proposal():
    """The integral is 1, over ten coordinates; the first proposal has a wrong mean and scale."""
    mean, deviation = np.full(10, 1.0), 0.4
    generator = numpy_generator(0, "unknown")
    draws = Draws(generator, np.ones(1))
    first = stats.multivariate_normal(np.zeros(10), np.eye(10))
    target = stats.multivariate_normal(mean, deviation**2 * np.eye(10))
    for count in [512] * 8:
        adapted = draws.propose(count)
        z = first.rvs(count, random_state=generator) if adapted is None else adapted
        draws.add(z, np.full(count, -np.inf), first.logpdf(z), target.logpdf(z)[:, None], z)
    weights = np.exp(draws.log_weights[:, 0])
    assert effective(draws.log_weights[:, 0]) > 1000
    assert weights.mean() == pytest.approx(1, abs=0.05)
