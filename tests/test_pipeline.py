"""The pipeline as a user runs it: ``dvc repro`` in a repository of its own, with tiny settings."""

from __future__ import annotations

import csv
import json
import re
import time

import pytest
import yaml
from pipeline import RESULTS, ROOT, SETTINGS, Clone, expand, kill, paths, stages_run

pytestmark = pytest.mark.slow

PARAMS = yaml.safe_load(SETTINGS)
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = expand(PIPELINE, PARAMS)
HEADLINE = ["test_nll", "test_nll_ci95", "kl", "kl_sd", "kl_ensemble", "modes", "precision", "recall", "c2st_auc"]


def test_every_declared_output_is_there(clone: Clone):
    declared = [path for stage in STAGES.values() for kind in ("outs", "metrics", "plots") for path in paths(stage.get(kind, []))]
    assert len(declared) > 30
    assert [path for path in declared if not (clone.folder / path).is_file()] == []


@pytest.mark.parametrize("name", [*PARAMS["models"], *PARAMS["references"]])
def test_metrics_have_the_headline_keys_and_a_row_a_member(clone: Clone, name: str):
    headline = json.loads(clone.text(f"metrics/{name}.json"))
    assert list(headline) == HEADLINE
    rows = list(csv.DictReader(clone.text(f"metrics/{name}/members.csv").splitlines()))
    members = {"truth": PARAMS["references"]["truth"]["draws"], "gmm": 1, "kde": 1}.get(name, PARAMS["train"]["members"])
    assert len(rows) == members
    known = ("kl", "precision", "recall", "c2st_auc")
    if name == "gan":  # without a density
        assert [key for key in HEADLINE if headline[key] is None] == HEADLINE[:5]
        known = known[1:]
    for key in known:
        mean = sum(float(row[key]) for row in rows) / members
        assert headline[key] == pytest.approx(mean, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", [*PARAMS["models"]])
def test_the_history_has_a_row_every_few_epochs(clone: Clone, name: str):
    header, *rows = clone.text(f"metrics/{name}/history.csv").splitlines()
    curves = ("generator_loss", "discriminator_loss") if name == "gan" else ("train_nll", "test_nll")
    assert header == ",".join(["epoch", *(column for curve in curves for column in (curve, f"{curve}_sd"))])
    every, epochs = PARAMS["train"]["log_every"], PARAMS["models"][name].get("epochs", PARAMS["train"]["epochs"])
    assert [int(row.split(",")[0]) for row in rows] == list(range(every, epochs + 1, every))


def test_every_model_of_the_settings_has_its_line_in_the_pipeline():
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert list(PIPELINE["vars"][0]["code"]) == list(params["models"])


@pytest.mark.parametrize("name", STAGES)
def test_declared_dependencies_are_the_modules_that_a_stage_imports(clone: Clone, name: str):
    words = STAGES[name]["cmd"].removeprefix("python -m ")
    imported = {path for path in (clone.imports / words).read_text().splitlines() if (clone.folder / path).is_file()}
    declared: set[str] = set()
    for path in paths(STAGES[name]["deps"]):
        place = clone.folder / path
        declared |= {str(file.relative_to(clone.folder)) for file in ([place] if place.is_file() else place.rglob("*.py")) if file.suffix == ".py"}
    empty = {path for path in imported if not clone.text(path)}  # a file that says nothing changes nothing
    assert sorted(imported - declared - empty) == [], "imported, but not among the deps in dvc.yaml"
    assert sorted(declared - imported) == [], "among the deps in dvc.yaml, but never imported"


def test_a_second_run_does_nothing_and_leaves_a_clean_tree(clone: Clone):
    assert stages_run(clone.dvc("repro")) == []
    assert "up to date" in clone.dvc("status", "dvc.yaml")
    assert clone.git("status", "--porcelain") == ""


def test_an_edit_of_one_model_changes_that_model_alone(clone: Clone):
    head, glow = clone.text("params.yaml").split("  glow:\n")
    (clone.folder / "params.yaml").write_text(f"{head}  glow:\n{glow.replace('couplings: 2', 'couplings: 3')}", encoding="utf-8")
    assert list(json.loads(clone.dvc("status", "dvc.yaml", "--json"))) == ["train@glow"]
    assert stages_run(clone.dvc("repro", "--dry")) == ["train@glow"]  # a dry run doesn't look further than the first change


def test_an_experiment_reruns_one_model_shows_one_line_changed_and_is_undone_without_running_anything(clone: Clone):
    before = clone.contents(*RESULTS)
    assert stages_run(clone.dvc("exp", "run", "-S", "models.glow.hidden=9")) == ["train@glow", "evaluate@glow", "plot"]
    changed = json.loads(clone.dvc("params", "diff", "--json"))
    assert changed == {"params.yaml": {"models.glow.hidden": {"old": 8, "new": 9, "diff": 1}}}
    lines = [line for line in clone.git("diff", "--unified=0", "params.yaml").splitlines() if re.match(r"[+-][^+-]", line)]
    assert lines == ["-    hidden: 8", "+    hidden: 9"]
    assert "kl" in json.loads(clone.dvc("metrics", "diff", "--json"))["metrics/glow.json"]
    clone.git("checkout", "--quiet", "params.yaml")
    assert stages_run(clone.dvc("repro")) == []
    assert clone.contents(*RESULTS) == before
    assert clone.git("status", "--porcelain") == ""


def test_a_run_killed_in_mid_training_and_started_again_ends_in_the_same_bytes(clone: Clone):
    before = clone.contents(*RESULTS)
    history, checkpoint = clone.folder / "metrics/glow/history.csv", clone.folder / "models/glow.safetensors"
    history.unlink()
    process = clone.start("dvc", "repro", "--force", "--single-item", "train@glow")
    deadline = time.monotonic() + 60
    while not history.is_file() or history.read_bytes().count(b"\n") < 5:
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline, "training didn't start"
        time.sleep(0.01)
    kill(process)
    assert not checkpoint.exists()
    # DVC's cache holds the result. A user whose first run was killed has no such help, so it must do without.
    for out in yaml.safe_load(clone.text("dvc.lock"))["stages"]["train@glow"]["outs"]:
        (clone.folder / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]).unlink(missing_ok=True)
    assert stages_run(clone.dvc("repro")) == ["train@glow"]
    assert clone.contents(*RESULTS) == before
    assert clone.git("status", "--porcelain") == ""


def test_a_forced_rerun_with_two_threads_gives_the_bytes_of_the_first_with_one(clone: Clone):
    before = clone.contents(*RESULTS)
    assert sorted(stages_run(clone.dvc("repro", "--force", threads=2))) == sorted(STAGES)
    after = clone.contents(*RESULTS)
    assert sorted(after) == sorted(before)
    assert [name for name in before if before[name] != after[name]] == []
    assert clone.git("status", "--porcelain") == ""


def test_no_tracked_file_holds_a_path_of_this_machine_or_a_time(clone: Clone):
    place = re.compile(rb"(?<![\w.*-])/(tmp|work|root|home|Users)/|" + re.escape(str(clone.folder).encode()))
    moment = re.compile(rb"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d")
    for name in clone.git("ls-files").splitlines():
        content = (clone.folder / name).read_bytes()
        for pattern in (place, moment):
            found = pattern.search(content)
            assert not found, f"{name} holds {content[max(0, found.start() - 40) : found.end() + 40]!r}"
