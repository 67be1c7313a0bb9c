"""Sharpened noise: a comparison with brute force, and the reduction of bias."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import norm

from flows.core.arrays import subsample
from flows.mixtures.bandwidth import likelihood_bandwidth
from flows.training.smoothing import MANY, sharpen


def cloud(n, dim=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


def two_moons(n, seed=0):
    """Two thin arcs, which no single Gaussian describes."""
    rng = np.random.default_rng(seed)
    angle, side = rng.uniform(0, np.pi, n), rng.choice([-1, 1], n)
    x = np.stack([np.cos(angle) + side / 2, side * np.sin(angle)], axis=1)
    x += 0.1 * rng.normal(size=(n, 2))
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize(
    "points", [cloud(60), two_moons(60), cloud(60, dim=3)], ids=["gaussian", "two moons", "3-D"]
)
def test_the_bandwidth_matches_a_leave_one_out_search(points):
    bandwidths = np.geomspace(0.1, 1.0, 20)
    scores = []
    for h in bandwidths:
        log_kernels = norm.logpdf(points[:, None], points, h).sum(2)
        np.fill_diagonal(log_kernels, -np.inf)  # the density at a point leaves out this point
        scores.append(logsumexp(log_kernels, axis=1).sum())
    best = bandwidths[np.argmax(scores)]
    step = bandwidths[1] / bandwidths[0]
    assert best / step <= likelihood_bandwidth(points) <= best * step


def local_means(points, bandwidth):
    means = []
    for x in points:
        weight = np.exp(-np.square(points - x).sum(1) / (2 * bandwidth**2))
        means.append((weight[:, None] * points).sum(0) / weight.sum())
    return np.array(means)


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(
    "points", [two_moons(50), np.round(two_moons(50), 0)], ids=["distinct", "repeated"]
)
def test_every_point_moves_by_the_share_strength_towards_its_local_mean(points, strength):
    expected = (1 - strength) * points + strength * local_means(points, 0.3)
    np.testing.assert_allclose(sharpen(points, 0.3, strength), expected, atol=1e-12)


def quantiles(n=2_000):
    """Quantiles of a Gaussian in one dimension, with variance 1 and without randomness."""
    points = norm.ppf((np.arange(n) + 0.5) / n)[:, None]
    return points / points.std()


@pytest.mark.parametrize("h", [0.2, 0.4, 0.6])
def test_sharpened_noise_has_a_smaller_error_of_the_variance_than_noise_alone(h):
    """Noise alone adds h^2 to the variance.

    For a Gaussian of variance 1 the local mean of x is x / (1 + h^2).
    """
    sharpened = sharpen(quantiles(), h, 1.0).var() + h**2
    assert sharpened == pytest.approx(1 / (1 + h**2) ** 2 + h**2, abs=0.01)
    assert abs(sharpened - 1) < h**2


def test_half_the_way_to_the_local_mean_cancels_the_excess_to_second_order():
    """The remaining excess is of order h^4."""
    for h in (0.2, 0.3, 0.4):
        assert abs(sharpen(quantiles(), h, 0.5).var() + h**2 - 1) < 2 * h**4


def test_a_bandwidth_of_a_subsample_is_rescaled_to_all_rows():
    """Without the factor n^(-1/(D + 4)) the bandwidth would be too wide by 41%."""
    points = cloud(1_200, seed=3)
    expected = likelihood_bandwidth(points)
    assert likelihood_bandwidth(points, most=150) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("count", [1_200, 1_201])
def test_a_smaller_reference_moves_rows_nearly_the_same_way(count):
    points = quantiles(count)
    move = sharpen(points, 0.4, 1.0) - points
    error = sharpen(points, 0.4, 1.0, reference_rows=150) - points - move
    assert error.shape == points.shape
    assert np.sqrt(np.square(error).mean()) < 0.12 * np.sqrt(np.square(move).mean())


def test_rows_moved_in_chunks_match_the_formula():
    """A row counts itself and its copies once each, even if it is not a reference row."""
    points = cloud(MANY + 50)
    reference = subsample(points, 30)
    kernel = len(points) / 30 * np.exp(-cdist(points, reference, "sqeuclidean") / (2 * 0.4**2))
    kernel[cdist(points, reference) == 0] = 0
    expected = (kernel @ reference + points) / (kernel.sum(axis=1, keepdims=True) + 1)
    moved = sharpen(points, 0.4, 1.0, reference_rows=30)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-13)
