"""The density of a Gaussian decoder, compared with sums over all pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from flows.core.latent_integral import mixture_by_pairs, mixture_in_the_plane, quadrature


def test_the_quadrature_integrates_the_latent_normal():
    z, weights = quadrature(64)
    assert float(weights.sum()) == pytest.approx(1)
    assert_close(z @ weights, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_close((z * weights) @ z.T, torch.eye(2, dtype=torch.float64), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("scale", "spread"),
    [((0.1, 0.2), 1.0), ((2.0, 0.5), 1.0), ((1e-5, 1e-4), 1.0), ((0.1, 0.1), 400.0)],
)
def test_the_mixture_in_the_plane_equals_the_sum_over_all_pairs(scale, spread, float64):
    rng = torch.Generator().manual_seed(0)
    centres, weights = torch.randn(2, 300, generator=rng), torch.rand(300, generator=rng)
    x = spread * torch.randn(
        2, 200, generator=rng
    )  # at 400, nearly all lie where the density underflows
    deviation = torch.tensor(scale)[:, None]
    fast = mixture_in_the_plane(x, centres, deviation, weights)
    assert fast.isfinite().all()
    assert_close(fast, mixture_by_pairs(x, centres, deviation, weights), rtol=1e-7, atol=3e-8)


def test_a_mixture_with_a_centre_that_is_not_finite_has_no_density(float64):
    centres = torch.zeros(2, 4)
    centres[0, 1] = math.inf
    assert (
        mixture_in_the_plane(torch.zeros(2, 3), centres, torch.ones(2, 1), torch.ones(4))
        .isnan()
        .all()
    )
