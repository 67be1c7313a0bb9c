"""The command line of a stage, and the files that it restores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT, TINY

from flows.core.errors import UserError
from stages import evaluate, prepare, reference, train
from stages.pipeline import runner
from tools import command


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def edited(old: str, new: str) -> str:
    assert old in TINY, old
    return TINY.replace(old, new, 1)


ODD = "figures/a plot;\n\u00e9.png"  # the name of a file, with unusual characters


@pytest.mark.parametrize(
    ("stage", "known"),
    [
        (train, "realnvp, glow"),
        (evaluate, "realnvp, glow"),
        (reference, "truth, independent, gaussian, gmm, kde, sharpened_kde"),
    ],
    ids=["train", "evaluate", "reference"],
)
def test_an_unknown_name_on_the_command_line_lists_the_known_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage, known: str
):
    written(tmp_path, TINY)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=known) as caught:
        stage.main("nothing")
    assert "nothing" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("stage", "words", "usage"),
    [
        (train, [], "python -m stages.train <model>"),
        (reference, ["gmm", "kde"], "python -m stages.reference <name>"),
        (prepare, ["glow"], "python -m stages.prepare"),
    ],
)
def test_too_few_or_too_many_arguments_show_the_usage(stage, words: list[str], usage: str):
    with pytest.raises(SystemExit, match=usage):
        runner.run(stage.main, [stage.__file__, *words])


@pytest.mark.slow
def test_a_stage_that_rejects_its_settings_restores_the_files_that_dvc_removed(tmp_path: Path):
    """DVC removes the outputs of a stage before the stage starts. Existing files are kept."""
    written(tmp_path, edited("members: 3", "members: 0"))
    for name in ("vae.json", "gan.json"):
        (tmp_path / "metrics").mkdir(exist_ok=True)
        (tmp_path / "metrics" / name).write_text("committed", encoding="utf-8")
    command.git("init", "--quiet", cwd=tmp_path)
    command.git("add", "--all", cwd=tmp_path)
    (tmp_path / "metrics/vae.json").unlink()
    (tmp_path / "metrics/gan.json").write_text("new", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "stages.evaluate", "vae"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "train.members = 0" in done.stderr
    assert command.git("status", "--porcelain", cwd=tmp_path).splitlines() == [
        "AM metrics/gan.json",
        "A  metrics/vae.json",
        "A  params.yaml",
    ]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Git repository with files in several folders; the test runs in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("metrics/vae.json", "metrics/gan.json", ODD, "notes.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("committed", encoding="utf-8")
    command.git("init", "--quiet")
    command.git("add", "--all")
    return tmp_path


def test_deleted_files_are_restored_and_changed_files_are_kept(checkout: Path) -> None:
    Path("metrics/gan.json").write_text("changed", encoding="utf-8")
    Path("metrics/new.json").write_text("untracked", encoding="utf-8")
    for name in ("metrics/vae.json", ODD, "notes.txt"):
        Path(name).unlink()
    runner.restore()
    found = {str(path): path.read_text("utf-8") for path in Path().glob("[!.]*/*")}
    assert found == {
        "metrics/vae.json": "committed",
        "metrics/gan.json": "changed",
        "metrics/new.json": "untracked",
        ODD: "committed",
    }
    assert not Path("notes.txt").exists()  # stages do not write to its folder


def test_a_file_that_is_written_after_git_listed_it_is_kept(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git, place = runner.git, Path("metrics/vae.json")

    def late(*words: str, given: bytes = b"") -> bytes:
        listed = git(*words, given=given)
        if words[0] == "ls-files":
            place.write_text("changed", encoding="utf-8")
        return listed

    place.unlink()
    Path("metrics/gan.json").unlink()
    monkeypatch.setattr(runner, "git", late)
    runner.restore()
    assert place.read_text(encoding="utf-8") == "changed"
    assert Path("metrics/gan.json").exists()


@pytest.mark.parametrize("installed", [True, False])
def test_outside_of_a_repository_or_without_git_nothing_is_restored(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    installed: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if not installed:
        monkeypatch.setenv("PATH", str(tmp_path))
    runner.restore()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
