"""The claims study: its parts against answers known beforehand, and all of it with tiny settings. (What it found: ``published/``.)"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import flows
from flows import references
from flows.core.seeds import numpy_generators
from flows.core.settings import TrainingSettings
from flows.evaluation import samples
from flows.networks.base import StandardNormal
from flows.networks.flow import Flow
from flows.targets import ring
from studies.claims import analyse, score, settings, variants
from studies.claims.settings import Remedy, Settings

ROOT = Path(__file__).resolve().parents[1]
NAN = float("nan")
CONTENT: dict[str, Any] = yaml.safe_load((settings.HERE / "params.yaml").read_text(encoding="utf-8"))
PARAMS = settings.load()


def short(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"epochs": 4, "batch_size": 32, "log_every": 2, "noise": 0, **changes})


def small(members: int = 2) -> Flow:
    flow = flows.build("realnvp", (2,), {"couplings": 2, "hidden": 8}, members=members)
    assert isinstance(flow, Flow)
    return flow


def rows(members: int, n: int = 60) -> Any:
    return np.stack([ring.make().sample(n, np.random.default_rng(member)) for member in range(members)], axis=1)


# Settings


def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**CONTENT, "ablation": {**CONTENT["ablation"], "variants": {"luck": {"noise": 0, "lukc": 2}}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(wrong), encoding="utf-8")
    monkeypatch.setattr(settings, "HERE", tmp_path)
    with pytest.raises(SystemExit, match=r"^score: .*ablation\.variants.*lukc.*allowed") as stopped:
        score.main("depth", "glow", "8")
    assert "\n" not in str(stopped.value)


def test_a_remedy_changes_what_it_names_and_nothing_else() -> None:
    training = PARAMS.training(**Remedy(noise=0, hold_out=0.2).changes())
    assert training == PARAMS.training().model_copy(update={"noise": 0})


def test_every_group_of_cells_is_a_stage() -> None:
    stages = yaml.safe_load((settings.HERE / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(score.GROUPS) == set(PARAMS.words()) == set(stages) - {"analyse", "common", "floor"}


def test_replicate_zero_is_the_data_of_the_pipeline() -> None:
    two = Settings.model_validate({**CONTENT, "replicates": {"count": 2, "first": 0}})
    train, test = score.data(two, 800)
    assert train.shape == (800, 2, 2)
    assert test.shape == (200, 2, 2)
    raw = ring.make().sample(1000, np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0, 0))))
    together = np.concatenate([train[:, 0], test[:, 0]])
    assert np.array_equal(np.sort(together, axis=0), np.sort(raw, axis=0))
    ensemble, _ = score.data(two, 800, networks=3)
    assert np.array_equal(ensemble[:, 1], train[:, 0])
    assert np.array_equal(ensemble[:, 3], train[:, 1])


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
    flow = small()
    trainer = variants.FreshTrainer(flow, rows(2), short(), references.truth(ring.make()))
    generators = numpy_generators(0, "train", range(2))
    drawn = [trainer.points(generators) for _ in range(variants.BLOCK + 1)]
    assert all(points.shape == (2, 2, 60) for points in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0][0], drawn[0][1])
    cloud = flow.standardize.inverse(torch.cat(drawn, dim=2))[0][0]  # of the first member, in the units of the truth
    assert len(cloud.T.unique(dim=0)) == cloud.shape[1]
    assert cloud.square().sum(0).mean().item() == pytest.approx(16 + 2 * 0.25, rel=0.02)


def test_weight_decay_shrinks_by_its_formula_where_the_gradient_is_nil() -> None:
    optimizer = variants.RemedyAdam(torch.full((1, 3), 2.0), 1.0, decay=0.5)
    optimizer.step(torch.zeros(1, 3), 0.1)
    assert optimizer.parameters.tolist() == [[pytest.approx(2 * (1 - 0.1 * 0.5))] * 3]


def test_the_average_follows_its_formula() -> None:
    optimizer = variants.RemedyAdam(torch.zeros(1, 2), 1.0, share=0.9)
    expected = None
    for step in range(5):
        optimizer.step(torch.randn(1, 2, generator=torch.Generator().manual_seed(step)), 0.1)
        now = optimizer.parameters.clone()
        expected = now if expected is None else 0.9 * expected + 0.1 * now
    assert torch.allclose(optimizer.average, expected)


def test_without_a_remedy_training_is_that_of_the_library() -> None:
    plain, remedied = small(), small()
    flows.fit(plain, rows(2), settings=short())
    variants.train(remedied, rows(2), short(), name="test")
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), remedied.parameters(), strict=True))


def mixture(components: int, seeds: tuple[int, ...] = (0, 1)) -> variants.MixtureBase:
    return variants.MixtureBase(components, 2, [np.random.default_rng(seed) for seed in seeds])


def test_a_mixture_base_of_one_standard_normal_is_the_standard_normal() -> None:
    base = mixture(1)
    torch.nn.init.zeros_(base.means)
    torch.nn.init.zeros_(base.log_deviations)
    z = torch.from_numpy(rows(2)).movedim(0, -1)
    assert torch.allclose(base.log_prob(z), StandardNormal(2, (2,)).log_prob(z))


def test_samples_of_a_mixture_base_have_its_mean_and_its_spread() -> None:
    base = mixture(3)
    drawn = base.sample(40_000, np.random.default_rng(0), torch.float32)
    assert drawn.shape == (2, 2, 40_000)
    assert torch.allclose(drawn.mean(2), base.means.mean(1), atol=0.03)
    assert torch.allclose(drawn.var(2), base.means.var(1, correction=0) + 0.25, atol=0.05)


def test_a_flow_over_a_mixture_base_has_a_density_that_integrates_to_one() -> None:
    flow = variants.train(small(), rows(2), short(), Remedy(components=3), name="test")
    axis = torch.linspace(-14, 14, 401)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        mass = flow.log_prob(points).double().exp().sum(0) * (28 / 400) ** 2
    assert mass.tolist() == [pytest.approx(1, abs=0.01)] * 2


def test_early_stopping_keeps_each_members_best_epoch() -> None:
    train = rows(3, 40)
    # With a wild rate for long, the last epoch is not the best; what is kept is no worse on the rows held out than any shorter look at it.
    wild = short(epochs=40, learning_rate=0.3, log_every=1)
    flow = variants.train(small(3), train, wild, Remedy(hold_out=0.25), name="test")
    last = variants.train(small(3), train[:30], wild, name="test")
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
    first, second = np.linspace(1, 2, 8), np.linspace(1, 2, 8) + 1e-4  # more take scipy seconds, as they are tied
    whole = analyse.compare(PARAMS, "kl", first, second)
    assert whole["failed"] == 0
    assert whole["p_equivalence"] < 0.05
    broken = first.copy()
    broken[:4] = NAN
    for a, b, sign in ((broken, second, 1), (second, broken, -1)):
        result = analyse.compare(PARAMS, "kl", a, b)
        assert result["failed"] == 4
        assert result["p_equivalence"] == 1
        assert result["effect"] == pytest.approx(-1e-4 * sign)
    # All failures on one side: as clear as eight differences of one sign.
    assert analyse.compare(PARAMS, "kl", np.full(8, NAN), second)["p"] == pytest.approx(2 / 2**8)
    assert analyse.compare(PARAMS, "kl", np.full(8, NAN), np.full(8, NAN))["p"] == 1


def test_the_truths_form_has_47_free_numbers() -> None:
    assert analyse.mixture_parameters() == 7 + 16 + 24


def sample_scores(model: Any) -> dict[str, Any]:
    few = {"fresh": 300, "samples": 60, "draws": 1, "neighbours": 5}
    params = Settings.model_validate({**CONTENT, "replicates": {"count": 2, "first": 0}, "rows": {"train": 50, "test": 20}, "evaluate": few})
    return score.sample_scores(params, model, "test")


def test_one_sample_that_is_not_finite_fails_its_replicate_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "TREES", 3)
    model = small()
    whole = sample_scores(model)
    drawn = model.sample
    monkeypatch.setattr(
        model, "sample", lambda *args, **kwargs: drawn(*args, **kwargs).index_put_((torch.tensor(50), torch.tensor(1)), torch.tensor(NAN).double())
    )
    broken = sample_scores(model)
    assert all(np.isnan(values[1]) and values[0] == whole[key][0] for key, values in broken.items())


# All of it, tiny


def tiny() -> dict[str, Any]:
    few = {**CONTENT, "replicates": {"count": 3, "first": 100}, "rows": {"train": 50, "test": 20}}
    few["base"] = {**CONTENT["base"], "epochs": 4, "log_every": 2, "batch_size": 32, "hidden": 8}
    few["evaluate"] = {"fresh": 300, "samples": 60, "draws": 1, "neighbours": 5}
    few["depth"] = {"couplings": [2, 3]}
    few["curve"] = {**CONTENT["curve"], "rows": [40, 80], "couplings": 2, "bandwidths": 3, "fresh": 100}
    few["ablation"] = {**CONTENT["ablation"], "couplings": 2}
    few["equal"] = {**CONTENT["equal"], "nsf": {"hidden": 9}}
    few["claims"] = {**CONTENT["claims"], "couplings": 2, "threshold": 3.0}
    return few


@pytest.mark.slow
def test_a_tiny_run_goes_through_scores_verdicts_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "HERE", tmp_path)
    monkeypatch.setattr(samples, "TREES", 3)
    own = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    own["train"] |= {"epochs": 2, "log_every": 1, "batch_size": 32}
    own["models"] = {name: {"hidden": 8} | ({} if name in ("vae", "gan") else {"couplings": 2}) for name in CONTENT["equal"]}
    content = tiny()
    for name, written in (("params.yaml", content), ("pipeline.yaml", own)):
        (tmp_path / name).write_text(yaml.safe_dump(written), encoding="utf-8")
    monkeypatch.setattr(score.pipeline, "load", lambda load=score.pipeline.load: load(tmp_path / "pipeline.yaml"))
    params = settings.load()
    for group, allowed in params.words().items():
        for words in product(*allowed):
            score.main(group, *words)
    # One network of one cell fails: it is counted, and nothing else is lost.
    broken = settings.path("depth", "glow", "2")
    table = pd.read_csv(broken)
    table.loc[1, "kl"] = NAN
    table.to_csv(broken, index=False, na_rep="NaN")
    analyse.main()

    entries = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    keys = {"claim", "metric", "effect", "ci95", "p_holm", "p_equivalence", "replicates", "verdict", "comparison", "failed"}
    assert all(set(entry) == keys for entry in entries)
    assert [(entry["claim"], entry["metric"]) for entry in entries] == [(claim, metric) for claim, metrics, _ in analyse.FAMILY for metric in metrics]
    assert [entry["failed"] for entry in entries if (entry["claim"], entry["metric"]) == (5, "kl")] == [1]
    assert all(entry["replicates"] == 3 for entry in entries)
    for name in ("ablation.png", "curve.png", "depth.png", "forest.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert all(f"**{entry['verdict']}**" in text for entry in entries)
    assert list(pd.read_csv(settings.path("depth", "realnvp", "2"))["data_seed"]) == [100, 101, 102]
