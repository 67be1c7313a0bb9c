"""The maps before a flow: normal scores (margins) and whitening."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import field, nudged
from torch.testing import assert_close

from flows.bijections import Margins, Whiten
from flows.networks.preprocessing import Preprocessing
from flows.tables.columns.column_maps import ColumnMaps


def rows(n: int, dim: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim))


@pytest.fixture(params=["normal", "skewed", "two modes", "far out"])
def column(request: pytest.FixtureRequest) -> torch.Tensor:
    rng = np.random.default_rng(1)
    x = {
        "normal": rng.standard_normal(300),
        "skewed": np.exp(2 * rng.standard_normal(300)),
        "two modes": np.concatenate([rng.normal(-5, 0.1, 150), rng.normal(5, 1, 150)]),
        "far out": np.concatenate([rng.standard_normal(299), [1e6]]),
    }[request.param]
    return torch.from_numpy((x - x.mean()) / x.std())[None, None]


def test_margins_make_a_column_about_normal_and_their_density_is_exact(column: torch.Tensor):
    margins = Margins(1, 1)
    margins.initialize(column)
    z, log_det = margins(column)
    assert abs(float(z.mean())) < 0.15
    assert 0.8 < float(z.std()) < 1.2
    assert float(z.abs().max()) < 8.1
    back, minus = margins.inverse(z)
    assert_close(back, column, rtol=1e-9, atol=1e-9)
    assert_close(minus, -log_det, rtol=0, atol=1e-8)
    x = column.clone().requires_grad_()
    (slope,) = torch.autograd.grad(margins(x)[0].sum(), x)
    assert_close(slope.log()[:, 0], log_det, rtol=0, atol=1e-8)
    # Equal steps in z, which are wide steps in the tails of x
    edges = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[None, None]
    x, _ = margins.inverse(edges)
    z, log_det = margins((x[..., 1:] + x[..., :-1]) / 2)
    mass = ((log_det - 0.5 * z[:, 0] ** 2).exp() * x.diff(dim=2)[:, 0]).sum() / np.sqrt(2 * np.pi)
    assert abs(float(mass) - 1) < 0.001


def test_margins_do_not_depend_on_the_last_bits_of_a_column(column: torch.Tensor):
    one, other = Margins(1, 1), Margins(1, 1)
    one.initialize(column)
    other.initialize(nudged(column))
    assert torch.equal(one.knots, other.knots)
    assert (one.knots[0, 0, :2].diff() > 0).all()


def test_samples_behind_margins_have_the_spread_of_the_column():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(400))[None, None]
    margins = Margins(1, 1)
    margins.initialize(x)
    z = torch.from_numpy(np.random.default_rng(1).standard_normal(400_000))[None, None]
    drawn = margins.inverse(z)[0]
    assert float(drawn.std() / x.std()) == pytest.approx(1, abs=0.08)
    assert float(drawn.abs().max()) < 30


def test_whitening_removes_correlations_and_inverts():
    x, eye = torch.from_numpy(rows(200)).T[None], torch.eye(3, dtype=torch.float64)
    whiten = Whiten(3, 1)
    whiten.initialize(x)
    z, log_det = whiten(x)
    assert_close(torch.cov(z[0], correction=0), eye, rtol=0, atol=1e-3)
    assert_close(whiten.inverse(z)[0], x)
    assert_close(log_det[0, 0], -0.5 * torch.logdet(torch.cov(x[0], correction=0) + 1e-6 * eye))
    other = Whiten(3, 1)
    other.initialize(nudged(x))
    assert torch.equal(whiten.factor, other.factor)
    assert torch.equal(whiten.mean, other.mean)


def test_a_gap_has_no_slope_whatever_the_kind_of_its_column():
    """A clamp gives NaN the gradient 0, and a scaler gives it its deviation."""
    columns = [
        field("a"),
        field("b", "positive", farthest=9.0),
        field("c", "count", step=1.0, farthest=9.0),
    ]
    rows = np.random.default_rng(0).poisson(3, (50, 3)) + 1.0
    preprocessing = Preprocessing((3,), 1, ColumnMaps(columns))
    preprocessing.fit_scaler(rows[:, None])
    z = torch.from_numpy(preprocessing.scale(rows[:, None])).movedim(0, -1)
    known = preprocessing.log_slopes(z)
    gaps = torch.arange(50) % 3 == torch.arange(3)[:, None]
    found = preprocessing.log_slopes(torch.where(gaps, torch.nan, z))
    torch.testing.assert_close(found, torch.where(gaps, torch.nan, known), equal_nan=True)
