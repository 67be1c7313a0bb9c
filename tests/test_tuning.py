"""The search for settings: its grammar, its folds, and that it comes to the same after a kill and with others at work."""

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
import pandas as pd
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from pipeline import ROOT, TINY

from flows import seeds
from flows.splits import holdout
from stages import settings
from stages.settings import Settings, UserError
from studies.tuning import score, search, space, store, tables
from studies.tuning.score import Folds, Truth

PARAMS: dict[str, Any] = yaml.safe_load(TINY)
WORDS = ["glow", "train.noise_factor=interval(1,2)", "models.glow.couplings=range(2,5)", "models.glow.transform=choice(affine,spline)"]
OPTIONS = ["--trials", "6", "--folds", "4", "--members", "2"]


# The grammar


def test_the_grammar_of_the_command_line() -> None:
    fixed, searched = space.parse(
        ["a.b=200", "a.c=spline", "a.d=interval(1,2)", "a.e=tag(log,interval(0.001,0.1))", "a.f=range(2,17,2)", "a.g=choice(auto,0,0.1)", "a.h=x,y"]
    )
    assert fixed == {"a.b": 200, "a.c": "spline"}
    assert searched == {
        "a.d": FloatDistribution(1, 2),
        "a.e": FloatDistribution(0.001, 0.1, log=True),
        "a.f": IntDistribution(2, 16, step=2),
        "a.g": CategoricalDistribution(["auto", 0, 0.1]),
        "a.h": CategoricalDistribution(["x", "y"]),
    }


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("train.noise", "write setting=value"),
        ("train.noise=interval(1,", "write setting=value"),
        ("+train.noise=1", "without \\+"),
        ("~train.noise", "without \\+"),
        ("train.noise=tag(lin,interval(1,2))", "the tag lin is not known"),
        ("train.noise=interval(2,1)", "interval"),
        ("train.noise=tag(log,interval(0,1))", "interval"),
        ("train.epochs=range(5,5)", "no number is in that range"),
        ("train.noise=range(0.1,0.5,0.1)", "whole numbers"),
        ("train.noise=choice([1],[2])", "words and numbers"),
    ],
)
def test_a_word_that_is_wrong_is_named_on_one_line(word: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        space.parse([word])
    assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_setting_named_twice_is_an_error() -> None:
    with pytest.raises(UserError, match="named twice"):
        space.parse(["train.noise=1", "train.noise=choice(0,1)"])


@pytest.mark.parametrize(
    ("model", "word", "says"),
    [
        ("glow", "models.glow.cuplings=range(2,4)", "cuplings is not a known key"),
        ("glow", "models.nice.couplings=range(2,4)", "there is no section models.nice"),
        ("glow", "train.epochs.much=range(2,4)", "there is no section train.epochs"),
        ("glow", "models.glow.couplings=interval(2,4)", "models.glow.couplings = 2.0"),
        ("glow", "models.glow.couplings=range(0,4)", "models.glow.couplings = 0"),
        ("glow", "models.glow.transform=choice(affine,nice)", "'nice'"),
        ("glow", "models.realnvp.couplings=range(2,4)", "changes nothing of glow"),
        ("glow", "data.seed=range(2,4)", "changes nothing of glow"),
        ("glow", "train.members=range(2,4)", "changes nothing of glow"),
        ("gan", "train.epochs=range(2,4)", "models.gan.epochs does, as it overrides train.epochs"),
    ],
)
def test_a_space_that_can_not_be_searched_is_an_error_before_anything_runs(model: str, word: str, says: str) -> None:
    params = space.changed(PARAMS, {"models.gan.epochs": 3, "train.log_every": 1})
    with pytest.raises(UserError, match=re.escape(says)) as error:
        space.check_space(params, model, space.parse([word])[1])
    assert "\n" not in str(error.value)


def test_changes_leave_the_original_alone_and_may_name_what_a_model_overrides() -> None:
    before = json.dumps(PARAMS)
    changed = settings.check(space.changed(PARAMS, {"models.glow.noise": 0, "train.noise_factor": 2.0}))
    assert (changed.training("glow").noise, changed.training("realnvp").noise) == (0, "auto")
    assert changed.training("glow").noise_factor == 2.0
    assert json.dumps(PARAMS) == before
    assert space.current(PARAMS, "models.glow.noise_factor") == PARAMS["train"]["noise_factor"]
    assert space.current(PARAMS, "models.glow.couplings") == PARAMS["models"]["glow"]["couplings"]


# The scores


def test_folds_are_equal_parts_of_the_training_rows_and_never_touch_the_test_rows() -> None:
    checked = settings.check(PARAMS)
    rows = checked.data.make_target().sample(checked.data.samples, seeds.numpy_generator(checked.data.seed, "generate"))
    train, test = holdout(rows, checked.prepare.test_rows(len(rows)), checked.prepare.seed)
    splits = Folds(3, 2).splits(checked)  # 160 rows: one is left over
    assert [(len(learned), len(held_out)) for learned, held_out in splits] == [(107, 53)] * 3
    as_sets = [({tuple(row) for row in learned}, {tuple(row) for row in held_out}) for learned, held_out in splits]
    everything, hidden = {tuple(row) for row in train}, {tuple(row) for row in test}
    for learned, held_out in as_sets:
        assert not learned & held_out
        assert learned | held_out == everything
        assert not (learned | held_out) & hidden
    assert not as_sets[0][1] & as_sets[1][1]


def test_a_fold_is_scored_by_its_own_members_on_what_they_did_not_see() -> None:
    """A kernel-like check: each member's score is the NLL of its own rows under its own network, trained alone on its fold."""
    checked = settings.check(PARAMS)
    folds = Folds(4, 3)
    population = score.train(checked, "realnvp", folds.splits(checked), 3, "test")
    result = folds(checked, "realnvp", "test")
    by_hand = np.empty((4, 3))
    for fold, (_, held_out) in enumerate(folds.splits(checked)):
        log_q = score.likelihood.log_density(population, held_out)[:, 3 * fold : 3 * fold + 3]
        by_hand[fold] = -log_q.mean(axis=0)
    assert result["nll"] == pytest.approx(by_hand.mean())
    assert result["nll_sd"] == pytest.approx(by_hand.mean(axis=0).std(ddof=1))
    assert [result[part] for part in folds.parts("nll")] == pytest.approx(by_hand.mean(axis=1).tolist())
    assert result["nll_ensemble"] <= result["nll"]  # Jensen
    assert result == folds(checked, "realnvp", "again")


def test_a_gan_is_scored_by_its_samples() -> None:
    checked = settings.check(PARAMS)
    folds = Folds(2, 1)
    result = folds(checked, "gan", "test")
    assert set(result) == {"c2st_auc", "c2st_auc_sd", "parameters", "c2st_auc_fold_1", "c2st_auc_fold_2"}
    assert 0.5 < result["c2st_auc"] <= 1  # four epochs of training


def test_the_truth_is_the_pipelines_own_divergence() -> None:
    checked = settings.check(PARAMS)
    result = Truth((100, 101), 2, 1000, samples=True)(checked, "vae", "test")
    assert {"kl", "kl_sd", "kl_ensemble", "kl_kde", "modes", "precision", "c2st_auc", "kl_seed_100", "kl_seed_101"} <= set(result)
    assert result["kl"] == pytest.approx((result["kl_seed_100"] + result["kl_seed_101"]) / 2)
    assert result["kl_ensemble"] <= result["kl"]
    assert "kl" not in Truth((100,), 1, 1000)(checked, "gan", "test")


def test_what_can_not_be_scored_is_an_error() -> None:
    checked = settings.check(PARAMS)
    with pytest.raises(UserError, match="--folds = 100: must be at most 80"):
        Folds(100, 1).check(checked, "glow")
    with pytest.raises(UserError, match="batch_size = 64: must be at most the 53 rows"):
        Folds(2, 1).check(settings.check(space.changed(PARAMS, {"prepare.test_fraction": 0.47})), "glow")


# The search, with a score that costs nothing


class Bowl:
    """The smallest value is at a rate of 0.01 and 3 couplings. ``stop_after``: what then happens is a Ctrl-C."""

    members = 1

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = stop_after
        self.calls = 0

    def __repr__(self) -> str:
        return "Bowl"

    def metric(self, model: str) -> str:
        return "nll"

    def parts(self, metric: str) -> list[str]:
        return ["nll_fold_1", "nll_fold_2"]

    def check(self, checked: Settings, model: str) -> None:
        pass

    def __call__(self, checked: Settings, model: str, name: str) -> dict[str, float]:
        if self.left is not None and self.calls == self.left:
            raise KeyboardInterrupt
        self.calls += 1
        off = np.log10(checked.training(model).learning_rate / 0.01) ** 2 + 0.1 * abs(checked.architecture(model)["couplings"] - 3)
        return {"nll": off, "nll_sd": 0.1, "parameters": 10.0, "nll_fold_1": 0.9 * off, "nll_fold_2": 1.1 * off}


def bowl(bowl_score: Any = None, trials: int = 30, seed: int = 0, **cases: dict[str, Any]) -> search.Search:
    _, searched = space.parse(["train.learning_rate=tag(log,interval(0.0001,1))", "models.glow.couplings=range(2,9)"])
    return search.Search("bowl", "glow", PARAMS, bowl_score or Bowl(), cases or {search.NOW: {}}, searched, trials, seed)


def test_the_search_finds_the_best_and_scores_the_settings_as_they_are(tmp_path: Path) -> None:
    rows = bowl().run(str(tmp_path / "bowl.journal"))
    assert len(rows) == 31
    assert list(rows["case"]) == ["now"] + [""] * 30
    assert rows["train.learning_rate"][0] == PARAMS["train"]["learning_rate"]
    best = rows.loc[rows["nll"].idxmin()]
    assert 0.005 < best["train.learning_rate"] < 0.02
    assert 2 <= best["models.glow.couplings"] <= 4
    # Better than as many points at random, by the sampler's own doing.
    assert rows["nll"][11:].median() < rows["nll"][1:11].median()


def test_a_search_that_was_stopped_comes_to_the_same_as_one_that_was_not(tmp_path: Path) -> None:
    whole = bowl().run(str(tmp_path / "whole.journal"))
    for stop in (0, 3, 12):
        with pytest.raises(KeyboardInterrupt):
            bowl(Bowl(stop)).run(str(tmp_path / "parts.journal"))
    last = Bowl()
    pd.testing.assert_frame_equal(bowl(last).run(str(tmp_path / "parts.journal")), whole)
    assert last.calls < 31 - 15 + 1  # nothing that was finished is done again
    idle = Bowl()
    pd.testing.assert_frame_equal(bowl(idle).run(str(tmp_path / "parts.journal")), whole)
    assert idle.calls == 0
    assert len(bowl(trials=33).run(str(tmp_path / "parts.journal"))) == 34


def test_another_seed_tries_other_points(tmp_path: Path) -> None:
    one, other = (bowl(trials=3, seed=seed).run(str(tmp_path / "bowl.journal")) for seed in (0, 1))
    assert not set(one["train.learning_rate"][1:]) & set(other["train.learning_rate"][1:])


def test_a_case_that_is_added_is_the_only_one_that_runs(tmp_path: Path) -> None:
    def cases(bowl_score: Bowl, **changes: dict[str, Any]) -> pd.DataFrame:
        return search.Search("bowl", "glow", PARAMS, bowl_score, changes, {}).run(str(tmp_path / "bowl.journal"))

    few, many = Bowl(), Bowl()
    cases(few, base={}, deep={"models.glow.couplings": 7})
    rows = cases(many, base={}, rate={"train.learning_rate": 0.1}, deep={"models.glow.couplings": 7})
    assert (few.calls, many.calls) == (2, 1)
    assert list(rows["case"]) == ["base", "rate", "deep"]
    assert rows["nll"].tolist() == pytest.approx([0.1 + np.log10(2) ** 2, 1.1, 0.4 + np.log10(2) ** 2])


def test_a_score_that_is_not_finite_stays_in_the_table_and_is_never_the_best(tmp_path: Path) -> None:
    class Hole(Bowl):
        def __call__(self, checked: Settings, model: str, name: str) -> dict[str, float]:
            result = super().__call__(checked, model, name)
            return {**result, "nll": float("nan")} if checked.architecture(model)["couplings"] == 3 else result

    rows = bowl(Hole()).run(str(tmp_path / "bowl.journal"))
    assert len(rows) == 31
    assert rows["nll"].isna().any()
    assert "| nan" not in tables.table(rows, bowl(Hole()), "").split("**now**")[1].splitlines()[1]


def test_changed_code_or_settings_do_not_share_what_was_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = bowl().study_names()
    assert bowl(trials=50).study_names() == names
    assert not set(bowl(seed=1).study_names()[1:]) & set(names)
    other = search.Search("bowl", "glow", space.changed(PARAMS, {"train.clip": 2.0}), Bowl(), {}, bowl().space)
    assert not set(other.study_names()) & set(names)
    file = tmp_path / "code.py"
    file.write_text("1")
    monkeypatch.setattr(store, "CODE", [file])
    before = bowl().study_names()
    file.write_text("2")
    assert not set(bowl().study_names()) & set(before)


# The storage


def test_the_first_at_work_puts_right_what_was_left_behind_and_others_do_not(tmp_path: Path) -> None:
    path = str(tmp_path / "s.journal")
    with store.studies(path, ["a"]) as ((study,), first):
        assert first
        study.ask()
        with store.studies(path, ["a"]) as ((same,), second):
            assert not second
            assert [trial.state for trial in same.get_trials()] == [TrialState.RUNNING]
    with Path(path).open("a") as file:
        file.write('{"op_code": 4, "wor')  # killed while it wrote
    Path(path + ".lock").symlink_to(path)
    with store.studies(path, ["a"]) as ((study,), first):
        assert first
        assert [trial.state for trial in study.get_trials()] == [TrialState.FAIL]
        study.ask()
    with store.studies(path, ["a"]) as ((study,), _):
        assert len(study.get_trials()) == 2


def test_a_database_will_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    assert len(bowl(trials=4).run(url)) == 5
    idle = Bowl()
    assert len(bowl(idle, trials=4).run(url)) == 5
    assert idle.calls == 0
    with sqlite3.connect(tmp_path / "shared.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (5,)


def test_a_file_that_is_something_else_is_one_line_and_stays_as_it_is(tmp_path: Path) -> None:
    for content in ("a,b\n1,2", "[1]\n", "{}\n"):
        (tmp_path / "table.csv").write_text(content)
        with pytest.raises(UserError, match="holds something else") as error, store.studies(str(tmp_path / "table.csv"), ["a"]):
            pass
        assert "\n" not in str(error.value)
        assert (tmp_path / "table.csv").read_text() == content


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    bowl(trials=2).run(str(path))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], lines[3][:20] + "\n", *lines[4:]]))
    with pytest.raises(UserError, match="is damaged") as error:
        bowl(trials=2).run(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["nosuch://host/x", "postgresql://localhost:1/x", "sqlite:////no/such/folder/x.db"])
