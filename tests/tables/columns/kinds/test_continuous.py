"""Numbers that are not whole: positive numbers, and notices on nines, identifiers and codes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import column, quick_fit, rng, taken

import flows

N = 240


@pytest.mark.parametrize("mark", [-999, -9, 99999])
def test_a_number_of_nines_far_from_all_others_gets_a_notice(mark):
    x = rng().uniform(10, 12, N)
    x[:10] = mark
    _, said = taken(pd.DataFrame({"cost": x, "y": rng().normal(size=N)}))
    assert f"holds {mark:g} in 10 rows, far from all other values" in said["cost"]
    assert f"to read it as missing, pass na=['{mark:g}']" in said["cost"]
    rows, said = taken(pd.DataFrame({"cost": x, "y": 1.5 * rng(1).normal(size=N)}), na=[str(mark)])
    assert np.isnan(rows.values[:, 0]).sum() == 10
    assert "cost" not in said
    assert rows.schema.na == (str(mark),)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (rng().normal(170, 10, N), ""),
        (rng().uniform(0, 1, N), ""),
        (rng().permutation(N) + 1, "a different whole number in each row, as an identifier does"),
        (rng().choice([101, 205, 310, 777], N), "4 different whole numbers, far from each other"),
        (rng().poisson(3, N), ""),
    ],
)
def test_notices_name_identifiers_and_codes(x, said):
    found = taken(pd.DataFrame({"x": x, "y": rng(1).normal(size=N)}))[1].get("x", "")
    assert said in found
    assert bool(said) == bool(found)


def test_nines_among_other_values_get_no_notice():
    x = rng().uniform(0, 200, N)
    x[:10] = 99
    assert column(x).kind == "positive"
    assert "cost" not in taken(pd.DataFrame({"cost": x, "y": rng().normal(size=N)}))[1]


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (rng().gamma(2, 1_000, N).round(), "positive"),  # days
        (rng().uniform(1, 5, N), "real"),
        (rng().uniform(1, 6, N), "positive"),
        (rng().gamma(2, 1, N) - 0.001 * np.arange(N), "real"),  # some below 0
        (np.r_[0, rng().gamma(2, 1, N - 1)], "real"),
    ],
)
def test_numbers_above_0_are_positive_if_they_spread_over_a_factor(x, kind):
    assert column(x).kind == kind


@pytest.mark.parametrize("x", [rng().gamma(2, 1_000, N).round(), np.exp(2 * rng().normal(size=N))])
def test_samples_of_positive_numbers_are_above_0_and_have_the_quartiles_of_the_table(x):
    density = quick_fit(pd.DataFrame({"x": x, "y": rng(1).normal(size=N)}))
    samples = density.sample(4_000).x
    assert samples.min() > 0
    levels = [0.25, 0.5, 0.75]
    assert np.quantile(samples, levels) == pytest.approx(np.quantile(x, levels), rel=0.25)
    assert np.isneginf(density.log_prob(pd.DataFrame({"x": [-1.0], "y": [0.0]}))).all()


def test_the_map_of_positive_numbers_is_a_logarithm_only_if_they_are_skewed():
    days, incomes = column(rng().gamma(2, 1_000, N)), column(np.exp(2 * rng().normal(size=N)))
    ratios = []
    for found in (days, incomes):
        points = torch.tensor([0.01, 0.02, 0.5, 1.0], dtype=torch.float64) * found.farthest
        z, _ = found.line.forward(points)
        ratios.append(((z[3] - z[2]) / (z[1] - z[0])).item())
    assert ratios[0] > 3  # 7.1 of a square root
    assert ratios[1] == pytest.approx(1)


def test_a_given_column_of_positive_numbers_has_no_bound():
    frame = pd.DataFrame({"x": rng().gamma(2, 1, N), "y": rng(1).normal(size=N)})
    assert flows.inspect(frame, target="y").kind.tolist() == ["real", "real"]
    assert flows.inspect(frame, target="x").kind.tolist() == ["positive", "real"]


def test_an_outlier_near_0_draws_no_tiny_samples():
    x = np.r_[1e-9, rng().uniform(0.2, 1, N - 1)]
    samples = quick_fit(pd.DataFrame({"x": x, "y": rng(1).normal(size=N)})).sample(4_000).x
    assert (samples < 1e-6).mean() < 0.001
