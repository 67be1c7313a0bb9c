"""A flow is a normalised density in the user's units, and its samples follow this density."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from chi_square import p_values
from shaking import shake
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.testing import assert_close

import flows
from flows.bijections import ActNorm, Bijection
from flows.bijections.chain import compose
from flows.core.seeds import normal
from flows.networks import registry
from flows.networks.architecture import CouplingArchitecture
from flows.networks.backend import backend
from flows.networks.base_distribution import Base
from flows.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("float64")

MEMBERS = 3
FLOWS = [name for name in registry.names() if issubclass(registry.find(name), CouplingArchitecture)]
every_flow = pytest.mark.parametrize(
    ("model", "transform"), [(m, t) for m in FLOWS for t in ("affine", "spline")]
)
every_model = pytest.mark.parametrize("model", FLOWS)
dims = pytest.mark.parametrize("dim", [2, 3, 4, 5])


def generator(seed=3):
    return np.random.default_rng(seed)


def data(dim, count=60):
    """Points ``(n, M, D)`` with means and deviations far from 0 and 1, and different per member."""
    mean = torch.tensor([100.0, -3.0, 0.0, 7.0, 0.02])[:dim]
    deviation = torch.tensor([5.0, 0.2, 1.0, 30.0, 0.01])[:dim]
    x = normal(generator(5), count, MEMBERS, dim).to(torch.get_default_dtype())
    member = torch.tensor([[1.0, 0.0], [1.5, 0.5], [0.7, -1.0]])[:, None]
    return mean + deviation * (x * member[..., 0] + member[..., 1])


def untrained(model, transform="affine", dim=2, members=MEMBERS, seed=1):
    settings = {"couplings": 4, "hidden": 8, "transform": transform, "bins": 5}
    return flows.build(registry.architecture(model, settings), (dim,), members=members, seed=seed)


def fitted(flow, x):
    """Return ``flow`` scaled and initialised on ``x``, as before the first training step."""
    return Trainer(flow, x, flows.TrainingSettings(noise=0)).population


def steps(flow):
    """Return all bijections from the user's units to noise, in PyTorch."""
    return (flow.preprocessing, *flow.chain)


def to_noise(flow, x):
    """Map points, features first in the user's units, to noise; also return log-determinants."""
    return compose(steps(flow), x)


def scaled(model, transform="affine", dim=2):
    """Return a flow scaled to ``data`` with perturbed parameters."""
    return shake(fitted(untrained(model, transform, dim), data(dim)), 0.15)


# Change of variables


@every_flow
@dims
def test_trajectory_maps_noise_to_samples_and_inverts(model, transform, dim):
    flow = scaled(model, transform, dim)
    states = flow.trajectory((20,), generator())
    assert len(states) == len(flow.chain) + 2
    assert all(state.shape == (20, MEMBERS, dim) for state in states)
    assert torch.equal(states[0], normal(generator(), 20, MEMBERS, dim).to(states[0].dtype))
    assert torch.equal(states[-1], flow.sample((20,), generator=generator()))
    assert_close(flow.encode(states[-1]), states[0], rtol=0, atol=1e-8)
    x = flow.features_first(states[-1])
    for bijection, state in zip(steps(flow), reversed(states[:-1]), strict=True):
        x, _ = bijection(x)
        assert_close(x, flow.features_first(state), rtol=0, atol=1e-8)


@every_flow
@dims
def test_log_prob_is_the_base_density_plus_the_log_determinant_of_the_whole_chain(
    model, transform, dim
):
    flow = scaled(model, transform, dim)
    x = flow.sample((2,), generator=generator())
    points = flow.features_first(x)
    blocks = torch.einsum("manmbn->nmab", jacobian(lambda value: to_noise(flow, value)[0], points))
    base = flow.base.log_prob(to_noise(flow, points)[0]).T
    assert_close(flow.log_prob(x), base + torch.linalg.slogdet(blocks)[1])


# A density


