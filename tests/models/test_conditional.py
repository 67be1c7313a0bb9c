"""Conditional flows: densities, samples and gradients in a context."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from shaking import shake

import flows
from flows.networks.backend import backend


def shaken(architecture: flows.Architecture, features: int, context: int = 2) -> Any:
    """Return a population whose parameters are far from the identity."""
    return shake(flows.build(architecture, (features,), members=3, context=context), 0.1, seed=0)


ARCHITECTURES = [flows.Conditional(), flows.NSF(couplings=3), flows.RealNVP(couplings=3)]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("features", [1, 2, 3])
def test_c_and_pytorch_agree_on_a_conditional_density(architecture, features):
    population = shaken(architecture, features)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=(20, features))
    with backend.reference_code():
        expected = population.log_prob(y, context=x)
    torch.testing.assert_close(population.log_prob(y, context=x), expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: type(each).__name__)
def test_a_conditional_density_has_mass_1_in_every_context(architecture):
    population, grid = shaken(architecture, 1), np.linspace(-30, 30, 20_001)[:, None]
    for x in ([0.0, 0.0], [2.0, -1.0]):
        density = population.log_prob(grid, context=np.tile(x, (len(grid), 1))).exp()
        np.testing.assert_allclose(density.sum(0) * (60 / 20_000), 1.0, atol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("features", [1, 3])
def test_encode_inverts_decode_in_a_context(architecture, features):
    population = shaken(architecture, features)
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(20, 2)), rng.normal(size=(20, 3, features))
    y = population.decode(noise, x)
    np.testing.assert_allclose(population.encode(y, context=x), noise, atol=1e-4)


def test_samples_follow_the_conditional_density():
    population = shaken(flows.Conditional(), 1)
    x = np.array([[0.5, -1.0]])
    drawn = population.sample((4_000,), np.random.default_rng(0), context=x)[:, 0, :, 0]
    assert drawn.shape == (4_000, 3)
    u = norm.cdf(population.encode(drawn[:, :, None], context=x.repeat(4_000, axis=0))[:, :, 0])
    np.testing.assert_allclose(u.mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(u.std(axis=0), 12**-0.5, atol=0.02)


def test_each_member_may_have_its_own_context():
    population = shaken(flows.Conditional(), 1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3, 2)), rng.normal(size=(7, 1))
    own = population.log_prob(y, context=x)
    for m in range(3):
        expected = population.log_prob(y, context=x[:, m])[:, m]
        torch.testing.assert_close(own[:, m], expected)


def test_a_conditional_loss_has_the_gradient_of_the_mean_log_density():
    population = shaken(flows.Conditional(), 2)
    z = torch.randn(3, 4, 50, generator=torch.Generator().manual_seed(1))
    _, gradient = population.loss(z)
    loss = -population.log_density(z).mean(1).sum()
    expected = torch.autograd.grad(loss, list(population.parameters()))
    flat = torch.cat([each.flatten(1) for each in expected], dim=1)
    torch.testing.assert_close(gradient, flat.float(), rtol=1e-3, atol=1e-4)


def test_a_context_is_needed_exactly_if_the_network_has_one():
    population, plain = shaken(flows.Conditional(), 1), flows.build(flows.NSF(), (2,))
    for ask in (lambda: population.log_prob([[0.0]]), lambda: population.sample((2,))):
        with pytest.raises(ValueError, match="has a context of 2 numbers"):
            ask()
    with pytest.raises(ValueError, match="built without a context"):
        plain.log_prob([[0.0, 0.0]], context=[[1.0]])
    with pytest.raises(ValueError, match="context = 2: must be 0"):
        flows.build(flows.Glow(), (2,), context=2)
    with pytest.raises(ValueError, match="needs a context"):
        flows.build(flows.Conditional(), (2,))
    with pytest.raises(ValueError, match=r"context: expected rows of shape \(n, 2\)"):
        population.log_prob([[0.0]], context=[[1.0, 2.0, 3.0]])


def test_the_fixed_recipe_trains_a_network_with_a_context():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = x[:, :1] + 0.3 * rng.normal(size=(400, 1))
    population = flows.build(flows.Conditional(), (1,), members=2, context=2)
    settings = flows.TrainingSettings(epochs=30, noise=0)
    flows.train(population, np.concatenate([x, y], axis=1), settings=settings)
    entropy = 0.5 * np.log(2 * np.pi * np.e * 0.3**2)
    assert (population.history["train_nll"][-1] < entropy + 0.1).all()


def test_a_gap_in_the_point_is_refused():
    population = flows.build(flows.Conditional(), (1,), members=5, context=1)
    rows = np.random.default_rng(0).normal(size=(50, 2))
    rows[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3 of train has a gap in the point"):
        flows.train(population, rows, settings=flows.TrainingSettings(recipe="auto"))