def test_a_database_that_is_not_there_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match=f"--storage {re.escape(url)}: ") as error, store.studies(url, ["a"]):
        pass
    assert "\n" not in str(error.value)


# The command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(TINY, encoding="utf-8")
    return tmp_path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "studies.tuning.search", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)


def finished(storage: Path) -> int:
    """Trials of a journal that are finished."""
    return sum(json.loads(line).get("state") == TrialState.COMPLETE for line in storage.read_text().splitlines()) if storage.exists() else 0


@pytest.mark.slow
def test_a_search_killed_at_any_moment_ends_in_the_same_bytes(folder: Path) -> None:
    done = run(folder, *WORDS, *OPTIONS, "--name", "whole")
    assert done.returncode == 0, done.stderr
    results = folder / "studies/tuning/results/own"
    storage = folder / "studies/tuning/store/own/parts.journal"
    for wanted in (1, 3):
        process = subprocess.Popen(command(*WORDS, *OPTIONS, "--name", "parts"), cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while finished(storage) < wanted:
            assert process.poll() is None
            assert time.monotonic() < deadline, process.kill()
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (results / "parts.csv").exists()
    again = run(folder, *WORDS, *OPTIONS, "--name", "parts")
    assert again.returncode == 0, again.stderr
    assert "Warning" not in again.stderr
    assert (results / "parts.csv").read_bytes() == (results / "whole.csv").read_bytes()
    assert again.stdout.count("trial") < done.stdout.count("trial")
    text = (results / "parts.md").read_text(encoding="utf-8")
    assert "| **now** |" in text
    assert "$ dvc exp run -S train.noise_factor=" in text
    assert (results / "parts.png").stat().st_size > 10_000


@pytest.mark.slow
def test_two_at_once_share_the_work(folder: Path) -> None:
    options = ["--trials", "24", "--folds", "4", "--storage", "shared.journal"]  # enough that neither is done before the other begins
    both = [subprocess.Popen(command(*WORDS, *options), cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all("trial" in text for text in said)
    rows = pd.read_csv(folder / "studies/tuning/results/own/glow.csv")
    assert 24 <= rows["case"].isna().sum() <= 25  # the two may both see that one is left
    assert (rows["case"] == "now").sum() == 1
    assert len(rows[["train.noise_factor", "models.glow.couplings", "models.glow.transform"]].drop_duplicates()) >= 23


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nice", "train.noise=choice(0,1)"], "models.nice is not there; the models are: realnvp, glow, vae, gan"),
        (["glow"], "nothing to search"),
        (["glow", "train.nose=choice(0,1)"], "train.nose is not a known key"),
        (["glow", "train.batch_size=range(10,200)", "--folds", "2"], "batch_size = 199: must be at most the number of training rows, 160"),
        (["glow", "train.batch_size=range(10,100)", "--folds", "2"], "batch_size = 99: must be at most the 80 rows"),
        (["glow", "train.noise=choice(0,1)", "--name", "../x"], "'../x' must be of letters"),
        (["glow", "train.noise=choice(0,1)", "--trials", "0"], "'0' must be a whole number of at least 1"),
        ([], "name a model"),
    ],
)
def test_a_wrong_command_is_one_clear_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], says: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["search", *words])
    with pytest.raises((SystemExit, UserError)) as error:
        search.main()
    assert says in f"{error.value}{capsys.readouterr().err}"
    assert not (folder / "studies").exists()


# What is committed


@pytest.fixture
def top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_nothing_is_chosen_by_the_truth_of_low_seeds(top: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = yaml.safe_load((ROOT / "studies/tuning/params.yaml").read_text(encoding="utf-8"))["lists"]
    for name, content in lists.items():
        search.committed_list(name).check()
        if min(content["seeds"]) < score.FIRST_FREE_SEED:
            assert content["only_reported"]
            assert len(content["cases"]) <= 4
    content = {**lists["realnvp"], "seeds": [7, 100]}
    monkeypatch.setattr(search, "_content", lambda group, name: content)
    with pytest.raises(UserError, match="must be at least 100 each"):
        search.committed_list("realnvp")
