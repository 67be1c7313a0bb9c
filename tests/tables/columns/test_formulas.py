"""The terms of formulas: their values, their ends, and their text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import rng

from flows.tables.columns.formulas import OPERATIONS, Term


@pytest.mark.parametrize("word", ["", *OPERATIONS])
@pytest.mark.parametrize("low", [(-3.0, -2.0), (0.0, 0.0), (0.5, 1.0)])
def test_values_lie_between_the_ends_and_reach_them(word, low):
    names = ("a", "b") if word in ("product", "ratio") else ("a",)
    ends = {"a": (low[0], 2.0), "b": (low[1], 3.0)}
    grid = {name: np.linspace(*ends[name], 201) for name in names}
    columns = dict(zip(names, map(np.ravel, np.meshgrid(*grid.values())), strict=True))
    term = Term(names, word)
    x = term.values(columns)
    least, most = term.ends(ends)
    assert np.nanmin(x) >= least - 1e-12
    assert np.nanmax(x) <= most + 1e-12
    if math.isfinite(least):
        assert np.nanmin(x) == pytest.approx(least, abs=0.05)
    if math.isfinite(most):
        assert np.nanmax(x) == pytest.approx(most, abs=0.05)


def test_infinite_ends_stay_infinite():
    ends = {"a": (0.0, math.inf), "b": (1.0, math.inf)}
    assert Term(("a", "b"), "product").ends(ends) == (0.0, math.inf)
    assert Term(("a", "b"), "ratio").ends(ends) == (0.0, math.inf)
    assert Term(("a",), "log").ends(ends) == (-math.inf, math.inf)


def test_a_function_without_a_value_is_a_gap():
    columns = {"a": np.array([0.0, -1.0, 2.0]), "b": np.array([0.0, 0.0, 4.0])}
    np.testing.assert_array_equal(Term(("a", "b"), "ratio").values(columns), [np.nan, np.nan, 0.5])
    assert np.isnan(Term(("a",), "log").values(columns)).tolist() == [True, True, False]


def test_an_inverse_undoes_its_function():
    x = rng().lognormal(size=5)
    for word, operation in OPERATIONS.items():
        if operation.inverse is not None:
            again = [operation.inverse(y) for y in Term(("x",), word).values({"x": x})]
            np.testing.assert_allclose(again, x)
