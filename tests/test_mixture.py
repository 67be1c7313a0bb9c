"""Gaussian mixtures in torch and in NumPy, compared with SciPy and torch.distributions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.testing import assert_close

from flows import GaussianMixture, Mixture, truths
from flows.core.truth import entropy
from flows.mixtures.mixture import PAIRS

UNIT = np.eye(2)


def custom(weights, means, covariances):
    components = [
        {"weight": w, "mean": list(m), "covariance": np.asarray(c).tolist()}
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return truths.make("custom", components=components)


@pytest.fixture(
    params=[(1, 2), (4, 2), (4, 3), (3, 1)], ids=lambda p: f"{p[0]} components in {p[1]}-D"
)
def truth(request):
    """A mixture with unequal weights and full covariances."""
    components, dim = request.param
    rng = np.random.default_rng(components * 10 + dim)
    roots = rng.normal(size=(components, dim, dim))
    weights = rng.uniform(0.5, 2, components)
    covariances = roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(dim)
    return Mixture(weights / weights.sum(), 3 * rng.normal(size=(components, dim)), covariances)


def mixture_of(truth):
    return GaussianMixture(truth.weights, truth.means, truth.covariances)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_log_prob_matches_scipy_and_torch(truth):
    x = 4 * np.random.default_rng(0).normal(size=(50, truth.means.shape[1]))
    parts = zip(truth.weights, truth.means, truth.covariances, strict=True)
    by_scipy = np.log(sum(w * multivariate_normal(m, c).pdf(x) for w, m, c in parts))
    components = map(torch.from_numpy, (truth.means, truth.covariances))
    weights = Categorical(torch.from_numpy(truth.weights))
    theirs = MixtureSameFamily(weights, MultivariateNormal(*components))
    ours = mixture_of(truth).log_prob(x)
    assert ours.shape == (50, 1)
    np.testing.assert_allclose(ours[:, 0], by_scipy, atol=1e-10)
    np.testing.assert_allclose(ours[:, 0], theirs.log_prob(torch.from_numpy(x)), atol=1e-10)
    np.testing.assert_allclose(truth.log_prob(x), by_scipy, atol=1e-10)
    assert np.isfinite(truth.log_prob(np.full_like(x, 1e4))).all()


def test_log_prob_does_not_depend_on_the_size_of_chunks(truth):
    mixture = mixture_of(truth)
    x = mixture.sample((3, PAIRS // len(truth.weights) // 2), generator=generator())
    assert_close(mixture.log_prob(x)[1:, -50:], mixture.log_prob(x[1:, -50:]))
    assert mixture.log_prob(x[:, :0]).shape == (3, 0, 1)


DRAW = {
    "torch": lambda truth, n: mixture_of(truth).sample((n,), generator=generator())[:, 0].numpy(),
    "numpy": lambda truth, n: truth.sample(n, np.random.default_rng(0)),
}


@pytest.mark.parametrize("draw", DRAW.values(), ids=list(DRAW))
def test_samples_have_the_mean_and_the_covariance_of_the_mixture(truth, draw):
    """Every entry is within 5 standard errors.

    A correct sampler fails for fewer than one seed in 100,000.
    """
    n, dim = 20_000, truth.means.shape[1]
    x = draw(truth, n)
    assert x.shape == (n, dim)
    mean = truth.weights @ truth.means
    between = truth.means - mean
    second = truth.covariances + between[:, :, None] * between[:, None, :]
    covariance = np.einsum("k,kij->ij", truth.weights, second)
    assert (np.abs(x.mean(0) - mean) <= 5 * x.std(0) / np.sqrt(n)).all()
    products = (x - mean)[:, :, None] * (x - mean)[:, None, :]
    assert (np.abs(products.mean(0) - covariance) <= 5 * products.std(0) / np.sqrt(n)).all()


def test_a_mixture_has_the_shapes_of_a_population_of_one_member(truth):
    mixture, dim = mixture_of(truth), truth.means.shape[1]
    assert mixture.sample((), generator=generator()).shape == (1, dim)
    assert mixture.sample((2, 3), generator=generator()).shape == (2, 3, 1, dim)
    assert mixture.log_prob(torch.zeros(2, 3, 1, dim)).shape == (2, 3, 1)
    assert torch.equal(*(mixture.sample((9,), generator=generator(1)) for _ in range(2)))
    with pytest.raises(ValueError, match="expected"):
        mixture.log_prob(torch.zeros(2, 2, dim))


def test_a_mixture_copies_its_arguments_which_may_be_arrays_lists_or_tensors(truth):
    parts = (truth.weights.copy(), truth.means.copy(), truth.covariances.copy())
    ways = (np.asarray, torch.from_numpy, np.ndarray.tolist)
    made = [GaussianMixture(*map(of, parts)) for of in ways]
    parts[1][:] = 0
    x = torch.zeros(4, truth.means.shape[1], dtype=torch.float64, requires_grad=True)
    expected = truth.log_prob(x.detach().numpy())
    for mixture in made:
        np.testing.assert_array_equal(mixture.log_prob(x)[:, 0], expected)


def test_entropy_of_one_gaussian_matches_the_closed_form():
    covariance = np.array([[2.0, 0.6], [0.6, 0.5]])
    truth = Mixture(np.ones(1), np.array([[3.0, -1.0]]), covariance[None])
    estimate, error = entropy(truth, 20_000, np.random.default_rng(0))
    exact = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))
    assert abs(estimate - exact) < 4 * error
    # In D dimensions -log p varies by D/2
    assert error == pytest.approx(1 / np.sqrt(20_000), rel=0.05)


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


def test_the_box_reaches_4_deviations_beyond_the_means():
    low, high = truths.make("ring").box()
    np.testing.assert_allclose([low, high], [[-6, -6], [6, 6]])


INVALID = {  # fault -> (weights, means, covariances)
    "weights that do not sum to 1": ([0.5, 0.6], [[0, 0], [1, 1]], [UNIT, UNIT]),
    "a weight of 0": ([0.0, 1.0], [[0, 0], [1, 1]], [UNIT, UNIT]),
    "a negative weight": ([-0.5, 1.5], [[0, 0], [1, 1]], [UNIT, UNIT]),
    "a weight that is not a number": ([np.nan, 1.0], [[0, 0], [1, 1]], [UNIT, UNIT]),
    "a mean that is not a number": ([0.5, 0.5], [[0, 0], [np.nan, 1]], [UNIT, UNIT]),
    "too few weights": ([1.0], [[0, 0], [1, 1]], [UNIT, UNIT]),
    "too few covariances": ([0.5, 0.5], [[0, 0], [1, 1]], [UNIT]),
    "a covariance of another dimension": ([1.0], [[0, 0]], [np.eye(3)]),
    "an asymmetric covariance": ([1.0], [[0, 0]], [[[1, 0.5], [0, 1]]]),
    "an indefinite covariance": ([1.0], [[0, 0]], [[[1, 2], [2, 1]]]),
    "a singular covariance": ([1.0], [[0, 0]], [[[1, 0], [0, 0]]]),
}


@pytest.mark.parametrize("fault", list(INVALID))
def test_an_invalid_mixture_is_rejected(fault):
    with pytest.raises(ValueError, match=r"weights|means|covariance"):
        Mixture(*(np.asarray(part, dtype=np.float64) for part in INVALID[fault]))


def test_negative_weights_of_a_negative_sum_are_rejected():
    with pytest.raises(ValueError, match="weights"):
        custom([-1, -1], [[0, 0], [1, 1]], [UNIT, UNIT])
