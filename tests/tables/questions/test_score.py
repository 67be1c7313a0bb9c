"""The log-density of known values, compared with closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from closed_forms import DIM, NAMES, drawn, exact, hidden, labelled, with_unknown, within
from helpers import further, short_recipe
from scipy import stats

import flows
from flows.tables.density.frame_density import Density
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.score import Score


def test_disallowed_numbers_have_log_density_minus_infinity_and_a_notice(of_wards, gaps, capsys):
    rows = gaps[:1].assign(age=50.5)
    assert np.isneginf(of_wards.log_prob(rows)).all()
    assert capsys.readouterr().err == (
        "column age, row 0 holds 50.5, which its kind, integer, does not allow; the value is given "
        "a log-density of minus infinity\n"
    )


def test_one_unknown_column_is_integrated_out(truth, of_truth, rows):
    gaps = hidden(rows, 1)
    log_q, error = of_truth.log_prob_and_error(gaps)
    wanted = [exact(truth, row).log_evidence[0] for row in gaps]
    assert np.abs(log_q - wanted).max() < 0.02
    assert (error == 0).all()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_standard_errors_for_several_unknown_columns_are_honest(truth, of_truth, rows, count):
    gaps = hidden(rows[:100], count)
    log_q, error = of_truth.log_prob_and_error(gaps)
    wanted = np.array([exact(truth, row).log_evidence[0] for row in gaps])
    inside = (np.abs(log_q - wanted) < 1.645 * error).sum()
    low, high = stats.binom.interval(0.999, len(gaps), 0.9)
    assert low <= inside <= high
    assert error.mean() < 0.06


@pytest.mark.slow
def test_the_chain_rule_holds_in_two_orders(of_truth, rows):
    few, array = rows[:30], ArrayDensity(of_truth.population)

    def joint(first: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        known = np.where(first, few, np.nan)
        gaps = np.where(np.arange(DIM) < 4, few, np.nan)
        numbers = start + np.arange(len(few))  # other draws for each part
        given = [name for name, own in zip(NAMES, first, strict=True) if own]
        parts = [
            Score().answer(array, Region(known, numbers)),
            Score(given).answer(array, Region(gaps, numbers + 1000)),
        ]
        log_q = sum(part["members"][:, 0] for part in parts)
        return log_q, np.hypot(parts[0]["error"], parts[1]["error"])

    one, error = joint(np.arange(DIM) < 2, 0)
    other, more = joint(np.isin(np.arange(DIM), [2, 3]), 5000)
    assert (np.abs(one - other) < 4 * np.hypot(error, more)).all()
    assert (one != other).any()


def test_conditional_log_densities_are_not_optimistic(truth, of_truth, rows):
    given, rows = NAMES[:2], rows[:100]
    found = of_truth.log_prob(rows, given=given)
    gaps = np.where(np.arange(DIM) < 2, rows, np.nan)
    wanted = truth.log_prob(rows) - [exact(truth, row).log_evidence[0] for row in gaps]
    assert abs((found - wanted).mean()) < 0.02
    assert np.exp(found - wanted).mean() < 1.02


def test_a_row_of_missing_values_has_probability_1_and_no_surprise(of_truth):
    row = pd.DataFrame(np.full((1, DIM), np.nan), columns=NAMES)
    assert of_truth.log_prob_and_error(row) == (0.0, 0.0)
    assert of_truth.surprise(row).isna().all().all()


@pytest.mark.parametrize("share", [further(0.2), 0.6])
def test_the_score_of_a_row_with_gaps_is_that_of_its_known_values(
    with_labels: Density, share: float
) -> None:
    frame, numbers, codes = with_unknown(*drawn(60), share)
    log_q, error = with_labels.log_prob_and_error(frame)
    within(log_q, labelled().log_prob(numbers, codes), error, 0.02)


def test_the_score_given_columns_is_a_difference_of_closed_forms(with_labels: Density) -> None:
    frame, numbers, codes = drawn(40)
    given = ["label1", "x2"]
    log_q, error = with_labels.log_prob_and_error(frame, given=given)
    known = np.where([False, False, True], numbers, np.nan)
    of_labels = np.where([False, True, False], codes, -1)
    expected = labelled().log_prob(numbers, codes) - labelled().log_prob(known, of_labels)
    within(log_q, expected, error, 0.02)


@pytest.mark.slow
def test_the_deviation_of_a_mistyped_row_is_empty():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"year": 1960.0 + rng.integers(0, 60, 80), "x": rng.normal(size=80)})
    odd = pd.DataFrame({"year": [1990, 19900, 19900], "x": [0.0, 0, np.nan]})
    settings = {"recipe": short_recipe(), "hidden": 8}
    for target, is_empty in ((None, [False, True, False]), ("year", [False, True, True])):
        density = flows.fit(frame, members=5, settings=settings, target=target)
        assert np.isfinite(density.log_prob(odd)).all()
        found = density.ask(Score(), odd)["log_density_sd"]
        assert found.isna().tolist() == is_empty
        assert density.ask(Score(), frame)["log_density_sd"].notna().all()
        if target is None:
            assert density.ask(Score(given=["x"]), odd)["log_density_sd"].notna().all()


def test_the_score_given_an_unknown_value_is_that_of_the_other_values():
    covariance = np.array([[[1.0, 0.8], [0.8, 1.0]]])
    density = flows.Density(flows.GaussianMixture([1.0], np.zeros((1, 2)), covariance))
    region = Region(np.array([[np.nan, 1.0], [np.nan, -2.0]]), np.arange(2))
    plain, given = (s.answer(density._array, region) for s in (Score(), Score(given=["x0"])))
    np.testing.assert_array_equal(given["log_density"], plain["log_density"])
    np.testing.assert_allclose(given["log_density"], stats.norm.logpdf([1.0, -2.0]), rtol=2e-4)
    assert (given["error"] == 0).all()


@pytest.mark.slow
def test_a_row_that_lacks_a_target_has_no_score_and_a_notice(capsys):
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc"))
    settings = {"recipe": short_recipe(), "hidden": 8}
    density = flows.fit(rows, members=5, settings=settings, target=["b", "c"])
    rows.loc[1, "c"] = np.nan
    rows.loc[2, "a"] = np.nan
    capsys.readouterr()
    found = density.ask(Score(tails=True), rows[:3])
    for column in ("log_density", "tail_probability"):
        assert found[column].isna().tolist() == [False, True, False]
    expected = "rows without a value of one of b, c have no log-densities: 1 of 3\n"
    assert capsys.readouterr().err == expected
