"""The study of digits: its parts compared with known results, and a tiny run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib import rc_context
from shaking import shake

import flows
from flows.evaluation.bits import bits_per_dimension
from flows.networks.image_flow import ImageFlow
from flows.plotting.style import STYLE
from studies import engine
from studies.digits import digits, latents, networks, peers
from studies.digits.vector import BoxSplineCoupling, PixelMap, Uniform
from studies.tables import peers as densities

pytestmark = pytest.mark.slow

PARAMS = engine.Study("digits").params


def image_flow(**others: Any) -> ImageFlow:
    settings = {"steps": [1, 1], "hidden": 8, **others}
    flow = flows.build(flows.GlowImage(**settings), (1, 8, 8), members=2)
    assert isinstance(flow, ImageFlow)
    shake(flow, 0.1, seed=0)
    return flow


# Data and judge


def test_splits_have_the_images_of_the_protocol() -> None:
    for kind in PARAMS["splits"]:
        train, labels, test, held = digits.split(kind, 0, 1350, 447)
        assert (train.shape, labels.shape) == ((1350, 64), (1350,))
        assert (test.shape, held.shape) == ((447, 64), (447,))
        assert np.array_equal(train, train.astype(int))
        assert (train.min(), train.max()) == (0, 16)
    everything, whole = np.concatenate([train, test]), digits.load_digits().data
    assert np.array_equal(test, whole[-447:])
    assert np.array_equal(np.sort(everything.sum(1)), np.sort(whole.sum(1)))


def test_the_judge_distinguishes_digits_from_copies_and_from_dirt() -> None:
    train, labels, test, held = digits.split("random", 0, 1350, 447)
    judge = digits.Judge(train, labels, 5, 0)
    assert judge.accuracy(test, held) > 0.95
    real, other = test[:223], test[223:446]
    floor, copies = judge.scores(real, other), judge.scores(real, train[:223])
    rng = np.random.default_rng(0)
    dirt = judge.scores(real, rng.integers(0, 17, other.shape).astype(float))
    assert floor["recall"] > 0.9 > dirt["recall"]
    assert abs(floor["c2st_auc"] - 0.5) < 0.1 < dirt["c2st_auc"] - 0.5
    assert floor["close"] < 0.15
    assert (copies["close"], copies["nearest"]) == (1, 0)
    zeros = judge.scores(real, test[held == 0][:40])
    assert zeros["class_tv"] > 0.8
    assert zeros["digit_0"] > 0.9
    other[3, 5] = np.nan  # a sample that is not finite makes all scores NaN
    lost = judge.scores(real, other)
    assert tuple(lost) == tuple(floor)
    assert np.isnan(list(lost.values())).all()


# Densities and samplers


def test_the_pixel_map_uses_the_counts_of_levels() -> None:
    """Three of four images have level 0, one has level 1; half an image is added to each count."""
    bijection = PixelMap(1, (1,), 2, 3.0)
    x = torch.tensor([[[-3.0, -2.0, -1.5, 1.5]]], dtype=torch.float64)
    bijection.initialize(x)
    z, log_det = bijection(x)
    expected = torch.tensor([-3, -3 + 4.2 / 3, -3 + 4.2 / 2, 1.2 + 1.8 / 2])  # F(0) = 0.7
    assert torch.allclose(z.flatten().float(), expected)
    p = torch.tensor([0.7, 0.7, 0.7, 0.3])
    assert torch.allclose(log_det.flatten().float(), (2 * p).log())
    back, opposite = bijection.inverse(z)
    assert torch.allclose(back, x)
    assert torch.allclose(opposite, -log_det)


def test_independent_pixels_add_half_an_image_to_each_count() -> None:
    rows = np.tile(np.arange(4.0)[:, None], (1, 64)) + 0.5
    log_q: Any = peers.independent(rows).log_q
    assert log_q(rows[:1])[0, 0] == pytest.approx(64 * np.log(1.5 / (4 + 17 / 2)))
    log_q = peers.independent(np.empty((0, 64))).log_q
    bits = bits_per_dimension(log_q(rows)[None], 64)
    assert bits.ravel() == pytest.approx(np.full(4, np.log2(17)))


def test_a_spline_on_the_box_inverts_and_learns_the_slopes_at_its_ends() -> None:
    rng = np.random.default_rng(0)
    coupling = BoxSplineCoupling(2, 8, [rng], swap=False, bins=4).double()
    with torch.no_grad():
        for parameter in coupling.parameters():
            parameter += 0.3 * torch.from_numpy(rng.standard_normal(parameter.shape))
    x = torch.from_numpy(rng.uniform(-5, 5, (1, 2, 50)))
    x[0, 1, 0] = 5 - 1e-9
    x.requires_grad_()
    z, log_det = coupling(x)
    (slope,) = torch.autograd.grad(z[:, 1].sum(), x)
    assert torch.allclose(log_det, slope[:, 1].log())
    assert (log_det[0, 0]).abs() > 0.01
    back, way_back = coupling.inverse(z)
    assert torch.allclose(back, x)
    assert torch.allclose(way_back, -log_det)


def test_the_base_on_the_box_is_uniform() -> None:
    base = Uniform(1, (2,), 5.0)
    log_p = base.log_prob(torch.tensor([[[0.0, 6.0], [5.0, 0.0]]]))
    assert log_p.tolist() == [[pytest.approx(-2 * np.log(10)), -np.inf]]
    drawn = base.sample(200, np.random.default_rng(0), torch.float32)
    assert drawn.shape == (1, 2, 200)
    assert 4.5 < drawn.abs().max() <= 5


def test_the_density_of_a_peer_is_in_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A normal density with the means and standard deviations of the pixels has a closed form."""
    train, _, test, _ = digits.split("random", 0, 1350, 447)
    monkeypatch.setitem(densities.FITS, "normal", lambda _: lambda z: -(z**2).sum(1) / 2)
    log_q: Any = peers.fit("normal", train, 0).log_q
    rows = digits.dequantised(train, 0)
    mean, deviation = rows.mean(0), rows.std(0)
    expected = (-(((test - mean) / deviation) ** 2) / 2 - np.log(deviation)).sum(1)
    assert log_q(test)[:, 0] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["vector", "vae", "gan"])
