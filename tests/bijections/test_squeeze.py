"""Bijections of images: inverses, log-determinants and shapes."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from shaking import shake
from torch.testing import assert_close

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
every_bijection = pytest.mark.parametrize("bijection", BIJECTIONS)


def inside(n=5, shape=SHAPE, seed=3):
    """Return points of the box from -5 to 5."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(-5, 5, (MEMBERS, *shape, n))).to(
        torch.get_default_dtype()
    )


@every_bijection
def test_a_bijection_inverts_and_has_the_log_determinant_of_its_jacobian(bijection, float64):
    made = BIJECTIONS[bijection]()
    made.initialize(inside(50) * torch.tensor([0.5, 0.8, 1]).view(3, 1, 1, 1))
    shake(made, 0.2)
    x = inside()
    z, log_det = made(x)
    back, way_back = made.inverse(z)
    assert z.shape == x.shape
    assert_close(back, x, rtol=0, atol=1e-9)
    assert_close(log_det + way_back, torch.zeros_like(log_det), rtol=0, atol=1e-9)
    blocks = torch.autograd.functional.jacobian(lambda value: made(value)[0], x[..., :2]).movedim(
        4, 1
    )  # (M, N, *event, M, *event, N)
    for member, point in product(range(MEMBERS), range(2)):
        block = blocks[member, point, :, :, :, member, :, :, :, point].reshape(72, 72)
        assert_close(
            log_det.expand(MEMBERS, 5)[member, point],
            torch.linalg.slogdet(block)[1],
            rtol=0,
            atol=1e-9,
        )
    assert_close(
        blocks.abs().sum(),
        sum(
            blocks[m, n, :, :, :, m, :, :, :, n].abs().sum()
            for m, n in product(range(MEMBERS), range(2))
        ),
    )


@pytest.mark.parametrize("bijection", ["actnorm", "1x1 convolution", "permutation"])
def test_on_images_of_one_pixel_a_bijection_acts_as_on_vectors(bijection, float64):
    made, x = shake(BIJECTIONS[bijection](), 0.2), inside(shape=(3,))
    for step in (made, made.inverse):
        (z, log_det), (image, same) = step(x), step(x[:, :, None, None])
        assert torch.equal(image[:, :, 0, 0], z)
        assert torch.equal(same, log_det)


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
