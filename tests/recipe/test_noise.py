"""Noise with the shape of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from helpers import parabola

from flows.recipe.noise import NeighbourNoise


def rows(n: int = 60, dim: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim))


def visits(noise: Any, row: int, level: float) -> np.ndarray:
    return noise.visit(np.full(40_000, row), level, np.random.default_rng(0)).astype(float)


def test_noise_has_the_shape_of_the_neighbourhood():
    points = rows(50)
    nearest = np.argsort(np.linalg.norm(points - points[7], axis=1))[1:21]
    differences = points[nearest] - points[7]
    moved = visits(NeighbourNoise(points), 7, 0.5)
    expected = points[7] + 0.125 * differences.mean(axis=0)
    np.testing.assert_allclose(moved.mean(axis=0), expected, atol=0.02)
    expected = 0.25 * differences.T @ differences / 20
    np.testing.assert_allclose(np.cov(moved.T), expected, atol=0.03 * np.abs(expected).max())


def test_noise_stays_on_a_ridge():
    line = np.outer(np.linspace(-1, 1, 40), [1.0, 2.0])
    moved = visits(NeighbourNoise(line), 3, 1.0)
    assert np.abs(moved @ [2.0, -1.0]).max() < 1e-5


def test_the_neighbours_of_a_repeated_row_are_other_rows():
    points = parabola(60).to_numpy()
    repeated = points.repeat(30, axis=0)
    noise = NeighbourNoise(repeated, np.arange(0, len(repeated), 30))
    plain = NeighbourNoise(points)
    np.testing.assert_array_equal(noise.nearest[::30], plain.nearest)
    np.testing.assert_array_equal(noise.nearest[29::30], plain.nearest)
