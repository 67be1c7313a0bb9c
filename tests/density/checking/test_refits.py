"""p-values, and the deviations of columns."""

from __future__ import annotations

import numpy as np
import pytest

from flows.density.checking.refits import largest_deviations, p_value


def test_a_p_value_counts_refits_that_are_at_least_as_far():
    assert p_value(2.0, np.array([1.0, 2.0, 3.0])) == 3 / 4
    assert p_value(9.0, np.arange(19.0) / 10) == 1 / 20
    assert np.isnan(p_value(np.nan, np.array([1.0])))
    assert np.isnan(p_value(1.0, np.array([])))


def test_the_largest_deviation_is_in_deviations_of_the_refits():
    others = np.array([[1.0, 10.0], [2.0, 12.0], [3.0, 14.0]])
    own, refits = largest_deviations(np.array([2.0, 18.0]), others)
    assert own == pytest.approx((18 - 12) / 2)
    # The first refit among the two others, whose deviations are 1 / sqrt(2) and sqrt(2)
    assert refits[0] == pytest.approx(max((1 - 2.5) / np.sqrt(0.5), (10 - 13) / np.sqrt(2)))
    own, refits = largest_deviations(np.array([2.0, np.nan]), others)
    assert own == pytest.approx(0.0)
    assert np.isnan(largest_deviations(np.ones(2), others[:2])[0])


def test_equal_fits_have_uniform_p_values():
    rng, p = np.random.default_rng(0), []
    for _ in range(400):
        distances = rng.exponential(size=(20, 5))
        p.append(p_value(*largest_deviations(distances[0], distances[1:])))
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09
    assert 0.15 <= np.mean(np.array(p) <= 0.2) <= 0.27
