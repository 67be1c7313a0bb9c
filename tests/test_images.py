"""Flows over images: bijections, inverses, densities, probabilities of images, command line."""

from __future__ import annotations

import math
import re
from copy import deepcopy
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from shaking import shake
from torch.nn.functional import conv2d
from torch.testing import assert_close

import flows
from flows.__main__ import main
from flows.bijections import (
    ActNorm,
    AffineCoupling,
    Chain,
    FactorOut,
    Permutation,
    PLULinear,
    Probit,
    SplineCoupling,
    Squeeze,
)
from flows.command_line.image_files import read
from flows.conditioners import Convolution, Dropout
from flows.core.seeds import numpy_generators
from flows.evaluation.bits import bits_per_dimension, ensemble_log_density, spread_log_density
from flows.networks import registry

MEMBERS, SHAPE = 2, (3, 4, 6)  # channels, height, width: three different numbers
FLOWS = {
    "realnvp": ("realnvp_image", {}),
    "realnvp-affine": ("realnvp_image", {"transform": "affine"}),
    "glow": ("glow_image", {}),
    "glow-published": ("glow_image", {"transform": "affine", "mixing": "learned"}),
    "glow-splines": ("glow_image", {"mixing": "learned"}),
}
every_flow = pytest.mark.parametrize("flow", FLOWS)


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


def build(flow, shape=(1, 8, 8), members=MEMBERS, **others):
    name, settings = FLOWS[flow]
    settings = {"steps": [2, 2], "hidden": 8, **settings, **others}
    return flows.build(registry.architecture(name, settings), shape, members=members)


def whole(n=12, shape=(1, 8, 8), levels=17, seed=0):
    return np.random.default_rng(seed).integers(0, levels, (n, *shape))


def spread(images, seed=1):
    return images + np.random.default_rng(seed).random(images.shape)


@cache
def trained(flow, shape=(1, 8, 8), steps=2, levels=17):
    """Return a flow of ``steps`` steps per scale that is trained for one epoch."""
    scales = [steps] * (2 if min(shape[1:]) > 2 else 1)
    model = build(flow, shape, steps=scales, levels=levels)
    settings = flows.TrainingSettings(epochs=1, batch_size=20)
    return flows.train(model, whole(40, shape, levels), settings=settings)


def shaken(flow, scale=0.1, **others):
    """Return a copy of a trained flow with perturbed parameters."""
    return shake(deepcopy(trained(flow, **others)), scale)


# Bijections


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


@pytest.mark.parametrize("shape", [(1, 7, 8), (1, 8, 6), (1, 2, 2), (8, 8), (64,)], ids=str)
def test_images_that_cannot_be_squeezed_are_rejected(shape):
    with pytest.raises(
        ValueError,
        match=r"^blocks of 2 x 2 pixels need images \(C, H, W\) of even height and width "
        r"at every scale; got \(.*\)$",
    ):
        flows.build(flows.GlowImage(steps=[2, 2]), shape)


# Flows


@every_flow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)], ids=["single", "double"]
)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 8)], ids=str)
def test_an_image_comes_back_from_noise(flow, dtype, tolerance, shape):
    model = shaken(flow, 0.05, shape=shape).to(dtype)
    x = inside(shape=shape).to(dtype)
    noise, log_det = model.to_noise(x)
    assert noise.shape == x.shape
    assert not torch.equal(noise, x)
    back = Chain(model.chain).inverse(noise)[0]
    assert_close(back, x, rtol=0, atol=tolerance)
    assert_close(model.to_noise(back)[1], log_det, rtol=0, atol=100 * tolerance)


@every_flow
def test_the_log_determinant_of_a_flow_agrees_with_its_jacobian(flow):
    model = shaken(flow).double()
    x = inside(1, (1, 8, 8))
    own = torch.autograd.functional.jacobian(  # of the sum, as members are independent
        lambda value: model.to_noise(value)[0].sum(0), x.double()
    )
    for m in range(MEMBERS):
        assert_close(
            model.to_noise(x.double())[1][m, 0],
            torch.linalg.slogdet(own.view(64, MEMBERS, 64)[:, m])[1],
            rtol=0,
            atol=1e-4,
        )


