"""Gaussian mixtures in torch and in NumPy, compared with SciPy and torch.distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from closed_forms import MIXTURE
from helpers import nudged
from scipy.stats import multivariate_normal
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.testing import assert_close

from flows import GaussianMixture
from flows.core.rows import Rows
from flows.mixtures.mixture import PAIRS, Mixture

UNIT = np.eye(2)


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


def test_a_mixture_of_nine_digits_does_not_depend_on_the_last_bits(truth):
    other = Mixture(truth.weights, nudged(truth.means - 0.1) + 0.1, truth.covariances)
    one, other = truth.to_nine_digits(), other.to_nine_digits()
    np.testing.assert_array_equal(one.means, other.means)
    np.testing.assert_allclose(one.means, truth.means, rtol=1e-8)


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


def test_a_mixture_copies_its_arguments_which_may_be_arrays_lists_or_tensors(truth):
    parts = (truth.weights.copy(), truth.means.copy(), truth.covariances.copy())
    ways = (np.asarray, torch.from_numpy, np.ndarray.tolist)
    made = [GaussianMixture(*map(of, parts)) for of in ways]
    parts[1][:] = 0
    x = torch.zeros(4, truth.means.shape[1], dtype=torch.float64, requires_grad=True)
    expected = truth.log_prob(x.detach().numpy())
    for mixture in made:
        np.testing.assert_array_equal(mixture.log_prob(x)[:, 0], expected)


INVALID = {  # fault -> (weights, means, covariances)
    "weights that do not sum to 1": ([0.5, 0.6], [[0, 0], [1, 1]], [UNIT, UNIT]),
    "a negative weight": ([-0.5, 1.5], [[0, 0], [1, 1]], [UNIT, UNIT]),
    "a mean that is not a number": ([0.5, 0.5], [[0, 0], [np.nan, 1]], [UNIT, UNIT]),
    "too few covariances": ([0.5, 0.5], [[0, 0], [1, 1]], [UNIT]),
    "an asymmetric covariance": ([1.0], [[0, 0]], [[[1, 0.5], [0, 1]]]),
    "an indefinite covariance": ([1.0], [[0, 0]], [[[1, 2], [2, 1]]]),
}


@pytest.mark.parametrize("fault", list(INVALID))
def test_an_invalid_mixture_is_rejected(fault):
    with pytest.raises(ValueError, match=r"weights|means|covariance"):
        Mixture(*(np.asarray(part, dtype=np.float64) for part in INVALID[fault]))


def test_draws_follow_the_conditional_density():
    row = np.array([[0.3, np.nan, np.nan]])
    rng = np.random.default_rng(0)
    filled, log_r = MIXTURE.draw_missing(Rows.of_numbers(row.repeat(40_000, axis=0)), rng)
    drawn = filled.numbers
    mean, deviation = MIXTURE.conditional(row, np.isnan(row[0])).moments()
    np.testing.assert_allclose(drawn.mean(axis=0), [0.3, *mean[0]], atol=0.03)
    np.testing.assert_allclose(drawn.std(axis=0), [0, *deviation[0]], atol=0.02)
    known = MIXTURE.log_prob(row)
    np.testing.assert_allclose(known + log_r, MIXTURE.log_prob(drawn), atol=1e-9)
