"""The compiled chain against the plain torch code that defines it: value, gradient, threads, and what happens without a compiler."""

from __future__ import annotations

import os
import platform
import shutil
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
    ("dim", "hidden", "n"), [(2, 32, 200), (2, 64, 114), (3, 5, 1), (5, 20, 300), (4, 33, 4097), (2, 8, 255), (19, 16, 40), (2, 1, 70)]
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


def plain_double(flow):
    """The same flow in double precision, with the plain code: what both single precision ones are approximations of."""
    double = getattr(flows, type(flow).__name__)(**flow.arguments).double()
    double.load_state_dict(flow.state_dict())
    return double


def assert_as_good(results, reference, truth):
    """``results`` are about as near to the ``truth`` as the ``reference`` is, or near enough for single precision."""
    for result, other, exact in zip(results, reference, truth, strict=True):
        size = exact.abs().max().clamp_min(1e-3)
        allowed = max(5 * ((other - exact).abs().max() / size).item(), 2e-5)
        assert ((result - exact).abs().max() / size).item() < allowed


@compiled
@models
@shapes
def test_the_loss_and_its_gradient_are_those_of_the_plain_code(model, dim, hidden, n):
    flow, x = perturbed(model, dim, hidden=hidden), points(3, dim, n)
    assert flow.program(x) is not None
    results = flow.loss(x)
    with kernels.plain():
        assert flow.program(x) is None
        reference = flow.loss(x)
    assert_as_good(results, reference, plain_double(flow).loss(x.double()))


@compiled
@models
@shapes
def test_the_density_is_that_of_the_plain_code(model, dim, hidden, n):
    flow, x = perturbed(model, dim, hidden=hidden), points(3, dim, n)
    with torch.no_grad():
        assert_as_good([flow.log_density(x)], [flow.log_density(x.requires_grad_()).detach()], [plain_double(flow).log_density(x.double())])
        with kernels.plain():
            assert_as_good([flow.log_density(x)], [flow.log_density(x)], [plain_double(flow).log_density(x.double())])


@models
def test_what_asks_for_gradients_of_the_density_gets_them(model):
    flow, x = perturbed(model), points(3, 2, 40).requires_grad_()
    flow.log_density(x).sum().backward()
    assert x.grad.abs().min() > 0
    assert all(parameter.grad is not None for parameter in flow.parameters())


@compiled
@models
@shapes
def test_the_inverse_is_that_of_the_plain_code_and_inverts(model, dim, hidden, n):
    flow, z = perturbed(model, dim, hidden=hidden), points(3, dim, n)
    program = flow.program(z)
    x, log_det = program.apply(z, inverse=True)
    there, back = program.apply(x, inverse=False)
    plain, plain_log_det = z, 0.0
    with torch.no_grad(), kernels.plain():
        for bijection in reversed(flow.chain[1:]):
            plain, step = bijection.inverse(plain)
            plain_log_det = plain_log_det + step
    assert_close(x, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    assert_close(log_det, plain_log_det, rtol=1e-4, atol=1e-4)
    assert_close(there, z, rtol=0, atol=1e-3 * float(x.abs().max()))
    assert_close(back, -log_det, rtol=0, atol=1e-3 * float(x.abs().max()))


@compiled
@pytest.mark.parametrize(("inputs", "outputs", "hidden", "n"), [(1, 2, 32, 200), (1, 23, 32, 300), (3, 40, 17, 33), (2, 1, 1, 1), (4, 6, 70, 5000)])
def test_conditioner_and_its_gradients_are_those_of_the_plain_code(inputs, outputs, hidden, n):
    network = Conditioner(inputs, outputs, hidden, torch_generators(0, "initialize", 3))
    with torch.no_grad():
        network.theta += 0.1 * torch.randn(network.theta.shape, generator=torch.Generator().manual_seed(3))
    x = points(3, inputs, n).requires_grad_()
    weight = points(3, outputs, n, seed=4)
    results = [[y, *torch.autograd.grad((y * weight).sum(), [x, network.theta])] for y in (network(x), network.plain(x))]
    for result, reference in zip(*results, strict=True):
        assert_close(result, reference, rtol=1e-4, atol=2e-5 * reference.abs().max().item())


@compiled
@models
@pytest.mark.parametrize("n", [100, 5000])
def test_bits_depend_neither_on_threads_nor_on_the_other_members(model, n):
    flow, x = perturbed(model, members=4), points(4, 2, n)
    alone = getattr(flows, model)(**{**flow.arguments, "members": 1})
    alone.load_state_dict({key: value[2:3] if value.ndim else value for key, value in flow.state_dict().items()})
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append([*flow.loss(x), *flow.program(x).apply(x, inverse=False)])
    finally:
        torch.set_num_threads(threads)
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))
    for own, all_members in zip(alone.loss(x[2:3]), results[0], strict=False):
        assert torch.equal(own, all_members[2:3])


@models
def test_flat_parameters_are_the_parameters(model):
    flow, x = perturbed(model), points(3, 2, 50)
    before, gradient = flow.loss(x)
    flat = flow.flatten()
    assert flat.shape == gradient.shape
    assert all(torch.equal(a, b) for a, b in zip(flow.loss(x), (before, gradient), strict=True))
    flat += 0.1
    assert not torch.equal(flow.loss(x)[0], before)


@compiled
def test_a_number_that_is_not_finite_stays_where_it_is():
    flow, x = perturbed("Glow"), points(3, 2, 20)
    x[1, 0, 3] = float("nan")
    loss, gradient = flow.loss(x)
    assert loss.isfinite().tolist() == gradient.isfinite().all(1).tolist() == [True, False, True]
    with torch.no_grad():
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
    flow.loss(x)
    for own, new in zip(flow.parameters(), other.parameters(), strict=True):
        own.data = new.data
    assert torch.equal(flow.loss(x)[1], other.loss(x)[1])
    flow.double()
    assert flow.program(x) is None
    assert flow.loss(x.double())[1].dtype == torch.float64
    flow.float()
    assert torch.equal(flow.loss(x)[1], other.loss(x)[1])


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


@compiled
@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of this kind of processor")
@pytest.mark.parametrize("flags", ["-mno-avx512f", "-mno-avx"])
def test_processors_with_narrower_vectors_compute_the_same(flags):
    """The tests above that hold the kernels to the plain code, with the instructions of older processors."""
    chosen = "plain_code"  # a part of those tests' names
    environment = {**os.environ, "CC": f"{shutil.which('gcc') or shutil.which('cc')} {flags}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", f"{chosen} and not slow and not narrower"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
