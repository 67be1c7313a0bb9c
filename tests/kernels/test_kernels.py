"""The compiled chain compared with PyTorch, which defines its results; and its interface.

The tests compare values and gradients, with several numbers of threads.
"""

from __future__ import annotations

import copy
import functools
import math
from itertools import product

import numpy as np
import pytest
import torch
from shaking import compiled, perturbed, points, shake
from torch.testing import assert_close

import flows
from flows import kernels
from flows.bijections import (
    ActNorm,
    AffineCoupling,
    LinearShift,
    Permutation,
    PLULinear,
    SplineCoupling,
)
from flows.conditioners import Perceptron
from flows.core.seeds import numpy_generators
from flows.networks.backend import backend

models = pytest.mark.parametrize(
    ("model", "transform"), list(product(["RealNVP", "Glow"], ["affine", "spline"]))
)
# Odd and even dimensions, hidden units below and above the vector length, and numbers of points for
# less than a vector, one tile and many parts.
SHAPES = [
    (2, 32, 200),
    (2, 64, 114),
    (3, 5, 1),
    (5, 20, 300),
    (4, 13, 4097),
    (2, 8, 255),
    (19, 16, 40),
    (40, 8, 33),
    (2, 1, 70),
]
LAYERS = {
    "AFFINE": lambda dim, hidden, streams: AffineCoupling(dim, hidden, streams, swap=dim % 2 == 1),
    "SPLINE": lambda dim, hidden, streams: SplineCoupling(
        dim, hidden, streams, swap=dim % 2 == 0, bins=5
    ),
    "ACTNORM": lambda dim, hidden, streams: ActNorm(dim, len(streams)),
    "PERMUTE": lambda dim, hidden, streams: Permutation(dim, streams),
    "PLU": lambda dim, hidden, streams: PLULinear(dim, streams),
    "SHIFT": lambda dim, hidden, streams: LinearShift(dim, streams, kept=dim - 1),
}
each_layer = pytest.mark.parametrize("kind", list(LAYERS))


def a_layer(kind, dim=2, hidden=8, members=3):
    streams = [np.random.default_rng(member) for member in range(members)]
    return shake(LAYERS[kind](dim, hidden, streams), 0.4 / max(hidden, 2 * dim) ** 0.5, seed=0)


def pytorch_results(bijections, x):
    """PyTorch's values and log-determinants of both directions, loss, and gradient of the loss."""
    with torch.no_grad():
        zeros = torch.zeros_like(x[:, 0])
        there, back, there_log_det, back_log_det = x, x, zeros, zeros
        for bijection in reversed(bijections):
            back, step = bijection.inverse(back)
            back_log_det = back_log_det + step
    for bijection in bijections:
        there, step = bijection(there)
        there_log_det = there_log_det + step
    normal = x.shape[1] / 2 * math.log(2 * math.pi)
    loss = (there.square().sum(1) / 2 - there_log_det).mean(1) + normal
    parameters = [parameter for bijection in bijections for parameter in bijection.parameters()]
    gradient = torch.cat(
        [part.flatten(1) for part in torch.autograd.grad(loss.sum(), parameters)], dim=1
    )
    return [there.detach(), there_log_det.detach(), back, back_log_det, loss.detach(), gradient]


def compiled_results(bijections, x):
    program = kernels.program(bijections)
    return [*program.apply(x, inverse=False), *program.apply(x, inverse=True), *program.loss(x)]


def assert_as_good(results, reference, truth):
    """Assert that ``results`` are about as accurate as the ``reference``.

    Errors are measured from the ``truth``. Errors below 2e-5 always pass.
    """
    for result, other, exact in zip(results, reference, truth, strict=True):
        size = exact.abs().max().clamp_min(1e-3)
        allowed = max(5 * ((other - exact).abs().max() / size).item(), 2e-5)
        assert ((result - exact).abs().max() / size).item() < allowed


