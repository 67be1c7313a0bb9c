"""The contract of all bijections, and the properties of each."""

from __future__ import annotations

import pytest
import torch
from helpers import field
from shaking import shake
from torch.autograd.functional import jacobian
from torch.testing import assert_close

import flows
from flows.bijections import (
    ActNorm,
    AffineCoupling,
    LinearShift,
    Permutation,
    PLULinear,
    Reach,
    SplineCoupling,
    Standardize,
)
from flows.core.scaler import Scaler
from flows.core.seeds import numpy_generators
from flows.networks.preprocessing import Preprocessing
from flows.tables.columns.column_maps import ColumnMaps

pytestmark = pytest.mark.usefixtures("float64")

DIMS = (2, 3, 4, 5)
MEMBERS = 3


def streams(seed, members):
    return numpy_generators(seed, "initialize", range(members))


def coupling(kind, *, swap=False, **own):
    return lambda dim, members, seed: kind(dim, 8, streams(seed, members), swap=swap, **own)


# name -> (dim, members, seed) -> Bijection; a new bijection is tested by its line here
BIJECTIONS = {
    "standardize": lambda dim, members, seed: Standardize((dim,), members),
    "reach": lambda dim, members, seed: Reach(),
    "actnorm": lambda dim, members, seed: ActNorm(dim, members),
    "permutation": lambda dim, members, seed: Permutation(dim, streams(seed, members)),
    "plu": lambda dim, members, seed: PLULinear(dim, streams(seed, members)),
    "shift": lambda dim, members, seed: LinearShift(dim, streams(seed, members), kept=dim - 1),
    "affine": coupling(AffineCoupling),
    "affine-swap": coupling(AffineCoupling, swap=True),
    "spline-2": coupling(SplineCoupling, bins=2),
    "spline-3-swap": coupling(SplineCoupling, swap=True, bins=3),
    "spline-8": coupling(SplineCoupling, bins=8),
    "spline-8-swap": coupling(SplineCoupling, swap=True, bins=8),
}
COUPLINGS = [name for name in BIJECTIONS if name.startswith(("affine", "spline"))]
SPLINES = [name for name in BIJECTIONS if name.startswith("spline")]

everything = pytest.mark.parametrize(
    ("name", "dim"), [(name, dim) for name in BIJECTIONS for dim in DIMS]
)
both_ways = pytest.mark.parametrize("direction", ["forward", "inverse"])
splines = pytest.mark.parametrize("name", SPLINES)
dims = pytest.mark.parametrize("dim", DIMS)


def points(dim, count=20, scale=3.0, seed=7):
    """Gaussian points ``(M, D, N)``.

    At scale 3, about a tenth of them lie beyond the bound of the splines.
    """
    return scale * torch.randn(MEMBERS, dim, count, generator=torch.Generator().manual_seed(seed))


def uneven(dim, count=50):
    """Data whose mean and standard deviation differ between members and between features."""
    step = torch.arange(MEMBERS * dim, dtype=torch.get_default_dtype()).view(MEMBERS, dim, 1)
    return points(dim, count, 1.0, seed=8) * (0.5 + 0.3 * step) + step - 2


def set_from(made, x):
    """Set the data-dependent parameters and buffers from ``x`` ``(M, *event, N)``."""
    if isinstance(made, Standardize):
        made.set(Scaler.fit(x.movedim(-1, 0).numpy()))
    else:
        made.initialize(x)


@pytest.fixture
def bijection(name, dim):
    """The bijection ``name``, with buffers set from data and perturbed parameters."""
    made = BIJECTIONS[name](dim, MEMBERS, seed=1)
    set_from(made, uneven(dim))
    return shake(made, 0.3)


