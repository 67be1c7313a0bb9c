"""Bandwidths, compared with searches by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from frames import cloud, clusters, two_moons
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity

from flows.mixtures.bandwidth import bandwidths, cross_validated_bandwidth, likelihood_bandwidth


@pytest.mark.parametrize("dim", [1, 3])
def test_the_cross_validated_bandwidth_equals_that_of_a_grid_search(dim: int):
    x = clusters(151, dim)
    splitter = KFold(5, shuffle=True, random_state=3)
    search = GridSearchCV(KernelDensity(), {"bandwidth": bandwidths(30)}, cv=splitter)
    found = cross_validated_bandwidth(x, bandwidths=bandwidths(30), folds=5, seed=3)
    assert found == search.fit(x).best_params_["bandwidth"]


@pytest.mark.slow
def test_the_bandwidth_of_a_subsample_is_scaled_to_the_number_of_rows():
    x = np.random.default_rng(3).normal(size=(1_200, 2))
    expected = cross_validated_bandwidth(x, bandwidths=bandwidths(60), folds=5, seed=0)
    found = cross_validated_bandwidth(x, bandwidths=bandwidths(60), folds=5, seed=0, most=150)
    assert found == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(
    "points", [cloud(60), two_moons(60), cloud(60, dim=3)], ids=["gaussian", "two moons", "3-D"]
)
def test_the_bandwidth_matches_a_leave_one_out_search(points):
    widths = np.geomspace(0.1, 1.0, 20)
    scores = []
    for h in widths:
        log_kernels = norm.logpdf(points[:, None], points, h).sum(2)
        np.fill_diagonal(log_kernels, -np.inf)  # the density at a point leaves out this point
        scores.append(logsumexp(log_kernels, axis=1).sum())
    best = widths[np.argmax(scores)]
    step = widths[1] / widths[0]
    assert best / step <= likelihood_bandwidth(points) <= best * step


def test_a_bandwidth_of_a_subsample_is_rescaled_to_all_rows():
    """Without the factor n^(-1/(D + 4)) the bandwidth would be too wide by 41%."""
    points = cloud(1_200, seed=3)
    expected = likelihood_bandwidth(points)
    assert likelihood_bandwidth(points, most=150) == pytest.approx(expected, rel=0.2)
