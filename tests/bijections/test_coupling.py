"""Our flows have the same density as flows of another library, zuko, with the same weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from shaking import shake
from torch import nn
from torch.nn.functional import softmax, softplus
from torch.testing import assert_close

import flows
from flows.bijections import AffineCoupling, SplineCoupling
from flows.networks.base_distribution import StandardNormal
from flows.training.trainer import Trainer

zuko = pytest.importorskip("zuko")
pytestmark = pytest.mark.usefixtures("float64")

LOG_FLOOR = math.log(1e-3)  # zuko bounds an unbounded number a by a / (1 + |a / log(1e-3)|)


def unbounded(bounded, limit=-LOG_FLOOR):
    """Return the number that zuko's soft bound maps to ``bounded``."""
    return bounded / (1 - (bounded / limit).abs())


def affine(raw):
    """Return affine maps with log-scales 2 tanh(s / 2) and shifts, from ``raw`` ``(..., 2 d)``."""
    raw_log_scale, shift = raw.chunk(2, dim=-1)
    return zuko.transforms.MonotonicAffineTransform(
        shift, unbounded(2 * torch.tanh(raw_log_scale / 2))
    )


def spline(bins):
    """Return a function that makes splines on [-5, 5] from ``raw`` ``(..., d (3 K - 1))``.

    K widths and K heights are at least 0.001 of their sum, K - 1 slopes are at least 0.001.
    """

    def log_share(raw):
        log_size = (0.001 + (1 - 0.001 * bins) * softmax(raw, dim=-1)).log()
        middle = (log_size.amax(-1, keepdim=True) + log_size.amin(-1, keepdim=True)) / 2
        return unbounded(log_size - middle, -LOG_FLOOR / 2)

    def transform(raw):
        parts = raw.unflatten(-1, (-1, 3 * bins - 1)).split([bins, bins, bins - 1], dim=-1)
        widths, heights, slopes = parts
        # 1 where the raw slope is 0
        slope = 0.001 + softplus(slopes + math.log(math.exp(0.999) - 1))
        return zuko.transforms.MonotonicRQSTransform(
            log_share(widths), log_share(heights), unbounded(slope.log()), bound=5.0
        )

    return transform


def coupling(ours, dim, element):
    """Return zuko's coupling over torch's linear layers, with the weights of our only member."""
    layers = []
    for weight, bias in ours.conditioner.layers():
        linear = nn.Linear(weight.shape[2], weight.shape[1])
        linear.load_state_dict({"weight": weight[0], "bias": bias[0, :, 0]})
        layers += [linear, nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    kept = torch.arange(dim) < (dim + 1) // 2
    return zuko.transforms.CouplingTransform(
        lambda x: zuko.transforms.DependentTransform(element(network(x)), 1),
        mask=~kept if ours.kept[0] else kept,
    )


@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_a_realnvp_equals_zukos_composition_of_couplings(transform, dim):
    bins = 6
    settings = {"couplings": 4, "hidden": 8, "transform": transform, "bins": bins}
    flow = flows.build(flows.RealNVP(**settings), (dim,))
    data = 20 * torch.randn(100, dim, generator=torch.Generator().manual_seed(1)) + 3
    shake(Trainer(flow, data, flows.TrainingSettings(noise=0)).population, 0.3)
    flow.base = StandardNormal(1, (dim,))  # the peer has no tails
    scaler = flow.preprocessing.standardize
    mean, deviation = scaler.mean[0, :, 0], scaler.deviation[0, :, 0]
    element = affine if transform == "affine" else spline(bins)
    shift, log_scale = -mean / deviation, unbounded(-deviation.log())
    standardize = zuko.transforms.DependentTransform(
        zuko.transforms.MonotonicAffineTransform(shift, log_scale), 1
    )
    couplings = (coupling(layer, dim, element) for layer in flow.chain)
    peer = zuko.distributions.NormalizingFlow(
        zuko.transforms.ComposedTransform(standardize, *couplings),
        zuko.distributions.DiagNormal(torch.zeros(dim), torch.ones(dim)),
    )
    assert_close(flow.log_prob(data)[:, 0], peer.log_prob(data), rtol=0, atol=1e-8)
    noise, *_, sample = flow.trajectory((100,), torch.Generator().manual_seed(2))
    assert_close(sample[:, 0], peer.transform.inv(noise[:, 0]), rtol=0, atol=1e-8)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("kind", ["affine", "spline"])
def test_a_coupling_equals_zukos_within_and_beyond_its_bounds(kind, swap):
    streams = [np.random.default_rng(0)]
    if kind == "affine":
        ours, element = AffineCoupling(3, 8, streams, swap=swap), affine
    else:
        ours, element = SplineCoupling(3, 8, streams, swap=swap, bins=5), spline(5)
    shake(ours, 0.5)
    x = 4 * torch.randn(1, 3, 200, generator=torch.Generator().manual_seed(1))
    z, log_det = ours(x)
    expected_z, expected_log_det = coupling(ours, 3, element).call_and_ladj(x[0].T)
    assert_close(z[0].T, expected_z, rtol=0, atol=1e-8)
    assert_close(log_det[0], expected_log_det, rtol=0, atol=1e-8)
