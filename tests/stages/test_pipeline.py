"""The pipeline as a user runs it, with tiny settings.

`make test` runs it once in one process, and `make test-all` with DVC.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from pipeline import RESULTS, ROOT, TINY, Clone, expand, kill, paths, stages_run, text

PARAMS = yaml.safe_load(TINY)
PIPELINE = yaml.safe_load(text("dvc.yaml"))
STAGES = expand(PIPELINE, PARAMS)
# The keys of `metrics/<name>.json` in their order, on which readers of these files rely.
HEADLINE = ["test_nll", "test_nll_ci95", "kl", "kl_sd", "kl_ensemble", "modes"]
HEADLINE += ["precision", "recall", "c2st_auc"]
slow = pytest.mark.slow


# The declared pipeline


def test_every_model_of_the_settings_is_in_the_pipeline_and_its_artifact_is_written() -> None:
    models = yaml.safe_load(text("params.yaml"))["models"]
    assert sorted(PIPELINE["vars"][0]["code"]) == sorted(models)
    written = {path for stage in STAGES.values() for path in paths(stage.get("outs", []))}
    artifacts = {name: artifact["path"] for name, artifact in PIPELINE["artifacts"].items()}
    assert artifacts == {name: f"models/{name}.safetensors" for name in artifacts}
    assert {*artifacts.values()} <= written


def test_nothing_switches_off_the_run_cache_of_the_pipeline() -> None:
    """A file in Git under `outs`, and `persist` anywhere, switch off the run cache.

    A return to old settings would then train again.
    """
    for name, stage in STAGES.items():
        assert all(isinstance(entry, str) for entry in stage.get("outs", [])), name
        for entry in (*stage.get("metrics", []), *stage.get("plots", [])):
            (options,) = entry.values()
            assert options["cache"] is False, name
            assert "persist" not in options, name


# The small run of `make test`


def test_every_declared_output_is_there(small: Clone) -> None:
    kinds = ("outs", "metrics", "plots")
    entries = [stage.get(kind, []) for stage in STAGES.values() for kind in kinds]
    declared = [path for each in entries for path in paths(each)]
    assert len(declared) > 30
    assert [path for path in declared if not (small.folder / path).exists()] == []
    drawn, committed = (os.listdir(folder / "figures") for folder in (small.folder, ROOT))
    assert len(drawn) == len(committed)


@pytest.mark.parametrize("name", [*PARAMS["models"], *PARAMS["references"]])
def test_metrics_have_the_headline_keys_and_one_row_per_member(small: Clone, name: str) -> None:
    headline = json.loads(small.text(f"metrics/{name}.json"))
    assert list(headline) == HEADLINE
    rows = list(csv.DictReader(small.text(f"metrics/{name}/members.csv").splitlines()))
    members = dict.fromkeys(PARAMS["references"], 1) | dict.fromkeys(
        ["truth", *PARAMS["models"]], 3
    )
    assert len(rows) == members[name]
    known = ("kl", "precision", "recall", "c2st_auc")
    if name == "gan":  # it has no density
        assert [key for key in HEADLINE if headline[key] is None] == HEADLINE[:5]
        known = known[1:]
    for key in known:
        mean = sum(float(row[key]) for row in rows) / len(rows)
        assert headline[key] == pytest.approx(mean, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", PARAMS["models"])
def test_the_history_has_a_row_every_few_epochs_and_for_the_last_epoch(
    small: Clone, name: str
) -> None:
    header, *rows = small.text(f"metrics/{name}/history.csv").splitlines()
    nll = ("train_nll", "test_nll")
    others = {
        "gan": ("generator_loss", "discriminator_loss"),
        "flow_matching": ("train_loss", "test_loss", *nll),
    }
    curves = others.get(name, nll)
    assert header.split(",") == ["epoch", *(each + end for each in curves for end in ("", "_sd"))]
    settings = {**PARAMS["train"], **PARAMS["models"][name]}
    epochs, every = settings["epochs"], settings["log_every"]
    kept = sorted({*range(every, epochs + 1, every), epochs})
    assert [int(row.split(",")[0]) for row in rows] == kept


# The same with DVC


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Return the files that differ between two folders."""
    return [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]


@slow
def test_dvc_gives_the_bytes_of_one_process_with_two_threads(clone: Clone, small: Clone) -> None:
    left = changed(*(place.contents(*RESULTS[1:]) for place in (clone, small)))
    assert [name for name in left if "source" not in name] == []


@slow
def test_a_second_run_does_nothing_and_an_edit_of_one_model_changes_only_that_model(
    clone: Clone,
) -> None:
    assert "Data and pipelines are up to date." in clone.dvc("repro")
    assert clone.git("status", "--porcelain") == ""
    head, glow = clone.text("params.yaml").split("  glow:\n")
    edited = f"{head}  glow:\n{glow.replace('couplings: 2', 'couplings: 3', 1)}"
    (clone.folder / "params.yaml").write_text(edited, encoding="utf-8")
    assert clone.status() == {"train@glow", "rank", "plot"}


