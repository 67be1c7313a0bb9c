"""Copies of rows, and groups that share a row."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import checked, dequantised, field

from flows.tables.checking import check
from flows.tables.duplicates import first_copies, merged_groups


def patients(n: int = 300) -> np.ndarray:
    """Return rows of four rounded columns, hardly any two of which are equal."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(n, 4)) + rng.normal(size=(n, 1))
    return np.round(spread * [12, 50, 14, 11] + [50, 260, 95, 91])


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(0).normal(size=(300, 2)),
        patients(),
        np.column_stack([np.random.default_rng(0).normal(size=300), np.arange(300) % 2]),
    ],
    ids=["real", "rounded", "with a label"],
)
def test_copies_of_rows_are_found_and_get_the_same_noise(rows: np.ndarray):
    tripled = np.concatenate([rows, rows, rows])
    np.testing.assert_array_equal(first_copies(tripled), np.tile(first_copies(rows), 3))
    columns, notices = checked([field(f"x{d}") for d in range(rows.shape[1])], tripled)
    once = check(columns, rows).fields
    assert columns == once
    assert any("600 of 900 rows are copies of other rows" in notice for notice in notices)
    spread = dequantised(columns, tripled)
    np.testing.assert_array_equal(spread[:300], spread[300:600])


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(0).integers(0, 20, (1000, 2)),
        np.random.default_rng(0).integers(0, 3, (1000, 6)),
        patients()[:, :1],
        np.array([[4.0, 5.0]] * 900 + [[5.0, 4.0]] * 100),
    ],
    ids=["two whole numbers", "six labels", "one column", "two different rows"],
)
def test_rows_that_are_equal_by_chance_are_not_copies(rows: np.ndarray):
    np.testing.assert_array_equal(first_copies(rows.astype(float)), np.arange(len(rows)))


def test_rows_without_a_continuous_value_are_not_copies():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=100), rng.poisson(3.0, size=100)])
    rows[:10, 0] = np.nan
    np.testing.assert_array_equal(first_copies(rows), np.arange(100))


def test_groups_that_share_a_row_are_merged():
    merged = merged_groups(np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 8]))
    assert merged[0] == merged[1] == merged[2]
    assert len(np.unique(merged)) == 3
