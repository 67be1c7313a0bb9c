"""A flow is a normalised density in the user's units, and its samples are draws from it."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from scipy.stats import chi2
from torch.autograd.functional import jacobian
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.testing import assert_close

import flows
from flows.bijections import ActNorm

pytestmark = pytest.mark.usefixtures("float64")

MEMBERS = 3
FLOWS = {"realnvp": lambda **settings: flows.RealNVP(**settings), "glow": lambda **settings: flows.Glow(**settings)}
every_flow = pytest.mark.parametrize(("model", "transform"), [(m, t) for m in FLOWS for t in ("affine", "spline")])
every_model = pytest.mark.parametrize("model", list(FLOWS))
dims = pytest.mark.parametrize("dim", [2, 3, 4, 5])


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def data(dim, count=60):
    """Points ``(n, M, D)`` with means and deviations far from 0 and 1, and different per member: units matter."""
    mean, deviation = torch.tensor([100.0, -3.0, 0.0, 7.0, 0.02])[:dim], torch.tensor([5.0, 0.2, 1.0, 30.0, 0.01])[:dim]
    x = torch.randn(count, MEMBERS, dim, generator=generator(5))
    return mean + deviation * (x * torch.tensor([1.0, 1.5, 0.7])[:, None] + torch.tensor([0.0, 0.5, -1.0])[:, None])


def untrained(model, transform="affine", dim=2, members=MEMBERS, seed=1):
    return FLOWS[model](dim=dim, members=members, couplings=4, hidden=8, transform=transform, bins=5, seed=seed)


@pytest.fixture
def build(perturb):
    """A flow fitted to the scale of ``data``, every parameter moved away from its start."""

    def make(model, transform="affine", dim=2, scale=0.15):
        flow = untrained(model, transform, dim)
        flow.initialize(data(dim))
        return perturb(flow, scale)

    return make


# Change of variables


@every_flow
@dims
def test_noise_becomes_samples_and_samples_become_noise(build, model, transform, dim):
    flow = build(model, transform, dim)
    states = flow.path((20,), generator())
    assert len(states) == len(flow.bijections) + 1  # K bijections after the standardisation: K + 2 states
    assert all(state.shape == (20, MEMBERS, dim) for state in states)
    assert torch.equal(states[0], torch.randn(20, MEMBERS, dim, generator=generator()))
    assert torch.equal(states[-1], flow.sample((20,), generator=generator()))
    x = flow.features_first(states[-1])
    for bijection, state in zip(flow.bijections, reversed(states[:-1]), strict=True):
        x, _ = bijection(x)
        assert_close(x, flow.features_first(state), rtol=0, atol=1e-8)


@every_flow
@dims
def test_log_prob_is_the_base_density_plus_the_log_determinant_of_the_whole_chain(build, model, transform, dim):
    flow = build(model, transform, dim)
    x = flow.sample((2,), generator=generator())

    def to_noise(value):
        for bijection in flow.bijections:
            value, _ = bijection(value)
        return value

    features_first = flow.features_first(x)
    blocks = torch.einsum("manmbn->nmab", jacobian(to_noise, features_first))
    base = Normal(0.0, 1.0).log_prob(to_noise(features_first)).sum(1).T
    assert_close(flow.log_prob(x), base + torch.linalg.slogdet(blocks)[1])


@every_flow
@dims
def test_noise_is_the_way_back_from_samples_and_carries_the_base_density(build, model, transform, dim):
    flow = build(model, transform, dim)
    start, *_, x = flow.path((20,), generator())
    z = flow.noise(x)
    assert not z.requires_grad
    assert_close(z, start, rtol=0, atol=1e-8)
    features_first, log_det = flow.features_first(x), 0
    for bijection in flow.bijections:
        features_first, step = bijection(features_first)
        log_det = log_det + step
    assert_close(flow.log_prob(x), Normal(0.0, 1.0).log_prob(z).sum(2) + log_det.T)


@every_flow
def test_a_population_is_a_loop_over_its_members(build, model, transform):
    flow = build(model, transform, 3)
    x = flow.sample((10,), generator=generator())
    for m in range(MEMBERS):
        alone = untrained(model, transform, 3, members=1, seed=2)
        alone.load_state_dict({key: tensor[m : m + 1] if tensor.ndim else tensor for key, tensor in flow.state_dict().items()})
        assert_close(alone.log_prob(x[:, m : m + 1]), flow.log_prob(x)[:, m : m + 1])


@every_flow
def test_densities_are_in_the_units_of_the_data(build, model, transform):
    """Data times c, plus b: log-densities fall by sum(log c), whatever the flow has learned."""
    flow, c, b = build(model, transform), torch.tensor([20.0, 0.003]), torch.tensor([-7.0, 4.0])
    x = flow.sample((30,), generator=generator())
    before = flow.log_prob(x)
    flow.standardize.initialize(flow.features_first(c * data(2) + b))
    assert_close(flow.log_prob(c * x + b), before - c.log().sum())


@dims
def test_two_couplings_of_a_realnvp_leave_no_feature_as_it_is(perturb, dim):
    flow = perturb(flows.RealNVP(dim, MEMBERS, couplings=2, hidden=8), 0.3)
    noise, *_, samples = flow.path((20,), generator())
    assert (noise != samples).all()


# A density


def grid_of(flow, side):
    """A box per member, twice as wide as its samples, in side^2 cells: its corners, the cells' centres ``(side^2, M, 2)`` and area ``(M,)``."""
    samples = flow.sample((5_000,), generator=generator())
    low, high = samples.amin(0), samples.amax(0)  # (M, 2)
    low, high = low - (high - low) / 2, high + (high - low) / 2
    middle = (torch.arange(side) + 0.5) / side
    unit = torch.cartesian_prod(middle, middle)[:, None]
    return low, high, low + unit * (high - low), (high - low).prod(1) / side**2


