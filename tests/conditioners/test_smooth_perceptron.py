"""The smooth perceptron: its divergence, in C and in PyTorch."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import flows
from common.splits import draw_split
from flows.conditioners import SmoothPerceptron, he_reach
from flows.core.seeds import numpy_generators
from flows.core.settings import TrainingSettings
from flows.kernels import build
from flows.networks.backend import backend
from flows.truths import ring

RING = ring.make()
compiled = pytest.mark.skipif(build.library() is None, reason="no C compiler, or FLOWS_KERNELS=off")


def data(seed: int = 100) -> tuple[np.ndarray, np.ndarray]:
    return draw_split(RING, 1000, 200, split_seed=0, seed=seed)


def perceptron(dim: int, hidden: int, depth: int, members: int = 3) -> SmoothPerceptron:
    streams = numpy_generators(0, "initialize", range(members))
    return SmoothPerceptron(dim + 3, dim, hidden, streams, partial(he_reach, depth=depth), depth)


def test_the_divergence_is_the_trace_of_the_jacobian(float64):
    network = perceptron(dim=4, hidden=9, depth=3)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 7, 5)))
    y, divergence = network.with_divergence(x)
    assert_close(y, network(x))
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x).sum(2), x)
    for m in range(3):
        for n in range(5):
            assert_close(divergence[m, n], jacobian[m, :, m, :4, n].trace())


SIZES = [(2, 72, 6, 200), (1, 5, 1, 1), (3, 16, 8, 257), (7, 21, 2, 600)]


@compiled
@pytest.mark.parametrize(("dim", "hidden", "depth", "count"), SIZES)
def test_compiled_and_plain_networks_agree(dim, hidden, depth, count):
    network = perceptron(dim, hidden, depth)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((3, dim + 3, count))).float()
    target = torch.from_numpy(rng.standard_normal((3, dim, count))).float()

    def results() -> list[Tensor]:
        with torch.no_grad():
            values = [
                backend.velocity(network, x),
                *backend.velocity_and_divergence(network, x),
            ]
        return [*values, *(each.float() for each in backend.regression(network, x, target))]

    in_c = results()
    with backend.reference_code():
        plain = results()
    for own, other in zip(in_c, plain, strict=True):
        assert_close(own, other, rtol=1e-4, atol=2e-5)


@compiled
def test_the_number_of_threads_changes_no_bit(set_threads):
    def run(threads: int) -> list[Tensor]:
        set_threads(threads)
        population = flows.build(flows.FlowMatching(hidden=20, layers=2), (2,), members=3)
        settings = TrainingSettings(epochs=3, batch_size=200)
        flows.train(population, *data(), settings)
        return [population.field.theta.detach(), population.log_prob(data()[1])]

    for one, two in zip(run(1), run(2), strict=True):
        assert torch.equal(one, two)