def grid_of(flow, side):
    """Cut a box per member, twice as wide as its samples, into side^2 cells.

    Return the corners ``(M, 2)``, the centres of the cells ``(side^2, M, 2)`` and areas ``(M,)``.
    """
    samples = flow.sample((5_000,), generator=generator())
    low, high = samples.amin(0), samples.amax(0)  # (M, 2)
    low, high = low - (high - low) / 2, high + (high - low) / 2
    middle = (torch.arange(side) + 0.5) / side
    unit = torch.cartesian_prod(middle, middle)[:, None]
    return low, high, low + unit * (high - low), (high - low).prod(1) / side**2


def assert_mass_is_1(flow):
    _, _, centres, area = grid_of(flow, 250)
    with torch.no_grad():
        mass = flow.log_prob(centres).exp().sum(0) * area
    assert_close(mass, torch.ones(MEMBERS), rtol=0, atol=0.001)


@every_flow
def test_total_mass_is_1(model, transform):
    assert_mass_is_1(scaled(model, transform))


@every_flow
def test_samples_agree_with_the_density(model, transform):
    flow = scaled(model, transform)
    low, high, *_ = grid_of(flow, 1)
    box = {"low": low.amin(0).tolist(), "high": high.amax(0).tolist()}
    samples = flow.sample((20_000,), generator=generator(11)).numpy()
    found = p_values(lambda x: flow.log_prob(x).detach().numpy(), samples, **box, cells=24, fine=8)
    assert min(found) > 1e-4


@every_model
def test_the_equal_mixture_of_the_members_is_the_ensemble(model):
    flow = scaled(model)
    x = flow.sample((20,), generator=generator())[:, 0]
    ensemble = MixtureSameFamily(Categorical(torch.ones(MEMBERS)), flow)
    members = flow.log_prob(x[:, None])
    assert_close(ensemble.log_prob(x), flows.ensemble_log_prob(members))
    assert_close(flows.ensemble_log_prob(members), members.exp().mean(1).log())


def test_ensemble_log_prob_is_equal_for_arrays_and_tensors_and_a_weight_may_be_0():
    members = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, 3)))
    weights = torch.tensor([0.25, 0.0, 0.75], dtype=torch.float64)
    array = members.numpy()
    array.flags.writeable = False  # like the values of some tables
    for own, others in ((None, None), (weights, weights.numpy()), (weights.numpy(), weights)):
        expected = flows.ensemble_log_prob(members, own)
        found = flows.ensemble_log_prob(array, others)
        assert isinstance(expected, torch.Tensor)
        assert isinstance(found, np.ndarray)
        assert found.shape == (2, 5)
        np.testing.assert_array_equal(found, expected)
    assert_close(expected, (weights * members.exp()).sum(-1).log())


def test_the_ensemble_with_a_context_has_the_density_of_its_members():
    flow = flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=3, context=1)
    rng = np.random.default_rng(0)
    y, x = rng.normal(size=(5, 2)), rng.normal(size=(5, 1))
    expected = flow.log_prob(y, x).exp().mean(dim=1)
    assert_close(flow.ensemble_log_prob(y, x).exp(), expected)
    with pytest.raises(ValueError, match="pass context=x"):
        flow.ensemble_log_prob(y)


def test_ensemble_samples_with_a_context_need_its_number_of_rows():
    flow = flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=3, context=1)
    x, rng = np.zeros((5, 1)), np.random.default_rng(0)
    assert flow.ensemble_sample(5, rng, x).shape == flow.ensemble_sample(context=x).shape == (5, 2)
    with pytest.raises(ValueError, match=r"n = 100: .* the number of rows of context, 5"):
        flow.ensemble_sample(100, rng, x)


# Shapes


