"""The study of digits and the claims on images: their parts against answers known beforehand, and all of both with tiny settings."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import flows
from flows.evaluation import samples
from flows.evaluation.images import bits_per_dimension
from flows.networks.images import ImageFlow
from studies.digits import analyse, digits, fits, latents, score, settings
from studies.digits_claims import analyse as claims_analyse
from studies.digits_claims import score as claims_score
from studies.digits_claims import settings as claims_settings

PARAMS = settings.load()


def image_flow(**others: Any) -> ImageFlow:
    flow = flows.build("glow_image", (1, 8, 8), {"steps": [1, 1], "hidden": 8, **others}, members=2)
    assert isinstance(flow, ImageFlow)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    return flow


# Data and judge


def test_splits_have_the_images_of_the_protocol() -> None:
    for kind in settings.SPLITS:
        train, labels, test, held = digits.split(kind, 0, 1350, 447)
        assert (train.shape, labels.shape, test.shape, held.shape) == ((1350, 64), (1350,), (447, 64), (447,))
        assert np.array_equal(train, train.astype(int))
        assert (train.min(), train.max()) == (0, 16)
    everything = np.concatenate([train, test])
    assert np.array_equal(test, digits.load_digits().data[-447:])
    assert np.array_equal(np.sort(everything.sum(1)), np.sort(digits.load_digits().data.sum(1)))


def test_the_judge_tells_digits_from_copies_and_from_dirt() -> None:
    train, labels, test, held = digits.split("random", 0, 1350, 447)
    judge = digits.Judge(train, labels, 5, 0)
    assert judge.accuracy(test, held) > 0.95
    real, other = test[:223], test[223:446]
    floor, copies = judge.scores(real, other), judge.scores(real, train[:223])
    dirt = judge.scores(real, np.random.default_rng(0).integers(0, 17, other.shape).astype(float))
    assert floor["recall"] > 0.9 > dirt["recall"]
    assert abs(floor["c2st_auc"] - 0.5) < 0.1 < dirt["c2st_auc"] - 0.5
    assert floor["close"] < 0.15
    assert (copies["close"], copies["nearest"]) == (1, 0)
    zeros = judge.scores(real, test[held == 0][:40])
    assert zeros["class_tv"] > 0.8
    assert zeros["digit_0"] > 0.9


# Rows


def test_independent_pixels_are_counted_with_half_an_image_more() -> None:
    rows = np.tile(np.arange(4.0)[:, None], (1, 64)) + 0.5
    fitted = fits.independent(rows)
    assert fitted.log_q
    assert fitted.log_q(rows[:1])[0, 0] == pytest.approx(64 * np.log(1.5 / (4 + 17 / 2)))
    uniform = fits.independent(np.empty((0, 64)))
    assert uniform.log_q
    assert bits_per_dimension(uniform.log_q(rows)[None], 64).ravel() == pytest.approx(np.full(4, np.log2(17)))


@pytest.mark.parametrize("name", ["vector", "vae", "gan"])
def test_a_network_samples_whole_images(name: str) -> None:
    train, _, test, _ = digits.split("random", 0, 60, 20)
    row = PARAMS.rows[name]
    training = row.training.model_copy(update={"epochs": 1, "log_every": 1})
    fitted = fits.fit_row(name, row.model_copy(update={"training": training}), range(2), train, test, 0)
    assert fitted.draw
    drawn = fitted.draw(3, np.random.default_rng(0))
    assert drawn.shape == (3, 2, 64)
    assert set(np.unique(drawn)) <= set(range(17))
    assert (fitted.log_q is None) == (name != "vector")


def test_an_image_that_is_learnt_again_in_normal_noise_is_the_same() -> None:
    test = digits.split("random", 0, 60, 20)[2]
    for flow in (image_flow(base="box"), image_flow(mixing="learned")):
        assert (latents.images_of(flow, latents.normal_noise(flow, test)) == test).mean() > 0.999
        path = latents.between(flow, test[:2], test[2:4])
        assert path.shape == (2, latents.STEPS, 64)
        assert (path[:, 0] == test[:2]).mean() > 0.99
        assert (path[:, -1] == test[2:4]).mean() > 0.99
        assert latents.anew(flow, test[:2], np.random.default_rng(0)).shape == (2, 1 + 3 * latents.ANEW, 64)


def test_a_scale_is_where_half_of_the_numbers_leave() -> None:
    flow = flows.build("glow_image", (1, 8, 8), {"steps": [1, 1, 1], "hidden": 8})
    scale = latents.scale_of(flow.chain, torch.zeros(1, 1, 8, 8, 1)).flatten().int()  # type: ignore[union-attr, operator, arg-type]
    assert torch.bincount(scale).tolist() == [32, 16, 16]


# All of it, tiny


def write(content: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    for row in (content.get("rows") or content["variants"]).values():
        if "training" in row:
            row["training"] = {**row["training"], "epochs": 1, "log_every": 1}
        if row.get("model", "").endswith("_image"):
            steps = [1] if len(row.get("settings", {}).get("steps", [1, 1])) == 1 else [1, 1]
            row["settings"] = {**row.get("settings", {}), "steps": steps, "hidden": 4}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    monkeypatch.setattr(module, "HERE", folder)
    monkeypatch.setattr(samples, "TREES", 3)


def test_a_tiny_study_has_every_row_on_both_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = yaml.safe_load((settings.HERE / "params.yaml").read_text(encoding="utf-8"))
    content |= {"train": 120, "test": 40, "draws": 2, "samples": 1}
    content["rows"] = {
        name: row for name, row in content["rows"].items() if name not in ("vine", "mixture") and (row or find_spec(name) or name != "normflows")
    }
    for row in content["rows"].values():
        row |= {"members": {"random": 2, "contiguous": 1}} if row else {}
    write(content, tmp_path, monkeypatch, settings)
    monkeypatch.setattr(fits, "EPOCHS", 1)
    for name in ("held_out", *content["rows"]):
        for split in settings.SPLITS:
            score.main(name, split)
    analyse.main()
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {(each["model"], each["split"]) for each in results} == {(n, s) for n in ("held_out", *content["rows"]) for s in settings.SPLITS}
    by_name = {each["model"]: each for each in results if each["split"] == "random"}
    glow = by_name["glow_image"]
    assert glow["bits_ci95"][0] <= glow["bits"] <= glow["bits_ci95"][1]
    assert glow["ensemble_bits"] <= glow["bits"]
    assert glow["bits_iw"] <= glow["bits"]
    assert glow["seconds"] > 0
    assert by_name["gaussian"]["ensemble_bits"] is None
    assert by_name["vae"]["bits"] is None
    assert by_name["held_out"]["recall"] > by_name["gan"]["recall"]
    for name in ("training", "samples", "interpolations", "scales"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert "Contiguous split, 120 training and 40 test images" in (tmp_path / "tables.md").read_text(encoding="utf-8")


def test_a_tiny_study_of_claims_ends_in_a_verdict_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = yaml.safe_load((claims_settings.HERE / "params.yaml").read_text(encoding="utf-8"))
    content |= {"replicates": 2, "train": 80, "test": 30, "draws": 2, "samples": 1}
    write(content, tmp_path, monkeypatch, claims_settings)
    for name in content["variants"]:
        claims_score.main(name)
    claims_analyse.main()
    entries = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert [each["claim"] for each in entries] == [claim for claim, metrics, *_ in claims_analyse.FAMILY for _ in metrics]
    assert {each["verdict"] for each in entries} <= {"supported", "refuted", "equivalent", "inconclusive"}
    assert (tmp_path / "forest.png").stat().st_size > 10_000
    assert list(pd.read_csv(claims_settings.path("glow"))["seed"]) == [200, 201]


def test_verdicts_follow_the_numbers() -> None:
    """A permutation that is better on steps and no better without: claim 1 refuted and equivalent, claim 2 supported; all else alike."""
    params, noise = claims_settings.load(), np.random.default_rng(0).normal(0, 0.003, (20, 12))
    tables = {}
    for k, name in enumerate(params.variants):
        bits = 2 + 0.08 * (name in ("learned", "learned_bare")) + noise[k]
        tables[name] = pd.DataFrame({"bits": bits} | dict.fromkeys(claims_analyse.SAMPLES, 0.9 + noise[k]))
    found = {(each["claim"], each["comparison"], each["metric"]): each["verdict"] for each in claims_analyse.examine(params, tables)}
    assert found[1, "learned - glow", "bits"] == "refuted"
    assert found[1, "learned_smooth - permutation_smooth", "bits"] == "equivalent"
    assert found[2, "learned:glow - learned_smooth:permutation_smooth", "bits"] == "supported"
    assert {verdict for (claim, *_), verdict in found.items() if claim > 2} == {"equivalent"}


def test_noise_for_smooth_pixels_leaves_no_steps() -> None:
    """Whole numbers, all equally likely, plus this noise are uniform where kernels overlap fully."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 100, 400_000) + claims_score.smooth_noise(rng, (400_000,))
    counts = np.histogram(y[(y > 10) & (y < 90)] % 1, 10)[0]
    assert counts.max() / counts.min() < 1.05
    assert y.min() > 0
    assert y.max() < 107


