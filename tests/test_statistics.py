"""Intervals and tests of paired differences: closed forms, and error rates on simulated data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from flows.core.arrays import Array
from flows.evaluation import statistics
from studies import verdicts

N = 24
NAN = float("nan")


def normal(seed: int, shift: float = 0.0) -> Array:
    return shift + np.random.default_rng(seed).standard_normal(N)


# Intervals


def test_the_interval_of_a_mean_is_near_the_normal_interval():
    values = 2 + 3 * np.random.default_rng(1).standard_normal(400)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    low, high = statistics.mean_interval(values, np.random.default_rng(0))
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)
    assert statistics.mean_ci95(values, np.random.default_rng(0)) == (high - low) / 2


def test_the_interval_repeats_with_its_seed():
    first, second = (
        statistics.mean_interval(normal(3), np.random.default_rng(5)) for _ in range(2)
    )
    assert first == second


def test_an_interval_is_longer_on_the_side_of_the_long_tail():
    values = np.random.default_rng(2).exponential(size=60)
    low, high = statistics.mean_interval(values, np.random.default_rng(0))
    assert high - values.mean() > values.mean() - low


def test_the_interval_of_constant_differences_has_length_0():
    assert statistics.mean_interval(np.full(N, 0.25), np.random.default_rng(0)) == (0.25, 0.25)
    assert statistics.mean_ci95(np.full(N, 0.25), np.random.default_rng(0)) == 0


def test_the_interval_of_values_with_a_nan_is_nan():
    assert np.isnan(
        statistics.mean_interval(np.array([1.0, NAN, 2.0]), np.random.default_rng(0))
    ).all()


def test_intervals_contain_the_mean_at_their_nominal_rate():
    rng = np.random.default_rng(0)
    trials = 150
    missed = sum(
        not low <= 0 <= high
        for low, high in (statistics.mean_interval(normal(seed), rng) for seed in range(trials))
    )
    assert missed / trials < 0.05 + 4 * math.sqrt(
        0.05 * 0.95 / trials
    )  # bootstrap intervals of 24 values are a little short


# Tests


def test_the_p_value_of_differences_of_one_sign_is_exact():
    # One of the 2^n equally likely patterns of signs, twice for a two-sided test
    assert verdicts.signed_rank_p(np.arange(1.0, 11.0)) == pytest.approx(2 / 2**10)
    assert verdicts.signed_rank_p(-np.arange(1.0, 11.0)) == pytest.approx(2 / 2**10)


def test_differences_of_0_have_a_p_value_of_1():
    assert verdicts.signed_rank_p(np.zeros(N)) == 1


def test_an_infinite_difference_counts_as_the_largest():
    values = normal(4)
    finite = np.where(np.arange(N) == 3, 1000.0, values)
    for sign in (1, -1):
        infinite = np.where(np.arange(N) == 3, sign * np.inf, values)
        assert verdicts.signed_rank_p(infinite) == verdicts.signed_rank_p(
            np.where(np.arange(N) == 3, sign * 1000.0, finite)
        )
    assert verdicts.signed_rank_p(np.full(N, np.inf)) < 1e-4


def test_equivalence_means_that_the_90_percent_interval_is_within_the_margins():
    values = normal(5)
    reach = abs(values.mean()) + t.ppf(0.95, N - 1) * values.std(ddof=1) / math.sqrt(N)
    assert (
        verdicts.equivalence_p(values, 1.001 * reach)
        < 0.05
        < verdicts.equivalence_p(values, 0.999 * reach)
    )


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0), (0.019, 0), (-0.019, 0), (0.02, 1), (0.021, 1), (-0.5, 1)]
)
def test_the_equivalence_p_value_of_constant_differences_is_0_or_1(value: float, expected: int):
    assert verdicts.equivalence_p(np.full(N, value), 0.02) == expected


def test_differences_that_are_not_finite_are_never_equivalent():
    for bad in (NAN, np.inf):
        assert verdicts.equivalence_p(np.array([0.0] * 10 + [bad]), 1.0) == 1


def test_the_signed_rank_test_keeps_its_level():
    rejected = sum(verdicts.signed_rank_p(normal(seed)) < 0.05 for seed in range(1000))
    assert rejected / 1000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_the_equivalence_test_keeps_its_level_at_the_margin():
    declared = sum(
        verdicts.equivalence_p(normal(seed, shift=1.0), 1.0) < 0.05 for seed in range(1000)
    )
    assert declared / 1000 == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 1000))


def test_holm_matches_a_calculation_by_hand():
    # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2 (0.06, not below the value before), 0.5 * 1
    assert statistics.holm(np.array([0.5, 0.01, 0.03, 0.02])) == pytest.approx(
        [0.5, 0.04, 0.06, 0.06]
    )
    assert statistics.holm(np.array([0.4, 0.9])) == pytest.approx([0.8, 0.9])
    assert statistics.holm(np.array([0.7, 0.8])) == pytest.approx([1, 1])
    assert statistics.holm(np.array([0.03])) == pytest.approx([0.03])


def test_holm_keeps_the_rate_of_false_alarms_in_a_family_of_true_nulls():
    families = 200
    alarms = 0
    for seed in range(families):
        tests = np.random.default_rng(seed).standard_normal((5, N))
        alarms += (
            statistics.holm(np.array([verdicts.signed_rank_p(values) for values in tests])).min()
            < 0.05
        )
    assert alarms / families < 0.05 + 3 * math.sqrt(0.05 * 0.95 / families)


# Verdicts


@pytest.mark.parametrize(
    ("interval", "p_adjusted", "p_equivalence", "expected"),
    [
        ((0.1, 0.2), 0.001, 0.9, "supported"),
        ((-0.2, -0.1), 0.001, 0.9, "refuted"),
        ((0.1, 0.2), 0.051, 0.9, "inconclusive"),
        ((-0.1, 0.2), 0.9, 0.9, "inconclusive"),
        ((0.001, 0.002), 0.001, 0.001, "equivalent"),  # significant, and too small to matter
        ((-0.002, -0.001), 0.001, 0.001, "equivalent"),
        ((-0.1, 0.2), 0.001, 0.9, "inconclusive"),  # significant ranks, but not the mean
        ((0.05, 0.05), 0.001, 0.0, "equivalent"),
        ((NAN, NAN), 0.001, 1.0, "inconclusive"),
    ],
)
def test_the_verdict_follows_from_interval_and_p_values(
    interval: tuple[float, float], p_adjusted: float, p_equivalence: float, expected: str
):
    assert verdicts.verdict(interval, p_adjusted, p_equivalence) == expected


def test_simulated_differences_get_the_expected_verdicts():
    for scale, shift, margin, expected in (
        (1.0, 1.5, 0.2, "supported"),
        (1.0, -1.5, 0.2, "refuted"),
        (0.1, 0.0, 0.2, "equivalent"),
    ):
        found = []
        for seed in range(20):
            values = shift + scale * normal(seed)
            interval = statistics.mean_interval(values, np.random.default_rng(0))
            found.append(
                verdicts.verdict(
                    interval,
                    verdicts.signed_rank_p(values),
                    verdicts.equivalence_p(values, margin),
                )
            )
        assert found.count(expected) == 20
