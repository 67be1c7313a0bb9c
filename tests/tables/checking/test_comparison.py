"""Associations, and statistics of samples beside those of rows."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from frames import clinic
from helpers import field, short_recipe
from scipy.stats import spearmanr

import flows
from flows.core.arrays import Array
from flows.mixtures.mixture import Mixture
from flows.recipe import mixture_candidate
from flows.tables.checking import comparison
from flows.tables.checking.comparison import compare, lost_associations, repeated
from flows.tables.checking.rows import EVERY, CheckedRows, draw_tables, read_rows
from flows.tables.columns.notices import python_words
from flows.tables.columns.parsing import from_user


def test_repeated_values_are_those_of_many_rows_and_all_labels():
    x = np.concatenate([np.zeros(30), np.full(9, 7.0), np.arange(100.0, 161.0), [np.nan]])
    assert repeated(field("x"), x) == [0.0]
    assert repeated(field("x", "category", labels=("a", "b")), np.zeros(3)) == [0.0, 1.0]


def test_rows_of_the_density_are_within_three_errors(of_truth: flows.Density, truth: Mixture):
    drawn = truth.sample(300, np.random.default_rng(2))
    columns, pairs, *_ = compare(of_truth._array, CheckedRows(drawn, np.full(300, EVERY)), 0)
    assert (columns["difference"].abs() < 3).mean() > 0.95
    assert (pairs["difference"].abs() < 3).mean() > 0.9
    mean = columns[columns["statistic"] == "mean"]
    deviations = np.sqrt(300) * mean["error"].to_numpy()
    assert deviations == pytest.approx(
        truth.sample(20_000, np.random.default_rng(0)).std(0), rel=0.2
    )


def test_another_mean_and_another_dependence_come_first(of_truth: flows.Density, rows: Array):
    far = rows + np.eye(6)[2] * 3
    far[:, 0] = np.random.default_rng(0).permutation(far[:, 0])
    columns, pairs, *_ = compare(of_truth._array, CheckedRows(far, np.full(len(far), EVERY)), 0)
    worst = columns.iloc[columns["difference"].abs().argmax()]
    assert worst["column"] == "x2"
    assert worst["difference"] > 10
    assert "x0" in [*pairs.loc[0, ["first", "second"]]]
    assert pairs["difference"].abs().is_monotonic_decreasing


def independent(dim: int) -> flows.Density:
    """Return a density of independent standard normal columns."""
    return flows.Density(flows.GaussianMixture([1.0], np.zeros((1, dim)), np.eye(dim)[None]))


def new_rows(values: Array) -> CheckedRows:
    return CheckedRows(values, np.full(len(values), EVERY))


def test_lost_associations_are_named_the_largest_first():
    rows = np.random.default_rng(0).normal(size=(400, 12))
    rows[:, 1] = rows[:, 0] + 0.5 * rows[:, 1]
    rows[:, 5] = -rows[:, 4] + rows[:, 5]
    rows[:, 7] = 0.15 * rows[:, 6] + rows[:, 7]  # small
    [notice] = lost_associations(independent(12)._array, new_rows(rows), 0)
    found = re.fullmatch(
        r"in samples, `x0` and `x1` have the association (-?0\.0\d), in rows (0\.\d\d); "
        r"`x4` and `x5` have the association (-?0\.0\d), in rows (-0\.\d\d); "
        r"to see all pairs, call density\.check\(frame\)",
        notice.text(python_words),
    )
    assert found is not None
    of_rows = spearmanr(rows).statistic
    assert float(found[2]) == pytest.approx(of_rows[0, 1], abs=0.006)
    assert float(found[4]) == pytest.approx(of_rows[4, 5], abs=0.006)


def test_after_three_lost_associations_the_others_are_counted():
    rows = np.random.default_rng(0).normal(size=(400, 11))
    rows[:, 1:4] = rows[:, :1] + 0.5 * rows[:, 1:4]  # six pairs
    [notice] = lost_associations(independent(11)._array, new_rows(rows), 0)
    assert notice.problem.count("`") == 12
    assert notice.problem.endswith("; 3 other pairs also lost association")


def test_associations_of_the_density_are_not_lost_nor_those_of_a_few_columns_compared():
    rows = np.random.default_rng(0).normal(size=(400, 12))
    assert not lost_associations(independent(12)._array, new_rows(rows), 0)
    rows[:, 1] = rows[:, 0]
    assert not lost_associations(independent(10)._array, new_rows(rows[:, :10]), 0)


def test_an_association_that_only_samples_have_is_not_lost():
    covariance = np.eye(11)
    covariance[0, 1] = covariance[1, 0] = 0.9
    density = flows.Density(flows.GaussianMixture([1.0], np.zeros((1, 11)), covariance[None]))
    rows = np.random.default_rng(0).normal(size=(400, 11))
    rows[:, 1] += 0.1 * rows[:, 0]
    assert not lost_associations(density._array, new_rows(rows), 0)
    rows[:, 1] -= 0.5 * rows[:, 0]  # the sign is lost
    assert len(lost_associations(density._array, new_rows(rows), 0)) == 1


def test_a_fit_says_which_associations_samples_lost(monkeypatch):
    """A fit of one class of labels takes the columns for independent."""
    rng = np.random.default_rng(0)
    town = rng.integers(0, 3, 150)
    frame = pd.DataFrame({"town": np.take([*"abc"], town), "state": np.take([*"xyy"], town)})
    frame["price"] = rng.normal(size=150)
    recipe = {"recipe": short_recipe(components=1)}
    monkeypatch.setattr(mixture_candidate, "_given_a_label", lambda folds: iter(()))
    with pytest.warns(flows.TableNotice, match="in samples, `town` and `state` have the assoc"):
        flows.fit(frame, members=1, settings=recipe)


def test_tables_that_are_drawn_for_a_part_of_the_rows_have_its_contexts(of_visits: flows.Density):
    density = of_visits._array
    rows = read_rows(density, lambda kinds: from_user(clinic(), kinds, ()))
    assert rows.sample is not None
    part = rows.take(np.arange(6, 12))
    inputs = np.flatnonzero(density.inputs)
    drawn = draw_tables(density, part, 3, 0)[:, :, inputs]
    np.testing.assert_array_equal(drawn, np.tile(part.values[:, inputs], (3, 1, 1)))


def test_a_target_that_ignores_its_labels_loses_their_association(of_visits: flows.Density):
    density = of_visits._array
    rows = read_rows(density, lambda kinds: from_user(clinic(), kinds, ()))
    assert not lost_associations(density, rows, 0)
    shuffled = rows.values.copy()
    label = next(d for d, column in enumerate(density.columns) if column.labels)
    [target] = np.flatnonzero(~density.inputs)
    shuffled[:, label] = shuffled[:, target] > np.median(shuffled[:, target])
    assert len(lost_associations(density, new_rows(shuffled), 0)) == 1


def test_a_difference_counts_beside_a_large_offset():
    numbers = np.array([1e6 + 5.0, 1e6 - 1.0, 1e6, 1e6 + 1.0])
    frame = pd.DataFrame({"column": ["x"], "statistic": ["mean"]})
    [difference] = comparison._measured(frame, [numbers], 100)["difference"]
    assert difference == pytest.approx(5.0)