def coupling_indices(bijection, dim):
    """The features that a coupling keeps and those that it changes, as its docstring defines them.

    The code of the coupling is not used.
    """
    first, second = list(range((dim + 1) // 2)), list(range((dim + 1) // 2, dim))
    return (second, first) if bijection.kept[0] else (first, second)


# The contract


@everything
def test_a_bijection_has_the_properties_that_the_interface_requires(name, dim):
    made = BIJECTIONS[name](dim, MEMBERS, seed=1)
    set_from(made, uneven(dim))
    flows.check_bijection(made, dim)


# Reach


def test_near_points_keep_their_bytes_and_far_points_stay_within_single_precision():
    near = torch.tensor([[[-1e15, -2.5, -0.0, 0.0, 7.0, 1e15]]])
    z, log_det = Reach()(near)
    assert z.numpy().tobytes() == near.numpy().tobytes()
    assert not log_det.any()
    far = torch.tensor([[[-torch.inf, -1e299, -1e16, 1e16, 1.5e299, torch.inf]]])
    z, log_det = Reach()(far)
    assert (z[0, 0].diff() > 0)[1:-1].all()
    assert z.float().square().isfinite().all()
    assert log_det.isfinite().all()
    back, log_inverse = Reach().inverse(z[..., 1:-1])
    assert_close(back, far[..., 1:-1], rtol=1e-10, atol=0)
    assert_close(log_inverse, -log_det[..., 1:-1])


def test_only_the_slopes_of_the_features_count_and_not_those_of_the_context():
    x = torch.tensor([[[1e30], [1e20]]])
    _, log_det = Reach(context=1)(x)
    assert log_det.item() == pytest.approx(-5 * 2.302585093)


# Standardize and ActNorm


@pytest.mark.parametrize("name", ["standardize", "actnorm"])
@dims
def test_initialisation_standardises_each_member_with_its_own_data(name, dim):
    layer = BIJECTIONS[name](dim, MEMBERS, seed=0)
    x = uneven(dim)
    assert_close(layer(x)[0], x)  # the identity until then
    set_from(layer, x)
    z, _ = layer(x)
    assert_close(z.mean(2), torch.zeros(MEMBERS, dim), rtol=0, atol=1e-12)
    assert_close(z.std(2, correction=0), torch.ones(MEMBERS, dim))


@pytest.mark.parametrize("bad", [4.0, float("nan"), float("inf")])
def test_a_feature_that_cannot_be_standardised_is_named(bad):
    x = uneven(3)
    x[2, 1] = bad
    with pytest.raises(ValueError, match="feature 1 of member 2"):
        ActNorm(3, MEMBERS).initialize(x)


def test_images_are_standardised_pixel_by_pixel():
    """Every value of an event has its own scale; the log-determinant sums over all values."""
    layer = Standardize((2, 3, 4), MEMBERS)
    x = points(24).reshape(MEMBERS, 2, 3, 4, 20) * torch.arange(1.0, 25).reshape(2, 3, 4, 1)
    set_from(layer, x)
    z, log_det = layer(x)
    assert_close(z.mean(-1), torch.zeros(MEMBERS, 2, 3, 4), rtol=0, atol=1e-12)
    assert_close(z.std(-1, correction=0), torch.ones(MEMBERS, 2, 3, 4))
    assert_close(log_det, -x.std(-1, correction=0).log().sum((1, 2, 3))[:, None])
    assert_close(layer.inverse(z)[0], x)
    assert list(layer.parameters()) == []


# Preprocessing


KINDS = [field("a", "positive"), field("b", "interval", -2, 3), field("c"), field("d")]


@pytest.mark.parametrize("fitted", [False, True], ids=["kinds and scaler", "all steps"])
def test_preprocessing_is_a_bijection_with_its_log_determinant(fitted):
    """Every member has its own rows."""
    real = uneven(4)
    x = ColumnMaps(KINDS).inverse(real)[0]
    map_ = Preprocessing((4,), MEMBERS, ColumnMaps(KINDS))
    if fitted:
        map_.add_margins()
        map_.add_whitening()
    map_.fit(x.movedim(-1, 0).numpy(), margins=True, whiten=True)
    z, log_det = map_(x)
    back, minus = map_.inverse(z)
    assert_close(back, x)
    assert_close(minus, -log_det, rtol=0, atol=1e-8)
    full = jacobian(lambda value: map_(value)[0], x[..., :3])
    blocks = torch.einsum("manmbn->mnab", full)
    assert_close(log_det[:, :3], torch.linalg.slogdet(blocks)[1], rtol=0, atol=1e-8)
    for member in z if fitted else []:
        assert_close(torch.cov(member, correction=0), torch.eye(4), rtol=0, atol=1e-3)


# PLULinear


# Couplings


@pytest.mark.parametrize(("name", "dim"), [(name, dim) for name in COUPLINGS for dim in DIMS])
@both_ways
def test_a_coupling_keeps_one_half_and_leaves_every_feature_in_its_place(bijection, dim, direction):
    """The kept half is unchanged; a changed feature depends on itself and on the kept half only."""
    kept, changed = coupling_indices(bijection, dim)
    step = getattr(bijection, direction)
    x = points(dim, count=1, scale=1.0)
    z = step(x)[0]
    assert torch.equal(z[:, kept], x[:, kept])
    assert (z[:, changed] != x[:, changed]).all()
    derivative = torch.einsum("manmbn->mab", jacobian(lambda value: step(value)[0], x))
    own = derivative[:, changed][:, :, changed]
    assert torch.equal(own, torch.diag_embed(own.diagonal(dim1=1, dim2=2)))
    assert (own.diagonal(dim1=1, dim2=2) > 0).all()
    # Summed over members, because all hidden units of one member may be 0 there
    assert (derivative[:, changed][:, :, kept].abs().sum((0, 2)) > 0).all()


@pytest.mark.parametrize("name", COUPLINGS)
@dims
def test_a_coupling_starts_as_the_identity(name, dim):
    x = points(dim)
    z, log_det = BIJECTIONS[name](dim, MEMBERS, seed=1)(x)
    assert_close(z, x, rtol=0, atol=1e-12)
    assert_close(log_det, torch.zeros_like(log_det), rtol=0, atol=1e-12)


# Splines


def scan(spline, x):
    """z and log dz/dx, each ``(M, N)``, of a changed feature ``x`` ``(N,)``; the other is fixed."""
    kept, changed = coupling_indices(spline, 2)
    column = torch.empty(MEMBERS, 2, len(x))
    column[:, kept], column[:, changed] = 0.7, x
    z, log_det = spline(column)
    return z[:, changed[0]], log_det


@pytest.mark.parametrize("dim", [2])
@splines
def test_a_spline_is_the_identity_outside_its_bounds_and_has_slope_1_at_the_bounds(bijection):
    x = torch.tensor([-1e6, -20.0, -5.001, -5.0, 5.0, 5.001, 20.0, 1e6])
    z, log_derivative = scan(bijection, x)
    assert torch.equal(z, x.expand(MEMBERS, -1))
    assert torch.equal(log_derivative, torch.zeros_like(log_derivative))
    x = torch.tensor([-5 + 1e-9, 5 - 1e-9])
    z, log_derivative = scan(bijection, x)
    assert_close(z, x.expand(MEMBERS, -1), rtol=0, atol=1e-8)
    assert_close(log_derivative, torch.zeros_like(log_derivative), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dim", [2])
@splines
def test_a_spline_increases_without_a_jump_in_value_or_slope(bijection):
    x = torch.linspace(-6, 6, 20_001)
    z, log_derivative = scan(bijection, x)
    rise = z.diff(dim=1)
    assert (rise > 0).all()
    # Between two points, no larger than the steepest slope allows
    assert rise.max() <= 1.01 * log_derivative.exp().max() * (x[1] - x[0])
    assert log_derivative.exp().diff(dim=1).abs().max() < 0.05


@splines
def test_a_spline_with_extreme_parameters_is_invertible(name):
    """Lower limits of widths, heights and slopes keep the log-determinant finite."""
    spline = shake(BIJECTIONS[name](2, MEMBERS, seed=1), 3.0)
    x = points(2, count=200)
    z, forward = spline(x)
    back, inverse = spline.inverse(z)
    assert forward.isfinite().all()
    assert inverse.isfinite().all()
    assert_close(back, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("part", [{"swap": True, "kept": 1}, {"changed": 1}])
def test_contradictory_parts_of_a_coupling_are_rejected(part):
    with pytest.raises(ValueError, match=r"swap = .*, kept = .*, changed = "):
        AffineCoupling(3, 8, streams(1, MEMBERS), **part)