@every_flow
def test_an_untrained_flow_has_the_bits_of_a_uniform_density(flow):
    """Couplings start as the identity, and a learned 1x1 convolution as a rotation."""
    model, images = build(flow).double(), whole()
    bits = bits_per_dimension(spread_log_density(model, images, 3), 64)
    np.testing.assert_allclose(bits, np.full((12, MEMBERS), math.log2(17)), rtol=0, atol=1e-7)


# Both models, both transforms and both ways of mixing
@pytest.mark.parametrize("flow", ["realnvp-affine", "glow", "glow-splines"])
def test_the_probabilities_of_all_small_images_sum_to_1(flow):
    """Sum over all 81 images of 1 x 2 x 2 pixels with 3 levels.

    The integral over u is a Gauss-Legendre quadrature with 6 nodes along each axis.
    """
    model = shaken(flow, shape=(1, 2, 2), steps=3, levels=3, scale=0.05).double()
    nodes, weights = np.polynomial.legendre.leggauss(6)
    u, weight = (
        np.array(list(product(values, repeat=4))) for values in ((nodes + 1) / 2, weights / 2)
    )
    images = np.array(list(product(range(3), repeat=4)))
    points = (images[:, None] + u).reshape(-1, 1, 2, 2)
    cells = np.concatenate(
        [model.log_prob(part).detach().exp().numpy() for part in np.array_split(points, 32)]
    )
    probability = (cells.reshape(81, len(u), MEMBERS) * weight.prod(1)[:, None]).sum(1)
    assert probability.shape == (81, MEMBERS)
    assert probability.std(0).min() > 1e-4  # away from uniform
    np.testing.assert_allclose(probability.sum(0), 1, rtol=0, atol=0.01)
    several = bits_per_dimension(
        spread_log_density(model, images.reshape(-1, 1, 2, 2), 256), 4, weighted=True
    )
    np.testing.assert_allclose(several, -np.log2(probability) / 4, rtol=0, atol=0.1)


@every_flow
def test_training_lowers_the_bits_and_everything_survives_a_checkpoint(flow, tmp_path):
    images = np.broadcast_to(np.arange(8) * 2, (60, 1, 8, 8)) + whole(60, levels=2)
    model = build(flow)
    before = bits_per_dimension(spread_log_density(model, images, 2), 64).mean(0)
    flows.train(
        model,
        images[:40],
        images[40:],
        flows.TrainingSettings(epochs=12, batch_size=20, log_every=6),
    )
    assert model.history["test_nll"].shape == (2, MEMBERS)
    assert (
        bits_per_dimension(spread_log_density(model, images, 2), 64).mean(0) < before - 0.2
    ).all()
    flows.save(model, tmp_path / "model")
    loaded = flows.load(tmp_path / "model")
    assert torch.equal(loaded.log_prob(spread(images)), model.log_prob(spread(images)))
    drawn = [each.sample((9,), torch.Generator().manual_seed(1)) for each in (model, loaded)]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (9, MEMBERS, 1, 8, 8)
    assert set(drawn[0].unique().tolist()) <= set(range(17))
    np.testing.assert_array_equal(loaded.history["test_nll"], model.history["test_nll"])


def test_a_member_trains_the_same_alone_and_in_a_population():
    settings = flows.TrainingSettings(epochs=2, batch_size=20)
    together, alone = (
        flows.train(build("glow", members=members), whole(40), settings=settings)
        for members in (range(3), range(1, 2))
    )
    assert_close(
        alone.log_prob(spread(whole())),
        together.log_prob(spread(whole()))[:, 1:2],
        rtol=1e-3,
        atol=0.05,
    )


# Invalid input


