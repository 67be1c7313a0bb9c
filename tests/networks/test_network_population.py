"""The GAN and the VAE: gradients, the density of the VAE, and the interface of populations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from shaking import shake
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.nn.functional import softplus
from torch.testing import assert_close

import flows
from flows import truths
from flows.core import seeds
from flows.core.seeds import numpy_generators
from flows.core.settings import TrainingSettings
from flows.evaluation.likelihood import divergence
from flows.networks import registry
from flows.networks.network_population import mean_nll
from flows.networks.vae_population import VAEPopulation
from flows.recipe.train import train
from flows.training.trainer import Trainer

MEMBERS = 3
RING = truths.make("ring")
every_baseline = pytest.mark.parametrize("model", ["vae", "gan"])


def sample(n: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(RING.sample(n, np.random.default_rng(seed)))


def settings(**changes) -> TrainingSettings:
    own = {"epochs": 3, "batch_size": 50, "learning_rate": 0.005, "noise": 0.1, "log_every": 1}
    return TrainingSettings(**{**own, **changes})


def make(model="vae", members: int = MEMBERS, seed: int = 0, dim: int = 2, **arguments):
    architecture = registry.architecture(model, {"hidden": 16, **arguments})
    return flows.build(architecture, (dim,), members=members, seed=seed)


def standardized(population, rows: torch.Tensor) -> torch.Tensor:
    """Return ``rows`` after the preprocessing, which is fitted to other rows."""
    return Trainer(population, sample(200), settings()).population.preprocess(rows)[0]


def generators() -> list[np.random.Generator]:
    return numpy_generators(5, "train", range(MEMBERS))


def normal(size: int, points: int) -> torch.Tensor:
    return torch.stack([seeds.normal(g, size, points) for g in generators()]).to(
        torch.get_default_dtype()
    )


@pytest.fixture(scope="module")
def trained() -> VAEPopulation:
    model = make("vae", 2, hidden=32)
    train(
        model,
        sample(400),
        sample(50, seed=1),
        settings(epochs=150, batch_size=100, learning_rate=0.01, log_every=150),
    )
    return model


# The losses


def test_the_gradient_of_the_gan_includes_both_losses_and_the_penalty(float64):
    gan = shake(make("gan", latent=4, penalty=0.7), 0.1)
    x = standardized(gan, sample(30, seed=1))
    loss, gradient = gan.loss(x, generators())
    real = x.requires_grad_()
    made = gan.generator(normal(4, 30))
    on_real, on_made = gan.discriminator(real), gan.discriminator(made)
    (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
    of_generator = softplus(-on_made).mean((1, 2))
    of_discriminator = softplus(-on_real).mean((1, 2)) + softplus(on_made).mean((1, 2))
    penalty = 0.35 * slope.square().sum(1).mean(1)
    (expected,) = torch.autograd.grad(of_generator.sum(), gan.generator.theta, retain_graph=True)
    (also,) = torch.autograd.grad((of_discriminator + penalty).sum(), gan.discriminator.theta)
    assert_close(gradient, torch.cat([expected, also], dim=1))
    assert_close(loss, (of_generator + of_discriminator).detach())


def test_the_gradient_of_the_vae_is_the_gradient_of_the_bound(float64):
    vae = shake(make(), 0.1)
    x = standardized(vae, sample(30, seed=1))
    loss, gradient = vae.loss(x, generators())
    m, log_v = vae.encoder(x).chunk(2, dim=1)
    mu = vae.decoder(m + log_v.exp() * normal(2, 30))
    misfit = -Normal(mu, vae.log_scale.exp().expand_as(mu)).log_prob(x).sum(1)
    bound = (misfit + kl_divergence(Normal(m, log_v.exp()), Normal(0.0, 1.0)).sum(1)).mean(1)
    expected = torch.autograd.grad(bound.sum(), list(vae.parameters()))
    assert_close(gradient, torch.cat([part.flatten(1) for part in expected], dim=1))
    assert_close(loss, bound.detach())


def test_the_bound_is_above_the_negative_log_likelihood(trained):
    x, _ = trained.preprocess(sample(2000, seed=2))
    bound, _ = trained.loss(x, numpy_generators(0, "train", range(2)))
    gap = bound.double() + trained.log_density(x).mean(1)
    assert (gap > 0).all()
    assert (gap < 1).all()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_vae_with_a_linear_decoder_is_the_gaussian_of_factor_analysis(dim, float64):
    """With mu(z) = A z + b the integral is known: N(b, A A^T + diag(s^2)).

    Far from the kinks of its ReLUs, the decoder is linear.
    """
    vae = make("vae", 1, dim=dim, hidden=4)
    generator = torch.Generator().manual_seed(1)
    a, b, s = (torch.randn(dim, n, generator=generator) for n in (2, 1, 1))
    s = 0.3 + s.abs()
    (w1, b1), (w2, b2), (w3, b3) = vae.decoder.layers()
    with torch.no_grad():
        w1.zero_(), w2.zero_(), b2.zero_(), w3.zero_()
        w1[0, :2] = torch.eye(2)
        b1[0, :2] = 100
        w2[0] = torch.eye(4)
        w3[0, :, :2] = a
        b3[0] = b - a @ torch.full((2, 1), 100.0)
        vae.log_scale[0] = s.log()
    x = (
        b
        + a @ torch.randn(2, 50, generator=generator)
        + s * torch.randn(dim, 50, generator=generator)
    ).T
    expected = MultivariateNormal(b[:, 0], a @ a.T + torch.diag(s[:, 0] ** 2)).log_prob(x)
    assert_close(vae.log_prob(x)[:, 0], expected, rtol=0, atol=1e-5)


def test_a_finer_grid_changes_no_divergence(trained):
    fresh = RING.sample(5000, np.random.default_rng(3))
    log_p = RING.log_prob(fresh)[:, None]
    kl = divergence(log_p, trained.score(fresh))
    z, log_det = trained.preprocess(fresh)
    rough, fine = (
        mean_nll(trained.log_density(z, nodes), log_det) for nodes in (trained.curve_nodes, 400)
    )
    np.testing.assert_allclose(fine, kl - log_p.mean(), rtol=0, atol=0.0005)
    np.testing.assert_allclose(rough, kl - log_p.mean(), rtol=0, atol=0.002)


def test_the_vaes_density_integrates_to_one(trained):
    axis = torch.linspace(-9, 9, 301)
    points = torch.cartesian_prod(axis, axis)
    mass = trained.log_prob(points).exp().sum(0) * (axis[1] - axis[0]).double() ** 2
    assert_close(mass, torch.ones_like(mass), rtol=0, atol=0.001)


def test_the_vaes_samples_follow_its_density(trained):
    """Compare means over samples with sums over a grid.

    The tolerance is five standard errors, so there is one false alarm in a million.
    """
    axis = torch.linspace(-9, 9, 401)
    points = torch.cartesian_prod(axis, axis)
    density = trained.log_prob(points).exp() * (axis[1] - axis[0]).double() ** 2
    drawn = trained.sample((20_000,), generator=torch.Generator().manual_seed(1)).double()
    features = [
        lambda x: x[..., 0],
        lambda x: x[..., 1] ** 2,
        lambda x: (x.norm(dim=-1) < 3.5).double(),
        lambda x: torch.cos(3 * x[..., 0]),
    ]
    for feature in features:
        values = feature(drawn)
        expected = (feature(points.double())[:, None] * density).sum(0)
        assert (
            (values.mean(0) - expected).abs() < 5 * values.std(0) / math.sqrt(20_000) + 0.002
        ).all()


# As populations


@every_baseline
def test_a_failed_member_does_not_change_the_others(model, capsys):
    healthy, broken = make(model), make(model)
    with torch.no_grad():
        next(broken.parameters())[1, 0] = math.nan
    for population in (healthy, broken):
        train(population, sample(100), sample(40, seed=1), settings())
    for a, b in zip(healthy.parameters(), broken.parameters(), strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])
    assert "member 1 was not finite" in capsys.readouterr().err


@pytest.mark.slow
def test_a_gan_finds_the_modes_of_the_ring():
    gan = make("gan", 2, hidden=48, latent=8, penalty=0.02)
    train(
        gan,
        sample(800),
        sample(10, seed=1),
        settings(epochs=120, batch_size=100, learning_rate=0.002, log_every=120),
    )
    drawn = gan.sample((2000,), generator=torch.Generator().manual_seed(0)).double()
    means = torch.from_numpy(RING.means)
    nearest = torch.cdist(drawn.flatten(0, 1), means).argmin(1)
    assert (torch.bincount(nearest, minlength=8) > 4000 / 8 / 2).all()