@compiled
@each_layer
@pytest.mark.parametrize(("dim", "hidden", "n"), SHAPES)
def test_a_layer_and_its_gradients_match_pytorch(kind, dim, hidden, n):
    # The gradient of the first layer needs the second layer's gradient of x
    chain = [a_layer("ACTNORM", dim), a_layer(kind, dim, hidden)]
    x = points(3, dim, n)
    doubles = [copy.deepcopy(layer).double() for layer in chain]
    exact = pytorch_results(doubles, x.double())
    assert_as_good(compiled_results(chain, x), pytorch_results(chain, x), exact)


@compiled
@models
def test_the_density_and_the_loss_of_a_flow_match_pytorch(model, transform):
    flow = perturbed(model, transform=transform)
    x = 0.7 * points(3, 2, 300)  # close enough to 0 that the tails of the base do not matter
    flow.initialize(2 + 3 * points(3, 2, 300, seed=2))

    def results(flow, x):
        with torch.no_grad():
            return [flow.log_density(x), flow.to_noise(x)[0], *flow.loss(x)]

    assert backend.program(flow.chain, x) is not None
    ours, double = results(flow, x), copy.deepcopy(flow).double()
    with backend.reference_code():
        assert backend.program(flow.chain, x) is None
        assert_as_good(ours, results(flow, x), results(double, x.double()))


@compiled
@each_layer
@pytest.mark.parametrize("n", [100, 5000])
def test_bits_depend_neither_on_threads_nor_on_other_members(kind, n, set_threads):
    layer, x = a_layer(kind, members=4), points(4, 2, n)
    alone = a_layer(kind, members=1)
    alone.load_state_dict(
        {key: value[2:3] if value.ndim else value for key, value in layer.state_dict().items()}
    )
    results = []
    for count in (1, 2, 3):
        set_threads(count)
        results.append(compiled_results([layer], x))
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))
    for own, all_members in zip(compiled_results([alone], x[2:3]), results[0], strict=True):
        assert torch.equal(own, all_members[2:3])


@compiled
def test_a_nan_affects_only_its_own_point_and_member():
    flow, x = perturbed("Glow"), points(3, 2, 20)
    x[1, 0, 3] = float("nan")
    loss, gradient = flow.loss(x)
    assert loss.isfinite().tolist() == gradient.isfinite().all(1).tolist() == [True, False, True]
    with torch.no_grad():
        broken = flow.log_density(x).isnan()
    assert broken[1, 3]
    assert broken.sum() == 1


@compiled
def test_the_chain_uses_parameters_that_are_replaced():
    flow, x = perturbed("Glow"), points(3, 2, 20)
    other = perturbed("Glow", couplings=3)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    flow.loss(x)
    for own, new in zip(flow.parameters(), other.parameters(), strict=True):
        own.data = new.data
    assert torch.equal(flow.loss(x)[1], other.loss(x)[1])
    flow.load_state_dict(perturbed("Glow").state_dict(), assign=True)
    assert torch.equal(flow.loss(x)[1], perturbed("Glow").loss(x)[1])
    flow.load_state_dict(other.state_dict())
    flow.double()
    assert backend.program(flow.chain, x) is None
    assert flow.loss(x.double())[1].dtype == torch.float64
    flow.float()
    assert torch.equal(flow.loss(x)[1], other.loss(x)[1])


class Doubled(AffineCoupling):
    """A subclass that computes something else: the shift is doubled."""

    def _shift_and_log_scale(self, parameters):
        shift, log_scale = super()._shift_and_log_scale(parameters)
        return 2 * shift, log_scale


def test_pytorch_computes_double_precision_and_bijections_without_a_kernel():
    flow, x = perturbed("RealNVP"), points(3, 2, 5)
    assert backend.program(flow.chain, x.double()) is None
    known = flow.loss(x)
    flow.chain[1].__class__ = Doubled
    assert backend.program(flow.chain, x) is None
    assert not torch.equal(flow.loss(x)[0], known[0])
    assert flow.loss(x)[1].shape == known[1].shape
    flow.chain[1].__class__ = AffineCoupling
    flow.chain[1].conditioner = torch.nn.Sequential(flow.chain[1].conditioner)
    assert backend.program(flow.chain, x) is None


