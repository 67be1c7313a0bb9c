"""Fits of tables: arguments, units, missing values and settings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from closed_forms import MIXTURE, gappy
from frames import gappy_labels, prices
from helpers import SHORT, SHORT_RECIPE, short_recipe

import flows
from flows.core.errors import UserError
from flows.density.fitting import AUTO_SETTINGS
from flows.recipe.record import RowState


def test_an_array_and_one_column_can_be_fitted():
    rows = np.random.default_rng(0).normal(size=(50, 1))
    density = flows.fit(rows, members=1, settings=SHORT)
    assert density.log_prob(rows).shape == (50,)
    assert list(density.sample(5).columns) == ["x0"]


@pytest.mark.parametrize("factor", [1000, 1 / 7])
def test_another_unit_shifts_log_densities_by_the_logarithm_of_the_factor(factor):
    """One of the columns is rounded, and the step has the new unit, too."""
    frame = prices()[["bmi", "age"]].astype(float)
    before, after = (
        flows.fit(each, members=2, columns={"age": "real"}, settings=SHORT).log_prob(each)
        for each in (frame, factor * frame)
    )
    np.testing.assert_allclose(before - after, 2 * np.log(factor), rtol=0, atol=1e-6)


@pytest.mark.parametrize("word", ["ignore", "keep"])
def test_an_unknown_policy_for_missing_values_is_an_error(word):
    frame = prices()
    frame.loc[3, "bmi"] = np.nan
    with pytest.raises(ValueError, match=f"missing = '{word}': must be 'learn', 'drop' or"):
        flows.fit(frame, settings=SHORT, missing=word)


@pytest.mark.parametrize(
    "key", sorted({*flows.TrainingSettings.model_fields} - AUTO_SETTINGS - {"seed"})
)
def test_settings_that_the_automatic_recipe_does_not_use_are_rejected(key):
    value = flows.TrainingSettings.model_fields[key].default
    with pytest.raises(ValueError, match=f"^{key}: the automatic recipe does not use it"):
        flows.fit(prices(), settings={key: value})


def test_the_fixed_recipe_takes_any_number_of_members():
    density = flows.fit(prices(), members=7, settings=SHORT)
    assert density.population.members == 7
    with pytest.raises(ValueError, match=r"members = 2\.5: must be a whole number"):
        flows.fit(prices(), members=2.5)


def rng(seed=0):
    return np.random.default_rng(seed)


def hospital(n=600, seed=3):
    """Patients of at most 101 years with at most 11 visits, a skewed cost and a share."""
    r = rng(seed)
    age = np.clip(np.round(r.normal(56, 18, n)), 18, 101).astype(int)
    severity = r.gamma(2.0, 0.5, n) * (0.5 + age / 112)
    visits = np.minimum(r.poisson(1.2 * severity + 0.5), 11)
    cost = np.round(4000 * (1 + visits) * np.exp(0.7 * r.normal(size=n)), 2)
    share = 1 / (1 + np.exp(1 - 0.3 * visits - r.normal(size=n)))
    columns = {"patient": np.arange(100_001, 100_001 + n), "age": age, "visits": visits}
    return pd.DataFrame({**columns, "cost": cost, "share": share, "smoker": r.integers(0, 2, n)})


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds",
    [{}, {"age": "count", "visits": "count", "cost": "positive", "share": "interval:0:1"}],
    ids=["default", "advised"],
)
def test_samples_of_hospital_rows_are_believable(kinds):
    table = hospital()
    drawn = flows.fit(table, columns=kinds).sample(200_000, seed=1)
    names = ["age", "visits", "cost", "share", "smoker"]
    ratio = drawn[names].std() / table[names].std()
    assert ratio.between(1 / 1.15, 1.15).all(), ratio
    for name in ("age", "visits"):
        assert drawn[name].min() >= 0
        assert drawn[name].max() <= 3 * table[name].max()
    assert (drawn["cost"] > 0).all()


def test_a_fit_keeps_all_rows_and_reports_missing_values(capsys):
    options = {"columns": {"count": "count"}, "settings": SHORT_RECIPE}
    density = flows.fit(gappy_labels(), members=1, **options)
    assert "on 59 rows" in str(density)
    assert "column label: category of 2 labels: down, up, missing in 3 rows" in str(density)
    assert "values are missing" in capsys.readouterr().err
    scores = density.record.row_scores
    kept = scores.state == RowState.SCORED
    assert (np.isfinite(scores.log_density) == kept).all()
    assert np.isfinite(list(density.record.references.values())).all()
    rows = gappy_labels().dropna()
    # Tail probabilities use scores of complete rows only
    assert 0 < kept.sum() <= len(rows)
    tail = density.tail_probability(rows)
    assert 0.3 < tail.mean() < 0.9
    assert not density.sample(20).isna().any(axis=None)


@pytest.mark.parametrize(("model", "settings"), [("nsf", {"recipe": "fixed"}), ("vae", {})])
def test_the_fixed_recipe_rejects_gaps(model, settings):
    with pytest.raises(
        UserError,
        match="holds no value; to leave out rows with a missing value, pass missing='drop'",
    ):
        flows.fit(gappy_labels(), model, settings=settings)


@pytest.mark.slow
def test_learning_from_gaps_beats_dropping_rows():
    test = MIXTURE.sample(2_000, np.random.default_rng(5))
    score = {
        missing: flows.fit(gappy(80, 0.3)[1], members=5, missing=missing).log_prob(test).mean()
        for missing in ("learn", "drop")
    }
    assert score["learn"] > score["drop"] + 0.1


@pytest.mark.parametrize(
    ("has_labels", "options"),
    [
        (False, {}),
        (True, {}),
        pytest.param(False, {"target": "b"}, marks=pytest.mark.slow),
        (True, {"target": "b"}),
    ],
    ids=str,
)
def test_a_column_without_a_value_in_a_subsample_is_learned(options, has_labels):
    few = short_recipe(searched_rows=5, fitted_rows=5, filler_rows=5)
    table = pd.DataFrame(gappy(120)[0], columns=list("abc"))
    table.loc[~table.index.isin(range(35, 55)), "c"] = np.nan
    if has_labels:
        table["label"] = np.where(table["a"] > 0, "up", "down")
    density = flows.fit(table, members=1, settings={"recipe": few}, **options)
    assert "c" in [column.name for column in density.columns]
    assert np.isfinite(density.log_prob(table.iloc[:5])).all()
