"""The compiled chain against the plain torch code that defines it: value, gradient, threads, and what happens without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

import flows
from flows import kernels
from flows.bijections.conditioner import Conditioner
from flows.kernels import build
from flows.seeds import torch_generators

compiled = pytest.mark.skipif(build.library() is None, reason="no C compiler, or FLOWS_KERNELS=off")
models = pytest.mark.parametrize("model", ["RealNVP", "Glow"])
# Odd and even dimensions, widths on both sides of the vector length, and points that fill no vector, one tile, many parts.
shapes = pytest.mark.parametrize(
    ("dim", "hidden", "points"), [(2, 32, 200), (2, 64, 114), (3, 5, 1), (5, 20, 300), (4, 33, 4097), (2, 8, 255), (19, 16, 40), (2, 1, 70)]
)


def perturbed(model, dim=2, members=3, couplings=3, hidden=8, transform="affine"):
    """A flow far from the identity, so that every parameter matters."""
    flow = getattr(flows, model)(dim, members, couplings=couplings, hidden=hidden, transform=transform)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.4 / hidden**0.5 * torch.randn(parameter.shape, generator=generator)
    return flow


def points(members, dim, n, seed=1):
    return torch.randn(members, dim, n, generator=torch.Generator().manual_seed(seed))


def density_and_gradients(flow, x):
    x = x.clone().requires_grad_()
    density = flow.log_density(x)
    weight = torch.randn(density.shape, generator=torch.Generator().manual_seed(2))
    gradients = torch.autograd.grad((density * weight).sum(), [x, *flow.parameters()])
    return [density.detach(), *gradients]


def plain_double(flow, x):
    """The same in double precision with the plain code: what both single precision ones are approximations of."""
    double = getattr(flows, type(flow).__name__)(**flow.arguments).double()
    double.load_state_dict(flow.state_dict())
    return density_and_gradients(double, x.double())


def assert_as_good(results, reference, truth):
    """``results`` are about as near to the ``truth`` as the ``reference`` is, or near enough for single precision."""
    for result, other, exact in zip(results, reference, truth, strict=True):
        size = exact.abs().max().clamp_min(1e-3)
        allowed = max(5 * ((other - exact).abs().max() / size).item(), 2e-5)
        assert ((result - exact).abs().max() / size).item() < allowed


@compiled
@models
@shapes
def test_density_and_gradients_are_those_of_the_plain_code(model, dim, hidden, points):
    flow, x = perturbed(model, dim, hidden=hidden), globals()["points"](3, dim, points)
    assert flow.program(x) is not None
    results = density_and_gradients(flow, x)
    with kernels.plain():
        assert flow.program(x) is None
        reference = density_and_gradients(flow, x)
    assert_as_good(results, reference, plain_double(flow, x))


@compiled
@models
@shapes
def test_the_inverse_is_that_of_the_plain_code_and_inverts(model, dim, hidden, points):
    flow, z = perturbed(model, dim, hidden=hidden), globals()["points"](3, dim, points)
    program = flow.program(z)
    with torch.no_grad():
        x, log_det = program.inverse(z)
        there, back = program.forward(x)
        plain, plain_log_det = z, 0.0
        with kernels.plain():
            for bijection in reversed(flow.chain[1:]):
                plain, step = bijection.inverse(plain)
                plain_log_det = plain_log_det + step
    assert_close(x, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    assert_close(log_det, plain_log_det, rtol=1e-4, atol=1e-4)
    assert_close(there, z, rtol=0, atol=1e-3 * float(x.abs().max()))
    assert_close(back, -log_det, rtol=0, atol=1e-3 * float(x.abs().max()))


@compiled
@pytest.mark.parametrize(
    ("inputs", "outputs", "hidden", "points"), [(1, 2, 32, 200), (1, 23, 32, 300), (3, 40, 17, 33), (2, 1, 1, 1), (4, 6, 70, 5000)]
)
def test_conditioner_and_its_gradients_are_those_of_the_plain_code(inputs, outputs, hidden, points):
    network = Conditioner(inputs, outputs, hidden, torch_generators(0, "initialize", 3))
    with torch.no_grad():
        network.theta += 0.1 * torch.randn(network.theta.shape, generator=torch.Generator().manual_seed(3))
    x = globals()["points"](3, inputs, points).requires_grad_()
    weight = globals()["points"](3, outputs, points, seed=4)
    results = [[y, *torch.autograd.grad((y * weight).sum(), [x, network.theta])] for y in (network(x), network.plain(x))]
    for result, reference in zip(*results, strict=True):
        assert_close(result, reference, rtol=1e-4, atol=2e-5 * float(reference.abs().max()))


@compiled
@models
@pytest.mark.parametrize("points", [100, 5000])
def test_bits_depend_neither_on_threads_nor_on_the_other_members(model, points):
    flow, x = perturbed(model, members=4), globals()["points"](4, 2, points)
    alone = getattr(flows, model)(**{**flow.arguments, "members": 1})
    alone.load_state_dict({key: value[2:3] if value.ndim else value for key, value in flow.state_dict().items()})
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(density_and_gradients(flow, x))
    finally:
        torch.set_num_threads(threads)
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))
    assert torch.equal(alone.log_density(x[2:3]), results[0][0][2:3])


@compiled
@models
def test_flat_parameters_have_the_same_gradients_as_their_parts(model):
    flow, x = perturbed(model), points(3, 2, 50)
    expected = torch.cat([g.flatten(1) for g in torch.autograd.grad(flow.log_density(x).sum(), list(flow.parameters()))], dim=1)
    flat = flow.flatten()
    (gradient,) = torch.autograd.grad(flow.log_density(x).sum(), flow.differentiated(x))
    assert flow.differentiated(x)[0] is flat
    assert torch.equal(gradient, expected)
    with kernels.plain():
        parts = torch.autograd.grad(flow.log_density(x).sum(), flow.differentiated(x))
    assert_close(torch.cat([g.flatten(1) for g in parts], dim=1), expected, rtol=1e-3, atol=1e-4)
    before = flow.log_density(x)
    with torch.no_grad():
        flat += 0.1
    assert not torch.equal(flow.log_density(x), before)


@compiled
def test_a_number_that_is_not_finite_stays_where_it_is():
    flow, x = perturbed("Glow"), points(3, 2, 20)
    x[1, 0, 3] = float("nan")
    broken = flow.log_density(x).isnan()
    assert broken[1, 3]
    assert broken.sum() == 1


@compiled
def test_the_chain_follows_parameters_that_move():
    flow, x = perturbed("Glow"), points(3, 2, 20)
    other = perturbed("Glow", couplings=3)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    flow.log_density(x)
    for own, new in zip(flow.parameters(), other.parameters(), strict=True):
        own.data = new.data
    assert torch.equal(flow.log_density(x), other.log_density(x))
    flow.double()
    assert flow.program(x) is None
    assert flow.log_density(x.double()).dtype == torch.float64
    flow.float()
    assert_close(flow.log_density(x), other.log_density(x))


def test_splines_and_double_precision_take_the_plain_chain():
    assert perturbed("RealNVP", transform="spline").program(points(3, 2, 5)) is None
    assert perturbed("RealNVP").program(points(3, 2, 5).double()) is None


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CC": "no-such-compiler"}, "no-such-compiler"),
        ({"CC": "false"}, "false"),
        ({"PATH": "", "CC": ""}, "no C compiler"),
        ({"FLOWS_KERNELS": "off"}, ""),
    ],
)
def test_without_a_compiler_the_plain_code_takes_its_place(tmp_path, environment, reason):
    script = "import torch, flows; print(flows.RealNVP(2, 2).log_prob(torch.zeros(4, 1, 2)).shape)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FLOWS_KERNELS": "on", "XDG_CACHE_HOME": str(tmp_path), **environment},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "torch.Size([4, 2])"
    lines = done.stderr.strip().splitlines()
    assert len(lines) == (1 if reason else 0)
    assert not reason or reason in lines[0]


@compiled
def test_it_is_built_once_and_elsewhere_if_the_cache_can_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    first = build._built()
    written = first.stat().st_mtime_ns
    assert first.is_relative_to(tmp_path / "cache")
    assert build._built() == first
    assert first.stat().st_mtime_ns == written
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert build._built().is_relative_to(tmp_path / "temporary")
