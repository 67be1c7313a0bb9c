"""The truths: the ring, the grid, and mixtures of a user."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from flows import truths


def custom(weights, means, covariances):
    components = [
        {"weight": w, "mean": list(m), "covariance": np.asarray(c).tolist()}
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return truths.make("custom", components=components)


def test_ring_has_8_equal_modes_of_deviation_a_half_at_radius_4():
    truth = truths.make("ring")
    np.testing.assert_allclose(truth.weights, 1 / 8)
    np.testing.assert_allclose(np.linalg.norm(truth.means, axis=1), 4)
    np.testing.assert_allclose(truth.covariances, np.broadcast_to(0.25 * np.eye(2), (8, 2, 2)))
    neighbours = np.linalg.norm(truth.means - np.roll(truth.means, 1, axis=0), axis=1)
    np.testing.assert_allclose(neighbours, 8 * np.sin(np.pi / 8))


def test_grid_has_25_equal_modes_of_deviation_a_quarter_with_spacing_2():
    truth = truths.make("grid")
    np.testing.assert_allclose(truth.weights, 1 / 25)
    assert {tuple(mean) for mean in truth.means} == {*product((-4, -2, 0, 2, 4), repeat=2)}
    np.testing.assert_allclose(truth.covariances, np.broadcast_to(0.0625 * np.eye(2), (25, 2, 2)))


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_a_custom_mixture_has_the_dimension_of_its_components_and_normalised_weights(dim):
    means = np.arange(2 * dim).reshape(2, dim)
    truth = custom([1, 3], means, [np.eye(dim), 4 * np.eye(dim)])
    np.testing.assert_allclose(truth.weights, [0.25, 0.75])
    np.testing.assert_allclose(truth.means, means)
    np.testing.assert_allclose(truth.covariances, [np.eye(dim), 4 * np.eye(dim)])
    assert truth.sample(7, np.random.default_rng(0)).shape == (7, dim)
    assert truth.log_prob(np.zeros((7, dim))).shape == (7,)


@pytest.mark.parametrize(
    ("means", "covariances"),
    [
        ([[0, 0], [1, 1, 1]], [np.eye(2), np.eye(3)]),
        ([[0, 0], [1, 1]], [np.eye(2), np.eye(3)]),
        ([[0, 0], [1, 1]], [np.eye(2), np.ones((1, 2))]),
    ],
    ids=["another dimension", "a covariance of another dimension", "a covariance of one row"],
)
def test_a_component_of_another_dimension_than_the_first_is_named(means, covariances):
    said = (
        r"^.*component 1 must have a mean of 2 numbers and a covariance of 2 x 2.*it has .*\[1.*$"
    )
    with pytest.raises(ValueError, match=said):
        custom([1, 1], means, covariances)


def test_negative_weights_of_a_negative_sum_are_rejected():
    with pytest.raises(ValueError, match="weights"):
        custom([-1, -1], [[0, 0], [1, 1]], [np.eye(2), np.eye(2)])
