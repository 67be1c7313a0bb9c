"""The search for settings: its space, its folds, and that it comes to the same after a kill and with others at work."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from pipeline import ROOT, TINY

from flows.core import seeds
from flows.core.errors import UserError
from flows.core.settings import TrainingSettings
from flows.data.splits import holdout
from flows.networks import registry
from flows.training.trainer import Trainer
from stages.shared import files
from stages.shared import settings as pipeline
from studies.tuning import images, score, search, settings, tables
from studies.tuning.settings import ListSettings, SearchSettings, Values

PARAMS: dict[str, Any] = yaml.safe_load(TINY)
SPACE = {
    "train.noise_factor": {"low": 1.0, "high": 2.0},
    "models.glow.couplings": {"low": 2, "high": 4},
    "models.glow.transform": {"choices": ["affine", "spline"]},
}
STUDY = {
    "searches": {"glow": {"model": "glow", "space": SPACE, "folds": 4, "trials": 6}},
    "lists": {"flow": {"model": "realnvp", "seeds": [100], "members": 1, "fresh": 500, "cases": {"base": {}, "flat": {"train.noise": 0}}}},
    "images": {"model": "glow_image", "members": 1, "learn": 1300, "draws": 1, "training": {"epochs": 1}, "cases": {"base": {}}},
}
changed = settings.changed


# Settings


@pytest.mark.parametrize(
    ("values", "distribution"),
    [
        ({"low": 1.0, "high": 2}, FloatDistribution(1, 2)),
        ({"low": 0.001, "high": 0.1, "log": True}, FloatDistribution(0.001, 0.1, log=True)),
        ({"low": 2, "high": 16, "step": 2}, IntDistribution(2, 16, step=2)),
        ({"choices": ["auto", 0, 0.1]}, CategoricalDistribution(["auto", 0, 0.1])),
    ],
)
def test_a_space_is_in_the_words_of_optuna(values: dict[str, Any], distribution: Any) -> None:
    assert Values(**values).distribution() == distribution


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A top folder with tiny settings and a study of its own."""
    (tmp_path / "studies/tuning").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text(TINY, encoding="utf-8")
    (tmp_path / "studies/tuning/params.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("searches.glow.folds", 1, "searches.glow.folds = 1"),
        ("searches.glow.trails", 3, "searches.glow.trails is not a known key"),
        ("searches.glow.trials", "many", "searches.glow.trials = 'many'"),
        ("searches.glow.space", {}, "searches.glow.space"),
        ("searches.glow.space", {"a": {"low": 1}}, "searches.glow.space.a: give choices, or low and high"),
        ("searches.glow.space", {"a": {"low": 2, "high": 1}}, "searches.glow.space.a: give choices, or low and high"),
        ("searches.glow.space", {"a": {"low": "x", "high": 1}}, "searches.glow.space.a: give choices, or low and high"),
        ("searches.glow.space", {"a": {"choices": []}}, "searches.glow.space.a: give choices"),
        ("searches.glow.space", {"a": {"choices": [1], "low": 2}}, "searches.glow.space.a: give choices"),
        ("searches.../x", STUDY["searches"]["glow"], "../x"),
        ("lists.flow.seeds", [7, 100], "lists.flow: seeds = [7, 100]: must be at least 100 each"),
        ("lists.flow.cases", {}, "lists.flow.cases"),
        ("lists", 3, "lists = 3"),
    ],
)
def test_a_wrong_setting_of_the_study_is_one_line_that_names_it(folder: Path, name: str, value: Any, says: str) -> None:
    content = {**STUDY, "searches": {"../x": value}} if "../x" in name else changed(STUDY, {name: value})
    (folder / "studies/tuning/params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(says)) as error:
        settings.load()
    assert str(error.value).startswith("studies/tuning/params.yaml: ")
    assert "\n" not in str(error.value)


def test_the_settings_of_the_study_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings.load()


@pytest.mark.parametrize(
    ("model", "name", "values", "says"),
    [
        ("glow", "models.glow.cuplings", {"low": 2, "high": 3}, "cuplings is not a known key"),
        ("glow", "models.nice.couplings", {"low": 2, "high": 3}, "there is no section models.nice"),
        ("glow", "train.epochs.much", {"low": 2, "high": 3}, "there is no section train.epochs"),
        ("glow", "models.glow.couplings", {"low": 2.0, "high": 4}, "models.glow.couplings = 2.0"),
        ("glow", "models.glow.couplings", {"low": 0, "high": 4}, "models.glow.couplings = 0"),
        ("glow", "models.glow.transform", {"choices": ["affine", "nice"]}, "'nice'"),
        ("glow", "train.batch_size", {"low": 10, "high": 199}, "batch_size = 199"),
        ("glow", "models.realnvp.couplings", {"low": 2, "high": 3}, "changes nothing of glow"),
        ("glow", "data.seed", {"low": 2, "high": 3}, "changes nothing of glow"),
        ("gan", "train.epochs", {"low": 2, "high": 3}, "changes nothing of gan"),
    ],
)
def test_a_space_that_can_not_be_searched_is_an_error_before_anything_runs(model: str, name: str, values: dict[str, Any], says: str) -> None:
    params = changed(PARAMS, {"models.gan.epochs": 3, "train.log_every": 1})
    with pytest.raises(UserError, match=re.escape(says)) as error:
        search.Search(SearchSettings(model=model, space={name: values}), params, score.folds).check()
    assert "\n" not in str(error.value)


def test_changes_leave_the_original_alone_and_may_name_what_a_model_overrides() -> None:
    before = json.dumps(PARAMS)
    result = pipeline.check_all(changed(PARAMS, {"models.glow.noise": 0, "train.noise_factor": 2.0}))
    assert (result.training("glow").noise, result.training("realnvp").noise) == (0, "auto")
    assert result.training("glow").noise_factor == 2.0
    assert json.dumps(PARAMS) == before


# The scores


def test_folds_are_equal_parts_of_the_training_rows_and_never_touch_the_test_rows() -> None:
    checked = pipeline.check_all(PARAMS)
    rows = checked.data.make_truth().sample(checked.data.samples, seeds.numpy_generator(checked.data.seed, "generate"))
    train, test = holdout(rows, checked.prepare.test_rows(len(rows)), checked.prepare.seed)
    splits = score.split(checked, 3)  # 160 rows: one is left over
    assert [(len(learned), len(held_out)) for learned, held_out in splits] == [(107, 53)] * 3
    as_sets = [({tuple(row) for row in learned}, {tuple(row) for row in held_out}) for learned, held_out in splits]
    everything, hidden = {tuple(row) for row in train}, {tuple(row) for row in test}
    for learned, held_out in as_sets:
        assert not learned & held_out
        assert learned | held_out == everything
        assert not (learned | held_out) & hidden
    assert not as_sets[0][1] & as_sets[1][1]
    with pytest.raises(UserError, match="folds = 100: must be at most 80"):
        score.split(checked, 100)


def of_folds(model: str, folds: int, members: int) -> SearchSettings:
    return SearchSettings(model=model, space=SPACE, folds=folds, members=members)


def test_a_fold_is_scored_by_its_own_members_on_what_they_did_not_see() -> None:
    """Each member's score is the NLL of its own rows under its own network."""
    checked = pipeline.check_all(PARAMS)
    splits = score.split(checked, 4)
    population = score.train(checked, "realnvp", splits, 3, "test")
    result = score.folds(checked, of_folds("realnvp", 4, 3), "test")
    by_hand = np.empty((4, 3))
    for fold, (_, held_out) in enumerate(splits):
        by_hand[fold] = -score.likelihood.log_density(population, held_out)[:, 3 * fold : 3 * fold + 3].mean(axis=0)
    assert result["nll"] == pytest.approx(by_hand.mean())
    assert result["nll_sd"] == pytest.approx(by_hand.mean(axis=0).std(ddof=1))
    assert [result[f"nll_fold_{fold + 1}"] for fold in range(4)] == pytest.approx(by_hand.mean(axis=1).tolist())
    assert result["nll_ensemble"] <= result["nll"]  # Jensen
    assert result == score.folds(checked, of_folds("realnvp", 4, 3), "again")


def test_the_found_recipe_and_a_users_table_are_searched_too(folder: Path) -> None:
    """A population a fold, whose weights in the ensemble are its own, on the rows that ``prepare`` left."""
    checked = pipeline.check_all(changed(PARAMS, {"data.target": "table", "train.recipe": "found"}))
    with pytest.raises(UserError, match=r"data/prepared/train\.npy"):
        score.split(checked, 2)
    files.write_npy(files.TRAIN, np.random.default_rng(0).standard_normal((40, 2)))
    before = bowl().fingerprint()
    table = search.Search(bowl().content, changed(PARAMS, {"data.target": "table"}), Bowl())
    one = table.fingerprint()
    result = score.folds(checked, of_folds("realnvp", 2, 2), "test")
    assert result["nll"] < 4
    assert result["nll_ensemble"] != result["nll"]
    files.write_npy(files.TRAIN, np.zeros((40, 2)))
    assert table.fingerprint() != one
    assert bowl().fingerprint() == before


def test_a_gan_is_scored_by_its_samples() -> None:
    result = score.folds(pipeline.check_all(PARAMS), of_folds("gan", 2, 1), "test")
    assert set(result) == {"c2st_auc", "c2st_auc_sd", "parameters", "c2st_auc_fold_1", "c2st_auc_fold_2"}
    assert 0.5 < result["c2st_auc"] <= 1  # four epochs of training


def test_the_truth_is_the_pipelines_own_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score.samples, "classifier_auc", lambda *_: 0.75)  # a second and a half a member; the test before has it
    checked = pipeline.check_all(PARAMS)
    flow = ListSettings(model="realnvp", seeds=[100, 101], members=2, fresh=1000, samples=True, cases={"base": {}})
    result = score.truth(checked, flow, "test")
    assert {"kl", "kl_sd", "kl_ensemble", "kl_kde", "modes", "precision", "c2st_auc", "kl_seed_100", "kl_seed_101"} <= set(result)
    assert result["kl"] == pytest.approx((result["kl_seed_100"] + result["kl_seed_101"]) / 2)
    assert result["kl_ensemble"] <= result["kl"]
    gan = score.truth(checked, flow.model_copy(update={"model": "gan", "samples": False}), "test")
    assert "kl" not in gan
    assert gan["c2st_auc"] == gan["c2st_auc_seed_101"] == 0.75


