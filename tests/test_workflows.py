"""The everyday work with DVC, each way of it run for real: experiments, a grid, branches, a merge, going back, remotes.

Two populations are trained for all of it, Glow with 3 couplings and with 4. Every test has a copy of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pipeline import RESULTS, Clone, kill, stages_run

pytestmark = pytest.mark.slow

GLOW = ["train@glow", "evaluate@glow", "plot"]
TWO, THREE, FOUR = ("  glow:\n    epochs: 150\n    couplings: " + couplings for couplings in "234")
# Without these, `dvc exp show` has a column for every setting and every file of every pipeline: thousands of characters.
READABLE = ("--only-changed", "--drop", r"(?!Exp|models\.|.*:(kl|c2st_auc)$)")


@pytest.fixture(scope="module")
def experiment(finished: Clone, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, str]:
    """A clone after the experiment ``three``, which is in its working tree too, and what DVC said."""
    clone = finished.copy(tmp_path_factory.mktemp("experiment"))
    clone.dvc("exp", "remove", "--all-commits")  # those of other tests
    return clone, clone.dvc("exp", "run", "--name", "three", "-S", "models.glow.couplings=3")


@pytest.fixture(scope="module")
def grid(experiment: tuple[Clone, str], tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with a clean working tree, after the experiment and a grid of two points by two workers of the queue."""
    clone = experiment[0].copy(tmp_path_factory.mktemp("grid"))
    clone.git("checkout", "--quiet", ".")
    clone.dvc("checkout")
    clone.dvc("exp", "run", "--queue", "--name", "grid", "-S", "models.glow.couplings=3,4")
    # Not by `Clone.dvc`: the workers keep the output of this command open, so that it would wait for them to end. And now and
    # then one never does: where two start at the same moment, either may write the list of those that hear the message to end
    # over the other's (`_queue_bind` of kombu's transport by files). Such a worker works, but `dvc queue stop` can't reach it.
    log = clone.folder.parent / "queue.log"
    start = clone.start("dvc", "queue", "start", "-j", "2", output=log)
    try:
        assert start.wait(300) == 0, log.read_text(encoding="utf-8")
        deadline = time.monotonic() + 600
        while re.search("Queued|Running", status := clone.dvc("queue", "status")) and time.monotonic() < deadline:
            time.sleep(2)
        assert status.count("Success") == 2, status + said_in_the_queue(clone)
    finally:
        kill(start)
    return clone


def said_in_the_queue(clone: Clone) -> str:
    """What the workers and their experiments said."""
    files = sorted((clone.folder / ".dvc/tmp/exps").rglob("*.out"))
    return "".join(f"\n{file.name}:\n{file.read_text(encoding='utf-8')}" for file in files)


@pytest.fixture
def clone(grid: Clone, tmp_path: Path) -> Clone:
    return grid.copy(tmp_path)


