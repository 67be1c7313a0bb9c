"""A split keeps every row once, and depends on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from common.splits import holdout

ROWS = np.random.default_rng(0).normal(size=(50, 2))


@pytest.mark.parametrize("test_rows", [0, 1, 10, 50])
def test_every_row_is_in_one_part_only(test_rows: int):
    train, test = holdout(ROWS, test_rows, seed=3)
    assert (len(train), len(test)) == (50 - test_rows, test_rows)
    assert np.array_equal(np.sort(np.concatenate([train, test]), axis=0), np.sort(ROWS, axis=0))


def test_the_split_depends_on_the_seed():
    first, again, other = (holdout(ROWS, 10, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])


def test_a_larger_test_set_contains_the_smaller():
    assert np.array_equal(holdout(ROWS, 20, seed=0)[1][:10], holdout(ROWS, 10, seed=0)[1])
