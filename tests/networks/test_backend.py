"""The choice between C and PyTorch: equal values for all callers, and equal gradients."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from shaking import compiled, perturbed, points
from torch.autograd import forward_ad
from torch.autograd.functional import hessian
from torch.testing import assert_close

from flows.networks.backend import backend

ways = pytest.mark.parametrize("way", [nullcontext, backend.reference_code], ids=["C", "PyTorch"])
every_flow = pytest.mark.parametrize(
    ("model", "transform"), [("RealNVP", "affine"), ("RealNVP", "spline"), ("Glow", "affine")]
)


def rows(n=50, dim=3):
    return np.random.default_rng(0).standard_normal((n, dim))


def density(flow, x):
    """The log-density at ``x``, and its gradients by the points and by every parameter."""
    x = x.detach().requires_grad_()
    log_q = flow.log_prob(x)
    weights = torch.linspace(-1, 1, log_q.numel(), dtype=log_q.dtype).view_as(log_q)
    return [log_q, *torch.autograd.grad((weights * log_q).sum(), [x, *flow.parameters()])]


def assert_near(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.detach().abs().max()))


@ways
@every_flow
def test_arrays_and_tensors_have_the_same_density_to_the_last_bit(way, model, transform):
    flow, array = perturbed(model, 3, transform=transform), rows()
    x = torch.from_numpy(array)
    with way():
        of_array, of_tensor = flow.log_prob(array), flow.log_prob(x)
        of_leaf = flow.log_prob(x.clone().requires_grad_())
        with torch.no_grad():
            others = [flow.log_prob(array), flow.log_prob(x)]
        frozen = flow.requires_grad_(False).log_prob(x)
    assert of_tensor.requires_grad
    assert of_leaf.requires_grad
    assert not of_array.requires_grad
    for other in (of_tensor, of_leaf, *others, frozen):
        assert torch.equal(of_array, other)


@every_flow
def test_gradients_of_the_density_match_pytorch(model, transform):
    flow, x = perturbed(model, 3, transform=transform), torch.from_numpy(rows())
    found = density(flow, x)
    with backend.reference_code():
        assert_near(found, density(flow, x))


@pytest.mark.parametrize("model", ["RealNVP", "Glow"])
def test_second_derivatives_of_the_density_match_pytorch(model):
    flow, x = perturbed(model, 3), torch.from_numpy(rows(4))
    parameter = next(flow.parameters())

    def curvature():
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(flow.log_prob(leaf).sum(), leaf, create_graph=True)
        mixed = torch.autograd.grad(slope.square().sum(), [leaf, parameter])
        return [hessian(lambda value: flow.log_prob(value).sum(), x), *mixed]

    found = curvature()
    with backend.reference_code():
        assert_near(found, curvature())


@compiled
@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_of_two_uses_of_the_same_parameters_add_up(inverse):
    flow, x = perturbed("Glow", 3), points(3, 3, 20)

    def twice():
        z = backend.map(flow.chain, x, inverse=inverse)[0]
        z, log_det = backend.map(flow.chain, z, inverse=inverse)
        loss = z.square().sum() + log_det.square().sum()
        return [z, *torch.autograd.grad(loss, list(flow.parameters()))]

    assert backend.program(flow.chain, x) is not None
    found = twice()
    with backend.reference_code():
        assert_near(found, twice())


@compiled
def test_a_backward_pass_after_a_change_of_parameters_is_an_error():
    flow, x = perturbed("RealNVP"), points(3, 2, 20)
    loss = flow.log_density(x).sum()
    with torch.no_grad():
        flow.chain[0].conditioner.theta.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    values = {name: value + 0.1 for name, value in flow.chain.named_parameters()}
    noise = torch.func.functional_call(flow.chain, values, (x,))[0]
    with flow.parameters_from(torch.cat([value.flatten(1) for value in values.values()], dim=1)):
        assert_close(flow.to_noise(x)[0], noise, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_pytorch_computes_transformations_of_torch_func_and_forward_derivatives():
    flow, x = perturbed("RealNVP", 3), points(3, 3, 20)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(flow.log_density(leaf).sum(), leaf)
    by_func = torch.func.grad(lambda value: flow.log_density(value).sum())(x)
    assert_close(by_func, slope, rtol=1e-3, atol=1e-4)
    with forward_ad.dual_level():
        along = flow.log_density(forward_ad.make_dual(x, torch.ones_like(x)))
        tangent = forward_ad.unpack_dual(along).tangent
    assert_close(tangent.float(), slope.sum(1), rtol=1e-3, atol=1e-3)
    batched = torch.autograd.functional.jacobian(
        lambda value: flow.log_density(value).sum(1), x, vectorize=True
    )
    assert_close(batched.sum(0), slope, rtol=1e-3, atol=1e-4)


def test_parameters_are_replaced_for_a_block_and_restored_after_an_error():
    flow, x = perturbed("RealNVP"), points(3, 2, 20)
    own = flow.flatten()
    before, copy = flow.log_density(x), own.clone()

    def fail(other):
        with flow.parameters_from(other):
            assert not torch.equal(flow.log_density(x), before)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail(own + 0.1)
    assert torch.equal(own, copy)
    assert torch.equal(flow.log_density(x), before)
    own += 0.1  # the parameters are views of it again
    assert not torch.equal(flow.log_density(x), before)