@every_flow
def test_total_mass_is_1(build, model, transform):
    flow = build(model, transform)
    _, _, centres, area = grid_of(flow, 250)
    with torch.no_grad():
        mass = flow.log_prob(centres).exp().sum(0) * area
    assert_close(mass, torch.ones(MEMBERS), rtol=0, atol=0.001)


@every_flow
def test_samples_agree_with_the_density(build, model, transform):
    """A chi-square test of 20,000 draws a member in 24 x 24 cells; a correct flow fails with probability 1e-4 over other seeds."""
    bins, fine, draws = 24, 10, 20_000
    flow = build(model, transform)
    low, high, centres, area = grid_of(flow, bins * fine)
    with torch.no_grad():
        density = flow.log_prob(centres).exp() * area
    expected = draws * density.reshape(bins, fine, bins, fine, MEMBERS).sum((1, 3)).reshape(-1, MEMBERS)
    samples = flow.sample((draws,), generator=generator(11))
    place = ((samples - low) / (high - low) * bins).floor().long()
    inside = ((place >= 0) & (place < bins)).all(2)
    cell = place[..., 0] * bins + place[..., 1]
    for m in range(MEMBERS):
        observed = torch.bincount(cell[inside[:, m], m], minlength=bins**2).double()
        full = expected[:, m] >= 5  # the rest, and all beyond the box, is one cell more
        pairs = [(observed[full], expected[full, m]), (draws - observed[full].sum(), draws - expected[full, m].sum())]
        statistic = sum(((o - e).square() / e).sum().item() for o, e in pairs)
        cells = int(full.sum())
        assert cells > 30
        assert chi2.sf(statistic, cells) > 1e-4 / MEMBERS, f"member {m}: chi-square {statistic:.1f} with {cells} degrees of freedom"


@every_model
def test_the_equal_mixture_of_the_members_is_the_ensemble(build, model):
    flow = build(model)
    x = flow.sample((20,), generator=generator())[:, 0]
    ensemble = MixtureSameFamily(Categorical(torch.ones(MEMBERS)), flow)
    members = flow.log_prob(x[:, None])
    assert_close(ensemble.log_prob(x), flows.ensemble_log_prob(members))
    assert_close(flows.ensemble_log_prob(members), members.exp().mean(1).log())


# Shapes


@every_model
def test_log_prob_speaks_the_shapes_of_torch_distributions(build, model):
    flow = build(model, dim=3)
    assert (flow.batch_shape, flow.event_shape) == ((MEMBERS,), (3,))
    x = flow.sample((4, 5), generator=generator())
    whole = flow.log_prob(x)
    assert whole.shape == (4, 5, MEMBERS)
    assert_close(flow.log_prob(x[1]), whole[1])
    assert_close(flow.log_prob(x[1, 2]), whole[1, 2])
    shared = x[:, :, :1]
    assert flow.log_prob(shared).shape == (4, 5, MEMBERS)
    assert_close(flow.log_prob(shared), flow.log_prob(shared.expand(4, 5, MEMBERS, 3)))


@every_model
def test_noise_speaks_the_shapes_that_log_prob_speaks(build, model):
    flow = build(model, dim=3)
    x = flow.sample((4, 5), generator=generator())
    whole = flow.noise(x)
    assert whole.shape == (4, 5, MEMBERS, 3)
    assert_close(flow.noise(x[1, 2]), whole[1, 2])
    shared = x[:, :, :1]
    assert_close(flow.noise(shared), flow.noise(shared.expand(4, 5, MEMBERS, 3)))
    with pytest.raises(ValueError, match="expected"):
        flow.noise(x[..., :2])


