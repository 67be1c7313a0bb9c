"""Flows over images: inverses, densities, and probabilities of images."""

from __future__ import annotations

import math
from copy import deepcopy
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from helpers import further
from images import FLOWS, MEMBERS, SHAPE, build, whole
from shaking import shake
from torch.testing import assert_close

import flows
from flows.bijections import Chain
from flows.evaluation.bits import bits_per_dimension, spread_log_density

FURTHER = ("realnvp-affine", "glow")  # the other flows have the same layers
every_flow = pytest.mark.parametrize(
    "flow",
    [further(flow) if flow in FURTHER else flow for flow in FLOWS],
)


def inside(n=5, shape=SHAPE, seed=3):
    """Return points of the box from -5 to 5."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(-5, 5, (MEMBERS, *shape, n))).to(
        torch.get_default_dtype()
    )


def spread(images, seed=1):
    return images + np.random.default_rng(seed).random(images.shape)


@cache
def trained(flow, shape=(1, 8, 8), steps=2, levels=17):
    """Return a flow of ``steps`` steps per scale that is trained for one epoch."""
    scales = [steps] * (2 if min(shape[1:]) > 2 else 1)
    model = build(flow, shape, steps=scales, levels=levels)
    settings = flows.TrainingSettings(epochs=1, batch_size=20)
    return flows.train(model, whole(40, shape, levels), settings=settings)


def shaken(flow, scale=0.1, **others):
    """Return a copy of a trained flow with perturbed parameters."""
    return shake(deepcopy(trained(flow, **others)), scale)


# Flows


@every_flow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)], ids=["single", "double"]
)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 8)], ids=str)
def test_an_image_comes_back_from_noise(flow, dtype, tolerance, shape):
    model = shaken(flow, 0.05, shape=shape).to(dtype)
    x = inside(shape=shape).to(dtype)
    noise, log_det = model.to_noise(x)
    assert noise.shape == x.shape
    assert not torch.equal(noise, x)
    back = Chain(model.chain).inverse(noise)[0]
    assert_close(back, x, rtol=0, atol=tolerance)
    assert_close(model.to_noise(back)[1], log_det, rtol=0, atol=100 * tolerance)


@every_flow
def test_the_log_determinant_of_a_flow_agrees_with_its_jacobian(flow):
    model = shaken(flow).double()
    x = inside(1, (1, 8, 8))
    own = torch.autograd.functional.jacobian(  # of the sum, as members are independent
        lambda value: model.to_noise(value)[0].sum(0), x.double()
    )
    for m in range(MEMBERS):
        assert_close(
            model.to_noise(x.double())[1][m, 0],
            torch.linalg.slogdet(own.view(64, MEMBERS, 64)[:, m])[1],
            rtol=0,
            atol=1e-4,
        )


@every_flow
def test_an_untrained_flow_has_the_bits_of_a_uniform_density(flow):
    """Couplings start as the identity, and a learned 1x1 convolution as a rotation."""
    model, images = build(flow).double(), whole()
    bits = bits_per_dimension(spread_log_density(model, images, 3), 64)
    np.testing.assert_allclose(bits, np.full((12, MEMBERS), math.log2(17)), rtol=0, atol=1e-7)


# Both models, both transforms and both ways of mixing
@pytest.mark.parametrize("flow", ["realnvp-affine", further("glow"), further("glow-splines")])
def test_the_probabilities_of_all_small_images_sum_to_1(flow):
    """Sum over all 81 images of 1 x 2 x 2 pixels with 3 levels.

    The integral over u is a Gauss-Legendre quadrature with 6 nodes along each axis.
    """
    model = shaken(flow, shape=(1, 2, 2), steps=3, levels=3, scale=0.05).double()
    nodes, weights = np.polynomial.legendre.leggauss(6)
    u, weight = (
        np.array(list(product(values, repeat=4))) for values in ((nodes + 1) / 2, weights / 2)
    )
    images = np.array(list(product(range(3), repeat=4)))
    points = (images[:, None] + u).reshape(-1, 1, 2, 2)
    cells = np.concatenate(
        [model.log_prob(part).detach().exp().numpy() for part in np.array_split(points, 32)]
    )
    probability = (cells.reshape(81, len(u), MEMBERS) * weight.prod(1)[:, None]).sum(1)
    assert probability.shape == (81, MEMBERS)
    assert probability.std(0).min() > 1e-4  # away from uniform
    np.testing.assert_allclose(probability.sum(0), 1, rtol=0, atol=0.01)
    several = bits_per_dimension(
        spread_log_density(model, images.reshape(-1, 1, 2, 2), 256), 4, weighted=True
    )
    np.testing.assert_allclose(several, -np.log2(probability) / 4, rtol=0, atol=0.1)


@pytest.mark.slow
@every_flow
def test_training_lowers_the_bits_and_everything_survives_a_checkpoint(flow, tmp_path):
    images = np.broadcast_to(np.arange(8) * 2, (60, 1, 8, 8)) + whole(60, levels=2)
    model = build(flow)
    before = bits_per_dimension(spread_log_density(model, images, 2), 64).mean(0)
    flows.train(
        model,
        images[:40],
        images[40:],
        flows.TrainingSettings(epochs=12, batch_size=20, log_every=6),
    )
    assert model.history["test_nll"].shape == (2, MEMBERS)
    assert (
        bits_per_dimension(spread_log_density(model, images, 2), 64).mean(0) < before - 0.2
    ).all()
    flows.save(model, tmp_path / "model")
    loaded = flows.load(tmp_path / "model")
    assert torch.equal(loaded.log_prob(spread(images)), model.log_prob(spread(images)))
    drawn = [each.sample((9,), torch.Generator().manual_seed(1)) for each in (model, loaded)]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (9, MEMBERS, 1, 8, 8)
    assert set(drawn[0].unique().tolist()) <= set(range(17))
    np.testing.assert_array_equal(loaded.history["test_nll"], model.history["test_nll"])


# Invalid input


def test_log_prob_needs_dequantised_images_and_is_minus_infinity_outside_the_box():
    model = build("glow")
    with pytest.raises(ValueError, match="whole images have no density: add u"):
        model.log_prob(whole())
    x = spread(whole(3))
    x[1, 0, 2, 2], x[2, 0, 0, 0] = -0.5, 17.5
    log_q = model.log_prob(x)
    assert log_q.isfinite().all(1).tolist() == [True, False, False]
    assert (log_q[1:] == -math.inf).all()
    assert model.log_prob(x[:, None].repeat(MEMBERS, 1)).shape == (3, MEMBERS)


@pytest.mark.parametrize("wrong", [17, -1, 3.5])
def test_invalid_pixels_are_rejected(wrong: Any):
    images = whole().astype(float)
    images[4, 0, 3, 3] = wrong
    with pytest.raises(ValueError, match=rf"whole numbers from 0 to levels - 1 = 16; got {wrong}$"):
        flows.train(build("glow"), images, settings=flows.TrainingSettings(epochs=1))
    with pytest.raises(ValueError, match="whole numbers"):
        flows.train(build("glow"), whole(), images, settings=flows.TrainingSettings(epochs=1))


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda", "only flows with the fixed recipe can be trained there"),
        ("cdua", "must be cpu, or cuda if torch finds a GPU"),
    ],
)
def test_the_automatic_recipe_rejects_a_device(monkeypatch, device, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model = flows.build(flows.NSF(), (2,), members=1)
    with pytest.raises(ValueError, match=rf"^device = '{device}': {said}$"):
        flows.train(
            model,
            np.random.default_rng(0).normal(size=(20, 2)),
            settings=flows.TrainingSettings(recipe="auto"),
            device=device,
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.parametrize("flow", FLOWS)
def test_gpu_and_cpu_agree_and_both_train(flow):
    x, model = spread(whole()), shaken(flow, 0.05)
    flows.train(model, whole(), settings=flows.TrainingSettings(epochs=1), device="cuda")
    assert model.device.type == "cpu"
    on_cpu = model.log_prob(x)
    on_gpu = model.to("cuda").log_prob(x)
    assert on_gpu.device.type == "cuda"
    assert_close(on_gpu.cpu() / x[0].size, on_cpu / x[0].size, rtol=0, atol=1e-4)
    assert model.sample((3,)).isfinite().all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_cuda_without_a_gpu_is_rejected():
    one = flows.TrainingSettings(epochs=1)
    with pytest.raises(ValueError, match=r"^device = 'cuda': must be cpu, or cuda if torch finds"):
        flows.train(build("glow"), whole(), settings=one, device="cuda")
