"""Fits of mixtures and bandwidths, compared with scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity

from flows.core.arrays import Array, subsample
from flows.core.rows import Rows
from flows.mixtures.bandwidth import bandwidths, cross_validated_bandwidth
from flows.mixtures.fitting import bayesian_information, fit_gmm, fit_mixture


def rows(n: int = 200, dim: int = 2, seed: int = 0) -> Array:
    """Return rows of three clusters with different shapes."""
    rng = np.random.default_rng(seed)
    centers, factors = 3 * rng.normal(size=(3, dim)), rng.normal(size=(3, dim, dim))
    cluster = rng.integers(3, size=n)
    return centers[cluster] + np.einsum("nij,nj->ni", factors[cluster], rng.normal(size=(n, dim)))


def test_a_mixture_has_the_density_and_criterion_of_scikit_learn():
    x, new = rows(), rows(500, seed=1)
    theirs = GaussianMixture(3, reg_covar=1e-3, n_init=2, random_state=5).fit(x)
    ours = fit_mixture(x, 3, ridge=1e-3, starts=2, seed=5)
    np.testing.assert_array_equal(ours.means, theirs.means_)
    np.testing.assert_allclose(ours.log_prob(new), theirs.score_samples(new))
    assert bayesian_information(ours, Rows.of_numbers(new)) == pytest.approx(theirs.bic(new))
    assert ours.log_prob(new[:0]).shape == (0,)


def test_a_fit_that_does_not_converge_prints_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_mixture(rows(), 3, ridge=1e-6, iterations=1)


def test_the_search_finds_the_result_of_a_grid_search():
    x, grid = rows(dim=3), {"n_components": [1, 2, 3, 5], "reg_covar": [1e-4, 1e-2, 1e-1]}
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
    x = rows(12)
    best = fit_gmm(x, components=[2, 9], ridges=[0.1], folds=3, seed=0)
    assert len(best.weights) == 2
    with pytest.raises(ValueError, match="n_components"):
        fit_gmm(x, components=[13], ridges=[0.1], folds=3, seed=0)


@pytest.mark.parametrize("dim", [1, 3])
def test_the_cross_validated_bandwidth_equals_that_of_a_grid_search(dim: int):
    x = rows(151, dim)
    splitter = KFold(5, shuffle=True, random_state=3)
    search = GridSearchCV(KernelDensity(), {"bandwidth": bandwidths(30)}, cv=splitter)
    found = cross_validated_bandwidth(x, bandwidths=bandwidths(30), folds=5, seed=3)
    assert found == search.fit(x).best_params_["bandwidth"]


def test_the_bandwidth_of_a_subsample_is_scaled_to_the_number_of_rows():
    x = np.random.default_rng(3).normal(size=(1_200, 2))
    expected = cross_validated_bandwidth(x, bandwidths=bandwidths(60), folds=5, seed=0)
    found = cross_validated_bandwidth(x, bandwidths=bandwidths(60), folds=5, seed=0, most=150)
    assert found == pytest.approx(expected, rel=0.25)


def test_a_subsample_is_evenly_spaced_and_few_rows_are_all_kept():
    x = np.arange(22.0).reshape(11, 2)
    assert subsample(x, 11) is x
    assert subsample(x[:0], 3).shape == (0, 2)
    assert subsample(x, 3)[:, 0].tolist() == [0, 10, 20]
    assert torch.equal(subsample(torch.from_numpy(x), 3), torch.from_numpy(subsample(x, 3)))
    places = subsample(np.arange(10_000), 4_000)
    assert len(places) == 4_000
    assert set(np.diff(places)) == {2, 3}