@pytest.mark.parametrize(("method", "event"), [("log_prob", ()), ("encode", (3,))])
@every_model
def test_log_prob_and_encode_have_the_shapes_of_torch_distributions(model, method, event):
    flow = scaled(model, dim=3)
    of = getattr(flow, method)
    assert (flow.batch_shape, flow.event_shape) == ((MEMBERS,), (3,))
    x = flow.sample((4, 5), generator=generator())
    whole = of(x)
    assert whole.shape == (4, 5, MEMBERS, *event)
    assert_close(of(x[1]), whole[1])
    shared = x[:, :, :1]
    assert_close(of(shared), of(shared.expand(4, 5, MEMBERS, 3)))
    assert_close(of(shared[1, :, 0]), of(shared[1]))
    with pytest.raises(ValueError, match="expected"):
        of(x[..., :2])


# Initialisation


@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_an_untrained_realnvp_is_a_gaussian_with_the_moments_of_the_data(transform):
    x = data(2)
    flow = fitted(untrained("realnvp", transform), x)
    normal = Normal(x.mean(0), x.std(0, correction=0)).log_prob(x).sum(2)
    near = normal > -15  # farther out, the base has other tails
    assert near.float().mean() > 0.95
    assert_close(flow.log_prob(x)[near], normal[near], rtol=0, atol=0.1)
    assert_close(flow.log_prob(x)[normal > -8], normal[normal > -8], rtol=0, atol=1e-4)


def test_every_actnorm_of_a_glow_is_initialised_on_its_input():
    flow, x = untrained("glow", dim=3), data(3)
    flow.sample((5,))
    flow.log_prob(x)
    actnorms = [layer for layer in flow.chain if isinstance(layer, ActNorm)]
    assert not any(layer.initialized for layer in actnorms)  # not by sampling or scoring
    fitted(flow, x)
    assert all(layer.initialized for layer in actnorms)
    z, _ = flow.preprocess(x)
    for layer in flow.chain:
        z, _ = layer(z)
        if isinstance(layer, ActNorm):
            assert_close(z.mean(2), torch.zeros(MEMBERS, 3), rtol=0, atol=1e-9)
            assert_close(z.std(2, correction=0), torch.ones(MEMBERS, 3))


# Other shapes and other bases


class Scale(Bijection):
    """``z = (x - b) exp(-s)``, with b and s for each value of an event of any shape."""

    def __init__(self, members, event_shape):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(members, *event_shape, 1))
        self.log_scale = nn.Parameter(torch.zeros(members, *event_shape, 1))

    def forward(self, x):
        return (x - self.shift) * (-self.log_scale).exp(), -self._log_det()

    def inverse(self, z):
        return self.shift + z * self.log_scale.exp(), self._log_det()

    def _log_det(self):
        return self.log_scale.flatten(1).sum(1, keepdim=True)


class LearnedMean(Base):
    """``N(z; m, I)`` with a trained m, which starts at 2."""

    def __init__(self, members, event_shape):
        super().__init__(members, event_shape)
        self.standard = flows.StandardNormal(members, event_shape)
        self.mean = nn.Parameter(torch.full((members, *event_shape, 1), 2.0))

    def log_prob(self, z: Tensor) -> Tensor:
        return self.standard.log_prob(z - self.mean)

    def sample(self, n, generator, dtype):
        return self.mean + self.standard.sample(n, generator, dtype)


IMAGE = (2, 3, 4)  # channels, height, width: all different, to notice swapped axes


def images(count=80):
    """``(n, C, H, W)``, with a different mean and deviation for each pixel."""
    pixel = torch.arange(24.0).reshape(IMAGE)
    return pixel + (0.5 + pixel / 8) * normal(generator(5), count, *IMAGE).float()


def of_images(scales=1):
    chain = [Scale(MEMBERS, IMAGE) for _ in range(scales)]
    return flows.Flow(flows.StandardNormal(MEMBERS, IMAGE), chain)


def over_learned_mean(scale=0.1):
    couplings = untrained("realnvp").chain  # they start as the identity
    return shake(flows.Flow(LearnedMean(MEMBERS, (2,)), couplings), scale)