def test_a_network_samples_whole_images(name: str) -> None:
    train, _, test, _ = digits.split("random", 0, 64, 20)
    words = PARAMS["networks"][name]
    training = {**words["training"], "epochs": 1, "log_every": 1}
    own = words["model"], words["shape"], words["settings"]
    fitted = networks.fit(name, networks.build(*own, range(2), 0), training, train, test, 0)
    assert fitted.draw
    drawn = fitted.draw(3, np.random.default_rng(0))
    assert drawn.shape == (3, 2, 64)
    assert set(np.unique(drawn)) <= set(range(17))
    assert (fitted.log_q is None) == (name != "vector")


def test_an_encoded_image_decodes_to_itself() -> None:
    test = digits.split("random", 0, 60, 20)[2]
    for flow in (image_flow(), image_flow(mixing="learned")):
        again = latents.images_of(flow, latents.normal_noise(flow, test))
        assert (again == test).mean() > 0.999
        path = latents.between(flow, test[:2], test[2:4])
        assert path.shape == (2, latents.STEPS, 64)
        assert (path[:, 0] == test[:2]).mean() > 0.99
        assert (path[:, -1] == test[2:4]).mean() > 0.99
        anew = latents.anew(flow, test[:2], np.random.default_rng(0))
        assert anew.shape == (2, 1 + 3 * latents.ANEW, 64)


def test_half_of_the_remaining_latents_are_factored_out_at_each_scale() -> None:
    flow: Any = flows.build(flows.GlowImage(steps=[1, 1, 1], hidden=8), (1, 8, 8))
    scale = latents.scale_of(flow.chain, torch.zeros(1, 1, 8, 8, 1)).flatten().int()
    assert torch.bincount(scale).tolist() == [32, 16, 16]


# A tiny run


def test_a_tiny_study_has_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = engine.Study("digits").params
    content["protocol"] |= {"train": 128, "test": 40, "draws": 2, "samples": 1}
    content["peers"].remove("vine")  # it takes long
    for words in content["networks"].values():
        words |= {"members": {"random": 2, "contiguous": 1}}
        words["training"] |= {"epochs": 1, "log_every": 1}
        if words["model"].endswith("_image"):
            words["settings"] = {**words.get("settings", {}), "steps": [1, 1], "hidden": 4}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr(peers, "EPOCHS", 1)
    study = engine.Study("digits", tmp_path)
    assert engine.run(study)
    with rc_context(STYLE):
        study.report()
    for split, members in (("random", 2), ("contiguous", 1)):
        for name in content["networks"]:
            assert len(study.table("network", name, split)) == members
    glow = study.table("network/glow_image/random")
    assert glow["bits_low"][0] <= glow["bits"].mean() <= glow["bits_high"][0]
    assert glow["ensemble_bits"][0] <= glow["bits"].mean()
    assert (glow["bits_iw"] <= glow["bits"]).all()
    assert "ensemble_bits" not in study.table("peer/gaussian/random")
    assert study.arrays("peer/gaussian/random") == {}
    assert "bits" not in study.table("network/vae/random")
    floor = study.table("held_out/random")
    assert floor["recall"][0] > study.table("network/gan/random")["recall"].mean()
    for name in ("training", "samples", "interpolations", "scales"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    text = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "## Contiguous split\n\n128 training and 40 test images" in text
    lines = [line for line in text.splitlines() if line.startswith("| Gaussian mixture | 1 | ")]
    assert len(lines) == 2
