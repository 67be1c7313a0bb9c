"""Fits of tables: arguments, units, missing values and settings."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from closed_forms import gappy
from frames import gappy_labels, prices
from helpers import SHORT, SHORT_RECIPE, further, short_recipe

import flows
from flows.recipe.record import RowState
from flows.tables.fitting.fit_request import RESERVED


def test_an_array_and_one_column_can_be_fitted():
    rows = np.random.default_rng(0).normal(size=(50, 1))
    density = flows.fit(rows, members=1, settings=SHORT)
    assert density.log_prob(rows).shape == (50,)
    assert list(density.sample(5).columns) == ["x0"]


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1000, 1 / 7])
def test_another_unit_shifts_log_densities_by_the_logarithm_of_the_factor(factor):
    """One of the columns is rounded, and the step has the new unit, too."""
    frame = prices()[["bmi", "age"]].astype(float)
    before, after = (
        flows.fit(each, members=2, columns={"age": "real"}, settings=SHORT).log_prob(each)
        for each in (frame, factor * frame)
    )
    np.testing.assert_allclose(before - after, 2 * np.log(factor), rtol=0, atol=1e-6)


def test_an_unknown_policy_for_missing_values_is_an_error():
    frame = prices()
    frame.loc[3, "bmi"] = np.nan
    with pytest.raises(ValueError, match="missing = 'keep': input should be 'learn', 'drop' or"):
        flows.fit(frame, settings=SHORT, missing="keep")


@pytest.mark.parametrize("key", sorted(RESERVED - {"seed"}))
def test_settings_that_a_fit_does_not_use_are_rejected(key):
    value = flows.TrainingSettings.model_fields[key].default
    with pytest.raises(ValueError, match=f"^{key} is not a known key; allowed in nsf: couplings, "):
        flows.fit(prices(), settings={key: value})


def test_the_number_of_members_is_one_that_the_recipe_keeps():
    with pytest.raises(ValueError, match="members = 7: the automatic recipe keeps at most 5"):
        flows.fit(prices(), members=7, settings=SHORT)
    with pytest.raises(ValueError, match=r"members = 2\.5: must be a whole number"):
        flows.fit(prices(), members=2.5)


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


@pytest.mark.parametrize(
    ("has_labels", "options"),
    [
        further(False, {}),
        further(True, {}),
        further(False, {"target": "b"}),
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


@pytest.mark.slow
def test_a_notice_says_that_a_target_of_many_labels_is_learned_on_a_line():
    towns = [f"t{k:02}" for k in np.arange(210) % 21]
    frame = pd.DataFrame({"town": towns, "x": np.random.default_rng(0).normal(size=210)})
    with pytest.warns(flows.TableNotice, match="column town is a target of 21 labels, which are"):
        flows.fit(frame, target="town", members=1, settings=SHORT_RECIPE)
    ordered = frame.assign(town=pd.Categorical(towns, ordered=True))
    for own, target in ((ordered, "town"), (frame[frame["town"] < "t20"], "town"), (frame, "x")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            flows.fit(own, target=target, members=1, settings=SHORT_RECIPE)
        assert not any("on a line" in str(each.message) for each in caught)
