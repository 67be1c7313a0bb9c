"""Intervals of numbers: probabilities far in the tails, quantiles, and intersections."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_ndtr

from flows.core.intervals import in_intervals, intersection, log_interval, truncated_normal

INF = np.inf


def test_probabilities_of_far_intervals_keep_their_digits() -> None:
    low, high = np.array([40.0, -41.0, -1.0, 3.0, INF]), np.array([41.0, -40.0, 1.0, 3.0, INF])
    found = log_interval(log_ndtr, low, high)
    assert found[0] == found[1] == pytest.approx(log_ndtr(-40.0))
    assert np.exp(found[2]) == pytest.approx(0.6826894921370859)
    assert np.isneginf(found[3:]).all()  # without a number


@pytest.mark.parametrize(("low", "high"), [(-INF, INF), (-1.0, 0.5), (30.0, INF), (-INF, -30.0)])
def test_quantiles_of_a_truncated_normal_have_their_levels(low: float, high: float) -> None:
    level, ends = np.array([0.01, 0.3, 0.9]), (np.full(3, low), np.full(3, high))
    z = truncated_normal(*ends, level)
    part = (z, ends[1]) if low > -high else (ends[0], z)  # counted from the farther end
    share = log_interval(log_ndtr, *part) - log_interval(log_ndtr, *ends)
    np.testing.assert_allclose(share, np.log(level), atol=1e-9)


def test_intersections_hold_the_numbers_in_both_intervals() -> None:
    left = np.array([[[-INF, 0.0], [2.0, 5.0]], [[1.0, 2.0], [INF, INF]]])
    right = np.array([[[-1.0, 3.0], [4.0, INF]]])
    both, x = intersection(left, right), np.linspace(-3, 7, 101)
    for own, row in zip(both, left, strict=True):
        wanted = in_intervals(x, row) & in_intervals(x, right[0])
        # Empty intervals have infinite ends
        np.testing.assert_array_equal(in_intervals(x, own), wanted)
    assert in_intervals(np.array([0.0, 1.5]), left).tolist() == [True, True]