def test_log_prob_needs_dequantised_images_and_is_minus_infinity_outside_the_box():
    model = build("glow")
    with pytest.raises(ValueError, match="whole images have no density: add u"):
        model.log_prob(whole())
    x = spread(whole(3))
    x[1, 0, 2, 2], x[2, 0, 0, 0] = -0.5, 17.5
    log_q = model.log_prob(x)
    assert log_q.isfinite().all(1).tolist() == [True, False, False]
    assert (log_q[1:] == -math.inf).all()
    assert model.log_prob(x[:, None].repeat(MEMBERS, 1)).shape == (3, MEMBERS)


@pytest.mark.parametrize("wrong", [17, -1, 3.5])
def test_invalid_pixels_are_rejected(wrong: Any):
    images = whole().astype(float)
    images[4, 0, 3, 3] = wrong
    with pytest.raises(ValueError, match=rf"whole numbers from 0 to levels - 1 = 16; got {wrong}$"):
        flows.train(build("glow"), images, settings=flows.TrainingSettings(epochs=1))
    with pytest.raises(ValueError, match="whole numbers"):
        flows.train(build("glow"), whole(), images, settings=flows.TrainingSettings(epochs=1))


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("glow_image", {"base": "box"}, r"glow_image\.base is not a known key"),
        ("glow_image", {"steps": []}, r"glow_image\.steps"),
        ("glow_image", {"dropout": 1.0}, r"glow_image\.dropout = 1\.0"),
        ("realnvp_image", {"mixing": "learned"}, r"realnvp_image\.mixing is not a known key"),
    ],
)
def test_invalid_settings_are_rejected(name, wrong, words):
    with pytest.raises(ValueError, match=words):
        flows.build(registry.architecture(name, wrong), (1, 8, 8))
    assert name in registry.names()


