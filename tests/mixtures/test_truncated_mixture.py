"""Draws of mixtures inside a box."""

from __future__ import annotations

import numpy as np
import pytest
from closed_forms import SIZES, labelled, mass_of, mass_of_box, some_numbers

from flows.core.rows import Rows
from flows.mixtures.truncated_mixture import BoxProposal, fixed

INF = np.inf


def test_draws_of_a_box_proposal_have_its_density():
    truth, rng = some_numbers(0, dim=4), np.random.default_rng(0)
    box = {2: np.array([[1.5, INF]]), 0: np.array([[-1.0, 0.0], [0.5, 2.0]])}
    limits = {d: fixed(own) for d, own in box.items()}
    proposal = BoxProposal(truth, Rows.of_numbers(np.full((1, 4), np.nan)), limits)
    rows, log_r = proposal.draw(np.zeros(20_000, np.int64), rng)
    z = rows.numbers
    assert (z[:, 2] >= 1.5).all()
    assert (((z[:, 0] >= -1) & (z[:, 0] <= 0)) | ((z[:, 0] >= 0.5) & (z[:, 0] <= 2))).all()
    weights = np.exp(truth.log_prob(z) - log_r)
    expected = sum(
        mass_of_box(truth, np.array([low, -INF, 1.5, -INF]), np.array([high, INF, INF, INF]))
        for low, high in box[0]
    )
    assert weights.mean() == pytest.approx(expected, rel=0.02)


def test_draws_of_a_box_with_sets_of_labels_have_its_density() -> None:
    rng, sets = np.random.default_rng(0), {1: np.array([0, 2])}
    nothing = Rows(np.full((1, 3), np.nan), np.full((1, 3), -1), SIZES)
    proposal = BoxProposal(labelled(), nothing, {0: fixed(np.array([[0.0, np.inf]]))}, sets)
    rows, log_r = proposal.draw(np.zeros(20_000, np.int64), rng)
    assert (rows.numbers[:, 0] >= 0).all()
    assert set(rows.codes[:, 1].tolist()) == {0, 2}
    weights = np.exp(labelled().log_prob(rows.numbers, rows.codes) - log_r)
    expected = mass_of({"label1": ["a", "c"], "x0": (0, None)})
    assert weights.mean() == pytest.approx(expected, rel=0.02)


def test_the_intervals_of_a_number_may_depend_on_the_numbers_before_it() -> None:
    """Draws of x0 and x2 with x0 <= x2, and x2 in two intervals."""
    truth, rng = some_numbers(0, dim=4), np.random.default_rng(0)
    ends = np.array([[-1.0, 0.0], [1.5, INF]])

    def above(row: np.ndarray, before: np.ndarray) -> np.ndarray:
        if np.isnan(before).all():  # for the weights of the components
            return fixed(ends)(row, before)
        low = np.maximum(ends[:, 0], before[:, :1])
        return np.stack([low, np.maximum(low, ends[:, 1])], axis=-1)

    limits = {0: fixed(np.array([[-INF, INF]])), 2: above}
    proposal = BoxProposal(truth, Rows.of_numbers(np.full((1, 4), np.nan)), limits)
    rows, log_r = proposal.draw(np.zeros(20_000, np.int64), rng)
    z = rows.numbers
    is_possible = np.isfinite(log_r)
    assert (z[is_possible, 0] <= z[is_possible, 2]).all()
    weights = np.where(is_possible, np.exp(truth.log_prob(z) - log_r), 0)
    drawn = truth.sample(400_000, rng)
    inside = ((ends[:, 0] <= drawn[:, 2:3]) & (drawn[:, 2:3] <= ends[:, 1])).any(axis=1)
    share = (inside & (drawn[:, 0] <= drawn[:, 2])).mean()
    assert weights.mean() == pytest.approx(share, rel=0.03)


def test_each_component_is_proposed_to_a_row_far_away() -> None:
    truth = some_numbers(0, dim=4)
    far = np.array([[60.0, np.nan, np.nan, np.nan]])
    for limits in ({}, {1: fixed(np.array([[0.0, INF]]))}):
        proposal = BoxProposal(truth, Rows.of_numbers(far), limits)
        count = len(truth.weights)
        shares = np.exp(proposal.log_shares[0]).reshape(-1, count).sum(axis=0)
        assert (shares >= 0.05 * truth.weights - 1e-12).all()
        assert shares.sum() == pytest.approx(1)
