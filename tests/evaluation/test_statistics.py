"""Confidence intervals and adjusted p-values: closed forms, and error rates on simulated data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flows.core.arrays import Array
from flows.evaluation import statistics

N = 24
NAN = float("nan")


def normal(seed: int, shift: float = 0.0) -> Array:
    return shift + np.random.default_rng(seed).standard_normal(N)


def test_the_interval_of_a_mean_is_near_the_normal_interval():
    values = 2 + 3 * np.random.default_rng(1).standard_normal(400)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    low, high = statistics.mean_interval(values, np.random.default_rng(0))
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)
    assert statistics.mean_ci95(values, np.random.default_rng(0)) == (high - low) / 2


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


def test_holm_matches_a_calculation_by_hand():
    # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2 (0.06, not below the value before), 0.5 * 1
    assert statistics.holm(np.array([0.5, 0.01, 0.03, 0.02])) == pytest.approx(
        [0.5, 0.04, 0.06, 0.06]
    )
    assert statistics.holm(np.array([0.4, 0.9])) == pytest.approx([0.8, 0.9])
    assert statistics.holm(np.array([0.7, 0.8])) == pytest.approx([1, 1])
    assert statistics.holm(np.array([0.03])) == pytest.approx([0.03])
