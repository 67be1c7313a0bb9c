"""Convolutions and dropout, compared with torch."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from shaking import shake
from torch.nn.functional import conv2d
from torch.testing import assert_close

from flows.conditioners import Convolution, Dropout
from flows.core.seeds import numpy_generators

MEMBERS, SHAPE = 2, (3, 4, 6)  # channels, height, width: three different numbers


def streams(seed=1):
    return numpy_generators(seed, "initialize", range(MEMBERS))


def network(pixels=SHAPE[1:]):
    return partial(Convolution, pixels=pixels, dropout=Dropout(0.0, 0.0))


def inside(n=5, shape=SHAPE, seed=3):
    """Return points of the box from -5 to 5."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(-5, 5, (MEMBERS, *shape, n))).to(
        torch.get_default_dtype()
    )


def test_convolutions_agree_with_torch_for_each_member(float64):
    made, x = shake(network()(3, 4, 8, streams()), 0.2), inside()
    for m in range(MEMBERS):
        h = (conv2d(x[m].movedim(-1, 0), made.kernel[m], padding=2) + made.place[m, ..., 0]).relu()
        h = conv2d(h, made.middle[m, :, :, None, None], made.middle_bias[m, :, 0]).relu()
        assert_close(
            made(x)[m],
            conv2d(h, made.last[m, :, :, None, None], made.last_bias[m, :, 0]).movedim(0, -1),
        )


def test_dropout_zeroes_whole_channels_in_training_only_and_keeps_the_mean(float64):
    dropout, h = Dropout(0.375, 0.25), torch.ones(MEMBERS, 50, 2, 2, 200)
    assert dropout(h) is dropout.drop_inputs(h) is h
    dropout.generators = streams()
    out = dropout(h)
    assert_close(out.unique(), torch.tensor([0, 1.6]))
    assert torch.equal(out, out[:, :, :1, :1].expand_as(out))
    assert_close(out.mean((1, 2, 3, 4)), torch.ones(MEMBERS), rtol=0, atol=0.03)
    assert not torch.equal(out[0], out[1])
    assert_close(
        dropout.drop_inputs(h).eq(0).double().mean((1, 4)),
        torch.full((MEMBERS, 2, 2), 0.25),
        rtol=0,
        atol=0.03,
    )