# Images


def test_what_a_case_adds_is_seen_by_training_alone() -> None:
    """By the loss of every batch, and not by the points that curves are kept of."""
    rows = np.random.default_rng(0).integers(0, 17, (20, 1, 2, 2)).astype(float)
    seen: dict[str, list[torch.Tensor]] = {}
    for name, case in {"base": {}, "noise": {"noise": 2.0}, "shift": {"shift": 1.0}, "decay": {"decay": 0.5}}.items():
        network = registry.build("glow_image", (1, 2, 2), {"steps": [1], "hidden": 4, "dropout": 0.0, "input_dropout": 0.0}, members=2)
        images.regularise(network, settings.ImageCase(**case))
        trainer = Trainer(network, rows, TrainingSettings(epochs=1, batch_size=20))
        given: list[torch.Tensor] = []
        loss = network.loss
        network.loss = lambda z, program=None, given=given, loss=loss: (given.append(z), loss(z, program))[1]
        before = network.flatten().clone() if name == "decay" else None
        objective = network.objective(trainer.clean[0], seeds.numpy_generators(0, "train", range(2)))
        _, gradient = objective(trainer.clean[0])
        trainer.epoch()
        seen[name] = [given[-1], gradient, trainer.clean[0]]
        if before is not None:
            assert torch.allclose(gradient - seen["base"][1], 0.5 * before, atol=1e-5)
    base, noise, shift, decay = (seen[name][0] for name in ("base", "noise", "shift", "decay"))
    assert torch.equal(base, decay)
    assert torch.equal(shift, base.flip(3))  # of two columns, either way is the other one
    assert not torch.isclose(noise, base).any(dim=1).all()
    assert noise.abs().max() <= images.BOX
    assert all(torch.equal(seen["base"][2], each[2]) for each in seen.values())