def test_pytorch_computes_a_chain_over_images():
    flow = flows.Flow(flows.StandardNormal(3, (2, 4, 4)), [a_layer("ACTNORM"), a_layer("PERMUTE")])
    x = 2 + points(3, 32, 20).view(3, 2, 4, 4, 20)
    flow.initialize(x)
    with torch.no_grad():
        noise = flow.to_noise(x)[0].flatten(2)
    assert_close(noise.mean(2), torch.zeros(3, 2), rtol=0, atol=1e-5)
    assert_close(noise.std(2, correction=0), torch.ones(3, 2))


@compiled
@pytest.mark.parametrize("inverse", [False, True])
def test_a_spline_at_and_beyond_its_bounds_matches_pytorch(inverse):
    coupling = a_layer("SPLINE", dim=3)  # an odd dimension: it changes the second part
    bound = coupling.BOUND
    changed = torch.tensor(
        [-1e30, -8.0, -bound, -bound + 1e-5, -2.0, 0.0, 2.0, bound - 1e-5, bound, 8.0, 1e30]
    )
    x = torch.stack(
        [torch.linspace(-1, 1, len(changed)), torch.linspace(1, 0, len(changed)), changed]
    ).expand(3, 3, -1)
    with torch.no_grad():
        z, log_det = coupling.inverse(x) if inverse else coupling(x)
    ours, our_log_det = kernels.program([coupling]).apply(x, inverse=inverse)
    assert_close(ours, z, rtol=1e-5, atol=2e-5)
    assert_close(our_log_det, log_det, rtol=0, atol=1e-4)
    beyond = changed.abs() >= bound
    assert torch.equal(ours[:, :, beyond], x[:, :, beyond])
    x = x[:, :, 1:-1]  # the square of 1e30 overflows in single precision
    assert_close(
        kernels.program([coupling]).loss(x)[1],
        pytorch_results([coupling], x)[5],
        rtol=1e-3,
        atol=1e-4,
    )


# The interface


@compiled
def test_refused_memory_raises_a_memory_error():
    coupling, x = a_layer("AFFINE"), points(3, 2, 20)
    coupling.conditioner.sizes = [1, 2**24, 2**24, 2]  # a thread would need a petabyte
    program = kernels.program([coupling])
    for compute in (program.loss, functools.partial(program.apply, inverse=False)):
        with pytest.raises(MemoryError, match=r"[\d,]+ bytes per thread"):
            compute(x)
    assert kernels.program([a_layer("AFFINE")]).loss(x)[0].isfinite().all()


@compiled
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(("sizes", "n"), [((2, 3, 40), 300), ((1, 2, 7), 1), ((19, 5, 16), 70)])
def test_a_perceptron_matches_pytorch(sizes, n, twice):
    inputs, outputs, hidden = sizes
    network = shake(
        Perceptron(inputs, outputs, hidden, numpy_generators(0, "initialize", range(3))),
        0.3,
        seed=0,
    )
    x, weight = points(3, inputs, n).requires_grad_(), points(3, outputs, n)
    found = []
    for y in (network(x), kernels.perceptron(network, x, twice=twice)):
        gradients = torch.autograd.grad((weight * y).sum(), [x, network.theta], create_graph=twice)
        found.append([y, *gradients])
        if twice:  # as for a penalty on the gradient
            found[-1] += torch.autograd.grad(gradients[0].square().sum(), [network.theta])
    for plain, compiled_one in zip(*found, strict=True):
        assert_close(compiled_one, plain, rtol=2e-4, atol=2e-4 * float(plain.detach().abs().max()))
