"""Bijections of images: inverses, log-determinants and shapes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from shaking import shake

import flows
from flows.bijections import (
    ActNorm,
    AffineCoupling,
    FactorOut,
    Permutation,
    PLULinear,
    Probit,
    SplineCoupling,
    Squeeze,
)
from flows.conditioners import Convolution, Dropout
from flows.core.seeds import numpy_generators

MEMBERS, SHAPE = 2, (3, 4, 6)  # channels, height, width: three different numbers


def streams(seed=1):
    return numpy_generators(seed, "initialize", range(MEMBERS))


def network(pixels=SHAPE[1:]):
    return partial(Convolution, pixels=pixels, dropout=Dropout(0.0, 0.0))


def coupling(kind=SplineCoupling, channels=SHAPE[0], **others):
    return kind(channels, 8, streams(), **{"swap": False, "conditioner": network(), **others})


BIJECTIONS = {
    "actnorm": lambda: ActNorm(3, MEMBERS),
    "1x1 convolution": lambda: PLULinear(3, streams()),
    "permutation": lambda: Permutation(3, streams()),
    "affine": lambda: coupling(AffineCoupling),
    "spline": lambda: coupling(bins=4, swap=True),
    "checkerboard": lambda: Squeeze([coupling(AffineCoupling, 12, conditioner=network((2, 3)))]),
    "factor-out": lambda: FactorOut([ActNorm(2, MEMBERS), coupling(AffineCoupling, 2)]),
    "probit": lambda: Probit(5.0),
}


def inside(n=5, shape=SHAPE, seed=3):
    """Return points of the box from -5 to 5."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(-5, 5, (MEMBERS, *shape, n))).to(
        torch.get_default_dtype()
    )


@pytest.mark.parametrize("bijection", BIJECTIONS)
def test_a_bijection_has_the_properties_that_the_interface_requires(bijection, float64):
    made = BIJECTIONS[bijection]()
    flows.check_bijection(made, SHAPE, members=MEMBERS, points=inside(50))


def test_a_coupling_inside_a_squeeze_has_a_checkerboard_mask(float64):
    made = shake(Squeeze([coupling(AffineCoupling, 12, conditioner=network((2, 3)))]), 0.2)
    changed = (made(inside())[0] != inside()).all(-1)
    row, column = np.indices(SHAPE[1:])
    assert torch.equal(changed, torch.from_numpy((row + column) % 2 == 1).expand(MEMBERS, *SHAPE))


@pytest.mark.parametrize("shape", [(1, 7, 8), (1, 8, 6), (1, 2, 2), (8, 8), (64,)], ids=str)
def test_images_that_cannot_be_squeezed_are_rejected(shape):
    with pytest.raises(
        ValueError,
        match=r"^blocks of 2 x 2 pixels need images \(C, H, W\) of even height and width "
        r"at every scale; got \(.*\)$",
    ):
        flows.build(flows.GlowImage(steps=[2, 2]), shape)