# The search, with a score that costs nothing


class Bowl:
    """The smallest value is at a rate of 0.01 and 3 couplings. ``stop_after``: what then happens is a Ctrl-C. ``hole``: where it is not finite."""

    def __init__(self, stop_after: int | None = None, hole: int | None = None) -> None:
        self.left = stop_after
        self.hole = hole
        self.calls = 0

    def __call__(self, checked: pipeline.Settings, content: Any, name: str) -> dict[str, float]:
        if self.left is not None and self.calls == self.left:
            raise KeyboardInterrupt
        self.calls += 1
        couplings = checked.architecture("glow")["couplings"]
        off = np.log10(checked.training("glow").learning_rate / 0.01) ** 2 + 0.1 * abs(couplings - 3)
        off = float("nan") if couplings == self.hole else off
        return {"nll": off, "nll_sd": 0.1, "parameters": 10.0, "nll_fold_1": 0.9 * off, "nll_fold_2": 1.1 * off}


def bowl(score_: Any = None, trials: int = 30, seed: int = 0) -> search.Search:
    space = {"train.learning_rate": {"low": 0.0001, "high": 1.0, "log": True}, "models.glow.couplings": {"low": 2, "high": 8}}
    return search.Search(SearchSettings(model="glow", space=space, trials=trials, seed=seed), PARAMS, score_ or Bowl())


