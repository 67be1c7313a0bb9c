"""The pipeline as a user runs it, with tiny settings.

Once in one process for `make test`, and by DVC for `make test-all`.
"""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from pipeline import RESULTS, ROOT, TINY, Clone, expand, kill, paths, stages_run
from test_dependencies import closure, file_of, has_code

PARAMS = yaml.safe_load(TINY)
STAGES = expand(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8")), PARAMS)
HEADLINE = [
    "test_nll",
    "test_nll_ci95",
    "kl",
    "kl_sd",
    "kl_ensemble",
    "modes",
    "precision",
    "recall",
    "c2st_auc",
]


# The small run of `make test`


def test_every_declared_output_is_there(small: Clone):
    declared = [
        path
        for stage in STAGES.values()
        for kind in ("outs", "metrics", "plots")
        for path in paths(stage.get(kind, []))
    ]
    assert len(declared) > 30
    assert [path for path in declared if not (small.folder / path).exists()] == []
    assert len(list((small.folder / "figures").iterdir())) == len(
        list((ROOT / "figures").iterdir())
    )


@pytest.mark.parametrize("name", [*PARAMS["models"], *PARAMS["references"]])
def test_metrics_have_the_headline_keys_and_a_row_a_member(small: Clone, name: str):
    headline = json.loads(small.text(f"metrics/{name}.json"))
    assert list(headline) == HEADLINE
    rows = list(csv.DictReader(small.text(f"metrics/{name}/members.csv").splitlines()))
    members = {
        **dict.fromkeys(PARAMS["references"], 1),
        "truth": PARAMS["references"]["truth"]["draws"],
    }.get(name, PARAMS["train"]["members"])
    assert len(rows) == members
    known = ("kl", "precision", "recall", "c2st_auc")
    if name == "gan":  # without a density
        assert [key for key in HEADLINE if headline[key] is None] == HEADLINE[:5]
        known = known[1:]
    for key in known:
        mean = sum(float(row[key]) for row in rows) / members
        assert headline[key] == pytest.approx(mean, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", PARAMS["models"])
def test_the_history_has_a_row_every_few_epochs_and_one_of_the_last(small: Clone, name: str):
    header, *rows = small.text(f"metrics/{name}/history.csv").splitlines()
    curves = (
        ("generator_loss", "discriminator_loss") if name == "gan" else ("train_nll", "test_nll")
    )
    assert header == ",".join(
        ["epoch", *(column for curve in curves for column in (curve, f"{curve}_sd"))]
    )
    settings = {**PARAMS["train"], **PARAMS["models"][name]}
    epochs, every = settings["epochs"], settings["log_every"]
    assert [int(row.split(",")[0]) for row in rows] == sorted(
        {*range(every, epochs + 1, every), epochs}
    )


def test_all_that_a_run_imports_is_in_the_graph_that_was_read_from_the_source(small: Clone):
    listed = [Path(name) for name in small.text("imported").splitlines()]
    imported = {
        str(path.relative_to(small.folder)) for path in listed if path.is_relative_to(small.folder)
    }
    commands = [stage["cmd"].removeprefix("python -m ").split() for stage in STAGES.values()]
    expected = set().union(*(closure(str(file_of(module)), words) for module, *words in commands))
    assert {path for path in imported - expected if has_code(path)} <= {
        "flows/__init__.py",
        "flows/targets/__init__.py",
    }
    assert expected & imported


def test_a_stage_that_refuses_its_settings_names_the_key_and_changes_nothing(
    small: Clone, tmp_path: Path
):
    settings, before = small.text("params.yaml"), small.contents(*RESULTS)
    small.edit("  vae:\n    hidden: 8", "  vae:\n    hiden: 8")
    done = small.run(sys.executable, "-m", "stages.train", "vae", check=False)
    (small.folder / "params.yaml").write_text(settings, encoding="utf-8")
    assert done.returncode == 1
    assert re.fullmatch(
        r"train: params\.yaml: models\.vae\.hiden is not a known key; "
        r"allowed in models\.vae: hidden, .*\n",
        done.stderr,
    )
    assert small.contents(*RESULTS) == before


# The same by DVC

slow = pytest.mark.slow


@slow
def test_dvc_ends_in_the_bytes_of_one_process_with_two_threads(clone: Clone, small: Clone):
    by_dvc, by_hand = (
        {name: each for name, each in place.contents(*RESULTS[1:]).items() if "source" not in name}
        for place in (clone, small)
    )
    assert sorted(by_dvc) == sorted(by_hand)
    assert [name for name in by_dvc if by_dvc[name] != by_hand[name]] == []


@slow
def test_a_second_run_does_nothing_and_leaves_a_clean_tree(clone: Clone):
    (clone.folder / ".venv").symlink_to(
        Path(sys.prefix)
    )  # as `make` would make one, or a link to another
    try:
        assert "Data and pipelines are up to date." in clone.dvc("repro")
        assert clone.git("status", "--porcelain") == ""
        # One that names a model would leave it untracked on every other branch.
        assert [
            path
            for path in clone.folder.rglob(".gitignore")
            if path.relative_to(clone.folder).parts[0] in RESULTS
        ] == []
    finally:
        (clone.folder / ".venv").unlink()


@slow
def test_an_edit_of_one_model_changes_that_model_alone(clone: Clone):
    head, glow = clone.text("params.yaml").split("  glow:\n")
    (clone.folder / "params.yaml").write_text(
        f"{head}  glow:\n{glow.replace('couplings: 2', 'couplings: 3', 1)}", encoding="utf-8"
    )
    assert clone.status() == {"train@glow"}


@slow
def test_a_number_may_be_written_with_an_exponent(clone: Clone):
    clone.edit("learning_rate: 0.005", "learning_rate: 5e-3")
    assert clone.status() == set()  # to DVC it is the same number
    clone.edit("learning_rate: 5e-3", "learning_rate: 4e-3")
    assert stages_run(clone.dvc("repro", "--single-item", "train@gan")) == ["train@gan"]
    (lock,) = (
        part
        for part in yaml.safe_load(clone.text("dvc.lock"))["stages"]["train@gan"]["params"].values()
    )
    assert lock["train"]["learning_rate"] == 0.004


@slow
def test_from_a_truth_to_a_table_and_back_runs_nothing_and_restores_every_byte(
    finished: Clone, tmp_path: Path
):
    clone = finished.copy(tmp_path)
    before = clone.contents(*RESULTS)
    rows = np.random.default_rng(0).normal([170, 70], [10, 12], size=(150, 2)).round(1)
    np.savetxt(
        tmp_path / "rows.csv", rows, fmt="%.1f", delimiter=",", header="height,weight", comments=""
    )
    clone.run(
        "bash", "-c", f"cp {tmp_path}/rows.csv data/source/ && dvc add data/source/rows.csv"
    )  # as docs/dvc-recipes.md says
    clone.edit("target: ring", "target: table")
    said = clone.run(sys.executable, "-m", "tools.repro").stdout
    assert "Glow" in said
    headlines = {
        name: json.loads(clone.text(f"metrics/{name}.json"))
        for name in (*PARAMS["models"], *PARAMS["references"])
    }
    assert {
        headline[key]
        for headline in headlines.values()
        for key in ("kl", "kl_sd", "kl_ensemble", "modes")
    } == {None}
    assert headlines["glow"]["test_nll"] is not None
    assert set(headlines["truth"].values()) == {None}
    drawn = {path.name for path in (clone.folder / "figures").iterdir()}
    figures = {Path(path).name for path in before if path.startswith("figures/")}
    assert drawn - figures == {"margins.png", "probability.png"}
    assert "modes.png" in figures - drawn
    assert {"density.png", "samples.png", "training.png", "layers.png"} <= drawn
    assert clone.status() == set()
    # And back.
    clone.git("checkout", "--quiet", "params.yaml")
    clone.dvc("remove", "data/source/rows.csv.dvc")
    (clone.folder / "data/source/rows.csv").unlink()
    assert stages_run(clone.dvc("repro")) == []
    after = clone.contents(*RESULTS)
    assert [
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    ] == []
    assert clone.git("status", "--porcelain") == ""


@slow
def test_a_run_killed_in_mid_training_and_started_again_ends_in_the_same_bytes(clone: Clone):
    before = clone.contents(*RESULTS)
    history, checkpoint = (
        clone.folder / "metrics/glow/history.csv",
        clone.folder / "models/glow.safetensors",
    )
    history.unlink()
    process = clone.start("dvc", "repro", "--force", "--single-item", "train@glow")
    deadline = time.monotonic() + 120
    while not history.is_file() or history.read_bytes().count(b"\n") < 5:
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline, "training didn't start"
        time.sleep(0.01)
    kill(process)
    assert not checkpoint.exists()
    # DVC's cache holds the result. A user whose first run was killed has no such help, so it must
    # do without.
    for out in yaml.safe_load(clone.text("dvc.lock"))["stages"]["train@glow"]["outs"]:
        (clone.folder / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]).unlink(
            missing_ok=True
        )
    assert stages_run(clone.dvc("repro")) == ["train@glow"]
    assert clone.contents(*RESULTS) == before
    assert clone.git("status", "--porcelain") == ""


@slow
def test_no_tracked_file_holds_a_path_of_this_machine_or_a_time(clone: Clone):
    place = re.compile(
        rb"(?<![\w.*-])/(tmp|work|root|home|Users)/|" + re.escape(str(clone.folder).encode())
    )
    moment = re.compile(rb"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d")
    for name in clone.git("ls-files").splitlines():
        content = (clone.folder / name).read_bytes()
        for pattern in (place, moment):
            found = pattern.search(content)
            assert not found, (
                f"{name} holds {content[max(0, found.start() - 40) : found.end() + 40]!r}"
            )
