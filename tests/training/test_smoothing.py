"""Sharpened noise: a comparison with brute force, and the reduction of bias."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from frames import cloud, two_moons
from scipy.spatial.distance import cdist
from scipy.stats import norm

import flows
from flows.core.arrays import subsample
from flows.core.settings import TrainingSettings
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.training.smoothing import MANY, fit_sharpened_kde, sharpen
from flows.training.trainer import Trainer


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


def test_rows_moved_in_chunks_match_the_formula():
    """A row counts itself and its copies once each, even if it is not a reference row."""
    points = cloud(MANY + 50)
    reference = subsample(points, 30)
    kernel = len(points) / 30 * np.exp(-cdist(points, reference, "sqeuclidean") / (2 * 0.4**2))
    kernel[cdist(points, reference) == 0] = 0
    expected = (kernel @ reference + points) / (kernel.sum(axis=1, keepdims=True) + 1)
    moved = sharpen(points, 0.4, 1.0, reference_rows=30)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-13)


def test_the_sharpened_kernel_density_is_what_training_draws_its_visits_from():
    rows = two_moons(80) * [1.0, 30.0]
    settings = TrainingSettings(noise_factor=1.3, sharpen=0.7)
    trainer = Trainer(flows.build(flows.NSF(couplings=2), (2,)), rows, settings)
    fit = partial(fit_sharpened_kde, noise_factor=1.3, strength=0.7)
    density = GaussianMixture.fit(fit, rows)
    np.testing.assert_array_equal(density.means.numpy(), trainer.visited[0].numpy())
    level = trainer.noise.item()
    expected = np.broadcast_to(level**2 * np.eye(2), (80, 2, 2))
    np.testing.assert_allclose(density.covariances.numpy(), expected, rtol=1e-6)