def test_a_flow_of_one_scale_over_images_is_a_normal_distribution_of_every_pixel():
    flow = shake(fitted(of_images(), images()), 0.3)
    (scale,), x = flow.chain, images(10)
    deviation = images().std(0, correction=0) * scale.log_scale[..., 0].exp()
    mean = images().mean(0) + images().std(0, correction=0) * scale.shift[..., 0]
    expected = Normal(mean, deviation).log_prob(x[:, None]).sum((2, 3, 4))
    assert (flow.batch_shape, flow.event_shape) == ((MEMBERS,), IMAGE)
    assert_close(flow.log_prob(x), expected)
    assert_close(flow.log_prob(x[:, None].expand(10, MEMBERS, *IMAGE)), expected)
    ensemble = MixtureSameFamily(Categorical(torch.ones(MEMBERS)), flow)
    assert_close(ensemble.log_prob(x), flows.ensemble_log_prob(expected))


def test_images_keep_their_shape_on_the_way_to_noise_and_back():
    flow = shake(fitted(of_images(2), images()), 0.3)
    states = flow.trajectory((4, 5), generator())
    assert [state.shape for state in states] == [(4, 5, MEMBERS, *IMAGE)] * 4
    assert torch.equal(states[-1], flow.sample((4, 5), generator=generator()))
    assert_close(flow.encode(states[-1]), states[0])
    with pytest.raises(ValueError, match=r"expected rows of shape \(n, 2, 3, 4\)"):
        flow.log_prob(torch.zeros(10, *reversed(IMAGE)))


def test_a_flow_over_a_base_with_parameters_learns_them_and_stays_a_density():
    flow = over_learned_mean()
    settings = flows.TrainingSettings(epochs=40, learning_rate=0.02, noise=0, log_every=1)
    flows.train(flow, data(2), None, settings)
    nll = flow.history["train_nll"]
    assert (nll[-1] < nll[0] - 1).all()
    assert (flow.base.mean != 2).all()
    assert_mass_is_1(flow)


def test_samples_and_densities_use_the_base():
    flow = over_learned_mean(0.0)
    mean = flow.sample((4_000,), generator=generator()).mean((0, 1))
    assert_close(mean, torch.full((2,), 2.0), rtol=0, atol=0.05)
    x = normal(generator(), 10, 2).to(torch.get_default_dtype())
    expected = Normal(2.0, 1.0).log_prob(x).sum(1, keepdim=True).expand(10, MEMBERS)
    assert_close(flow.log_prob(x), expected)


@pytest.mark.parametrize("compiled", [True, False])
def test_the_loss_over_another_base_has_the_gradient_of_its_log_density(compiled):
    """The compiled loss is for a standard normal base, so it must not be used here."""
    torch.set_default_dtype(torch.float32 if compiled else torch.float64)
    flow = over_learned_mean()
    z = normal(generator(), MEMBERS, 2, 30).to(torch.get_default_dtype())
    loss, gradient = flow.loss(z)
    mean = -flow.log_density(z).mean(1)
    expected = torch.autograd.grad(mean.sum(), list(flow.parameters()))
    assert_close(loss, mean.detach())
    assert_close(gradient, torch.cat([part.flatten(1) for part in expected], dim=1))


@every_flow
def test_far_out_compiled_and_plain_losses_and_gradients_agree(model, transform):
    """Both use a standard normal; with the tails of the base, z = 50 would cost a tenth."""
    torch.set_default_dtype(torch.float32)
    flow = shake(untrained(model, transform, dim=3), 0.1)
    z = 50 * normal(generator(), MEMBERS, 3, 40).float().sign()
    found = []
    for way in (nullcontext, backend.reference_code):
        with way():
            found.append([part.clone() for part in flow.loss(z)])
    noise, log_det = flow.to_noise(z)
    normal_alone = Normal(0.0, 1.0).log_prob(noise).sum(1)
    assert (flow.base.log_prob(noise) > normal_alone + 1_000).all()
    found.append([-(normal_alone + log_det).mean(1).detach(), found[0][1]])
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            scale = same.abs().max().item()
            assert_close(one.double(), same.double(), rtol=1e-4, atol=1e-5 * scale)
