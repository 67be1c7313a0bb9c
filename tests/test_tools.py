"""The commands of the Makefile: what goes wrong around them is one line and an exit status that is not 0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages import settings
from tools import command

ROOT = Path(__file__).resolve().parents[1]
FULL = Path("/dev/full")  # every write to it fails as on a full disk, for root too
GIT = {"GIT_CONFIG_GLOBAL": os.devnull}


def fails(words: list[str], folder: Path = ROOT, stdout: int | None = None, **environment: str) -> str:
    """What a command that fails says, in one line."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **GIT, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    lines = [line for line in f"{done.stdout or ''}{done.stderr}".splitlines() if "not committed; what is verified" not in line]
    assert len(lines) == 1, lines
    return lines[0]


def module(name: str) -> list[str]:
    return [sys.executable, "-m", f"tools.{name}", *(["HEAD", "HEAD", "--format", "md"] if name == "compare" else [])]


def limited(name: str, kilobytes: int) -> list[str]:
    """The command where no file may grow beyond that, so that a write fails in the middle, as on a full disk."""
    return ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", *module(name)]


@pytest.mark.parametrize(
    ("name", "kilobytes", "said"),
    [("quick", 0, "No usable temporary directory"), ("quick", 100, "can't be copied to {} (File too large)"), ("verify", 1, "git clone: ")],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, name: str, kilobytes: int, said: str):
    line = fails(limited(name, kilobytes), TMPDIR=str(tmp_path))
    before, _, after = said.partition("{}")
    assert line.startswith(f"{name}: ")
    assert before in line
    assert line.endswith(after)
    assert ("{}" in said) == (str(tmp_path) in line) or kilobytes == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_output_to_a_full_disk_is_one_line():
    with FULL.open("w") as full:
        assert fails(module("compare"), stdout=full.fileno()) == "compare: No space left on device"


def test_a_reader_that_stops_reading_is_no_traceback():
    script = f"{' '.join(module('compare'))} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["quick", "verify", "compare"])
def test_without_git_that_is_what_is_said(tmp_path: Path, name: str):
    assert fails(module(name), PATH=str(tmp_path)) == f"{name}: git: No such file or directory"


@pytest.mark.parametrize("name", ["quick", "verify", "compare"])
def test_outside_of_a_repository_that_is_what_is_said(tmp_path: Path, name: str):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    line = fails(module(name), tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert line.startswith(f"{name}: git ")
    assert "not a git repository" in line


def test_a_wrong_setting_is_told_before_anything_is_copied(tmp_path: Path):
    (tmp_path / "params.yaml").write_text("train: [\n")
    assert fails(module("quick"), tmp_path).startswith("quick: params.yaml: not valid YAML")


def test_a_repository_without_a_commit_can_not_be_verified(tmp_path: Path):
    command.git("init", "--quiet", cwd=tmp_path)
    assert fails(module("verify"), tmp_path) == "verify: there is no commit yet, so there is nothing to verify"


def test_what_is_started_finds_the_commands_of_this_python_first(monkeypatch: pytest.MonkeyPatch):
    for before in ("/somewhere", None):
        monkeypatch.setenv("PATH", before or "")
        if before is None:
            monkeypatch.delenv("PATH")
        folders = command.environment()["PATH"].split(os.pathsep)
        assert folders[0] == str(Path(sys.executable).parent)
        assert folders[1:] == (before or os.defpath).split(os.pathsep)


def test_git_says_its_last_line_where_it_fails(tmp_path: Path):
    with pytest.raises(settings.UserError) as caught:
        command.git("rev-parse", "--show-toplevel", cwd=tmp_path)
    assert str(caught.value).startswith("git rev-parse: not a git repository")
