"""The commands of the Makefile.

What goes wrong around them is one line and an exit status that is not 0.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import command, compare, markdown, verify

ROOT = Path(__file__).resolve().parents[1]
FULL = Path("/dev/full")  # every write to it fails as on a full disk, for root too
TALK = [
    sys.executable,
    "-c",
    "from tools import command; command.run('talk', lambda: print('word ' * 100_000))",
]


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_output_to_a_full_disk_is_one_line():
    with FULL.open("w") as full:
        done = subprocess.run(TALK, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "talk: No space left on device\n")


def test_a_reader_that_stops_reading_is_no_traceback():
    script = f"{shlex.join(TALK)} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_status_of_a_command_is_what_its_main_returns():
    with pytest.raises(SystemExit) as caught:
        command.run("repro", lambda: 3)
    assert caught.value.code == 3


def said(name: str) -> str:
    """What a command that fails says, in one line in place of a traceback."""
    with pytest.raises(SystemExit) as caught:
        command.run(name, {"compare": compare.main, "verify": verify.main}[name])
    line = caught.value.code
    assert isinstance(line, str)
    assert "\n" not in line
    return line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside of any repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(sys, "argv", ["compare", "HEAD", "HEAD"])
    return tmp_path


@pytest.mark.parametrize("name", ["verify", "compare"])
def test_what_is_missing_around_a_command_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    assert "not a git repository" in said(name)
    monkeypatch.setenv("PATH", str(folder))
    assert said(name) == f"{name}: git: No such file or directory"


def test_a_repository_without_a_commit_can_not_be_verified(folder: Path):
    command.git("init", "--quiet")
    assert said("verify").startswith("verify: git log: your current branch")


def test_make_help_names_every_target_and_is_what_make_alone_prints():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = makefile.split(".PHONY: ")[1].splitlines()[0].split()
    words = ["make", "--no-print-directory"]
    lines = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in lines.splitlines()] == phony


def test_make_clean_leaves_the_table_of_the_user(tmp_path: Path):
    """`dvc add` has Git ignore it, as it ignores what the pipeline makes."""
    made = ("data/raw.csv", "data/target.json", "data/prepared/train.csv", "models/nsf.safetensors")
    own = "data/source/rows.csv"
    for name in (*made, own):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / ".gitignore", tmp_path)
    (tmp_path / "data/source/.gitignore").write_text("/rows.csv\n", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    subprocess.run(["make", "--file", ROOT / "Makefile", "clean"], cwd=tmp_path, check=True)
    assert [name for name in (*made, own) if (tmp_path / name).exists()] == [own]


def test_a_table_in_markdown_has_its_columns_left_and_right_and_its_bars_escaped():
    rows = [["x", "1", "2"], ["y|z", "", "3"]]
    assert markdown.table(["", "a", "b"], rows, "lr").splitlines() == [
        "|  | a | b |",
        "|---|---:|---:|",
        "| x | 1 | 2 |",
        "| y\\|z |  | 3 |",
    ]


@pytest.mark.parametrize("before", ["/somewhere", None])
def test_what_is_started_finds_the_commands_of_this_python_first(
    monkeypatch: pytest.MonkeyPatch, before: str | None
):
    monkeypatch.delenv("PATH")
    if before:
        monkeypatch.setenv("PATH", before)
    first, *others = command.environment()["PATH"].split(os.pathsep)
    assert first == str(Path(sys.executable).parent)
    assert others == (before or os.defpath).split(os.pathsep)
