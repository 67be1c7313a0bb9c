"""Ranks are uniform for rows of the density, and statistics have the values of small examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from closed_forms import labelled
from scipy.stats import binomtest, kstest

import flows
from flows.core.arrays import Array
from flows.mixtures.mixture import Mixture
from flows.tables.checking import calibration
from flows.tables.checking.calibration import (
    Ranks,
    binomial_interval,
    cover,
    distance_from_uniform,
    pointwise_tests,
    rank,
)
from flows.tables.checking.result import Check
from flows.tables.checking.rows import EVERY, CheckedRows
from flows.tables.columns.parsing import from_user, numbers_of


def new(values: Array) -> CheckedRows:
    return CheckedRows(values, np.full(len(values), EVERY))


def test_the_statistic_of_one_and_of_two_ranks_follows_the_formula():
    # One rank is uniform: p = 2 min(u, 1 - u)
    assert pointwise_tests(np.array([0.1])) == pytest.approx(np.tan(0.3 * np.pi))
    assert pointwise_tests(np.array([0.4])) == 0.0  # p = 0.8
    # The smaller of two ranks is below x with the probability 1 - (1 - x)^2, the larger with x^2
    smaller, larger = 2 * 0.19, 2 * 0.04
    expected = (np.tan((0.5 - smaller) * np.pi) + np.tan((0.5 - larger) * np.pi)) / 2
    assert pointwise_tests(np.array([0.2, 0.1, np.nan])) == pytest.approx(expected)
    assert np.isnan(pointwise_tests(np.array([np.nan])))


@pytest.mark.slow
def test_the_statistic_is_larger_for_ranks_that_are_not_uniform():
    rng = np.random.default_rng(0)
    uniform = [pointwise_tests(rng.random(100)) for _ in range(1000)]
    narrow = [pointwise_tests(rng.beta(2, 2, 100)) for _ in range(50)]
    assert np.mean(narrow > np.quantile(uniform, 0.95)) > 0.8


def test_the_distance_is_that_of_kolmogorov_and_smirnov():
    u = np.random.default_rng(0).beta(2, 1, 50)
    expected = kstest(u, "uniform").statistic
    assert distance_from_uniform(np.append(u, np.nan)) == pytest.approx(expected)
    assert np.isnan(distance_from_uniform(np.array([])))


@pytest.mark.parametrize(("k", "n"), [(0, 20), (13, 20), (20, 20)])
def test_the_interval_of_a_share_is_exact(k: int, n: int):
    expected = binomtest(k, n).proportion_ci(0.95, "exact")
    assert binomial_interval(k / n, n) == pytest.approx([expected.low, expected.high])


def test_rows_are_ranked_among_weighted_draws_and_ties_are_broken_at_random():
    levels, weights = np.array([3.0, 1.0, 2.0, 2.0]), np.array([1.0, 1.0, 2.0, 0.0])
    # A row counts as a draw of the mean weight 1, so the total is 5
    found = calibration._rank_among(levels, weights, np.array([0.0, 2.0, 4.0]), np.full(3, 0.5))
    assert found == pytest.approx([0.5 / 5, (1 + 0.5 * 3) / 5, 4.5 / 5])


def uniform(u: Array) -> bool:
    return bool(kstest(u[~np.isnan(u)], "uniform").pvalue > 0.005)


def test_ranks_of_rows_and_of_values_are_uniform_for_rows_of_the_density(
    of_truth: flows.Density, truth: Mixture
):
    drawn = truth.sample(400, np.random.default_rng(3))
    ranks = rank(of_truth._array, new(drawn), 0)
    assert ranks.values.shape == (100, 6)
    assert uniform(ranks.rows)
    assert all(map(uniform, ranks.values.T))
    table = cover(ranks, new(drawn), of_truth._array.names)
    assert list(table["region"].unique()) == [Check.WHOLE, *of_truth._array.names]
    whole = table[table["region"] == Check.WHOLE].set_index("level")
    assert (whole["low"] < whole.index).all()
    assert (whole["high"] > whole.index).all()


def test_ranks_show_a_density_that_is_too_narrow(of_truth: flows.Density, truth: Mixture):
    wide = truth.sample(400, np.random.default_rng(3)) * 1.5
    ranks = rank(of_truth._array, new(wide), 0)
    assert not uniform(ranks.rows)
    assert np.mean(ranks.rows > 0.1) < 0.8  # in the region of 90%


@pytest.mark.slow
def test_ranks_of_labels_and_of_rows_with_gaps_are_uniform(with_labels: flows.Density):
    density = with_labels._array
    drawn = labelled().sample_rows(300, np.random.default_rng(1))
    rows = np.empty((300, len(density.columns)))
    has_labels = np.array([bool(field.labels) for field in density.columns])
    rows[:, has_labels], rows[:, ~has_labels] = drawn.codes, drawn.numbers
    rows[::3, 4] = np.nan
    ranks = rank(density, new(rows), 0)
    assert np.isnan(ranks.rows[::3]).all()
    assert uniform(ranks.rows)
    assert all(map(uniform, ranks.values.T))


def test_a_rounded_value_has_a_random_rank_within_its_cell(of_pressures: flows.Density):
    density = of_pressures._array
    sampled = of_pressures.sample(300, seed=5)
    kinds = {name: sampled[name] for name in density.names}
    rows = numbers_of(density.columns, from_user(pd.DataFrame(kinds), {}))
    ranks = rank(density, new(rows), 0)
    assert uniform(ranks.rows)
    assert all(map(uniform, ranks.values.T))


def test_copies_count_as_one_row_in_the_intervals(of_truth: flows.Density, rows: Array):
    class Twice(CheckedRows):
        copies = np.repeat(np.arange(20), 2)  # type: ignore[assignment]

    own = Twice(rows[:40], np.full(40, EVERY))
    ranks = Ranks(np.linspace(0, 1, 40), np.arange(0), np.empty((0, 0)))
    narrow, wide = (cover(ranks, each, []) for each in (new(rows[:40]), own))
    assert ((wide["high"] - wide["low"]) > (narrow["high"] - narrow["low"])).all()
