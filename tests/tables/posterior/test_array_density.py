"""The tail probability of a row, the deviation over members, and far rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from frames import clinic, prices
from helpers import SHORT_RECIPE, error_message, short_recipe, with_folds

import flows
from flows.recipe.record import EVERY
from flows.tables.posterior.array_density import ArrayDensity


def test_the_tail_probability_follows_its_formula(of_prices):
    of_prices = with_folds(of_prices)
    log_q = of_prices.log_prob_members(prices())
    held_out = of_prices.record.row_scores.log_density
    first, second = np.log(0.4 * np.exp(log_q[:, 0]) + 0.6 * np.exp(log_q[:, 2])), log_q[:, 1]
    for found, a, b in zip(of_prices.tail_probability(prices()), first, second, strict=True):
        assert found == (1 + sum(held_out[:15] <= a) + sum(held_out[15:30] <= b)) / 31


FAR = [1e20, 1e39, 1e80, 1e200, 1.7e308]  # single precision ends at 3.4e38


@pytest.mark.slow
@pytest.mark.parametrize("column", ["age", "bmi", "price"])
def test_rows_beyond_single_precision_are_far(of_prices, column):
    of_prices, first = with_folds(of_prices), prices().iloc[[0] * len(FAR)]
    rows = first.assign(**{column: FAR})
    log_q = of_prices.log_prob(rows)
    assert np.isfinite(log_q).all()
    assert (np.diff(log_q) < 0).all()
    assert (of_prices.tail_probability(rows) == 1 / 31).all()
    assert of_prices.discoveries(rows, fdr=0.2).all()
    lacking = rows.assign(share=np.nan)
    assert (of_prices.log_prob(lacking) < -100).all()
    assert 0 <= of_prices.probability({column: (1e100, None)}).probability < 1e-6


@pytest.mark.slow
def test_an_independent_number_does_not_depend_on_a_far_value():
    """Its distribution is the one at the middle, and the factors multiply to the joint density."""
    rows = np.random.default_rng(0).normal(size=(300, 2))
    density = flows.fit(rows, members=2, settings={"recipe": short_recipe(steps=200)})
    levels = ["q0.05", "q0.5", "q0.95"]
    near = density.predict([[0.0, np.nan]], "x1")[levels].to_numpy()
    for far in (1e6, 1e10, 1e30):
        found = density.predict([[far, np.nan]], "x1")[levels].to_numpy()
        np.testing.assert_allclose(found, near, atol=0.5)
        first = density.log_prob([[far, np.nan]])
        both, second = density.log_prob([[far, 0.0]]), density.log_prob([[far, 0.0]], given=["x0"])
        np.testing.assert_allclose(both, first + second, atol=0.02)
        assert -2 < second.item() < 0
    said = error_message(density.predict, [[1e300, np.nan]], "x1")
    assert "row 1 is too far outside of the table for draws of its unknown values" in said


@pytest.mark.slow
@pytest.mark.parametrize("column", ["visits", "dose", "age"])
def test_targets_and_contexts_beyond_single_precision_have_log_densities(of_number, column):
    rows = clinic().iloc[[0] * len(FAR)].assign(**{column: FAR})
    assert np.isfinite(of_number.log_prob(rows)).all()
    if column == "visits":
        assert (of_number.tail_probability(rows) == 1 / 65).all()
        assert of_number.discoveries(rows).all()


@pytest.mark.slow
def test_tail_probabilities_are_calibrated_and_info_names_the_recipe():
    """The share of fresh rows with a tail probability of at most p is p.

    The tolerance is three standard deviations of a share of 100 held-out rows.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5_100))
    frame = pd.DataFrame({"a": x, "b": x**2 + y})
    settings = {**SHORT_RECIPE, "couplings": 2, "hidden": 8, "bins": 4}
    density = flows.fit(frame[:100], members=5, settings=settings)
    found = density.tail_probability(frame[100:])
    for share in (0.05, 0.2, 0.5):
        assert abs((found <= share).mean() - share) < 3 * np.sqrt(share * (1 - share) / 100)
    assert "recipe on 100 rows" in repr(density)
    assert "out-of-fold log-density per row" in repr(density)


def test_the_deviation_is_empty_far_below_all_out_of_fold_scores(of_prices):
    """Also if the file holds counts of the scores alone; without scores, it is a number."""
    density = with_folds(of_prices)
    least = density.record.row_scores.log_density[:30].min()
    log_q = np.tile([-500.0, -300.0, -100.0], (5, 1))
    log_density = least - [0.0, 9.0, 11.0, np.nan, np.inf]
    stripped = replace(density.record.without_rows(), binned_scores=())
    for record in (density.record, density.record.without_rows(), stripped, None):
        own = ArrayDensity(density.population, density.schema, record)
        found = own.deviation(log_q, log_density)
        is_far = [False, False, record not in (stripped, None), False, False]
        np.testing.assert_array_equal(found, np.where(is_far, np.nan, 200))
        np.testing.assert_array_equal(own.deviation(log_q), 200)


def test_the_density_of_a_fold_has_the_members_that_did_not_learn_from_it():
    rows = np.random.default_rng(0).normal(size=(90, 2)).cumsum(axis=1)
    density = flows.fit(rows, members=2, settings=SHORT_RECIPE, require=["x0 < 9"])._array
    fold = density.of_fold(1)
    members = density.record.out_of_fold_members(1)
    assert 0 < members.sum() < len(members)
    log_q = density.log_density(rows)[:, members]
    np.testing.assert_allclose(fold.log_density(rows), log_q, rtol=1e-6)
    expected = density.ensemble(log_q := density.log_density(rows), members)
    np.testing.assert_allclose(fold.ensemble(log_q[:, members]), expected, rtol=1e-6)
    assert fold.distilled is density.distilled
    assert density.of_fold(EVERY) is density