def test_the_search_finds_the_best_and_scores_the_settings_as_they_are() -> None:
    rows = bowl().run(optuna.create_study())
    assert list(rows["case"]) == ["now"] + [""] * 30
    assert rows["train.learning_rate"][0] == PARAMS["train"]["learning_rate"]
    best = rows.loc[rows["nll"].idxmin()]
    assert 0.005 < best["train.learning_rate"] < 0.02
    assert 2 <= best["models.glow.couplings"] <= 4
    # Better than as many points at random, by the sampler's own doing.
    assert rows["nll"][11:].median() < rows["nll"][1:11].median()


def test_a_search_that_was_stopped_comes_to_the_same_as_one_that_was_not() -> None:
    whole, parts = bowl().run(optuna.create_study()), optuna.create_study()
    for stop in (0, 3, 12):
        with pytest.raises(KeyboardInterrupt):
            bowl(Bowl(stop)).run(parts)
    last = Bowl()
    pd.testing.assert_frame_equal(bowl(last).run(parts), whole)
    assert last.calls == 31 - 15  # nothing that was finished is done again
    idle = Bowl()
    pd.testing.assert_frame_equal(bowl(idle).run(parts), whole)
    assert idle.calls == 0
    assert len(bowl(trials=33).run(parts)) == 34


def test_another_seed_tries_other_points_and_so_does_who_joins() -> None:
    rates = [
        set(bowl(trials=3, seed=seed).run(optuna.create_study(), join=join)["train.learning_rate"][1:])
        for seed, join in ((0, False), (1, False), (0, True))
    ]
    assert len(set.union(*rates)) == 9


def test_a_case_that_is_added_is_the_only_one_that_runs() -> None:
    study, few, many = optuna.create_study(), Bowl(), Bowl()

    def run(bowl_: Bowl, **cases: dict[str, Any]) -> pd.DataFrame:
        content = ListSettings(model="glow", seeds=[100], members=1, fresh=10, cases=cases)
        return search.Search(content, PARAMS, bowl_).run(study)

    run(few, base={}, deep={"models.glow.couplings": 7})
    rows = run(many, base={}, rate={"train.learning_rate": 0.1}, deep={"models.glow.couplings": 7})
    assert (few.calls, many.calls) == (2, 1)
    assert list(rows["case"]) == ["base", "rate", "deep"]
    assert rows["nll"].tolist() == pytest.approx([0.1 + np.log10(2) ** 2, 1.1, 0.4 + np.log10(2) ** 2])


def test_a_score_that_is_not_finite_stays_in_the_table_and_is_never_the_best(tmp_path: Path) -> None:
    tried = bowl(Bowl(hole=3))
    rows = tried.run(optuna.create_study())
    assert len(rows) == 31
    assert rows["nll"].isna().any()
    text = tables.search_text("bowl", tried.content, rows)
    assert "| nan" not in text.split("**now**")[1].splitlines()[1]
    assert "$ dvc exp run -S train.learning_rate=" in text
    tables.draw_search(tried.content, rows, tmp_path / "bowl.png")
    assert (tmp_path / "bowl.png").stat().st_size > 10_000


def test_changed_code_or_settings_do_not_share_what_was_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = bowl().fingerprint()
    assert bowl(trials=50).fingerprint() == before
    assert bowl(seed=1).fingerprint() != before
    assert search.Search(bowl().content, changed(PARAMS, {"train.clip": 2.0}), Bowl()).fingerprint() != before
    file = tmp_path / "code.py"
    file.write_text("1")
    monkeypatch.setattr(search, "CODE", [file])
    before = bowl().fingerprint()
    file.write_text("2")
    assert bowl().fingerprint() != before


@pytest.mark.parametrize("url", ["nosuch://host/x", "postgresql://localhost:1/x", "sqlite:////no/such/folder/x.db", f"sqlite:///{__file__}"])
def test_a_database_that_is_not_there_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(url)}: ") as error:
        search.opened(url, "a")
    assert "\n" not in str(error.value)


