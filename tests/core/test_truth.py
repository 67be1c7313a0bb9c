"""The entropy of a true distribution."""

from __future__ import annotations

import numpy as np
import pytest

from flows import Mixture
from flows.core.truth import entropy


def test_entropy_of_one_gaussian_matches_the_closed_form():
    covariance = np.array([[2.0, 0.6], [0.6, 0.5]])
    truth = Mixture(np.ones(1), np.array([[3.0, -1.0]]), covariance[None])
    estimate, error = entropy(truth, 20_000, np.random.default_rng(0))
    exact = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))
    assert abs(estimate - exact) < 4 * error
    # In D dimensions -log p varies by D/2
    assert error == pytest.approx(1 / np.sqrt(20_000), rel=0.05)
