"""The schedule of the learning rate, and the clipped steps of Adam."""

from __future__ import annotations

import math
from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from flows.networks.backend import backend
from flows.training.optimizer import ClippedAdam, one_cycle


def test_the_learning_rate_rises_once_and_falls_to_zero():
    assert one_cycle(0) == pytest.approx(0.04)
    assert one_cycle(0.3) == pytest.approx(1)
    assert one_cycle(1) == pytest.approx(0, abs=1e-12)
    rates = [one_cycle(k / 1000) for k in range(1001)]
    assert all(a <= b for a, b in pairwise(rates[:301]))
    assert all(a >= b for a, b in pairwise(rates[300:]))
    assert max(abs(a - b) for a, b in pairwise(rates)) < 0.01


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("clip", [1.0, 1e9])
def test_the_optimiser_is_adam_on_gradients_clipped_member_by_member(plain, clip):
    """Compare with the Adam and the clipping of torch, with one parameter per member.

    The norms of the gradients differ by factors of 100, and one gradient is not finite.
    """
    generator, healthy = torch.Generator().manual_seed(0), [0, 1, 3]
    gradients = torch.randn(6, 4, 37, generator=generator)
    gradients[:, 0] *= 100
    gradients[:, 1] *= 0.01
    gradients[1, 2, 0] = math.inf
    start = torch.randn(4, 37, generator=generator)
    ours = ClippedAdam(start.clone(), clip)
    theirs = [nn.Parameter(row.clone()) for row in start]
    optimizer = torch.optim.Adam(theirs, lr=1.0)
    for k, gradient in enumerate(gradients):
        rate = 0.01 * (k + 1)
        with backend.reference_code() if plain else nullcontext():
            ours.step(gradient, rate)
        for parameter, row in zip(theirs, gradient, strict=True):
            parameter.grad = row.clone()
            nn.utils.clip_grad_norm_([parameter], clip)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        expected = torch.stack([p.detach() for p in theirs])[healthy]
        assert_close(ours.parameters[healthy], expected, rtol=1e-4, atol=1e-6)
    assert not ours.parameters[2].isfinite().all()