@pytest.fixture(scope="module")
def branches(grid: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with the branches ``three`` and ``four``, each with its results, which the run cache knows. It is on ``four``."""
    clone = grid.copy(tmp_path_factory.mktemp("branches"))
    for name, settings in (("three", THREE), ("four", FOUR)):
        clone.git("switch", "--quiet", "--create", name, "main")
        clone.edit(TWO, settings)
        assert stages_run(clone.dvc("repro")) == []
        clone.git("commit", "--quiet", "--all", "--message", name)
    return clone


def commit_of(clone: Clone, experiment: str) -> str:
    """An experiment is a commit that no branch holds."""
    refs = dict(line.split()[::-1] for line in clone.git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines())
    (found,) = (commit for name, commit in refs.items() if name.endswith(f"/{experiment}"))
    return found


def assert_finished(clone: Clone) -> None:
    """Nothing is left to run, and nothing to commit."""
    assert "Data and pipelines are up to date." in clone.dvc("repro")
    assert clone.git("status", "--porcelain") == ""


def test_an_experiment_trains_the_changed_model_alone(experiment: tuple[Clone, str]) -> None:
    clone, said = experiment
    assert stages_run(said) == GLOW
    assert json.loads(clone.dvc("params", "diff", "--json")) == {"params.yaml": {"models.glow.couplings": {"old": 2, "new": 3, "diff": 1}}}


def test_the_table_of_experiments_fits_into_120_columns(grid: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    for style in ((), ("--md",)):  # in a terminal DVC leaves out what doesn't fit, in Markdown it leaves out nothing
        table = grid.dvc("exp", "show", "--no-pager", *READABLE, *style)
        assert max(map(len, table.splitlines())) <= 120
        assert "…" not in table
        for word in ("metrics/glow.json:kl", "metrics/glow.json:c2st_auc", "models.glow.couplings", "main", "[three]", "[grid-1]", "[grid-2]"):
            assert table.count(word) == 1, word


def test_a_grid_in_the_queue_trains_what_is_new_and_gives_the_same_bytes(grid: Clone) -> None:
    assert stages_run(grid.dvc("queue", "logs", "grid-1")) == []  # 3 couplings are known
    assert sorted(stages_run(grid.dvc("queue", "logs", "grid-2"))) == sorted(GLOW)
    assert grid.git("diff", "--name-only", commit_of(grid, "three"), commit_of(grid, "grid-1")) == ""
    changed = grid.git("diff", "--name-only", "main", commit_of(grid, "grid-2")).splitlines()
    assert {"params.yaml", "dvc.lock", "metrics/glow.json"} <= set(changed)
    assert not [name for name in changed if "realnvp" in name]
    assert_finished(grid)  # the queue works in folders of its own


def test_an_experiment_becomes_the_working_tree(clone: Clone) -> None:
    clone.dvc("exp", "apply", "grid-2")
    assert FOUR in clone.text("params.yaml")
    assert clone.git("diff", commit_of(clone, "grid-2")) == ""
    assert "Data and pipelines are up to date." in clone.dvc("repro")


def test_an_experiment_becomes_a_branch(clone: Clone) -> None:
    clone.dvc("exp", "branch", "grid-2", "deeper")
    clone.git("switch", "--quiet", "deeper")
    clone.dvc("checkout")
    assert FOUR in clone.text("params.yaml")
    assert_finished(clone)


def test_the_working_tree_becomes_an_experiment(clone: Clone) -> None:
    clone.edit(TWO, THREE)
    assert stages_run(clone.dvc("repro")) == []
    # Without the name, DVC takes in the outputs of studies and benchmarks as well, and stops at the first that is not there.
    clone.dvc("exp", "save", "dvc.yaml", "--name", "kept")
    # DVC leaves a note to itself in what it saves (and not in what it runs).
    assert clone.git("diff", "--name-only", commit_of(clone, "three"), commit_of(clone, "kept"), "--", ".", ":!.dvc/tmp/repro.dat") == ""


def test_two_branches_are_compared_in_settings_metrics_and_pictures(branches: Clone, tmp_path: Path) -> None:
    clone = branches.copy(tmp_path)
    assert json.loads(clone.dvc("params", "diff", "main", "--json")) == {"params.yaml": {"models.glow.couplings": {"old": 2, "new": 4, "diff": 2}}}
    metrics = json.loads(clone.dvc("metrics", "diff", "main", "--json"))
    assert list(metrics) == ["metrics/glow.json"]
    old, new = (json.loads(text)["kl"] for text in (clone.git("show", "main:metrics/glow.json"), clone.text("metrics/glow.json")))
    assert metrics["metrics/glow.json"]["kl"] == pytest.approx({"old": old, "new": new, "diff": new - old})
    clone.dvc("plots", "diff", "main")
    page, static = clone.text("dvc_plots/index.html"), clone.folder / "dvc_plots/static"
    pictures = clone.git("ls-files", "figures").splitlines()
    assert len(pictures) == 9
    for name in pictures:
        flat = name.replace("/", "_")
        assert {f'src="static/{side}_{flat}"' in page for side in ("main", "workspace")} == {True}
        assert (static / f"workspace_{flat}").read_bytes() == (clone.folder / name).read_bytes()
        shown = subprocess.run(("git", "show", f"main:{name}"), cwd=clone.folder, capture_output=True, check=True).stdout
        assert (static / f"main_{flat}").read_bytes() == shown
    assert clone.git("status", "--porcelain") == ""


@pytest.mark.parametrize("lock", ["ours", "deleted"])
def test_a_merge_with_conflicts_is_settled_without_a_run(branches: Clone, tmp_path: Path, lock: str) -> None:
    clone = branches.copy(tmp_path)
    merge = clone.run("git", "merge", "three", check=False)
    assert merge.returncode
    conflicts = clone.git("diff", "--name-only", "--diff-filter=U").splitlines()
    assert {"params.yaml", "dvc.lock", "metrics/glow.json", "figures/summary.png"} <= set(conflicts)
    clone.git("checkout", "--theirs", "params.yaml")
    if lock == "ours":
        clone.git("checkout", "--ours", "dvc.lock")
    else:
        (clone.folder / "dvc.lock").unlink()
    assert stages_run(clone.dvc("repro")) == []
    clone.git("commit", "--quiet", "--all", "--message", "Merge")
    assert_finished(clone)
    if lock == "ours":
        assert clone.git("diff", "--name-only", "three") == ""
    else:  # the stages are written in another order
        assert clone.git("diff", "--name-only", "three") == "dvc.lock\n"
        assert yaml.safe_load(clone.git("show", "three:dvc.lock")) == yaml.safe_load(clone.text("dvc.lock"))


def test_there_and_back_runs_nothing_and_gives_the_same_bytes(clone: Clone, experiment: tuple[Clone, str]) -> None:
    before = clone.contents(*RESULTS)
    clone.edit(TWO, THREE)
    assert stages_run(clone.dvc("repro")) == []
    assert clone.contents(*RESULTS) == experiment[0].contents(*RESULTS)
    clone.edit(THREE, TWO)
    assert stages_run(clone.dvc("repro")) == []
    assert clone.contents(*RESULTS) == before
    assert clone.git("status", "--porcelain") == ""


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server on this machine that speaks S3, with a bucket ``bucket``."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "aws").touch()
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "aws"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    log = tmp_path / "server.log"
    with log.open("w") as stream:  # port 0 is any that is free
        server = subprocess.Popen((sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"), stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server didn't start"
            time.sleep(0.1)
        urllib.request.urlopen(urllib.request.Request(f"{found[0]}/bucket", method="PUT"), timeout=30).close()
        yield found[0]
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_new_clone_pulls_from_a_remote_and_runs_nothing(clone: Clone, tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    remote = [("add", "--default", "store", str(tmp_path / "store"))]
    if kind == "s3":
        remote = [("add", "--default", "store", "s3://bucket/store"), ("modify", "store", "endpointurl", request.getfixturevalue("bucket"))]
    new = Clone(tmp_path / "new", clone.imports)
    clone.git("clone", "--quiet", ".", str(new.folder))
    for verb, *words in remote:
        for place in (clone, new):
            place.dvc("remote", verb, "--local", *words)
    data = [name for name in clone.contents("data", "models") if not name.endswith(".gitignore")]
    assert f"{len(data)} files pushed" in clone.dvc("push", "dvc.yaml")
    assert not (set(data) & set(new.contents("data", "models")))
    new.dvc("pull", "dvc.yaml")
    assert_finished(new)
    assert new.contents(*RESULTS) == clone.contents(*RESULTS)
