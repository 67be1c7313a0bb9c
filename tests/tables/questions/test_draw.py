"""Draws of unknown values, and samples of rows and under conditions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from closed_forms import DIM, exact, hidden, mass_of
from frames import HEIGHTS, cities, people, pressures
from helpers import weigh
from scipy import stats

import flows
from flows.tables.density.frame_density import Density


def test_samples_have_labels_of_the_original_type_and_whole_counts(of_people):
    frame, drawn = people(), of_people.sample(3000)
    for name in ("ward", "grade", "well"):
        assert set(drawn[name].unique()) == set(frame[name])
        assert drawn[name].dtype == frame[name].dtype
    assert drawn["size"].dtype == HEIGHTS
    assert drawn["size"].nunique() == 3
    assert drawn["visits"].dtype == np.int64
    assert drawn["visits"].min() == 0
    assert np.isfinite(of_people.log_prob(drawn[:300])).all()
    assert "column ward: category of 2 labels: east, west\n" in str(of_people)


def test_samples_are_within_their_bounds_and_whole(of_prices):
    frame = of_prices.sample(100_000)
    assert list(frame.columns) == ["age", "bmi", "share", "price"]
    assert frame["age"].dtype == np.int64
    assert frame["share"].between(0, 1, inclusive="neither").all()
    assert (frame["price"] > 0).all()
    assert np.isfinite(frame.to_numpy()).all()


def test_zero_samples_keep_the_columns(of_prices, with_labels):
    for fitted in (of_prices, with_labels, flows.Density(flows.build(flows.VAE(), (2,)))):
        none = fitted.sample(0)
        assert len(none) == 0
        assert (none.dtypes == fitted.sample(1).dtypes).all()


def test_samples_come_from_members_in_proportion_to_their_weights(of_prices):
    apart = of_prices.sample(2000)
    weigh(of_prices, 0.0, 1.0, 0.0)
    alone = of_prices.sample(2000)
    assert not alone.equals(apart)
    assert alone["bmi"].between(-1e3, 1e3).all()
    np.testing.assert_allclose(of_prices.log_prob(alone), of_prices.log_prob_members(alone)[:, 1])


def test_conditions_hold_exactly_in_samples(of_pressures):
    given = {"age": (60, 70), "ward": ["north", "west"], "pressure": (130.0, None)}
    drawn = of_pressures.sample(500, given=given)
    assert len(drawn) == 500
    assert drawn["age"].between(60, 70).all()
    assert set(drawn["ward"]) == {"north", "west"}
    assert (drawn["pressure"] >= 130).all()
    exact = of_pressures.sample(50, given={"age": 65, "ward": ["south"]})
    assert (exact["age"] == 65).all()
    assert (exact["ward"] == "south").all()


def test_a_rare_condition_is_sampled_without_rejection(of_pressures):
    high = pressures()["pressure"].max() + 15
    drawn = of_pressures.sample(200, given={"pressure": (high, None)})
    assert (drawn["pressure"] >= high).all()


@pytest.mark.slow
def test_samples_hold_the_rare_labels_that_are_given(of_cities):
    given = {"city": ["big 3", "small 5", "small 4"]}
    found = of_cities.sample(4_000, given=given).city.value_counts()
    assert set(found.index) == set(given["city"])
    counts = cities().city.value_counts()
    ratio = counts["small 5"] / counts["small 4"]
    assert found["small 5"] / found["small 4"] == pytest.approx(ratio, rel=0.2)
    assert (of_cities.sample(5, given={"city": ["small 1"]}).city == "small 1").all()


def test_draws_follow_the_conditional(truth, of_truth):
    drawn = of_truth.sample(2000, given={"x0": 1.0, "x2": -0.5}, seed=3)
    assert (drawn["x0"] == 1.0).all()
    row = np.array([1.0, np.nan, -0.5, np.nan, np.nan, np.nan])
    mean, deviation = exact(truth, row).moments()
    unknown = drawn.drop(columns=["x0", "x2"])
    error = deviation[0] / np.sqrt(len(drawn) / 4)  # draws are resampled
    assert (np.abs(unknown.mean() - mean[0]) < 4 * error).all()
    assert np.allclose(unknown.std(), deviation[0], rtol=0.1)


def test_redrawing_columns_preserves_the_joint_density(of_truth, rows):
    whole = of_truth.sample(300, seed=1)
    again = of_truth.sample(given=pd.DataFrame(hidden(whole.to_numpy(), 3), columns=whole.columns))
    fresh = of_truth.sample(1000, seed=2)
    direction = np.random.default_rng(0).standard_normal((20, DIM))
    p = [
        stats.ks_2samp(fresh.to_numpy() @ each, again.to_numpy() @ each).pvalue
        for each in direction
    ]
    assert min(p) > 1e-4


def test_samples_under_conditions_meet_them_and_have_their_frequencies(
    with_labels: Density,
) -> None:
    given = {"label1": ["a", "b"], "x0": (0, None)}
    found = with_labels.sample(4_000, given=given)
    assert set(found["label1"]) == {"a", "b"}
    assert (found["x0"] >= 0).all()
    expected = mass_of({**given, "label2": "d"}) / mass_of(given)
    assert (found["label2"] == "d").mean() == pytest.approx(expected, abs=0.04)
