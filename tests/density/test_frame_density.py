"""The density of a table: labels, extreme values, and wrong arguments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import patients
from helpers import SHORT_RECIPE

import flows
from flows.core.errors import UserError
from flows.density.frame_density import Density


def test_an_array_with_another_number_of_columns_is_rejected(of_prices):
    with pytest.raises(UserError, match="rows of 4 numbers"):
        of_prices.log_prob(np.zeros((3, 5)))


def test_predict_needs_a_frame_or_conditions(of_pressures):
    with pytest.raises(TypeError, match="either a frame or given conditions"):
        of_pressures.predict(column="age")


@pytest.fixture(scope="module")
def positive() -> Density:
    settings = {"recipe": "fixed", "epochs": 40}
    kinds = dict.fromkeys(["age", "price", "size"], "positive")
    return flows.fit(patients(), columns=kinds, members=2, settings=settings)


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


def test_columns_with_integer_names_can_be_given():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    density = flows.fit(pd.DataFrame(rows), members=1, settings={"recipe": "fixed", "epochs": 2})
    assert (density.sample(3, given={0: 1.0})["0"] == 1.0).all()
    assert len(density.predict(rows, 1)) == len(density.log_prob(rows, given=[0])) == 60


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
        (lambda: of_truth.sample(-1), "must be 0 or more"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            wrong()
        assert "\n" not in str(caught.value)


QUICK = {"recipe": "fixed", "epochs": 30, "couplings": 2, "hidden": 8}


@pytest.fixture(scope="module")
def density() -> flows.Density:
    """Return a density of a number and a category with 20 unordered labels."""
    rng = np.random.default_rng(0)
    labels = np.array([f"ward {letter}" for letter in "qwertzuiopasdfghjkly"])
    code = rng.integers(0, 20, 400)
    frame = pd.DataFrame({"ward": labels[code], "x": (code * 7) % 20 / 4 + rng.normal(size=400)})
    return flows.fit(frame, members=2, settings=QUICK)


def test_the_probabilities_of_twenty_labels_sum_to_the_density_of_the_rest(density):
    (column,) = [each for each in density.columns if each.kind == "category"]
    assert len(column.labels) == 20
    x = np.array([-0.5, 1.0, 4.2])
    each = [density.log_prob(pd.DataFrame({"x": x, "ward": label})) for label in column.labels]
    unknown = pd.DataFrame({"x": x, "ward": pd.Series([None] * 3, dtype=object)})
    found, error = density.log_prob_and_error(unknown)
    np.testing.assert_allclose(found, np.logaddexp.reduce(each, axis=0), rtol=1e-9)
    assert (error == 0).all()


def test_unknown_labels_are_summed_and_unknown_numbers_integrated():
    rng, size = np.random.default_rng(0), 200
    frame = pd.DataFrame({"x": rng.normal(size=size), "a": rng.choice(list("uvw"), size)})
    frame["b"] = rng.random(size) < 0.3
    density = flows.fit(frame, members=2, settings=QUICK)
    rows = frame[:5]
    pairs = [(a, b) for a in "uvw" for b in (False, True)]
    expected = np.log(sum(np.exp(density.log_prob(rows.assign(a=a, b=b))) for a, b in pairs))
    found, error = density.log_prob_and_error(rows.assign(a=np.nan, b=np.nan))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (error == 0).all()
    grid = np.linspace(-10, 10, 4_001)
    row = rows[:1]
    masses = {}
    for a in "uvw":
        along = row.loc[row.index.repeat(len(grid))].assign(x=grid, a=a)
        masses[a] = np.exp(density.log_prob(along)).sum() * (grid[1] - grid[0])
    own = row["a"].item()
    alone, error = density.log_prob_and_error(row.assign(x=np.nan))
    assert alone.item() == pytest.approx(np.log(masses[own]), abs=2e-3)
    assert error.item() == 0
    both, error = density.log_prob_and_error(row.assign(x=np.nan, a=None))
    assert abs(both.item() - np.log(sum(masses.values()))) < 4 * error.item() + 2e-3


def test_labels_occur_in_samples_as_often_as_their_probability(density):
    drawn = density.sample(20_000)["ward"].value_counts(normalize=True)
    grid = np.linspace(-8, 14, 500)
    for label in ("ward a", "ward z"):
        rows = pd.DataFrame({"x": grid, "ward": label})
        expected = np.exp(density.log_prob(rows)).sum() * (grid[1] - grid[0])
        assert drawn[label] == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_tail_probabilities_of_rows_with_labels_are_calibrated():
    """New rows and held-out rows are scored in the same way."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> pd.DataFrame:
        label = rng.choice(["a", "b", "c"], n)
        return pd.DataFrame({"label": label, "x": rng.normal(size=n) + (label == "c")})

    settings = {**SHORT_RECIPE, "couplings": 2, "hidden": 8}
    density = flows.fit(draw(300), members=5, settings=settings)
    tail = density.tail_probability(draw(1_000))
    for share in (0.05, 0.2, 0.5):
        assert (tail <= share).mean() == pytest.approx(share, abs=0.06)
