"""Copies of rows, and groups that share a row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import checked, dequantised, field, learned

from flows.tables.columns.checking import check
from flows.tables.columns.duplicates import first_copies, merged_groups
from flows.tables.columns.parsing import from_user


def patients(n: int = 300) -> np.ndarray:
    """Return rows of four rounded columns, hardly any two of which are equal."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(n, 4)) + rng.normal(size=(n, 1))
    return np.round(spread * [12, 50, 14, 11] + [50, 260, 95, 91])


def whole(n: int, dim: int, deviation: float, common: float = 0.0) -> np.ndarray:
    """Return whole numbers ``(n, dim)`` whose columns have the correlation ``common``."""
    rng = np.random.default_rng(1)
    own, shared = rng.normal(size=(n, dim)), rng.normal(size=(n, 1))
    return np.round(deviation * (np.sqrt(1 - common) * own + np.sqrt(common) * shared))


def patterns(n: int, count: int, columns: int) -> np.ndarray:
    """Return ``n`` rows of ``count`` patterns of labels, in which the columns depend strongly."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 6, (count, columns))[rng.integers(0, count, n)]


def answers(n: int, columns: int) -> np.ndarray:
    """Return answers from 1 to 5 that depend on one trait of each person."""
    rng = np.random.default_rng(0)
    trait, own = rng.normal(size=(n, 1)), rng.normal(size=(n, columns))
    return np.clip(np.round(3 + trait + 0.7 * own), 1, 5)


def classes(n: int, columns: int) -> np.ndarray:
    """Return 0 and 1 with other probabilities in each of three classes."""
    rng = np.random.default_rng(0)
    chance = rng.beta(0.5, 0.5, (3, columns))[rng.integers(0, 3, n)]
    return (rng.random((n, columns)) < chance).astype(float)


def zeros(n: int) -> np.ndarray:
    """Return three counts that are 0 in the same rows, 70% of all."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(8 * np.exp(0.7 * rng.normal(size=(n, 3))))
    return np.where(rng.random((n, 1)) < 0.7, 0, counts)


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
        patterns(2000, 16, 4),
        patterns(2000, 300, 5),
        whole(500, 2, 12),
        whole(500, 4, 8, common=0.99),
        answers(500, 5),
        classes(500, 10),
        zeros(500),
    ],
    ids=[
        "two whole numbers",
        "six labels",
        "one column",
        "two different rows",
        "16 patterns",
        "300 patterns",
        "whole numbers",
        "dependent whole numbers",
        "answers",
        "classes",
        "common zeros",
    ],
)
def test_rows_that_are_equal_by_chance_are_not_copies(rows: np.ndarray):
    np.testing.assert_array_equal(first_copies(rows.astype(float)), np.arange(len(rows)))


def times(n: int) -> np.ndarray:
    """Return how often each of ``n`` rows occurs: mostly once, twice or three times."""
    return np.arange(n) % 3 + 1


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (np.unique(whole(200, 2, 12), axis=0)[:190], np.repeat([1, 2, 3], [53, 57, 80])),
        (whole(200, 2, 40), times(200)),
        (whole(500, 2, 12), times(500)),
        (whole(200, 3, 5, common=0.5), times(200)),
        (whole(2000, 4, 12), np.repeat([1, 2], [1900, 100])),
        (np.column_stack([whole(300, 2, 12), answers(300, 2), classes(300, 3)]), times(300)),
    ],
    ids=["190 of 407", "two columns", "500 rows", "three columns", "5% of 2,000", "labels"],
)
def test_repeated_rows_of_whole_numbers_are_copies(rows: np.ndarray, count: np.ndarray):
    repeated = np.repeat(rows, count, axis=0)
    found = first_copies(repeated)
    assert len(np.unique(found)) == len(np.unique(rows, axis=0))
    np.testing.assert_array_equal(repeated[found], repeated)
    np.testing.assert_array_equal(found[found], found)


def test_weights_and_repeats_have_the_same_copies():
    rows, count = np.unique(whole(200, 2, 12), axis=0)[:190], np.repeat([1, 2, 3], [53, 57, 80])
    frame = pd.DataFrame(rows, columns=["x", "y"])
    weighted = learned(from_user(frame.assign(w=count), {}), {}, weights="w")
    repeated = learned(from_user(frame.loc[frame.index.repeat(count)], {}), {})
    assert len(repeated.values) == 407
    for name in ("columns", "values", "copies"):
        np.testing.assert_array_equal(getattr(weighted, name), getattr(repeated, name), name)
    groups = [np.unique(each.groups, return_inverse=True)[1] for each in (weighted, repeated)]
    np.testing.assert_array_equal(*groups)


def test_rows_without_a_continuous_value_are_not_copies():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=100), rng.poisson(3.0, size=100)])
    rows[:10, 0] = np.nan
    np.testing.assert_array_equal(first_copies(rows), np.arange(100))


def test_groups_that_share_a_row_are_merged():
    merged = merged_groups(np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 8]))
    assert merged[0] == merged[1] == merged[2]
    assert len(np.unique(merged)) == 3
