"""The study of claims: its parts against known answers, and all of it with tiny settings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib import rc_context
from pipeline import TINY

import flows
from common.settings import read_yaml
from flows.core.errors import UserError
from flows.core.seeds import numpy_generators
from flows.core.settings import TrainingSettings
from flows.networks.base_distribution import StandardNormal
from flows.networks.flow import Flow
from flows.networks.population import Population
from flows.plotting.style import STYLE
from flows.truths import ring
from stages.pipeline import schema
from studies import engine
from studies.claims import cells, images, matching, mixtures, plane, refits, remedies, report
from studies.claims.remedies import Remedy

pytestmark = pytest.mark.slow

CLAIMS = read_yaml(report.CLAIMS)
NAN = float("nan")
STUDY = engine.Study("claims")
FEW = {"first": 0, "replicates": 2, "train": 50, "test": 20, "fresh": 300}
FEW |= {"samples": 60, "draws": 1, "neighbours": 5}


def short(**changes: Any) -> TrainingSettings:
    few = {"epochs": 4, "batch_size": 32, "log_every": 2, "noise": 0}
    return TrainingSettings(**(few | changes))


def small(members: int = 2) -> Flow:
    flow = flows.build(flows.RealNVP(couplings=2, hidden=8), (2,), members=members)
    assert isinstance(flow, Flow)
    return flow


def rows(members: int, n: int = 60) -> Any:
    drawn = [ring.make().sample(n, np.random.default_rng(member)) for member in range(members)]
    return np.stack(drawn, axis=1)


# Cells


def test_replicate_zero_has_the_data_of_the_pipeline_and_an_ensemble_shares_its_data() -> None:
    protocol = {**FEW, "test": 200}
    train, test = plane.data(protocol, 800)
    assert (train.shape, test.shape) == ((800, 2, 2), (200, 2, 2))
    seed = np.random.SeedSequence(0, spawn_key=(0, 0))
    raw = ring.make().sample(1000, np.random.default_rng(seed))
    together = np.concatenate([train[:, 0], test[:, 0]])
    assert np.array_equal(np.sort(together, axis=0), np.sort(raw, axis=0))
    ensemble, _ = plane.data(protocol, 800, networks=3)
    assert np.array_equal(ensemble, train[:, [0, 0, 0, 1, 1, 1]])


def test_a_cell_with_the_pipelines_recipe_has_the_pipelines_settings() -> None:
    params = schema.load(Path(__file__).parents[2] / "params.yaml")
    for model in params.models:
        own = cells.pipeline_settings(model, {"hidden": 5})
        assert own["settings"] == {
            **params.architecture(model).model_dump(exclude_unset=True),
            "hidden": 5,
        }
        asked = params.training(model).model_dump(exclude={"members"})
        assert TrainingSettings(**own["training"]).model_dump() == asked


@pytest.fixture
def take_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that gives the study other settings of the pipeline, in a new file."""

    def take(settings: str) -> Path:
        path = tmp_path / "pipeline.yaml"
        path.write_text(settings, encoding="utf-8")
        monkeypatch.setattr(cells, "PIPELINE", path)
        return path

    return take


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nsf:", "realnvp_image:", "models.nsf is missing"),
        ("epochs: 4", "epochs: many", "train.epochs = 'many'"),
        ("\n  nsf:", "\n  nsf:\n    wings: 2", "models.nsf.wings is not a known key"),
    ],
)
def test_an_invalid_setting_of_the_pipeline_gives_one_line_that_names_the_key(
    take_pipeline: Callable[[str], Path], old: str, new: str, said: str
) -> None:
    own = take_pipeline(TINY.replace(old, new))
    with pytest.raises(UserError, match=re.escape(f"{own}: {said}")) as caught:
        cells.pipeline_settings("nsf")
    assert "\n" not in str(caught.value)


def test_a_sample_that_is_not_finite_fails_only_its_replicate() -> None:
    model = small()
    whole, drawn = plane.sample_scores(FEW, model, "test"), model.sample

    def broken(*words: Any, **options: Any) -> torch.Tensor:
        points = drawn(*words, **options)
        points[50, 1] = NAN
        return points

    model.sample = broken  # type: ignore[method-assign]
    for key, values in plane.sample_scores(FEW, model, "test").items():
        assert np.isnan(values[1]), key
        assert values[0] == whole[key][0]


