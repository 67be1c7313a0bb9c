"""Tests and verdicts of paired differences: closed forms, and error rates on simulated data."""

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


@pytest.mark.slow
def test_the_signed_rank_test_keeps_its_level():
    rejected = sum(verdicts.signed_rank_p(normal(seed)) < 0.05 for seed in range(1000))
    assert rejected / 1000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.slow
def test_the_equivalence_test_keeps_its_level_at_the_margin():
    declared = sum(
        verdicts.equivalence_p(normal(seed, shift=1.0), 1.0) < 0.05 for seed in range(1000)
    )
    assert declared / 1000 == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 1000))


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
