"""The commands of the Makefile: one-line errors with a non-zero exit status, and make targets."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.core.errors import UserError
from tools import command, compare, markdown, table, verify

ROOT = Path(__file__).resolve().parents[2]
FULL = Path("/dev/full")  # every write fails as on a full disk, also for root
TALK = [
    sys.executable,
    "-c",
    "from tools import command; command.run('talk', lambda: print('word ' * 100_000))",
]


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_output_to_a_full_disk_gives_a_one_line_error():
    with FULL.open("w") as full:
        done = subprocess.run(TALK, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "talk: No space left on device\n")


def test_a_closed_pipe_gives_no_traceback():
    script = f"{shlex.join(TALK)} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_exit_status_of_a_command_is_the_result_of_main():
    with pytest.raises(SystemExit) as caught:
        command.run("repro", lambda: 3)
    assert caught.value.code == 3


def said(name: str) -> str:
    """Return the error line of a command that fails; check that there is no traceback."""
    with pytest.raises(SystemExit) as caught:
        command.run(
            name, lambda: verify.main([]) if name == "verify" else compare.main("HEAD", "HEAD")
        )
    line = caught.value.code
    assert isinstance(line, str)
    assert "\n" not in line
    return line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder outside of any repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.mark.parametrize("name", ["verify", "compare"])
def test_the_error_names_missing_files_and_programs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    assert "not a git repository" in said(name)
    monkeypatch.setenv("PATH", str(folder))
    assert said(name) == f"{name}: git: No such file or directory"


def test_a_repository_without_a_commit_cannot_be_verified(folder: Path):
    command.git("init", "--quiet")
    assert said("verify").startswith("verify: git log: your current branch")


@pytest.mark.parametrize("after", ["", "text\n<!-- other: a comment -->\n<!-- end -->\n"])
def test_a_document_without_an_end_mark_is_rejected(tmp_path: Path, after: str):
    path = tmp_path / "page.md"
    mark = table.MARK.format("scale")
    path.write_text(f"before\n{mark}\nold\n{after}", encoding="utf-8")
    with pytest.raises(UserError, match=r"page\.md: <!-- end --> is missing after <!-- scale: "):
        table.updated(path)


def test_make_prints_help_with_all_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = makefile.split(".PHONY: ")[1].splitlines()[0].split()
    words = ["make", "--no-print-directory"]
    lines = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in lines.splitlines()] == phony


def test_make_names_the_python_that_it_needs(tmp_path: Path):
    old = tmp_path / "python3.9"
    code = "import sys; sys.version_info = (3, 9, 6, 'final', 0); exec(sys.argv[2])"
    old.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{code}" "$@"\n')
    old.chmod(0o755)
    (tmp_path / "requirements.txt").touch()
    words = ["make", "--file", ROOT / "Makefile", "repro", f"PYTHON={old}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    said = f"this needs Python 3.11 or newer, and {old} is 3.9; name another one: make PYTHON="
    assert done.stderr.startswith(said)
    assert done.returncode != 0
    assert not (tmp_path / ".venv").exists()


def test_make_clean_keeps_the_users_table(tmp_path: Path):
    """Git ignores a table after `dvc add`, like the outputs of the pipeline."""
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


def test_a_markdown_table_aligns_columns_and_escapes_bars():
    rows = [["x", "1", "2"], ["y|z", "", "3"]]
    assert markdown.table(["", "a", "b"], rows, "lr").splitlines() == [
        "|  | a | b |",
        "|---|---:|---:|",
        "| x | 1 | 2 |",
        "| y\\|z |  | 3 |",
    ]


@pytest.mark.parametrize("before", ["/somewhere", None])
def test_subprocesses_find_the_commands_of_this_python_first(
    monkeypatch: pytest.MonkeyPatch, before: str | None
):
    monkeypatch.delenv("PATH")
    if before:
        monkeypatch.setenv("PATH", before)
    first, *others = command.environment()["PATH"].split(os.pathsep)
    assert first == str(Path(sys.executable).parent)
    assert others == (before or os.defpath).split(os.pathsep)