def test_random_mixtures_are_within_their_bounds_and_each_scores_its_own_members(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(40):
        truth = mixtures.mixture(seed, 2 + seed % 4)
        assert 3 <= len(truth.weights) <= 12
        assert np.linalg.norm(truth.means, axis=1).max() <= 5
        deviation = np.sqrt(np.diagonal(truth.covariances, axis1=1, axis2=2))
        assert deviation.min() >= 0.2
        assert deviation.max() <= 1.2
        correlation = truth.covariances / deviation[:, :, None] / deviation[:, None]
        assert np.abs(correlation - np.eye(truth.means.shape[1])).max() < 0.85 + 1e-9
    truths = [mixtures.mixture(seed, 2) for seed in (7, 7, 8, 8)]
    perfect = [truths[0], truths[1], truths[2], mixtures.mixture(9, 2)]  # except the last

    class Perfect(Population):
        def log_prob(self, x: torch.Tensor) -> torch.Tensor:
            log_q = [q.log_prob(x[:, m].numpy()) for m, q in enumerate(perfect)]
            return torch.from_numpy(np.stack(log_q, axis=1))

    monkeypatch.setattr(mixtures, "trained", lambda *_: Perfect(4, (2,), {}))
    found = mixtures.in_the_plane(7, 2, 2, 10, 50)
    assert found["kl"][0] == found["costliest"][0] == pytest.approx(0)
    assert 0.1 < 2 * found["kl"][1] == pytest.approx(found["kl_worst"][1])


# Remedies


def test_new_points_differ_every_epoch_and_between_members_and_follow_the_truth() -> None:
    flow = small()
    trainer = remedies.FreshTrainer(flow, rows(2), short(), flows.GaussianMixture.of(ring.make()))
    generators = numpy_generators(0, "train", range(2))
    drawn = [next(trainer.points(generators)) for _ in range(remedies.BLOCK + 1)]
    assert all(points.shape == (2, 2, 60) for points in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0][0], drawn[0][1])
    # The first member's points, in the units of the truth
    cloud = flow.preprocessing.standardize.inverse(torch.cat(drawn, dim=2))[0][0]
    assert len(cloud.T.unique(dim=0)) == cloud.shape[1]
    assert cloud.square().sum(0).mean().item() == pytest.approx(16 + 2 * 0.25, rel=0.02)


def test_weight_decay_and_the_average_follow_their_formulas() -> None:
    optimizer = remedies.RemedyAdam(torch.full((1, 3), 2.0), 1.0, decay=0.5)
    optimizer.step(torch.zeros(1, 3), 0.1)
    assert optimizer.parameters.tolist() == [[pytest.approx(2 * (1 - 0.1 * 0.5))] * 3]
    optimizer = remedies.RemedyAdam(torch.zeros(1, 2), 1.0, share=0.9)
    expected = None
    for step in range(5):
        optimizer.step(torch.randn(1, 2, generator=torch.Generator().manual_seed(step)), 0.1)
        now = optimizer.parameters.clone()
        expected = now if expected is None else 0.9 * expected + 0.1 * now
    assert torch.allclose(optimizer.average, expected)


