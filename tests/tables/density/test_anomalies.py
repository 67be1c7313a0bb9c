"""The rate of false discoveries on a known density with planted anomalies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import changed, error_message, short_recipe
from scipy.stats import false_discovery_control

import flows
from flows.mixtures.mixture import Mixture
from flows.recipe.record import MemberRecord, Record, RowScores
from flows.tables.density.anomalies import discoveries
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.questions import reading
from flows.tables.questions.score import Score


def test_the_procedure_is_that_of_benjamini_and_hochberg():
    p = np.random.default_rng(0).beta(0.3, 1, 100)
    for rate in (0.01, 0.1, 0.3):
        assert (discoveries(p, rate) == (false_discovery_control(p) <= rate)).all()
    with_gaps = np.append(p, np.nan)
    assert (discoveries(with_gaps, 0.1)[:-1] == discoveries(p, 0.1)).all()
    assert not discoveries(with_gaps, 0.1)[-1]
    assert not discoveries(np.full(3, np.nan), 0.1).any()


def test_a_far_training_row_is_ranked_by_the_members_that_did_not_learn_from_it():
    rows = np.random.default_rng(0).normal(size=(300, 2)).round(1)
    rows[17] = 12.0  # a component of the mixtures may hold this row alone
    frame = pd.DataFrame(rows, columns=["a", "b"])
    density = flows.fit(frame, members=5, settings={"recipe": short_recipe()})
    tail = density.tail_probability(frame)
    assert tail.argmin() == 17
    assert tail[17] == pytest.approx(1 / 150, abs=1 / 150)
    assert abs(np.quantile(tail, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.05
    fold = density.record.row_scores.fold[17]
    without = density.record.out_of_fold_members(fold)
    array = ArrayDensity(density.population, density.schema, density.record)
    own = array.ensemble(density.log_prob_members(frame[17:18]), without)
    scores = density.ask(Score(tails=True), frame)["log_density"]
    assert scores[17] == pytest.approx(own[0], abs=1e-6)
    assert scores.argmin() == 17
    assert density.log_prob(frame[17:18])[0] >= own[0]


@pytest.mark.slow
def test_the_share_of_false_discoveries_is_below_the_rate(of_truth: flows.Density, truth: Mixture):
    rng, rate, false, found = np.random.default_rng(0), 0.2, [], []
    members = [MemberRecord(0, {"preprocessing": "raw"})]
    for _ in range(200):
        held_out = truth.log_prob(truth.sample(200, rng))
        scores = RowScores(np.zeros(200, np.int64), np.zeros(200, np.int64), held_out)
        record = Record("auto", 200, members=members, row_scores=scores)
        density = flows.Density(of_truth.population, of_truth.schema, record)
        planted = truth.sample(10, rng) + 30 * rng.choice([-1, 1], (10, 6))
        kept = density.discoveries(np.concatenate([truth.sample(90, rng), planted]), rate)
        false.append(kept[:90].sum() / max(1, kept.sum()))
        found.append(kept[90:].mean())
    error = np.std(false) / np.sqrt(len(false))
    assert np.mean(false) < rate * 0.9 + 2 * error  # 90% of the rows are no anomalies
    assert np.mean(false) > rate * 0.9 - 0.06  # and the procedure is not needlessly strict
    assert np.mean(found) == 1.0


def test_a_row_with_a_gap_is_no_anomaly(of_truth: flows.Density, truth: Mixture):
    rng = np.random.default_rng(0)
    scores = RowScores(*np.zeros((2, 99), np.int64), truth.log_prob(truth.sample(99, rng)))
    members = [MemberRecord(0, {"preprocessing": "raw"})]
    record = Record("auto", 99, members=members, row_scores=scores)
    density = flows.Density(of_truth.population, of_truth.schema, record)
    rows = np.full((2, 6), 40.0)
    rows[1, 0] = np.nan
    assert density.discoveries(rows).tolist() == [True, False]


def test_a_wrong_rate_and_a_density_without_scores_are_refused(of_truth: flows.Density):
    message = error_message(of_truth.discoveries, np.zeros((2, 6)), 1.5)
    assert message == "fdr = 1.5: must be above 0 and below 1"
    assert "needs out-of-fold scores" in error_message(of_truth.discoveries, np.zeros((2, 6)))


@pytest.mark.slow
def test_discoveries_do_not_depend_on_the_pieces_in_which_rows_are_read():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    density = flows.fit(frame, members=5, settings={"recipe": short_recipe()})
    new = frame.assign(a=frame["a"] + 8.0 * (np.arange(60) % 6 == 0))
    whole = density.discoveries(new, fdr=0.3)
    assert whole.any()
    with changed({reading: {"PIECE": 7}}):
        assert (density.discoveries(new, fdr=0.3) == whole).all()