# The command


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "studies.tuning.search", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def finished(storage: Path) -> int:
    """Trials that are finished."""
    if not storage.exists():
        return 0
    with sqlite3.connect(f"file:{storage}?mode=ro", uri=True) as database:
        try:
            return database.execute("select count(*) from trials where state = 'COMPLETE'").fetchone()[0]
        except sqlite3.OperationalError:  # no table yet
            return 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "one of the arguments --search --list is required"),
        (["--search", "nice"], "searches has no nice; it has: glow"),
        (["--list", "nice"], "lists has no nice; it has: flow"),
    ],
)
def test_a_wrong_command_is_one_clear_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], says: str) -> None:
    monkeypatch.setattr(sys, "argv", ["search", *words])
    with pytest.raises((SystemExit, UserError)) as error:
        search.main()
    assert says in f"{error.value}{capsys.readouterr().err}"
    assert not (folder / "studies/tuning/store").exists()


def test_a_list_is_scored_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["search", "--list", "flow"])
    search.main()
    assert capsys.readouterr().out.count("KL from the truth (nat)") == 2
    made = (folder / "studies/tuning/results/lists/flow.csv").read_bytes()
    search.main()
    assert capsys.readouterr().out == ""
    assert (folder / "studies/tuning/results/lists/flow.csv").read_bytes() == made
    images.main("base")
    tables.main()
    tables.main("images")
    assert "| base | nothing |" in (folder / "studies/tuning/images.md").read_text(encoding="utf-8")
    assert "| flat | noise 0 |" in (folder / "studies/tuning/recipe.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_search_killed_at_any_moment_ends_in_the_same_bytes(folder: Path) -> None:
    made, storage = folder / "studies/tuning/results/searches/glow.csv", folder / "studies/tuning/store/searches/glow.db"
    whole = subprocess.run(command("--search", "glow"), env=environment(), capture_output=True, text=True, timeout=120, check=True)
    expected = made.read_bytes()
    made.unlink()
    storage.unlink()
    for wanted in (1, 3):
        process = subprocess.Popen(command("--search", "glow"), env=environment(), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while finished(storage) < wanted:
            assert process.poll() is None
            assert time.monotonic() < deadline, process.kill()
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not made.exists()
    again = subprocess.run(command("--search", "glow"), env=environment(), capture_output=True, text=True, timeout=120, check=True)
    assert "Warning" not in again.stderr
    assert made.read_bytes() == expected
    assert again.stdout.count("trial") < whole.stdout.count("trial")


def test_who_joins_does_a_share_of_the_trials() -> None:
    study, helper = optuna.create_study(), Bowl()

    class Interrupted(Bowl):
        def __call__(self, *words: Any) -> dict[str, float]:
            result = super().__call__(*words)
            if self.calls == 4:  # the third trial is on its way
                bowl(helper, trials=6).run(study, join=True)
            return result

    first = Interrupted()
    rows = bowl(first, trials=8).run(study)
    assert (first.calls, helper.calls) == (1 + 4, 4)
    assert len(rows["train.learning_rate"].unique()) == 1 + 8


@pytest.mark.slow
def test_two_processes_share_a_search(folder: Path) -> None:
    path = folder / "studies/tuning/params.yaml"  # more trials than they will come to
    path.write_text(path.read_text(encoding="utf-8").replace("trials: 6", "trials: 1000"), encoding="utf-8")
    both = []
    for words in ([], ["--join"]):
        both.append(subprocess.Popen(command("--search", "glow", *words), env=environment(), stdout=subprocess.PIPE, text=True))
        assert both[-1].stdout is not None
        assert any(line.startswith("trial") for line in both[-1].stdout)  # waits for the first; without one, the process has ended
    for process in both:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert [process.returncode for process in both] == [130, 130]
    glow = search.committed("searches", "glow")
    study = search.opened("sqlite:///studies/tuning/store/searches/glow.db", f"glow-{glow.fingerprint()}")
    done = len(study.get_trials(states=(TrialState.COMPLETE,)))
    assert done >= 2
    path.write_text(path.read_text(encoding="utf-8").replace("trials: 1000", f"trials: {done}"), encoding="utf-8")
    rows = search.committed("searches", "glow").run(study)
    assert list(rows["case"]) == ["now"] + [""] * done
    assert len(rows[list(SPACE)].drop_duplicates()) >= done
