"""The search for squares, roots, logarithms, products and ratios, on small tables."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import learned, rng

from flows.tables.columns.field import Field
from flows.tables.columns.formula_search import LEAST_DIFFERENT, search
from flows.tables.columns.parsing import from_user
from flows.tables.columns.rounding import count_decimals

N = 200
A = rng(1).integers(20, 60, N).astype(float)
B = rng(2).lognormal(2, 1, N).round(2)
C = rng(3).lognormal(0, 1, N)  # with all its decimals


def carried(**columns):
    """Return the formulas of computed columns, by name."""
    schema = learned(frame(**columns), missing="learn").schema
    return {each.name: each.formula for each in schema.carried}


def frame(**columns):
    return from_user(pd.DataFrame(columns), {})


@pytest.mark.parametrize(
    ("columns", "name", "formula"),
    [
        ({"a": A, "y": A**2}, "y", "a^2"),
        ({"y": A**2, "a": A}, "y", "a^2"),
        ({"a": A, "y": A**2 / 100}, "y", "0.01 a^2"),
        ({"b": B - 5, "y": (B - 5) ** 2}, "y", "b^2"),
        ({"n": A**2 + 1, "y": np.sqrt(A**2 + 1).round(4)}, "y", "sqrt(n)"),
        ({"b": B, "y": np.log(B)}, "y", "log(b)"),
        ({"y": np.log(B).round(3), "b": B}, "y", "log(b)"),
        ({"b": B, "y": np.log(B).astype(np.float32)}, "y", "log(b)"),
        ({"b": B, "y": np.log10(B).round(4)}, "y", "log10(b)"),
        ({"b": B, "y": np.log2(B).round(4)}, "y", "log2(b)"),
        ({"a": A, "b": B, "y": A * B}, "y", "a * b"),
        ({"a": A, "b": B, "y": (B / A).round(2)}, "y", "b / a"),
        ({"a": A, "b": B, "y": 100 * B / A}, "y", "100 b / a"),
        ({"a": A, "b": B, "y": [float(f"{x:.7g}") for x in B / A]}, "y", "b / a"),
        ({"a": A, "c": C, "y": -A * C}, "y", None),  # no other power of ten than a positive one
        ({"d": (A > 40) * 1.0, "b": B, "y": (A > 40) * B}, "y", "d * b"),
    ],
)
def test_a_function_of_other_columns_is_found_in_any_order(columns, name, formula):
    assert carried(**columns) == ({name: formula} if formula else {})


def test_the_most_finely_rounded_column_is_computed():
    """The ratio follows from counts; the counts do not follow from the rounded ratio."""
    assert carried(share=A / (A + B.round()), some=A, both=A + B.round()) == {
        "share": "some / both"
    }
    assert carried(area=A * B.round(), width=A, height=B.round()) == {"area": "width * height"}


@pytest.mark.parametrize(
    "columns",
    [
        {"d": A > 40, "e": B > 8, "y": (A > 40) & (B > 8)},  # 0 and 1
        {"d": (A > 40) * 1, "e": (B > 8) * 1, "y": ((A > 40) & (B > 8)) * 1, "b": B},
        {"a": A % 3, "y": (A % 3) ** 2},  # three different values, of which 0 does not count
        {"a": A, "y": np.where(np.arange(N) == 7, A**2 + 99, A**2)},  # wrong in one row
        {"a": A, "b": B, "y": (B / A).round(2) + (np.arange(N) == 7) * 0.01},
    ],
)
def test_no_formula_is_found_by_chance_or_with_exceptions(columns):
    assert carried(**columns) == {}


def test_enough_different_values_support_a_formula():
    for count in (LEAST_DIFFERENT - 1, LEAST_DIFFERENT):
        a = np.arange(N) % count + 2.0
        assert carried(a=a, y=a**2) == ({"y": "a^2"} if count == LEAST_DIFFERENT else {})


def test_random_integers_have_no_formula():
    for seed in range(30):
        x = rng(seed).integers(0, 12, (40, 12)).astype(float)
        fields = [Field.parse(f"x{d}", "count") for d in range(12)]
        assert search([replace(field, decimals=0) for field in fields], x) == []


def test_rows_with_gaps_do_not_count_and_zeros_do():
    a, b = A.copy(), (A % 7).copy()
    y = a * b
    a[:50], y[40:90] = np.nan, np.nan
    assert carried(a=a, b=b, y=y) == {"y": "a * b"}
    y[np.flatnonzero(b == 0)[-1]] = 3
    assert carried(a=a, b=b, y=y) == {}


def test_a_column_that_is_mostly_0_may_be_computed():
    a = np.where(np.arange(N) % 10 < 7, 0, A)
    b = B.round() + 1
    assert carried(a=a, y=a**2) == {"y": "a^2"}
    assert carried(a=a, b=b, c=a * b) == {"c": "a * b"}


def test_the_search_takes_at_most_a_second():
    x = rng().lognormal(size=(20_000, 40))
    x[:, ::2] = np.floor(10 * x[:, ::2])
    x[:, ::5] = x[:, ::5] > 1
    fields = [Field.parse(f"x{d}", "real") for d in range(40)]
    fields = [
        replace(f, decimals=count_decimals(each)) for f, each in zip(fields, x.T, strict=True)
    ]
    start = time.process_time()
    assert search(fields, x) == []
    assert time.process_time() - start < 1