def test_training_without_a_remedy_equals_training_by_the_library() -> None:
    plain, remedied = small(), small()
    flows.train(plain, rows(2), settings=short())
    remedies.train(remedied, rows(2), short())
    pairs = zip(plain.parameters(), remedied.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_mixture_base_has_the_density_and_the_samples_of_its_formula() -> None:
    generators = [np.random.default_rng(seed) for seed in (0, 1)]
    base = remedies.MixtureBase(3, 2, generators)
    drawn = base.sample(40_000, np.random.default_rng(0), torch.float32)
    assert drawn.shape == (2, 2, 40_000)
    assert torch.allclose(drawn.mean(2), base.means.mean(1), atol=0.03)
    assert torch.allclose(drawn.var(2), base.means.var(1, correction=0) + 0.25, atol=0.05)
    one = remedies.MixtureBase(1, 2, generators)
    torch.nn.init.zeros_(one.means)
    torch.nn.init.zeros_(one.log_deviations)
    z = torch.from_numpy(rows(2)).movedim(0, -1)
    assert torch.allclose(one.log_prob(z), StandardNormal(2, (2,)).log_prob(z))


def test_a_flow_over_a_mixture_base_has_a_density_that_integrates_to_one() -> None:
    flow = remedies.train(small(), rows(2), short(), Remedy(components=3))
    axis = torch.linspace(-14, 14, 401)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        mass = flow.log_prob(points).double().exp().sum(0) * (28 / 400) ** 2
    assert mass.tolist() == [pytest.approx(1, abs=0.01)] * 2


def test_early_stopping_keeps_the_best_epoch_of_each_member() -> None:
    """With a high learning rate the last epoch is not the best; the kept one is better on held-out
    rows.
    """
    train, wild = rows(3, 40), short(epochs=40, learning_rate=0.3, log_every=1)
    flow = remedies.train(small(3), train, wild, Remedy(hold_out=0.25))
    last = remedies.train(small(3), train[:30], wild)
    with torch.no_grad():
        kept, plain = (-model.log_prob(train[30:]).mean(0) for model in (flow, last))
    assert (kept <= plain + 1e-5).all()
    assert (kept < plain - 1e-3).any()


# Images


def test_noise_for_smooth_pixels_leaves_no_steps() -> None:
    """Equally likely whole numbers plus this noise are uniform where the kernels overlap fully."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 100, 400_000) + images.smooth_noise(rng, (400_000,))
    counts = np.histogram(y[(y > 10) & (y < 90)] % 1, 10)[0]
    assert counts.max() / counts.min() < 1.05
    assert y.min() > 0
    assert y.max() < 107


def test_a_variant_without_actnorm_has_none() -> None:
    settings = {"steps": [1, 1], "hidden": 8, "mixing": "learned"}
    flow: Any = flows.build(flows.GlowImage(**settings), (1, 8, 8), members=2)
    assert "ActNorm" in repr(flow)
    images.without_actnorm(flow)
    assert "ActNorm" not in repr(flow)


# The report


def test_couplings_needed_are_interpolated_and_limited_to_the_depths() -> None:
    kl = np.array(
        [
            [0.4, 0.1, 0.05],  # halfway in log KL to 0.1 is halfway in log couplings
            [0.1, 0.3, 0.1],
            [0.9, 0.8, 0.7],
            [0.8, 0.2, 0.01],
            [NAN, 0.1, 0.1],
            [0.4, NAN, 0.1],
        ]
    )
    needed = report.couplings_needed([2, 4, 8], kl, 0.2)
    assert needed == pytest.approx([2 * np.sqrt(2), 2, 8, 4, 4, 8])


def test_a_failed_pair_counts_against_the_one_that_failed_and_rules_out_equivalence() -> None:
    def compare(*pair: Any) -> dict[str, Any]:
        return report.compare(STUDY, CLAIMS["plane"], "kl", *pair)

    first = np.linspace(1, 2, 8)  # scipy takes seconds for more, because of the ties
    second = first + 1e-4
    whole = compare(first, second)
    assert whole["failed"] == 0
    assert whole["p_equivalence"] < 0.05
    broken = np.where(np.arange(8) < 4, NAN, first)
    for a, b, sign in ((broken, second, 1), (second, broken, -1)):
        result = compare(a, b)
        assert (result["failed"], result["p_equivalence"]) == (4, 1)
        assert result["effect"] == pytest.approx(-1e-4 * sign)
    # If all failures are on one side, p is as for eight differences of one sign
    lost = np.full(8, NAN)
    assert compare(lost, second)["p"] == pytest.approx(2 / 2**8)
    assert compare(lost, lost)["p"] == 1


def test_verdicts_follow_the_numbers() -> None:
    """The permutation is better with steps and not without: claim 1 is refuted or equivalent,
    claim 2 is supported, and all other comparisons are equivalent.
    """
    noise, tables = np.random.default_rng(0).normal(0, 0.003, (20, 12)), {}
    for k, name in enumerate(STUDY.params["images"]["variants"]):
        bits = 2 + 0.08 * (name in ("learned", "learned_bare")) + noise[k]
        scores = dict.fromkeys(CLAIMS["images"]["metrics"], 0.9 + noise[k])
        tables["images", name] = pd.DataFrame(scores | {"bits": bits})
    study: Any = SimpleNamespace(params=STUDY.params, table=lambda *cell: tables[cell])
    entries = report.examine(study, CLAIMS["images"])
    found = {(e["claim"], e["comparison"], e["metric"]): e["verdict"] for e in entries}
    assert found[1, "learned - glow", "bits"] == "refuted"
    assert found[1, "learned_smooth - permutation_smooth", "bits"] == "equivalent"
    steps = "learned:glow - learned_smooth:permutation_smooth"
    assert found[2, steps, "bits"] == "supported"
    assert {verdict for (claim, *_), verdict in found.items() if claim > 2} == {"equivalent"}


def test_the_figures_name_metrics_and_models_in_words():
    section = CLAIMS["plane"]
    entry = {"metric": "c2st_auc", "pair": ["flows", "vae"]}
    assert report.measured(section, entry) == "classifier AUC: flows \u2212 VAE"
    for section in CLAIMS.values():
        for test in (test for claim in section["claims"] for test in claim["tests"]):
            for metric in test["metrics"]:
                metric_words, pair = report.measured(section, test | {"metric": metric}).split(": ")
                assert "_" not in metric_words + pair


# Flow matching


def test_exact_velocities_are_the_mean_velocities_of_the_kernels() -> None:
    """By the definition: the mean of (x_t's own) velocities, weighted by the kernels' densities."""
    about = flows.build(flows.FlowMatching(), (2,), members=2).description
    streams = numpy_generators(0, "initialize", range(2))
    population = matching.ExactVelocities((2,), streams, about, **about["settings"])
    rng = np.random.default_rng(0)
    population.centres = torch.from_numpy(rng.standard_normal((2, 5, 2)))
    population.level = torch.full((2, 1, 1), 0.3, dtype=torch.float64)
    points = torch.from_numpy(rng.standard_normal((2, 2, 4)))
    inputs, velocities = population.paths(points, numpy_generators(0, "train", range(2)))
    for m in range(2):
        for n in range(4):
            x, t = inputs[m, :2, n].numpy(), float((inputs[m, 2, n] + 1) / 2)
            centres = population.centres[m].numpy()
            spread = (1 - t) ** 2 + (0.3 * t) ** 2
            weights = np.exp(-((x - t * centres) ** 2).sum(1) / (2 * spread))
            slope = (t * 0.3**2 - (1 - t)) / spread
            own = centres + slope * (x - t * centres)
            expected = (weights[:, None] * own).sum(0) / weights.sum()
            np.testing.assert_allclose(velocities[m, :, n].numpy(), expected, rtol=1e-6, atol=1e-8)


def test_equal_cost_is_equal_operations_of_the_training() -> None:
    settings = {
        name: STUDY.cells[f"matching/ring/{name}"] for name in ("flow_matching", "nsf_equal_cost")
    }
    costs = {}
    for name, cell in settings.items():
        short = {"epochs": 4, "log_every": 4, "batch_size": 50}
        cell = {**cell, "training": {**cell["training"], **short}, "protocol": FEW}
        if "cost_of" in cell:
            other = cell["cost_of"]
            cell["cost_of"] = {**other, "training": {**other["training"], **short}}
        costs[name] = matching.network(**cell)
    ratio = costs["nsf_equal_cost"]["flops_training"] / costs["flow_matching"]["flops_training"]
    assert 0.85 < ratio < 1.15
    assert costs["flow_matching"]["flops_sample"] > 10 * costs["nsf_equal_cost"]["flops_sample"]
    assert costs["flow_matching"]["kl"].shape == costs["flow_matching"]["mode_tv"].shape == (2,)


def test_two_moons_have_no_misplaced_mass() -> None:
    found = matching.reference(
        "two_moons", "sharpened_kde", {"noise_factor": 1.5, "sharpen": 1.0}, FEW
    )
    assert "mode_tv" not in found
    assert np.isfinite(found["kl"]).all()


# Refits


def scored(log_q: Any, sd: float = 0.1, held_out: float = -1.0) -> refits.Scored:
    each = np.asarray(log_q, dtype=float)
    by_fold = np.stack([each - 0.2, each - 0.4], axis=1)
    return refits.Scored(each, np.full(len(each), sd), by_fold, held_out, level=-0.9)


def test_a_fit_is_compared_with_refits_and_with_the_truth_row_by_row() -> None:
    log_p = np.array([-1.0, -2.0, -3.0, -4.0])
    own = scored(log_p - [0.1, 0.1, 0.3, 0.3])
    near, far = scored(own.log_q + 0.15), scored(own.log_q - 0.5)
    found = refits.compared(own, [near, far], log_p)
    assert found["sd"] == pytest.approx(0.1)
    assert found["within"] == 0.5
    assert found["within_truth"] == 0.5
    assert found["away_truth"] == pytest.approx(0.2)
    assert found["factor"] == pytest.approx(5)
    assert found["kl"] == pytest.approx(0.2)
    # Out-of-fold rows are 0.1 below the truth, fresh rows 0.2, and 0.3 more without a fold
    assert found["optimism"] == pytest.approx(0.1)
    assert found["optimism_fold"] == pytest.approx(0.4)


@pytest.mark.usefixtures("short_recipe")
def test_a_fit_to_the_same_rows_is_within_every_spread() -> None:
    truth = mixtures.mixture(100, 2)
    drawn, points = (truth.sample(40, np.random.default_rng(seed)) for seed in (0, 1))
    first, second = (refits.fitted(truth, drawn, points, 1, 0) for _ in range(2))
    found = refits.compared(first, [second], truth.log_prob(points))
    assert found["within"] == 1
    assert found["away"] == 0
    assert found["kl"] > 0
    assert found["optimism_fold"] > found["optimism"] - 1e-9  # fewer members score lower


# All of it, tiny


def tiny() -> dict[str, Any]:
    few = yaml.safe_load((STUDY.folder / "params.yaml").read_text(encoding="utf-8"))
    few["protocol"] |= {**FEW, "first": 100, "replicates": 3, "train": 64}
    few["base"] |= {"epochs": 4, "log_every": 2, "batch_size": 32, "hidden": 8}
    few["couplings"] = [2, 3]
    few["equal"]["nsf"] = {"hidden": 9}
    few["curve"] = {"flows": {"couplings": 2}, "rows": [40, 80]}
    few["curve"]["references"] = {"bandwidths": 3, "fresh": 100}
    few["ablation"]["couplings"] = 2
    few["other_data"]["protocol"] = {"members": 2, "fresh": 300}
    few["other_data"]["targets"]["ring"]["seeds"] = [0, 1]
    few["mixtures"]["plane"] = {"first": 100, "count": 2, "members": 1, "rows": 64, "fresh": 300}
    few["mixtures"]["auto"] = {"members": 1, "rows": 40, "fresh": 300}
    few["mixtures"]["auto_seeds"]["count"] = 1
    few["refits"]["shared"] = {"rows": 40, "fits": 2, "members": 1, "fresh": 200}
    few["refits"] |= {"random": {"first": 100, "columns": [2]}, "tables": ["twonorm"]}
    few["images"]["protocol"] |= {"replicates": 2, "train": 80, "test": 30, "draws": 2}
    few["images"]["protocol"]["samples"] = 1
    for words in few["images"]["variants"].values():
        words["training"] = {**words["training"], "epochs": 1, "log_every": 1}
        settings = words.get("settings", {})
        if words["model"].endswith("_image"):
            words["settings"] = {**settings, "steps": [1] * len(settings.get("steps", "ab"))}
            words["settings"]["hidden"] = 4
    few["matching"]["protocol"] |= {**FEW, "train": 64}
    few["matching"]["exact_epochs"] = 2
    few["matching"]["models"]["nsf"] = {"hidden": 9}
    few["verdicts"] |= {"couplings": 2, "threshold": 3.0}
    return few


def test_a_tiny_study_ends_in_verdicts(
    tmp_path: Path, take_pipeline: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_pipeline(TINY)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny(), sort_keys=False), encoding="utf-8")
    monkeypatch.setitem(mixtures.KDE, "bandwidths", 3)
    monkeypatch.setattr(cells, "small", lambda _: ())
    study = engine.Study("claims", tmp_path)
    assert engine.run(study)
    assert list(study.table("images/learned_smooth")) == ["bits", "bits_iw"]
    assert {*study.table("images/vae"), "bits", "bits_iw"} == {*study.table("images/glow")}
    # One network of one cell fails: the failure is counted, and all other scores remain
    study.stored.rows[study.key("depth/glow/2")][1]["kl"] = "nan"
    with rc_context(STYLE):
        study.report()

    entries = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert all(tuple(entry) == ("section", *report.REPORTED) for entry in entries)
    asked = [
        (section["title"], number, metric, count)
        for section, count in zip(CLAIMS.values(), (3, 2, 2), strict=True)
        for number, claim in enumerate(section["claims"], 1)
        for test in claim["tests"]
        for metric in test["metrics"]
    ]
    keys = ("section", "claim", "metric", "replicates")
    assert [tuple(entry[key] for key in keys) for entry in entries] == asked
    failed = {tuple(entry[key] for key in keys[:3]): entry["failed"] for entry in entries}
    assert failed["In the plane", 5, "kl"] == 1
    for name in ("ablation", "curve", "depth", "forest", "forest_matching", "forest_images"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert all(f"**{entry['verdict']}**" in text for entry in entries)
    assert "3 replicates, data seeds 100 to 102." in text
