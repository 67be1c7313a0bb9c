"""Fits of a target given other columns, and questions about it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import clinic, pressures
from helpers import SHORT_RECIPE

import flows
from flows.core.errors import UserError
from flows.tables.columns.notices import TableError

QUICK = {"recipe": "quick"}


def test_a_fit_is_better_than_its_references(of_number):
    record = of_number.record
    assert of_number.targets == ["visits"]
    assert list(record.references) == ["a Gaussian without x", "a linear Gaussian"]
    assert record.held_out > max(record.references.values())
    fresh = clinic(400, seed=1)
    visits = fresh["visits"].to_numpy()
    mean = np.exp(fresh["age"] / 40 + 0.5 * (fresh["ward"] == "b"))
    from scipy.stats import poisson

    gap = poisson.logpmf(visits, mean).mean() - of_number.log_prob(fresh).mean()
    assert -0.02 < gap < 0.2


def test_probabilities_of_a_rounded_target_sum_to_1(of_number):
    rows = clinic(1).drop(columns="visits").fillna(0.0)
    repeated = rows.loc[rows.index.repeat(80)].assign(visits=np.arange(80))
    assert np.exp(of_number.log_prob(repeated)).sum() == pytest.approx(1, abs=2e-3)


def test_a_prediction_agrees_with_the_density(of_number):
    rows = clinic(3, seed=2).drop(columns="visits").fillna(0.0)
    predicted = of_number.predict(rows)
    for k in range(3):
        visits = np.arange(80)
        share = np.exp(of_number.log_prob(rows.iloc[[k] * 80].assign(visits=visits)))
        mean = share @ visits
        assert predicted["mean"].iloc[k] == pytest.approx(mean, rel=0.02)
        sd = np.sqrt(share @ (visits - mean) ** 2 + 1 / 12)  # values spread over their cells
        assert predicted["sd"].iloc[k] == pytest.approx(sd, rel=0.05)
        below = share[: int(predicted["q0.5"].iloc[k]) + 1].sum()
        assert below > 0.48


def test_label_probabilities_sum_to_1_and_are_those_of_log_prob(of_label):
    rows = clinic(20, seed=2)
    predicted = of_label.predict(rows)
    assert list(predicted) == ["ill", "well", "effective_draws"]
    np.testing.assert_allclose(predicted[["ill", "well"]].sum(axis=1), 1, atol=1e-6)
    complete = rows.dropna().index
    own = [predicted.loc[k, rows.loc[k, "state"]] for k in complete]
    np.testing.assert_allclose(np.exp(of_label.log_prob(rows.loc[complete])), own, atol=1e-6)
    right = predicted["ill"].gt(0.5) == rows["state"].eq("ill")
    assert right.mean() > 0.7


def test_the_probability_of_an_event_of_one_target_is_the_sum_of_its_values(of_number, of_label):
    row = clinic(1, seed=2).fillna(0.0)
    given = row.drop(columns="visits").iloc[0].to_dict()
    visits = row.loc[row.index.repeat(80)].assign(visits=np.arange(80))
    share = np.exp(of_number.log_prob(visits))
    found = of_number.probability({"visits": (3, 9)}, given=given)
    assert found.probability == pytest.approx(share[3:10].sum(), rel=1e-3)
    assert (found.draws, found.integration_error) == (0, 0)
    assert found.low < found.probability < found.high
    given = row.drop(columns="state").iloc[0].to_dict()
    share = np.exp(of_label.log_prob(row.assign(state="ill")))
    found = of_label.probability({"state": ["ill"]}, given=given)
    assert (found.probability, found.draws) == (pytest.approx(share[0]), 0)
    assert of_label.probability({"state": ["ill", "well"]}, given=given).probability == 1.0


def test_missing_values_of_the_context_are_averaged_with_a_standard_error(of_number):
    rows = clinic(60, seed=3)
    log_q, error = of_number.log_prob_and_error(rows)
    gap = rows["dose"].isna().to_numpy()
    assert np.isfinite(log_q).all()
    assert gap.any()
    assert (error[~gap] == 0).all()
    assert (error[gap] > 0).all()
    assert (error < 0.1).all()
    # The answer for a row does not depend on other rows
    np.testing.assert_array_equal(of_number.log_prob(rows[:30]), log_q[:30])


def test_an_unknown_label_of_the_context_is_treated_as_missing(of_number, capsys):
    row = clinic(1).fillna(0.0)
    log_q, error = of_number.log_prob_and_error(row.assign(ward="elsewhere"))
    assert np.isfinite(log_q).all()
    assert error > 0
    assert "treated as unknown" in capsys.readouterr().err
    missing = of_number.log_prob(row.assign(ward=None))
    np.testing.assert_array_equal(log_q, missing)


@pytest.mark.slow
def test_rows_without_a_target_are_left_out(capsys):
    frame = clinic(80)
    frame.loc[:4, "visits"] = np.nan
    density = flows.fit(frame, target="visits", members=2, settings=QUICK, missing="drop")
    assert density.record.rows == len(frame.dropna()) < 75
    learned = flows.fit(frame, target="visits", members=2, settings=SHORT_RECIPE)
    assert learned.record.rows == 75
    assert "5 rows without a target value are left out" in capsys.readouterr().err
    found = learned.log_prob(frame)
    assert np.isnan(found[:5]).all()
    assert np.isfinite(found[5:]).all()


def test_samples_keep_the_given_values(of_number):
    drawn = of_number.sample(200, given={"age": 40.0, "ward": "a"})
    assert (drawn["age"] == 40).all()
    assert (drawn["ward"] == "a").all()
    assert drawn["visits"].mean() == pytest.approx(np.e, abs=0.7)
    assert list(drawn) == list(clinic(1))
    rows = clinic(30, seed=4)
    per_row = of_number.sample(given=rows.drop(columns="visits"))
    pd.testing.assert_series_equal(per_row["age"], rows["age"])
    assert per_row["visits"].notna().all()


def test_missing_targets_can_be_imputed(of_number):
    rows = clinic(10, seed=5).fillna(0.0).astype({"visits": float})
    rows.loc[2, "visits"] = np.nan
    filled = of_number.impute(rows)
    assert filled["visits"].notna().all()
    pd.testing.assert_frame_equal(filled.drop(index=2), rows.drop(index=2))


def test_surprise_and_tail_probability_find_an_odd_target(of_number):
    rows = clinic(5, seed=6).fillna(0.0)
    rows["visits"] = [2, 3, 2, 90, 3]
    surprise = of_number.surprise(rows)
    assert surprise["visits"].idxmax() == 3
    assert surprise.drop(columns="visits").isna().all(axis=None)
    tail = of_number.tail_probability(rows)
    assert tail.argmin() == 3
    assert tail[3] < 0.03


def test_several_targets_have_a_joint_density():
    frame = clinic(80)
    how = {"members": 2, "settings": QUICK, "missing": "drop"}
    density = flows.fit(frame, target=["visits", "state"], **how)
    assert density.targets == ["visits", "state"]
    row = frame.dropna()[:1]
    repeated = row.loc[row.index.repeat(160)].assign(
        visits=np.arange(80).repeat(2), state=["ill", "well"] * 80
    )
    assert np.exp(density.log_prob(repeated)).sum() == pytest.approx(1, abs=0.01)
    predicted = density.predict(row)
    assert list(predicted)[:2] == ["visits_mean", "visits_sd"]
    assert predicted[["state_ill", "state_well"]].sum(axis=1).item() == pytest.approx(1)
    one = density.predict(row, "visits")
    assert one["mean"].item() == pytest.approx(predicted["visits_mean"].item())
    assert density.surprise(row)[["visits", "state"]].notna().all(axis=None)
    assert density.sample(5, given={"age": 50.0})["state"].isin(["ill", "well"]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "weight"}, TableError, "there is no column weight"),
        ({"target": ["age", "age"]}, TableError, "column age is named as a target more than once"),
        ({"target": list(clinic(1))}, TableError, "every column is a target"),
        ({"target": "age", "model": "glow"}, ValueError, "a target needs one of conditional, nsf"),
        ({"target": ["age", "dose"], "model": "nsf"}, ValueError, "several targets need"),
        ({"model": "conditional"}, ValueError, "needs a target"),
        ({"target": "age", "group": "age"}, TableError, "column age cannot be a target"),
    ],
)
def test_wrong_targets_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        flows.fit(clinic(40), **arguments)


def test_a_target_may_be_a_function_of_the_context():
    rows = np.random.default_rng(0).normal(size=(100, 2))
    frame = pd.DataFrame({"a": rows[:, 0], "b": rows[:, 1], "y": rows.sum(axis=1)})
    density = flows.fit(frame, target="y", members=2, settings={"recipe": "quick"})
    np.testing.assert_allclose(density.predict(frame)["mean"], frame["y"], atol=0.3)


@pytest.fixture(scope="module")
def of_pressure_target() -> flows.Density:
    settings = {"recipe": "quick"}
    kinds = {"age": "integer"}
    return flows.fit(pressures(), target="pressure", members=2, settings=settings, columns=kinds)


@pytest.mark.slow
def test_targets_have_ranges_as_conditions_and_events(of_pressure_target):
    given = {"age": (60, 70), "ward": ["west"]}
    drawn = of_pressure_target.sample(2_000, given=given)
    assert drawn["age"].between(60, 70).all()
    assert (drawn["ward"] == "west").all()
    found = of_pressure_target.probability({"pressure": (140, None)}, given=given)
    share = (drawn["pressure"] >= 140).mean()
    assert abs(found.probability - share) < 4 * np.hypot(found.integration_error, 0.012)
    predicted = of_pressure_target.predict(given=given)
    assert predicted["mean"].item() == pytest.approx(drawn["pressure"].mean(), abs=1)
    high = pressures()["pressure"].max() + 40
    rare = of_pressure_target.probability({"pressure": (high, None)}, given=given)
    assert 0 < rare.probability < 0.01
    assert (
        of_pressure_target.sample(20, given={**given, "pressure": (high, None)})["pressure"] > high
    ).all()
    with pytest.raises(UserError, match="age is not a target"):
        of_pressure_target.probability({"age": (60, None)})