# The command line, and devices


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a checkpoint of two members, and the images that it has learned."""
    folder = tmp_path_factory.mktemp("images")
    np.save(folder / "images.npy", whole(30)[:, 0])
    flows.save(
        flows.train(build("glow"), whole(30), settings=flows.TrainingSettings(epochs=1)),
        folder / "model",
    )
    return folder


def test_samples_are_written_to_an_array_or_a_picture(files):
    main(["sample", str(files / "model"), "-n", "5", "-o", str(files / "drawn.npy")])
    drawn = np.load(files / "drawn.npy")
    assert drawn.shape == (5, 1, 8, 8)
    assert drawn.dtype == np.int64
    assert 0 <= drawn.min() < drawn.max() <= 16
    main(["sample", str(files / "model"), "-n", "5", "-o", str(files / "drawn.png")])
    with Image.open(files / "drawn.png") as picture:
        assert picture.size == (3 * 9 * 4, 2 * 9 * 4)
        assert picture.getpixel((0, 0)) == round(drawn[0, 0, 0, 0] * 255 / 16)
    with pytest.raises(
        SystemExit,
        match=r"flows: images go into a file: -o FILE\.npy, or FILE\.png for one picture of all",
    ):
        main(["sample", str(files / "model")])


def test_plot_rejects_a_model_of_images(files):
    with pytest.raises(
        SystemExit,
        match=r"^flows: .*model: is a model of images, which has no columns; "
        r"`flows sample` draws images to a \.png file$",
    ):
        main(
            ["plot", str(files / "model"), str(files / "images.npy"), "-o", str(files / "page.png")]
        )
    assert not (files / "page.png").exists()


def test_scores_are_log_probabilities_and_the_least_likely_images_can_be_drawn(files, capsys):
    model, images = flows.load(files / "model"), whole(30)
    main(
        ["score", str(files / "model"), str(files / "images.npy"), "-o", str(files / "scores.npy")]
    )
    expected = (
        -bits_per_dimension(ensemble_log_density(model, images, 16), 64, weighted=True)
        * 64
        * math.log(2)
    )
    np.testing.assert_allclose(np.load(files / "scores.npy"), expected)
    main(
        [
            "score",
            str(files / "model"),
            str(files / "images.npy"),
            "-o",
            str(files / "worst.png"),
            "--anomalies",
            "1",
        ]
    )
    with Image.open(files / "worst.png") as picture:
        np.testing.assert_array_equal(
            np.array(picture)[:32:4, :32:4], (images[expected.argmin(), 0] * 255 / 16).round()
        )
    main(["score", str(files / "model"), str(files / "images.npy")])
    assert re.fullmatch(
        r"bits per dimension of 30 images: \d\.\d{3} as a bound, \d\.\d{3} importance weighted; "
        r"16 draws per image\n",
        capsys.readouterr().out,
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "model",
            r"not an \.npy file of numbers, or a damaged one; images are scored from \.npy files$",
        ),
        ("archive.npz", r"not an \.npy file"),
        ("wrong.npy", r"expected numbers of shape \(n, 1, 8, 8\); got int64 of"),
        ("none.npy", "holds no images"),
    ],
)
def test_an_invalid_file_of_images_is_named(files, name, words):
    np.save(files / "wrong.npy", np.zeros((3, 8, 7), dtype=int))
    np.save(files / "none.npy", whole()[:0])
    np.savez(files / "archive.npz", whole())
    with pytest.raises(SystemExit, match=rf"{re.escape(str(files / name))}: {words}"):
        main(["score", str(files / "model"), str(files / name)])


@pytest.mark.parametrize("output", [[], ["-o", "s.npy"]])
def test_the_least_likely_images_need_a_picture_file(files, tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SystemExit, match=r"^flows: --anomalies of images needs a picture: -o FILE\.png$"
    ):
        main(
            ["score", str(files / "model"), str(files / "images.npy"), "--anomalies", "3", *output]
        )
    assert not list(tmp_path.iterdir())


def test_images_of_two_levels_may_be_booleans(files, tmp_path):
    np.save(tmp_path / "b.npy", whole(3) > 8)
    found = read(tmp_path / "b.npy", (1, 8, 8))
    assert (found == (whole(3) > 8)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.parametrize("flow", [*FLOWS, "vectors"])
def test_gpu_and_cpu_agree_and_both_train(flow):
    if flow == "vectors":
        x = np.random.default_rng(0).normal(size=(40, 5))
        model = shake(
            flows.train(
                flows.build(flows.Glow(), (5,), members=2),
                x,
                settings=flows.TrainingSettings(epochs=1),
                device="cuda",
            ),
            0.05,
        )
    else:
        x, model = spread(whole()), shaken(flow, 0.05)
        flows.train(model, whole(), settings=flows.TrainingSettings(epochs=1), device="cuda")
    assert model.device.type == "cpu"
    on_cpu = model.log_prob(x)
    on_gpu = model.to("cuda").log_prob(x)
    assert on_gpu.device.type == "cuda"
    assert_close(on_gpu.cpu() / x[0].size, on_cpu / x[0].size, rtol=0, atol=1e-4)
    assert model.sample((3,)).isfinite().all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_cuda_without_a_gpu_is_rejected():
    with pytest.raises(
        ValueError, match=r"^device = 'cuda': must be cpu, or cuda if torch finds a GPU$"
    ):
        flows.train(
            build("glow"), whole(), settings=flows.TrainingSettings(epochs=1), device="cuda"
        )


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda", "only flows with the fixed recipe can be trained there"),
        ("cdua", "must be cpu, or cuda if torch finds a GPU"),
    ],
)
def test_the_automatic_recipe_rejects_a_device(monkeypatch, device, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model = flows.build(flows.NSF(), (2,), members=1)
    with pytest.raises(ValueError, match=rf"^device = '{device}': {said}$"):
        flows.train(
            model,
            np.random.default_rng(0).normal(size=(20, 2)),
            settings=flows.TrainingSettings(recipe="auto"),
            device=device,
        )
