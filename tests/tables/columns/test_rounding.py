"""The steps and decimals of rounded values."""

from __future__ import annotations

import numpy as np
import pytest
from frames import amounts
from helpers import inspected, rng

from flows.tables.columns.rounding import common_step, count_decimals


@pytest.mark.parametrize(
    ("x", "decimals"), [([1, 2.0], 0), ([1.5, np.nan], 1), ([0.1, 0.3], 1), ([1 / 3], None)]
)
def test_decimals_are_counted(x, decimals):
    assert count_decimals(np.array(x)) == decimals


def test_the_step_of_numbers_with_zeros_is_their_last_decimal():
    assert common_step(amounts(300, 0.8, 0.01).paid.to_numpy()) == 0.01
    assert "in steps of 0.01;" in inspected(amounts(300, 0.8, 0.01).paid, kind="real")[1]


def test_a_repeated_value_among_rounded_numbers_by_chance_is_no_peak():
    for seed in range(20):
        column, _ = inspected(np.round(rng(seed).normal(size=200), 1))
        assert column.word == "real"
        assert column.step == 0.1
