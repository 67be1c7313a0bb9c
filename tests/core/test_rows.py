"""The effective number of rows, and numbers that identify rows."""

from __future__ import annotations

import numpy as np
import pytest

from flows.core.rows import digests, effective_rows


def test_the_effective_number_of_rows_is_the_number_of_different_rows_for_equal_weights():
    assert effective_rows(np.arange(7)) == 7
    assert effective_rows(np.repeat(np.arange(7), 3)) == 7
    assert effective_rows(np.repeat(np.arange(2), [3, 1])) == pytest.approx(1.6)


def test_digests_are_equal_for_equal_rows_in_any_table():
    rows = np.array([[1.0, np.nan], [0.0, 2.0], [2.0, 0.0], [-0.0, 2.0], [1.0, np.nan]])
    found = digests(rows)
    assert found[0] == found[4]
    assert found[1] == found[3]  # 0 and -0
    assert len({*found.tolist()}) == 3  # the order of the columns counts
    assert (digests(rows[::-1]) == found[::-1]).all()
    assert (digests(np.asfortranarray(rows)) == found).all()
    assert found[2] == 6879429438547732170  # on any machine, as files hold it
    assert len(np.unique(digests(np.random.default_rng(0).normal(size=(100_000, 3))))) == 100_000
