"""The density of a table: labels, extreme values, and wrong arguments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import patients

import flows
from flows.core.errors import UserError
from flows.tables.density.frame_density import Density


def test_an_array_with_another_number_of_columns_is_rejected(of_prices):
    with pytest.raises(UserError, match="rows of 4 numbers"):
        of_prices.log_prob(np.zeros((3, 5)))


def test_predict_needs_a_frame_or_conditions(of_pressures):
    with pytest.raises(TypeError, match="either a frame or given conditions"):
        of_pressures.predict(column="age")


@pytest.fixture(scope="module")
def positive() -> Density:
    settings = {"recipe": "quick"}
    kinds = dict.fromkeys(["age", "price", "size"], "positive")
    return flows.fit(patients(), columns=kinds, members=2, settings=settings)


@pytest.mark.slow
def test_an_extreme_value_gives_finite_results(positive):
    """Normal scores of a positive column can be so large that the value overflows."""
    row = pd.DataFrame({"age": [np.nan, 50.0], "price": [1e3, 1e3], "size": [np.nan, np.nan]})
    log_q, error = positive.log_prob_and_error(row)
    assert (log_q < 0).all()
    assert np.isfinite(error).all()
    filled = positive.impute(row)
    assert (filled > 0).all().all()
    assert filled.max().max() < 1e9
    assert np.isfinite(positive.predict(row, "age").drop(columns="effective_draws")).all().all()
    odd = positive.surprise(pd.DataFrame({"age": [50.0], "price": [1e3], "size": [4.0]}))
    assert odd.iloc[0].idxmax() == "price"


def test_the_repr_of_a_reference_names_it(of_truth):
    assert repr(of_truth).startswith("mixture of 1 member\n")
    assert "None" not in repr(of_truth)


def test_invalid_questions_give_a_one_line_error(of_truth, rows):
    for wrong, words in (
        (lambda: of_truth.log_prob(rows, given=["x9"]), "there is no column x9"),
        (lambda: of_truth.sample(3, given={"x9": 1.0}), "there is no column x9"),
        (lambda: of_truth.predict(rows, "x9"), "there is no column x9"),
        (lambda: of_truth.predict(rows, "x1", quantiles=[1.5]), "between 0 and 1"),
        (lambda: of_truth.log_prob(rows, given="x1"), "must be a list"),
        (lambda: of_truth.impute(rows, draws=-1), "must be 0 or more"),
        (lambda: of_truth.sample(-1), "n = -1: must be a whole number of 0 or more"),
        (lambda: of_truth.sample(1.5), "n = 1.5: must be a whole number of 0 or more"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            wrong()
        assert "\n" not in str(caught.value)


QUICK = {"recipe": "quick", "couplings": 2, "hidden": 8}


@pytest.fixture(scope="module")
def density() -> flows.Density:
    """Return a density of a number and a category with 20 unordered labels."""
    rng = np.random.default_rng(0)
    labels = np.array([f"ward {letter}" for letter in "qwertzuiopasdfghjkly"])
    code = rng.integers(0, 20, 400)
    frame = pd.DataFrame({"ward": labels[code], "x": (code * 7) % 20 / 4 + rng.normal(size=400)})
    return flows.fit(frame, members=2, settings=QUICK)


@pytest.mark.slow
def test_the_probabilities_of_twenty_labels_sum_to_the_density_of_the_rest(density):
    (column,) = [each for each in density.columns if each.kind == "category"]
    assert len(column.labels) == 20
    x = np.array([-0.5, 1.0, 4.2])
    each = [density.log_prob(pd.DataFrame({"x": x, "ward": label})) for label in column.labels]
    unknown = pd.DataFrame({"x": x, "ward": pd.Series([None] * 3, dtype=object)})
    found, error = density.log_prob_and_error(unknown)
    np.testing.assert_allclose(found, np.logaddexp.reduce(each, axis=0), rtol=1e-9)
    assert (error == 0).all()


def test_labels_occur_in_samples_as_often_as_their_probability(density):
    drawn = density.sample(20_000)["ward"].value_counts(normalize=True)
    grid = np.linspace(-8, 14, 500)
    for label in ("ward a", "ward z"):
        rows = pd.DataFrame({"x": grid, "ward": label})
        expected = np.exp(density.log_prob(rows)).sum() * (grid[1] - grid[0])
        assert drawn[label] == pytest.approx(expected, abs=0.01)
