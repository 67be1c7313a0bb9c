"""The claims study: its parts against answers known beforehand, and all of it with tiny settings."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from flows.realnvp import RealNVP

from flows import references, targets
from flows.evaluation import samples
from flows.training import TrainingSettings
from stages import settings
from studies.claims import analyse, score, variants

ROOT = Path(__file__).resolve().parents[1]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "studies/claims/params.yaml").read_text(encoding="utf-8"))
NAN = float("nan")
SMALL = {"couplings": 2, "hidden": 8, "seed": 0}


def short(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"epochs": 4, "batch_size": 32, "log_every": 2, "noise": 0, **changes})


def rows(members: int, n: int = 60) -> torch.Tensor:
    drawn = [targets.ring().sample(n, np.random.default_rng(member)) for member in range(members)]
    return torch.from_numpy(np.stack(drawn, axis=1))


# Settings


def test_the_studys_settings_are_the_pipelines_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = settings.load()
    assert PARAMS["rows"]["test"] == params.prepare.test_rows(params.data.samples)
    assert sum(PARAMS["rows"].values()) == params.data.samples
    assert (params.data.target, params.prepare.seed) == ("ring", 0)
    assert PARAMS["evaluate"]["samples"] == params.evaluate.samples
    assert PARAMS["evaluate"]["neighbours"] == params.evaluate.neighbours
    for model in PARAMS["flows"]:
        default = {**params.training(model).model_dump(exclude={"members"}), **params.architecture(model)}
        del default["couplings"]
        assert PARAMS["base"] == default
        assert set(score.training_settings(PARAMS).__dict__) <= set(default)


def test_every_group_of_cells_is_a_stage() -> None:
    stages = yaml.safe_load((ROOT / "studies/claims/dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(score.GROUPS) == set(stages) - {"analyse", "floor"}


def test_replicate_zero_is_the_data_of_the_pipeline() -> None:
    one = {**PARAMS, "replicates": {"count": 2, "first": 0}}
    train, test = score.data(one, 800)
    assert train.shape == (800, 2, 2)
    assert test.shape == (200, 2, 2)
    raw = targets.ring().sample(1000, np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0, 0))))
    together = np.concatenate([train[:, 0].numpy(), test[:, 0].numpy()])
    assert np.array_equal(np.sort(together, axis=0), np.sort(raw, axis=0))
    ensemble, _ = score.data(one, 800, networks=3)
    assert torch.equal(ensemble[:, 1], train[:, 0])
    assert torch.equal(ensemble[:, 3], train[:, 1])


@pytest.mark.parametrize(
    "words", [(), ("width",), ("depth", "glow"), ("depth", "glow", "many"), ("depth", "nice", "2"), ("ablation", "glow", "luck")]
)
def test_a_wrong_cell_is_one_clear_line(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stopped:
        score.main(*words)
    assert str(stopped.value).startswith("score: ")
    assert "\n" not in str(stopped.value)


# Variants


def test_new_points_differ_every_epoch_and_between_members_and_follow_the_truth() -> None:
    flow = RealNVP(dim=2, members=2, **SMALL)
    trainer = variants.FreshTrainer(flow, rows(2), short(), references.truth(targets.ring()))
    drawn = [trainer.points() for _ in range(variants.BLOCK + 1)]
    assert all(points.shape == (2, 2, 60) for points in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0][0], drawn[0][1])
    cloud = torch.cat([points[0] for points in drawn], dim=1)
    assert len(cloud.T.unique(dim=0)) == cloud.shape[1]
    assert cloud.square().sum(0).mean().item() == pytest.approx(16 + 2 * 0.25, rel=0.02)


def test_weight_decay_shrinks_by_its_formula_where_the_gradient_is_nil() -> None:
    optimizer = variants.DecayedAdam(torch.full((1, 3), 2.0), 1.0, decay=0.5)
    optimizer.step(torch.zeros(1, 3), 0.1)
    assert optimizer.parameters.tolist() == [[pytest.approx(2 * (1 - 0.1 * 0.5))] * 3]


def test_the_average_follows_its_formula() -> None:
    optimizer = variants.AveragedAdam(torch.zeros(1, 2), 1.0, share=0.9)
    expected = None
    for step in range(5):
        optimizer.step(torch.randn(1, 2, generator=torch.Generator().manual_seed(step)), 0.1)
        now = optimizer.parameters.clone()
        expected = now if expected is None else 0.9 * expected + 0.1 * now
    assert torch.allclose(optimizer.average, expected)


def test_a_mixture_base_of_one_standard_normal_is_the_plain_flow() -> None:
    plain = RealNVP(dim=2, members=2, **SMALL)
    mixed = variants.with_mixture_base(RealNVP, 1)(dim=2, members=2, **SMALL)
    plain.initialize(rows(2))
    mixed.initialize(rows(2))
    torch.nn.init.zeros_(mixed.means)
    torch.nn.init.zeros_(mixed.log_deviations)
    points = rows(1)
    assert torch.allclose(mixed.log_prob(points), plain.log_prob(points), atol=1e-5)


def test_a_flow_over_a_mixture_base_has_a_density_that_integrates_to_one() -> None:
    flow = variants.train_variant(RealNVP, SMALL, rows(2), short(), name="test", components=3)
    axis = torch.linspace(-14, 14, 401)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 1, 2)
    with torch.no_grad():
        mass = flow.log_prob(points).double().exp().sum(0) * (28 / 400) ** 2
    assert mass.tolist() == [pytest.approx(1, abs=0.01)] * 2


def test_early_stopping_keeps_each_members_best_epoch() -> None:
    train = rows(3, 40)
    options: dict[str, Any] = {"name": "test", "hold_out": 0.25}
    # With a wild rate for long, the last epoch is not the best; what is kept is no worse on the rows held out than any shorter look at it.
    wild = short(epochs=40, learning_rate=0.3, log_every=1)
    flow = variants.train_variant(RealNVP, SMALL, train, wild, **options)
    last = variants.train_variant(RealNVP, SMALL, train[:30], wild, name="test")
    with torch.no_grad():
        kept, plain = (-model.log_prob(train[30:]).mean(0) for model in (flow, last))
    assert (kept <= plain + 1e-5).all()
    assert (kept < plain - 1e-3).any()


# Analysis


def test_couplings_needed_are_interpolated_and_end_at_the_ends() -> None:
    kl = np.array([[0.4, 0.1, 0.05], [0.1, 0.3, 0.1], [0.9, 0.8, 0.7], [0.8, 0.2, 0.01], [NAN, 0.1, 0.1], [0.4, NAN, 0.1]])
    needed = analyse.couplings_needed([2, 4, 8], kl, 0.2)
    # First: half of the way in log KL from 0.4 to 0.1 is half of the way in log couplings.
    assert needed == pytest.approx([2 * np.sqrt(2), 2, 8, 4, 4, 8])


def test_a_failed_pair_counts_against_the_one_that_failed_and_rules_out_equivalence() -> None:
    first, second = np.linspace(1, 2, 12), np.linspace(1, 2, 12) + 1e-4
    whole = analyse.compare(PARAMS, "kl", first, second)
    assert whole["failed"] == 0
    assert whole["p_equivalence"] < 0.05
    broken = first.copy()
    broken[:6] = NAN
    for a, b, sign in ((broken, second, 1), (second, broken, -1)):
        result = analyse.compare(PARAMS, "kl", a, b)
        assert result["failed"] == 6
        assert result["p_equivalence"] == 1
        assert result["effect"] == pytest.approx(-1e-4 * sign)
    # All failures on one side: as clear as twelve differences of one sign.
    assert analyse.compare(PARAMS, "kl", np.full(12, NAN), second)["p"] == pytest.approx(2 / 2**12)
    assert analyse.compare(PARAMS, "kl", np.full(12, NAN), np.full(12, NAN))["p"] == 1


def test_the_truths_form_has_47_free_numbers() -> None:
    assert analyse.mixture_parameters() == 7 + 16 + 24


# All of it, tiny


def tiny() -> dict[str, Any]:
    few = {**PARAMS, "replicates": {"count": 3, "first": 100}, "rows": {"train": 50, "test": 20}}
    few["base"] = {**PARAMS["base"], "epochs": 4, "log_every": 2, "batch_size": 32, "hidden": 8}
    few["evaluate"] = {"fresh": 300, "samples": 60, "draws": 1, "neighbours": 5}
    few["depth"] = {"couplings": [2, 3]}
    few["curve"] = {**PARAMS["curve"], "rows": [40, 80], "couplings": 2, "bandwidths": 3, "fresh": 100}
    few["ablation"] = {**PARAMS["ablation"], "couplings": 2}
    few["claims"] = {**PARAMS["claims"], "couplings": 2, "threshold": 3.0}
    return few


def test_a_tiny_run_goes_through_scores_verdicts_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(score, "HERE", tmp_path)
    monkeypatch.setattr(analyse, "HERE", tmp_path)
    monkeypatch.setattr(samples, "TREES", 3)
    pipeline = settings.load()
    quick = pipeline.model_copy(
        update={
            "train": pipeline.train.model_copy(update={"epochs": 2, "log_every": 1, "batch_size": 32}),
            "models": {name: model.model_copy(update={"epochs": None, "log_every": None}) for name, model in pipeline.models.items()},
        }
    )
    monkeypatch.setattr(settings, "load", lambda: quick)
    params = tiny()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    missing = [model for model in params["equal"] if model not in pipeline.models]
    flows, curve = params["flows"], params["curve"]
    pairs = {
        "depth": product(flows, params["depth"]["couplings"]),
        "control": product(flows, params["depth"]["couplings"]),
        "ablation": product(flows, params["ablation"]["variants"]),
        "curve": product(curve["models"], curve["rows"]),
        "equal": ((model,) for model in (*params["equal"], "truth") if model not in missing),
    }
    for group, cells in pairs.items():
        for words in cells:
            score.main(group, *map(str, words))
    for model in missing:
        shutil.copy(score.path("equal", "glow"), score.path("equal", model))
    # One network of one cell fails: it is counted, and nothing else is lost.
    broken = score.path("depth", "glow", "2")
    table = pd.read_csv(broken)
    table.loc[1, "kl"] = NAN
    table.to_csv(broken, index=False, na_rep="NaN")
    analyse.main()

    entries = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    keys = {"claim", "metric", "effect", "ci95", "p_holm", "p_equivalence", "replicates", "verdict", "sentence", "comparison", "failed"}
    assert all(set(entry) == keys for entry in entries)
    assert [(entry["claim"], entry["metric"]) for entry in entries] == [(claim, metric) for claim, metrics, _ in analyse.FAMILY for metric in metrics]
    assert {entry["claim"] for entry in entries} == set(range(1, 7))
    assert all(entry["verdict"] in ("supported", "refuted", "equivalent", "inconclusive") for entry in entries)
    assert [entry["failed"] for entry in entries if (entry["claim"], entry["metric"]) == (5, "kl")] == [1]
    assert all(entry["replicates"] == 3 for entry in entries)
    control = json.loads((tmp_path / "control.json").read_text(encoding="utf-8"))
    assert [(row["model"], row["couplings"]) for row in control] == [(model, k) for model in params["flows"] for k in (2, 3)]
    for name in ("ablation.png", "curve.png", "depth.png", "forest.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert all(entry["sentence"] in text for entry in entries)
    assert list(pd.read_csv(score.path("depth", "realnvp", "2"))["data_seed"]) == [100, 101, 102]
