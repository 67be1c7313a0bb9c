"""The compiled chain against the plain torch code that defines it: value, gradient, threads, and what happens without a compiler."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from itertools import product

import pytest
import torch
from flows.kernels import build
from torch.testing import assert_close

import flows
from flows import kernels

compiled = pytest.mark.skipif(build.library() is None, reason="no C compiler, or FLOWS_KERNELS=off")
models = pytest.mark.parametrize(("model", "transform"), list(product(["RealNVP", "Glow"], ["affine", "spline"])))
# Odd and even dimensions, widths on both sides of the vector length, and points that fill no vector, one tile, many parts.
shapes = pytest.mark.parametrize(
    ("dim", "hidden", "n"), [(2, 32, 200), (2, 64, 114), (3, 5, 1), (5, 20, 300), (4, 33, 4097), (2, 8, 255), (19, 16, 40), (40, 8, 33), (2, 1, 70)]
)


def perturbed(model, dim=2, members=3, couplings=3, hidden=8, transform="affine"):
    """A flow far from the identity, so that every parameter matters."""
    flow = getattr(flows, model)(dim, members, couplings=couplings, hidden=hidden, transform=transform)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.4 / max(hidden, 2 * dim) ** 0.5 * torch.randn(parameter.shape, generator=generator)
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


@torch.no_grad()
def inverted(flow, x):
    """From noise to data by the plain code, with the log-determinant."""
    total = torch.zeros_like(x[:, 0])
    for bijection in reversed(flow.chain[1:]):
        x, log_det = bijection.inverse(x)
        total = total + log_det
    return [x, total]


@compiled
@models
@shapes
def test_the_loss_and_its_gradient_are_those_of_the_plain_code(model, transform, dim, hidden, n):
    flow, x = perturbed(model, dim, hidden=hidden, transform=transform), points(3, dim, n)
    assert flow.program(x) is not None
    results = flow.loss(x)
    with kernels.plain():
        assert flow.program(x) is None
        reference = flow.loss(x)
    assert_as_good(results, reference, plain_double(flow).loss(x.double()))


@compiled
@models
@shapes
def test_the_density_is_that_of_the_plain_code(model, transform, dim, hidden, n):
    flow, x = perturbed(model, dim, hidden=hidden, transform=transform), points(3, dim, n)
    with torch.no_grad():
        assert_as_good([flow.log_density(x)], [flow.log_density(x.requires_grad_()).detach()], [plain_double(flow).log_density(x.double())])
        with kernels.plain():
            assert_as_good([flow.log_density(x)], [flow.log_density(x)], [plain_double(flow).log_density(x.double())])


@compiled
@models
def test_the_noise_is_that_of_the_plain_code(model, transform):
    flow, x = perturbed(model, transform=transform), points(3, 2, 300).permute(2, 0, 1)
    with kernels.plain():
        reference = flow.noise(x)
    assert_as_good([flow.noise(x)], [reference], [plain_double(flow).noise(x.double())])


@models
def test_what_asks_for_gradients_of_the_density_gets_them(model, transform):
    flow, x = perturbed(model, transform=transform), points(3, 2, 40).requires_grad_()
    flow.log_density(x).sum().backward()
    assert x.grad.abs().min() > 0
    assert all(parameter.grad is not None for parameter in flow.parameters())


@compiled
@models
@shapes
def test_the_inverse_is_that_of_the_plain_code_and_inverts(model, transform, dim, hidden, n):
    flow, z = perturbed(model, dim, hidden=hidden, transform=transform), points(3, dim, n)
    x, log_det = flow.program(z).apply(z, inverse=True)
    assert_as_good([x, log_det], inverted(flow, z), inverted(plain_double(flow), z.double()))
    there, back = flow.program(z).apply(x, inverse=False)
    assert_close(there, z, rtol=0, atol=1e-3 * float(x.abs().max()))
    assert_close(back, -log_det, rtol=0, atol=1e-3 * float(x.abs().max()))


@compiled
@models
@pytest.mark.parametrize("n", [100, 5000])
def test_bits_depend_neither_on_threads_nor_on_the_other_members(model, transform, n):
    flow, x = perturbed(model, members=4, transform=transform), points(4, 2, n)
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
def test_flat_parameters_are_the_parameters(model, transform):
    flow, x = perturbed(model, transform=transform), points(3, 2, 50)
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
    flow.load_state_dict(perturbed("Glow").state_dict(), assign=True)
    assert torch.equal(flow.loss(x)[1], perturbed("Glow").loss(x)[1])
    flow.load_state_dict(other.state_dict())
    flow.double()
    assert flow.program(x) is None
    assert flow.loss(x.double())[1].dtype == torch.float64
    flow.float()
    assert torch.equal(flow.loss(x)[1], other.loss(x)[1])


def test_double_precision_and_unknown_bijections_take_the_plain_code():
    assert perturbed("RealNVP").program(points(3, 2, 5).double()) is None
    flow, x = perturbed("RealNVP"), points(3, 2, 5)
    flow.chain[2].compiled = lambda: None
    assert flow.program(x) is None
    assert flow.loss(x)[1].shape == (3, flow.parameters_per_member())


@compiled
@pytest.mark.parametrize("inverse", [False, True])
def test_a_spline_is_that_of_the_plain_code_at_its_ends_and_beyond(inverse):
    flow = perturbed("RealNVP", couplings=2, transform="spline")
    (coupling,) = [bijection for bijection in flow.chain[1:] if not bijection.swap]
    bound = coupling.BOUND
    changed = torch.tensor([-1e30, -8.0, -bound, -bound + 1e-5, -2.0, 0.0, 2.0, bound - 1e-5, bound, 8.0, 1e30])
    x = torch.stack([torch.linspace(-1, 1, len(changed)), changed]).expand(3, 2, -1)
    program = kernels.Program([coupling.compiled()])
    with torch.no_grad():
        z, log_det = coupling.inverse(x) if inverse else coupling(x)
    ours, our_log_det = program.apply(x, inverse=inverse)
    assert_close(ours, z, rtol=1e-5, atol=2e-5)
    assert_close(our_log_det, log_det, rtol=0, atol=1e-4)
    beyond = changed.abs() >= bound
    assert torch.equal(ours[:, :, beyond], x[:, :, beyond])


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
    script = "import torch, flows; print(flows.RealNVP(2, 2).sample((4,)).shape)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FLOWS_KERNELS": "on", "XDG_CACHE_HOME": str(tmp_path), **environment},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "torch.Size([4, 2, 2])"
    lines = done.stderr.strip().splitlines()
    assert len(lines) == (1 if reason else 0)
    assert not reason or reason in lines[0]


@compiled
def test_it_is_built_once_and_for_the_process_alone_if_the_cache_can_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first = build._built()
    written = first.stat().st_mtime_ns
    assert first.is_relative_to(tmp_path / "cache")
    assert build._built() == first
    assert first.stat().st_mtime_ns == written
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    alone = build._built()
    assert alone.is_file()
    assert alone.parent.parent == tmp_path


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc -mno-avx512f", "gcc -mno-avx", "clang"])
def test_other_compilers_and_processors_with_narrower_vectors_compute_the_same(compiler):
    """The tests above that hold the kernels to the plain code, for each way in which this machine can compile them."""
    if not shutil.which(compiler.split()[0]) or ("avx" in compiler and platform.machine() != "x86_64"):
        pytest.skip("not on this machine")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "plain_code"]  # a part of those tests' names
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "CC": compiler})
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