@slow
def test_switching_to_a_table_and_back_runs_no_stage_and_restores_all_bytes(
    finished: Clone, tmp_path: Path
) -> None:
    clone = finished.copy(tmp_path)
    before = clone.contents(*RESULTS)
    rows = np.random.default_rng(0).normal([170, 70], [10, 12], size=(150, 2))
    table = "".join(f"{height:.1f},{weight:.1f}\n" for height, weight in rows)
    (clone.folder / "data/source/rows.csv").write_text(f"height,weight\n{table}")
    clone.dvc("add", "data/source/rows.csv")
    clone.edit("target: ring", "target: table")
    assert "Glow" in clone.run(sys.executable, "-m", "tools.repro").stdout
    names = (*PARAMS["models"], *PARAMS["references"])
    headlines = {name: json.loads(clone.text(f"metrics/{name}.json")) for name in names}
    for key in ("kl", "kl_sd", "kl_ensemble", "modes"):
        assert {headline[key] for headline in headlines.values()} == {None}
    assert headlines["glow"]["test_nll"] is not None
    assert set(headlines["truth"].values()) == {None}
    drawn = {*os.listdir(clone.folder / "figures")}
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
    assert changed(before, clone.contents(*RESULTS)) == []
    assert clone.git("status", "--porcelain") == ""


@slow
def test_the_error_names_an_invalid_setting_and_no_tracked_file_is_lost(clone: Clone) -> None:
    before = clone.contents(*RESULTS)
    clone.edit("  vae:\n    hidden: 8", "  vae:\n    hidden: eight")
    said = clone.run("dvc", "repro", check=False, merge=True).stdout
    assert len(re.findall(r"^train: params\.yaml: models\.vae\.hidden = 'eight'", said, re.M)) == 1
    assert "Traceback" not in said
    # DVC removes the model before it starts the stage, and restores it from its cache. Files in Git
    # are restored by the stage.
    assert changed(before, clone.contents(*RESULTS)) == ["models/vae.safetensors"]
    assert clone.git("status", "--porcelain") == " M params.yaml\n"
    clone.git("checkout", "--quiet", "params.yaml")
    assert stages_run(clone.dvc("repro")) == []
    assert changed(before, clone.contents(*RESULTS)) == []


@slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_run_that_is_killed_and_restarted_gives_the_same_bytes(
    clone: Clone, end: signal.Signals
) -> None:
    before = clone.contents(*RESULTS)
    history, output = clone.folder / "metrics/glow/history.csv", clone.folder.parent / "output"
    history.unlink()
    clone.edit("epochs: 6", "epochs: 1000000")  # training must last until the signal
    process = clone.start("dvc", "repro", "--single-item", "train@glow", output=output)
    try:
        deadline = time.monotonic() + 120
        while not history.is_file() or history.read_bytes().count(b"\n") < 5:
            assert process.poll() is None, output.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "training didn't start"
            time.sleep(0.01)
        if end == signal.SIGINT:
            os.killpg(process.pid, end)
            assert process.wait(60) > 0
            said = output.read_text(encoding="utf-8")
            assert "train: stopped" in said
            assert "Traceback" not in said
    finally:
        kill(process)
    assert not list(clone.folder.glob("models/glow*"))
    clone.edit("epochs: 1000000", "epochs: 6")
    # DVC's cache holds the result, but after a first run that was killed it would not, so it is
    # removed.
    for out in yaml.safe_load(clone.text("dvc.lock"))["stages"]["train@glow"]["outs"]:
        cached = clone.folder / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
        cached.unlink(missing_ok=True)
    assert stages_run(clone.dvc("repro")) == ["train@glow"]
    assert changed(before, clone.contents(*RESULTS)) == []
    assert clone.git("status", "--porcelain") == ""


# The commands of docs/dvc-recipes.md, one after another

# `make compare` is in test_compare.py, a table above.
LEFT_OUT = ("make compare", "dvc remote add --default store s3:", "dvc remote modify")
LEFT_OUT += ("cp ~/rows.csv", "dvc exp run -S data.target=table")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"^```console\n(.*?)^```", text("docs/dvc-recipes.md"), re.M | re.S)
    for line in block.splitlines()
    if line.startswith("$ ") and not line[2:].startswith(LEFT_OUT)
]


@slow
def test_every_command_of_the_page_works(finished: Clone, tmp_path: Path) -> None:
    clone, new, log = finished.copy(tmp_path), Clone(tmp_path / "new"), tmp_path / "log"
    clone.dvc("exp", "remove", "--all-commits")  # experiments of other tests
    for command in COMMANDS:
        command = command.replace("/srv/", f"{tmp_path}/")
        command = command.replace(
            "clone ... new && cd new", f"clone . {new.folder} && cd {new.folder}"
        )
        # The output goes to a file, because the workers of the queue keep it open, and a command
        # would wait for them through a pipe.
        process = clone.start("bash", "-c", command, output=log)
        status, deadline = process.wait(900), time.monotonic() + 900
        if "queue start" in command:
            # Two workers that start at the same moment may never end.
            while re.search("Queued|Running", clone.dvc("queue", "status")):
                assert time.monotonic() < deadline
                time.sleep(3)
            kill(process)
        assert (status != 0) == ("# CONFLICT" in command), f"{command}\n{log.read_text()}"
    assert clone.git("diff", "--name-only", "deeper") == ".dvc/config\n"
    for each in (clone, new):
        assert each.git("status", "--porcelain") == ""
    assert new.contents(*RESULTS) == clone.contents(*RESULTS)
