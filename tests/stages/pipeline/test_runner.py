"""The command line of a stage, and the files that it restores."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline import TINY

from flows.core.errors import UserError
from stages import evaluate, prepare, reference, train
from stages.pipeline import runner
from tools import command


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


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
