"""The kinds that columns have by default."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import column, rng, taken
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.core.arrays import Array
from flows.tables.columns.field import Field

N = 240


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (rng().normal(size=N), "real"),
        (np.exp(rng().normal(size=N)), "positive"),
        (rng().uniform(1, 5, N), "real"),
        (rng().integers(0, 2, N), "category"),
        (np.where(rng().random(N) < 0.5, -1.5, 2.5), "category"),
        (rng().poisson(3, N), "count"),
        (rng().integers(20, 80, N), "count"),
        (5 * rng().poisson(3, N), "count"),
        (rng().poisson(3, N) - 3, "integer"),
        (rng().integers(-(10**9), 10**9, N), "real"),
        (pd.array(rng().poisson(3, N), "Int64"), "count"),
    ],
)
def test_kinds_follow_the_rules(values, word):
    assert column(values).word == word


def computed(seed: int, decimals: int, size: float, zeros: float, signs: bool, how: str) -> Array:
    """Return rounded numbers ``(n,)``, some of which are results of arithmetic.

    Args:
        seed: the seed of the numbers.
        decimals: how many decimals the numbers have.
        size: the decimal logarithm of their median.
        zeros: the share of zeros.
        signs: whether some numbers are below 0.
        how: the arithmetic.
    """
    r = rng(seed)
    a, b = np.round(10.0**size * np.exp(r.normal(size=(2, 60))), decimals)
    noisy = {
        "sum": a + b,
        "difference": (a + 1000 * b) - 1000 * b,
        "product": np.round(a * 10.0**decimals) * 0.1**decimals,
        "running": np.cumsum(a),
        "digits": np.array([float(f"{x:.15g}") for x in a + b]),
    }[how]
    noisy = np.where(r.random(60) < r.choice([0.02, 0.3, 1.0]), noisy, a)
    if signs:
        noisy = noisy * r.choice([-1, 1], 60)
    return np.where(r.random(60) < zeros, 0.0, noisy)


@pytest.mark.slow
@settings(
    deadline=None,
    max_examples=3_000,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    seed=st.integers(0, 10**6),
    decimals=st.integers(0, 9),
    size=st.floats(-4, 9),
    zeros=st.sampled_from([0, 0.1, 0.5, 0.9]),
    signs=st.booleans(),
    how=st.sampled_from(["sum", "difference", "product", "running", "digits"]),
)
def test_a_chosen_kind_holds_the_values_that_chose_it(**arguments: Any) -> None:
    """The field that is read back from a file holds the values, too."""
    x = computed(**arguments)
    rows, _ = taken(pd.DataFrame({"x": x, "y": rng(1).normal(size=len(x))}))
    for field in rows.columns:
        if field.name == "x" and not field.labels:
            again = Field.from_json(json.loads(json.dumps(field.to_json())))
            assert again == field
            assert field.holds(x).all()
            assert field.holds(field.written(x)).all()


def test_the_kind_that_a_user_names_wins_over_the_rules():
    frame = pd.DataFrame({"id": np.arange(N), "sex": rng().integers(0, 2, N)})
    rows, _ = taken(frame, {"id": "real", "sex": "integer:0:1"})
    assert [each.word for each in rows.columns] == ["real", "integer:0:1"]
