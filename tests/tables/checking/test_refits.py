"""p-values, and the deviations of columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flows.tables.checking.calibration import Ranks
from flows.tables.checking.refits import Statistics, largest_deviations, p_value


def test_a_p_value_counts_refits_that_are_at_least_as_far():
    assert p_value(2.0, np.array([1.0, 2.0, 3.0])) == 3 / 4
    assert p_value(9.0, np.arange(19.0) / 10) == 1 / 20
    assert np.isnan(p_value(np.nan, np.array([1.0])))
    assert np.isnan(p_value(1.0, np.array([])))


def test_the_largest_deviation_is_in_deviations_of_the_other_fits():
    others = np.array([[1.0, 10.0], [2.0, 12.0], [3.0, 14.0]])
    own, refits, column = largest_deviations(np.array([2.0, 18.0]), others)
    assert own == pytest.approx((18 - 12) / 2)
    assert column == 1
    # The first refit among the fit and two refits
    rest = np.array([[2.0, 18.0], [2.0, 12.0], [3.0, 14.0]])
    expected = (others[0] - rest.mean(axis=0)) / rest.std(axis=0, ddof=1)
    assert refits[0] == pytest.approx(expected.max())
    own, refits, column = largest_deviations(np.array([2.0, np.nan]), others)
    assert own == pytest.approx(0.0)
    assert column == 0
    own, refits, column = largest_deviations(np.ones(2), others[:1])
    assert np.isnan([own, *refits]).all()
    assert column == -1


def test_equal_statistics_of_all_refits_have_no_infinite_deviation():
    own, refits, column = largest_deviations(np.array([3.0, 5.0]), np.ones((4, 2)))
    assert (own, column) == (4.0, 1)
    assert (refits < 0).all()


def test_statistics_of_a_fit_are_finite_and_include_the_largest_difference():
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"difference": x}) for x in ([0.5, -2.5], [1.0])]
    found = Statistics.of(Ranks(rng.random(50), np.arange(50), rng.random((50, 2))), frames)
    assert found.samples == 2.5
    frames.append(pd.DataFrame({"difference": [np.inf]}))
    far = Statistics.of(Ranks(np.zeros(50), np.arange(50), rng.random((50, 2))), frames)
    assert found.rows < far.rows < 10
    assert 1e5 < far.samples < np.inf
    unknown = Statistics.of(Ranks(np.full(50, np.nan), np.arange(50), rng.random((50, 2))), frames)
    assert np.isnan(unknown.rows)


@pytest.mark.slow
def test_equal_fits_have_uniform_p_values():
    rng, p = np.random.default_rng(0), []
    for _ in range(2_000):
        distances = rng.exponential(size=(20, 5))
        p.append(p_value(*largest_deviations(distances[0], distances[1:])[:2]))
    assert 0.035 <= np.mean(np.array(p) <= 0.05) <= 0.065
    assert 0.17 <= np.mean(np.array(p) <= 0.2) <= 0.23
