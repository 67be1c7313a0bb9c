"""The steps and decimals of rounded values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import learned

from flows.tables.notices import python_words
from flows.tables.parsing import from_user
from flows.tables.rounding import common_step, count_decimals


@pytest.mark.parametrize(
    ("x", "decimals"), [([1, 2.0], 0), ([1.5, np.nan], 1), ([0.1, 0.3], 1), ([1 / 3], None)]
)
def test_decimals_are_counted(x, decimals):
    assert count_decimals(np.array(x)) == decimals


DECIMALS = {1: 0, 0.1: 1, 0.01: 2}  # of multiples of a step


def rng(seed=0):
    return np.random.default_rng(seed)


def amounts(rows, zeros, step, seed=0, *, signs=False):
    """Return a table of amounts, of which a share are ``zeros``, and of a related column."""
    r = rng(seed)
    is_zero, other = r.random(rows) < zeros, r.normal(size=rows)
    paid = np.exp(r.normal(4, 1, rows) + 0.3 * other)
    paid = np.maximum(np.round(paid, DECIMALS[step]), step)
    if signs:
        paid *= r.choice([-1, 1], rows)
    return pd.DataFrame({"paid": np.where(is_zero, 0.0, paid), "other": other})


def inspected(values, kind=None):
    """Return the column that a fit learns from ``values``, and what is said about it."""
    frame = pd.DataFrame({"x": values, "y": rng().normal(size=len(values))})
    found = learned(from_user(frame, {}), {} if kind is None else {"x": kind})
    said = [notice.text(python_words) for notice in found.notices if notice.column == "x"]
    return found.columns[0] if found.schema.learned[0] == "x" else None, "\n".join(said)


def test_the_step_of_numbers_with_zeros_is_their_last_decimal():
    assert common_step(amounts(300, 0.8, 0.01).paid.to_numpy()) == 0.01
    assert "in steps of 0.01;" in inspected(amounts(300, 0.8, 0.01).paid, kind="real")[1]


def test_a_repeated_value_among_rounded_numbers_by_chance_is_no_peak():
    for seed in range(20):
        column, _ = inspected(np.round(rng(seed).normal(size=200), 1))
        assert column.word == "real"
        assert column.step == 0.1
