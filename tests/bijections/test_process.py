"""The standardisation of a feature by Gaussian processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from flows.bijections import process
from flows.bijections.process import Process, Regression, covariance, learned_scales

pytestmark = pytest.mark.usefixtures("float64")


def rows(n: int, seed: int = 0) -> torch.Tensor:
    """Return points ``(3, n)``; the mean and the scale of the last feature depend on the others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, n))
    y = np.sin(2 * x[0]) + np.exp(0.5 * x[1] - 1) * rng.normal(size=n)
    return torch.from_numpy(np.vstack([x, y]))


def fitted(x: torch.Tensor, count: int = 60) -> tuple[Process, torch.Tensor]:
    """Return a process for the last feature, and the rows after it, each without itself."""
    found = Process(2, 1, count)
    inducing = torch.from_numpy(np.random.default_rng(5).normal(size=(2, count)))
    return found, found.fit(x, inducing, torch.arange(x.shape[1]), x)


def test_the_map_is_the_identity_until_fitted_and_then_a_bijection():
    x = rows(50)[None]
    z, log_det = Process(2, 1, 10)(x)
    assert torch.equal(z, x)
    assert not log_det.any()
    map_, _ = fitted(rows(100))
    z, log_det = map_(x)
    back, other = map_.inverse(z)
    assert_close(back, x)
    assert_close(other, -log_det)
    slopes = torch.stack(
        [jacobian(lambda p: map_(p[None, :, None])[0][0, :, 0], x[0, :, k]) for k in range(5)]
    )
    assert_close(torch.linalg.slogdet(slopes)[1], log_det[0, :5])


def test_the_mean_and_the_scale_are_close_to_the_truth():
    map_, left_out = fitted(rows(600))
    new = rows(2_000, seed=1)
    mean, log_scale = (found[0] for found in map_.moments(new[None, :2]))
    inside = new[:2].abs().amax(dim=0) < 1.5
    assert (mean - torch.sin(2 * new[0]))[inside].abs().mean() < 0.1
    assert (log_scale - (0.5 * new[1] - 1))[inside].abs().mean() < 0.15
    z = map_(new[None])[0][0, 2]
    for residuals in (left_out[2], z):
        assert residuals.std() == pytest.approx(1, abs=0.1)


def test_leaving_out_a_row_is_a_fit_without_the_row(monkeypatch: pytest.MonkeyPatch):
    x = rows(40)
    points = torch.from_numpy(np.random.default_rng(5).normal(size=(2, 15)))
    whole = Regression.fit(x[:2], x[2], points)
    noise = learned_scales(x[:2], x[2], None)[1]
    monkeypatch.setattr(process, "learned_scales", lambda *_: (whole.scales, noise))
    asked = rows(40, seed=2)[:2]
    owner = torch.arange(40)
    found = whole.without(owner, asked)
    for k in (0, 7, 39):
        kept = owner != k
        other = Regression.fit(x[:2, kept], x[2, kept], points)
        expected = covariance(asked[:, [k]], points, whole.scales) @ other.weights
        assert_close(found[[k]], expected, rtol=1e-6, atol=1e-8)
        at_row = covariance(x[:2, [k]], points, whole.scales) @ other.weights
        assert_close(whole.left_out[[k]], x[2, [k]] - at_row, rtol=1e-6, atol=1e-8)


def test_the_scales_maximise_the_penalised_likelihood():
    x = rows(150)
    scales, noise = learned_scales(x[:2], x[2], None)
    assert_close(scales, scales.round(decimals=3))

    def loss(scales: torch.Tensor) -> float:
        matrix = covariance(x[:2], x[:2], scales) + noise * torch.eye(150)
        likelihood = torch.distributions.MultivariateNormal(torch.zeros(150), matrix)
        penalty = torch.exp(scales[[0, 1, 6]]).sum()
        penalty += (torch.cat([scales[2:4], scales[4:6] - 1]).square() / 2).sum()
        return float(penalty - likelihood.log_prob(x[2]))

    least = loss(scales)
    for k in range(len(scales)):
        for step in (-0.5, 0.5):
            moved = scales.clone()
            moved[k] += step
            assert loss(moved) > least - 0.1


def test_repeated_contexts_are_computed_once(monkeypatch: pytest.MonkeyPatch):
    map_, _ = fitted(rows(100))
    x = rows(7, seed=3)[None].repeat(1, 1, 30)
    x[:, 2] = torch.linspace(-3, 3, 210)
    alone = torch.cat([map_(x[..., [k]])[0] for k in range(210)], dim=-1)
    sizes = []

    def counted(x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        sizes.append(x.shape[1])
        return covariance(x, *others)

    monkeypatch.setattr(process, "covariance", counted)
    assert_close(map_(x)[0], alone)
    assert sizes == [7, 7]
    assert math.prod(map_(x[..., :0])[0].shape) == 0
