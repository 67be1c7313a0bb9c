"""The AUC and its error, and memorisation scores of networks that remember their rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import flows
from flows.core.arrays import Array
from flows.recipe.record import MemberRecord, Record
from flows.tables.checking.rows import CheckedRows
from flows.tables.checking.traces import mean_auc, trace


def test_the_auc_counts_pairs_and_ties_count_half():
    scores = np.array([[3.0], [1.0], [2.0], [1.0]])
    unseen = np.array([[False], [False], [True], [True]])
    auc, error = mean_auc(scores, unseen)  # 3 > 2, 3 > 1, 1 < 2, 1 = 1
    assert auc == pytest.approx(2.5 / 4)
    # Each row's share of pairs it wins: 1, 1/4 and 1/2, 3/4, in groups of two
    assert error == pytest.approx(np.sqrt(2 * (0.375 / 2) ** 2 + 2 * (0.125 / 2) ** 2))


def test_the_error_is_the_spread_over_tables():
    rng, aucs, errors = np.random.default_rng(0), [], []
    for _ in range(300):
        row = rng.normal(size=(100, 1))  # a likely row is likely under every network
        unseen = rng.permutation(np.arange(100) % 5)[:, None] == np.arange(5)
        scores = row + 0.5 * rng.normal(size=(100, 5)) + 0.3 * ~unseen
        auc, error = mean_auc(scores, unseen)
        aucs.append(auc)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(aucs), rel=0.15)


def test_copies_of_rows_add_no_evidence():
    rng = np.random.default_rng(0)
    scores, unseen = rng.normal(size=(50, 2)), rng.random((50, 2)) < 0.3
    auc, error = mean_auc(scores, unseen)
    twice = mean_auc(np.tile(scores, (2, 1)), np.tile(unseen, (2, 1)), np.tile(np.arange(50), 2))
    assert twice == pytest.approx((auc, error))


def test_without_unseen_rows_there_is_no_auc():
    assert np.isnan(mean_auc(np.zeros((3, 2)), np.zeros((3, 2), bool))).all()


def test_the_score_is_the_mean_of_the_networks_that_learned_minus_the_others(
    of_pressures: flows.Density,
):
    density = of_pressures._array
    settings = {"preprocessing": "raw"}
    record = Record("auto", 4, members=[MemberRecord(k, settings, 5) for k in (0, 1)])
    values = np.array([[30, 0, 110.0], [40, 1, 120.0], [50, 2, np.nan], [60, 0, 130.0]])
    with_record = type(density)(density.population, density.schema, record)
    found = trace(with_record, CheckedRows(values, np.array([0, 1, 0, -2])))
    log_q: Array = density.log_density(values[:2])
    expected = [log_q[0, 1] - log_q[0, 0], log_q[1, 0] - log_q[1, 1]]
    assert found.scores["networks"][:2] == pytest.approx(expected)
    assert np.isnan(found.scores["networks"][2:]).all()  # a gap, and a row that both learned from
    mixtures = replace(record, members=[MemberRecord(0, settings), MemberRecord(1, settings)])
    without = type(density)(density.population, density.schema, mixtures)
    other = trace(without, CheckedRows(values, np.array([0, 1, 0, -2])))
    assert np.isnan(other.auc)
    assert other.scores["mixtures"][:2] == pytest.approx(expected)
