"""The probability of labels, in densities and in samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import SHORT_RECIPE

import flows

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