@every_model
@pytest.mark.parametrize("shape", [(10, 3), (10, MEMBERS, 2), (10, 2, 3), (3,), ()])
def test_points_of_another_shape_are_refused_with_what_was_expected_and_what_was_given(model, shape):
    with pytest.raises(ValueError, match="expected") as error:
        untrained(model, dim=3).log_prob(torch.zeros(shape))
    assert str(shape) in str(error.value)


@every_model
def test_samples_have_the_asked_shape_and_follow_the_generator(build, model):
    flow = build(model)
    assert flow.sample((7,), generator=generator()).shape == (7, MEMBERS, 2)
    assert flow.sample((7, 2), generator=generator()).shape == (7, 2, MEMBERS, 2)
    assert flow.sample((), generator=generator()).shape == (MEMBERS, 2)
    assert not flow.sample((7,)).requires_grad
    assert torch.equal(flow.sample((7,), generator=generator()), flow.sample((7,), generator=generator()))
    assert not torch.equal(flow.sample((7,), generator=generator(1)), flow.sample((7,), generator=generator(2)))


# Beginnings


@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_an_untrained_realnvp_is_a_gaussian_with_the_moments_of_the_data(transform):
    flow, x = untrained("realnvp", transform), data(2)
    flow.initialize(x)
    assert_close(flow.log_prob(x), Normal(x.mean(0), x.std(0, correction=0)).log_prob(x).sum(2))


def test_every_actnorm_of_a_glow_is_initialised_on_what_it_receives():
    flow, x = untrained("glow", dim=3), data(3)
    flow.sample((5,))
    flow.log_prob(x)
    actnorms = [layer for layer in flow.bijections if isinstance(layer, ActNorm)]
    assert not any(layer.initialized for layer in actnorms)  # neither drawing nor scoring initialises
    flow.initialize(x)
    assert all(layer.initialized for layer in actnorms)
    z = flow.features_first(x)
    for layer in flow.bijections:
        z, _ = layer(z)
        if isinstance(layer, ActNorm):
            assert_close(z.mean(2), torch.zeros(MEMBERS, 3), rtol=0, atol=1e-9)
            assert_close(z.std(2, correction=0), torch.ones(MEMBERS, 3))


@every_model
def test_a_member_starts_the_same_in_a_population_of_any_size(model):
    small, large = untrained(model, members=2).state_dict(), untrained(model, members=5).state_dict()
    for key, tensor in small.items():
        assert torch.equal(tensor, large[key][:2] if tensor.ndim else large[key]), key


@every_model
def test_other_seeds_and_other_members_start_elsewhere(model):
    first, second = untrained(model, seed=1).state_dict(), untrained(model, seed=2).state_dict()
    key = next(key for key in first if key.endswith("conditioner.theta"))
    assert not torch.equal(first[key], second[key])
    assert not torch.equal(first[key][0], first[key][1])


@every_model
def test_parameters_are_counted_per_member(model):
    assert untrained(model, members=5).parameters_per_member() == sum(p.numel() for p in untrained(model, members=1).parameters())


@every_model
def test_one_feature_is_too_few_for_a_coupling(model):
    with pytest.raises(ValueError, match="dim=1"):
        untrained(model, dim=1)


@every_model
def test_an_unknown_transform_is_refused_by_name(model):
    with pytest.raises(ValueError, match="cubic"):
        untrained(model, transform="cubic")


# Names


def test_importing_flows_does_not_import_torch():
    subprocess.run([sys.executable, "-c", "import sys, flows; sys.exit('torch' in sys.modules)"], check=True)


def test_public_names_resolve():
    assert {flows.RealNVP.__name__, flows.Glow.__name__} == {"RealNVP", "Glow"}
    assert flows.model_class("realnvp") is flows.RealNVP
    assert all(callable(getattr(flows, name)) for name in ("load", "save", "fit", "ensemble_log_prob"))
    assert math.isclose(flows.ensemble_log_prob(torch.zeros(1, 4)).item(), 0)


@pytest.mark.parametrize("name", ["Nonsense", "nonsense", "Training"])  # training is a file, but holds no model
def test_an_unknown_name_is_no_attribute(name):
    with pytest.raises(AttributeError):
        getattr(flows, name)


@pytest.mark.parametrize("name", ["nonsense", "training", "RealNVP", "no/name"])
def test_an_unknown_model_is_a_lookup_error(name):
    with pytest.raises(LookupError):
        flows.model_class(name)
