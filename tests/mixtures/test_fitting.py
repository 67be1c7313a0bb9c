"""Fits of mixtures, compared with scikit-learn, also to rows with gaps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from closed_forms import MIXTURE, gappy
from frames import clusters
from helpers import counted_bars
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold

from flows.core.rows import Rows
from flows.core.settings import Recipe
from flows.mixtures import bandwidth, fitting
from flows.mixtures.fitting import (
    bayesian_information,
    fit_filler,
    fit_frequencies,
    fit_gmm,
    fit_mixture,
)


def test_a_mixture_has_the_density_and_criterion_of_scikit_learn():
    x, new = clusters(), clusters(500, seed=1)
    theirs = GaussianMixture(3, reg_covar=1e-3, n_init=2, random_state=5).fit(x)
    ours = fit_mixture(x, 3, ridge=1e-3, starts=2, seed=5)
    np.testing.assert_array_equal(ours.means, theirs.means_)
    np.testing.assert_allclose(ours.log_prob(new), theirs.score_samples(new))
    assert bayesian_information(ours, Rows.of_numbers(new)) == pytest.approx(theirs.bic(new))
    assert ours.log_prob(new[:0]).shape == (0,)


def test_a_fit_that_does_not_converge_prints_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_mixture(clusters(), 3, ridge=1e-6, iterations=1)


@pytest.mark.slow
def test_the_search_finds_the_result_of_a_grid_search():
    x, grid = clusters(dim=3), {"n_components": [1, 2, 3, 5], "reg_covar": [1e-4, 1e-2, 1e-1]}
    search = GridSearchCV(
        GaussianMixture(max_iter=300, random_state=2),
        grid,
        cv=KFold(4, shuffle=True, random_state=2),
        refit=False,
    )
    best = GaussianMixture(
        max_iter=300, n_init=10, random_state=2, **search.fit(x).best_params_
    ).fit(x)
    components, ridges = grid.values()
    ours = fit_gmm(x, components=components, ridges=ridges, folds=4, seed=2)
    np.testing.assert_allclose(ours.means, best.means_, rtol=1e-8)
    np.testing.assert_allclose(ours.covariances, best.covariances_, rtol=1e-8)


def test_a_number_of_components_that_no_fold_can_fit_is_not_chosen():
    x = clusters(12)
    best = fit_gmm(x, components=[2, 9], ridges=[0.1], folds=3, seed=0)
    assert len(best.weights) == 2
    with pytest.raises(ValueError, match="n_components"):
        fit_gmm(x, components=[13], ridges=[0.1], folds=3, seed=0)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_mixture_fitted_to_rows_with_gaps_is_near_the_truth(share):
    rows, gaps = gappy(1_500, share)
    found = fit_filler(Rows.of_numbers(gaps), Recipe())
    far = MIXTURE.log_prob(rows) - found.log_prob(rows)
    assert far.mean() < 0.05


def test_gaps_may_depend_on_known_values():
    """If y is mostly missing for high x, its mean over the other rows is too low."""
    rows, gaps = gappy(1_500, 0.8)
    gaps = np.where((rows[:, :1] > 0) & [False, True, False], gaps, rows)
    found = fit_filler(Rows.of_numbers(gaps), Recipe())
    mean = found.weights @ found.means[:, 1]
    assert abs(mean - rows[:, 1].mean()) < 0.1 < rows[:, 1].mean() - np.nanmean(gaps[:, 1])


@pytest.mark.parametrize(("n", "dim"), [(12, 3), (12, 30), (200, 1)])
def test_few_or_wide_rows_are_completed(n, dim):
    rows = np.resize(gappy(n)[1], (n, dim))
    found = fit_filler(Rows.of_numbers(rows), Recipe())
    filled, _ = found.draw_missing(Rows.of_numbers(rows), np.random.default_rng(0))
    assert np.isfinite(filled.numbers).all()


def test_the_searches_of_references_show_progress(monkeypatch):
    bars = counted_bars(monkeypatch, fitting, bandwidth)
    x = np.random.default_rng(0).normal(size=(40, 2))
    fit_gmm(x, components=[1, 2, 60], ridges=[0.1, 0.2], folds=2, seed=0)
    fitting.fit_kde(x, bandwidths=[0.1, 0.3, 0.9], folds=2, seed=0)
    assert [bar.about for bar in bars] == [("mixture", "setting"), ("bandwidth", "fit")]
    assert [(bar.total, sum(bar.steps)) for bar in bars] == [(6, 6), (6, 6)]


def test_frequencies_given_a_label_are_those_of_the_rows_with_few_others():
    codes = np.array([[0, 1], [0, 1], [1, 0], [1, -1], [1, 2]])
    mixture = fit_frequencies(codes, (2, 3), root=0, strength=3.0)
    first, second = Rows.of_labels(codes, (2, 3)).frequencies()
    given = np.array([[0, 2, 0], [1, 0, 1]]) + 3.0 * second
    given /= given.sum(axis=1, keepdims=True)
    for a in range(2):
        for b in range(3):
            found = np.exp(mixture.log_labels(np.array([[a, b]])))[0]
            np.testing.assert_allclose(found, first[a] * given[a, b])
