"""The tails of the base distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import flows
from flows.core.checkpoint import CheckpointError
from flows.networks.base_distribution import Base, StandardNormal, TailedNormal


def test_no_point_is_impossible_and_near_the_rows_nothing_changes():
    tailed, normal = TailedNormal(1, (2,)), StandardNormal(1, (2,))
    far = torch.tensor([[[8_000.0], [0.0]]], dtype=torch.float64)
    assert normal.log_prob(far) < -3e7 < -100 < tailed.log_prob(far)
    generator = torch.Generator().manual_seed(0)
    near = torch.randn(1, 2, 1_000, generator=generator, dtype=torch.float64).clamp(-3, 3)
    assert_close(tailed.log_prob(near), normal.log_prob(near), rtol=0, atol=1e-3)
    axis = torch.linspace(-60, 60, 400_001, dtype=torch.float64)
    mass = torch.trapezoid(TailedNormal(1, (1,)).log_prob(axis[None, None])[0].exp(), axis)
    assert abs(float(mass) - 1) < 1e-6


class HalfTailedNormal(TailedNormal):
    """A base with enough points in its tails for a test to count."""

    TRACE = 0.5


def test_samples_of_the_base_follow_its_tails():
    base, axis = HalfTailedNormal(1, (1,)), torch.linspace(-200, 200, 400_001, dtype=torch.float64)
    density = base.log_prob(axis[None, None])[0].exp()
    z = base.sample(200_000, np.random.default_rng(0), torch.float64).flatten()
    for edge in (1.0, 3.0, 6.0):
        expected = float(torch.trapezoid(density * (axis.abs() > edge), axis))
        share = float((z.abs() > edge).double().mean())
        assert abs(share - expected) < 5 * np.sqrt(expected / 200_000) + 0.001


@pytest.mark.parametrize("z", [-40.0, -3.0, 0.0, 3.0])
def test_the_distribution_function_of_the_base_is_the_integral_of_its_density(z):
    base = TailedNormal(1, (1,))
    grid = np.linspace(-400, z, 400_001)
    density = base.log_prob(torch.from_numpy(grid)[None, None]).exp()[0].numpy()
    expected = np.trapezoid(density, grid)
    assert base.log_cdf(np.array(z)) == pytest.approx(np.log(expected), abs=2e-3)


@pytest.mark.parametrize(("low", "high"), [(-np.inf, np.inf), (4.0, np.inf), (6.0, 9.0)])
def test_noise_inside_an_interval_has_the_distribution_of_the_base(low, high):
    """From 4 on, normal noise and the trace have about equal shares; from 6 on, it is the trace."""
    base, n = TailedNormal(1, (1,)), 40_000
    ends = np.full(n, low), np.full(n, high)
    z = np.sort(base.inside(*ends, (np.arange(n) + 0.5) / n))
    assert (low <= z[0]) & (z[-1] <= high)
    grid = np.linspace(max(low, -60), min(high, 400), 400_001)
    density = base.log_prob(torch.from_numpy(grid)[None, None]).exp()[0].numpy()
    level = density.cumsum() / density.sum()
    np.testing.assert_allclose(np.interp(z, grid, level), (np.arange(n) + 0.5) / n, atol=6e-3)


class Laplace(Base):
    """The Laplace distribution, as a user may define it."""

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return (-z.flatten(1, -2).abs() - math.log(2)).sum(1)

    def sample(self, n: int, generator: np.random.Generator, dtype: torch.dtype) -> torch.Tensor:
        drawn = torch.from_numpy(generator.laplace(size=(n, self.members, *self.event_shape)))
        return drawn.to(dtype).movedim(0, -1).contiguous()


def test_a_flow_with_a_base_of_a_user_is_trained_saved_and_loaded(tmp_path):
    rows = np.random.default_rng(0).laplace(size=(200, 2))
    flow = flows.build(flows.NSF(couplings=2, hidden=4), (2,), members=2, base=Laplace)
    flows.train(flow, rows, settings=flows.TrainingSettings(epochs=2))
    flows.save(flow, tmp_path / "laplace.flow")
    loaded = flows.load(tmp_path / "laplace.flow")
    assert isinstance(loaded.base, Laplace)
    assert torch.equal(loaded.log_prob(rows), flow.log_prob(rows))
    plain = flows.build(flows.NSF(couplings=2, hidden=4), (2,), members=2)
    assert not torch.equal(plain.log_prob(rows), flow.log_prob(rows))


@pytest.mark.parametrize(
    ("architecture", "shape", "base", "error", "message"),
    [
        (flows.NSF(), (2,), "normal", TypeError, "base = 'normal': must be a class, such as"),
        (flows.RealNVPImage(), (1, 4, 4), Laplace, ValueError, "is not a flow over vectors"),
        (flows.NSF(), 2, None, TypeError, r"event_shape = 2: must be the shape of a point, such"),
    ],
)
def test_a_wrong_base_or_shape_is_one_clear_error(architecture, shape, base, error, message):
    with pytest.raises(error, match=message):
        flows.build(architecture, shape, base=base)


def test_a_file_with_an_unknown_base_names_it(tmp_path):
    flow = flows.build(flows.NSF(couplings=2, hidden=4), (2,), base=Laplace)
    flow.description["base"] = "Unheard"
    flows.save(flow, tmp_path / "t.flow")
    with pytest.raises(CheckpointError, match="base 'Unheard' is not defined; import the module"):
        flows.load(tmp_path / "t.flow")
