"""The weights of a stacked mixture of densities."""

from __future__ import annotations

import numpy as np
from helpers import nudged
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

import flows
from flows.recipe import stacking


def test_stacking_finds_the_weights_of_the_highest_likelihood():
    log_q = np.random.default_rng(0).normal(size=(200, 4)) - [0.0, 0.5, 1.0, 3.0]
    best = -minimize(lambda a: -logsumexp(log_q, axis=1, b=softmax(a)).mean(), np.zeros(4)).fun
    weights = stacking.weights(log_q)
    assert abs(weights.sum() - 1) < 1e-12
    np.testing.assert_array_equal(weights, stacking.weights(nudged(log_q)))
    assert best - 0.002 < flows.ensemble_log_prob(log_q, weights).mean() < best + 1e-6


def test_stacking_selects_the_pair_with_the_best_mixture():
    """The second-best density is a copy of the best and adds nothing.

    The worst density is good for rows where the best is bad.
    """
    best = np.where(np.arange(100) < 80, 0.0, -5.0)
    log_q = np.stack([best, best - 0.01, np.where(np.arange(100) < 80, -8.0, 0.0)], axis=1)
    assert log_q.mean(axis=0).argmin() == 2
    assert stacking.chosen(log_q, 2) == [0, 2]


def test_a_small_weight_that_the_rows_do_not_need_goes_and_another_stays():
    rng = np.random.default_rng(0)
    good, noise = rng.normal(size=400), 0.01 * rng.normal(size=400)
    same = np.column_stack([good, good + noise])  # a second density that adds nothing
    np.testing.assert_allclose(stacking.without_small(same, np.array([0.95, 0.05])), [1, 0])
    needed = np.column_stack([good, good - 3])
    needed[::20] = [-20, 0]  # rows that only the second density explains
    weights = stacking.weights(needed)
    assert weights[1] < stacking.SMALL
    np.testing.assert_array_equal(stacking.without_small(needed, weights), weights)