def test_a_variant_without_actnorm_has_none() -> None:
    row = claims_settings.load().variants["learned_bare"]
    for actnorm in (True, False):
        flow = image_flow(mixing="learned")
        claims_score.change(flow, row.model_copy(update={"actnorm": actnorm}))
        assert ("ActNorm" in repr(flow)) == actnorm


# What is wrong is one line


@pytest.mark.parametrize(("words", "says"), [(("glow",), "expected one of the rows held_out, "), (("glow_image", "rnadom"), "random, contiguous")])
def test_what_is_no_cell_is_one_line(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(SystemExit, match=f"^score: .*{says}") as stopped:
        score.main(*words)
    assert "\n" not in str(stopped.value)
    with pytest.raises(SystemExit, match="there is no variant 'glwo'; the variants are: glow, realnvp"):
        claims_score.main("glwo")


def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = yaml.safe_load((settings.HERE / "params.yaml").read_text(encoding="utf-8"))
    content["rows"]["glow_image"]["training"]["epohcs"] = 3
    write(content, tmp_path, monkeypatch, settings)
    with pytest.raises(SystemExit, match=r"^score: .*rows\.glow_image\.training\.epohcs is not a known key"):
        score.main("glow_image", "random")
    del content["rows"]["glow_image"]["training"]["epohcs"]
    content["rows"]["glow_image"]["settings"] = {"setps": [1]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^score: glow_image: .*setps is not a known key") as stopped:
        score.main("glow_image", "random")
    assert "\n" not in str(stopped.value)


def test_a_sample_that_is_not_finite_takes_the_scores_with_it() -> None:
    train, labels, test, _ = digits.split("random", 0, 200, 60)
    judge, fakes = digits.Judge(train, labels, 5, 0), test[:30].copy()
    assert tuple(judge.scores(test[30:], fakes)) == digits.SCORES
    fakes[3, 5] = np.nan
    assert np.isnan(list(judge.scores(test[30:], fakes).values())).all()
