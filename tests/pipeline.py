"""A temporary copy of the pipeline with tiny settings, for tests that run it for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# Glow trains long enough to be caught in the middle of it. The rows of the VAE's history are
# further apart than its epochs are many.
TINY = text("tests/tiny.yaml")

# What a run leaves behind.
RESULTS = ("dvc.lock", "metrics", "figures", "models", "data")

# Every stage of a list, one after another in one process: what a stage costs is then its work, and
# not the start of Python and torch.
IN_ONE_PROCESS = """\
import sys
from importlib import import_module

for command in sys.argv[1:]:
    module, *words = command.split()
    import_module(module).main(*words)
"""


@dataclass(frozen=True)
class Clone:
    """A Git repository of its own in ``folder`` with the working tree's files, committed."""

    folder: Path

    def run(
        self, *words: str, threads: int = 1, check: bool = True, merge: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone. ``check``: it must succeed."""
        errors = subprocess.STDOUT if merge else subprocess.PIPE
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self._environment(threads),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            timeout=900,
        )
        if check and done.returncode:
            said = f"{done.stdout}\n{done.stderr or ''}"
            raise AssertionError(f"{' '.join(words)} failed with {done.returncode}:\n{said}")
        return done

    def dvc(self, *words: str, threads: int = 1) -> str:
        """What a ``dvc`` command that succeeds says, on both streams."""
        return self.run("dvc", *words, threads=threads, merge=True).stdout

    def status(self) -> set[str]:
        """The stages of the main pipeline that DVC finds changed."""
        return set(json.loads(self.dvc("status", "--json", "dvc.yaml")))

    def git(self, *words: str) -> str:
        return self.run("git", *words).stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def start(self, *words: str, output: Path = Path(os.devnull)) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own, to be ended by ``kill``.

        What it says is in ``output``.
        """
        with output.open("wb") as stream:
            return subprocess.Popen(
                words,
                cwd=self.folder,
                env=self._environment(1),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                # Where the tests run in the background of a shell, they ignore interrupts, and so
                # would all that they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def edit(self, old: str, new: str) -> None:
        """Replace the one place of ``params.yaml`` that reads ``old``."""
        text = self.text("params.yaml")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in params.yaml"
        (self.folder / "params.yaml").write_text(text.replace(old, new), encoding="utf-8")

    def copy(self, folder: Path) -> Clone:
        """The same repository in ``folder``.

        With its cache, its experiments and what it has not committed.
        """
        # DVC's temporary files are about the place where they lie, and its workers may still write
        # there.
        shutil.copytree(
            self.folder, folder / "clone", ignore=shutil.ignore_patterns("tmp"), symlinks=True
        )
        return Clone(folder / "clone")

    def stages(self) -> dict[str, dict[str, Any]]:
        """The stages of the main pipeline as they are declared.

        In an order in which each finds what it needs.
        """
        return expand(*(yaml.safe_load(self.text(name)) for name in ("dvc.yaml", "params.yaml")))

    def text(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def contents(self, *paths: str) -> dict[str, bytes]:
        """The bytes of files, and of every file in folders."""
        places = [self.folder / path for path in paths]
        found = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in sorted(found)}

    def _environment(self, threads: int) -> dict[str, str]:
        ours = ("GIT_", "DVC_", "PYTHON", "OMP_", "MKL_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        own = {"OMP_NUM_THREADS": str(threads), "DVC_NO_ANALYTICS": "1"}
        return {**kept, **own, "PATH": os.pathsep.join(path)}


def make_clone(folder: Path, params: str = TINY) -> Clone:
    """A committed copy in ``folder`` of the working tree's files that Git doesn't ignore.

    Without what earlier runs wrote.
    """
    clone = Clone(folder / "clone")
    clone.folder.mkdir(parents=True)
    for name in listed():
        if name == "dvc.lock" or name.startswith(("metrics/", "figures/")):
            continue
        (clone.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone.folder / name)
    (clone.folder / "params.yaml").write_text(params, encoding="utf-8")
    clone.git("init", "--quiet", "--initial-branch", "main")
    clone.git("config", "user.name", "Test")
    clone.git("config", "user.email", "test@example.org")
    clone.git("config", "commit.gpgsign", "false")
    clone.commit("Copy of the working tree, tiny settings")
    return clone


def listed() -> list[str]:
    """The working tree's files that are tracked or could be."""
    words = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        name for name in dict.fromkeys(done.stdout.split("\0")) if name and (ROOT / name).is_file()
    ]


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process from ``Clone.start`` and all that it started, at once.

    As a crash of the machine would.
    """
    left = [process.pid]
    while left:  # some are in a group of their own, as each worker of DVC's queue is
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        left = running(process.pid)


def running(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):  # ended meanwhile
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def expand(pipeline: dict[str, Any], params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The stages of ``dvc.yaml`` by their full names, each matrix and foreach written out."""
    known, result = {**params, **pipeline["vars"][0]}, {}
    for name, whole in pipeline["stages"].items():
        stage = {key: value for key, value in whole.items() if key != "matrix"}
        cells: dict[str, dict[str, str]] = {name: {}}
        if "foreach" in stage:
            items = known[stage["foreach"][2:-1]]
            cells = {
                f"{name}@{key}": {"key": key, **{f"item.{word}": item[word] for word in item}}
                for key, item in items.items()
            }
        elif "matrix" in whole:
            names = known[whole["matrix"]["name"][2:-1]]
            cells = {f"{name}@{each}": {"item.name": each} for each in names}
        body = yaml.safe_dump(stage.get("do", stage))
        for cell, words in cells.items():
            filled = re.sub(r"\$\{(.+?)\}", lambda word, words=words: words[word[1]], body)
            result[cell] = yaml.safe_load(filled)
    return result


def stages_run(output: str) -> list[str]:
    """The stages that DVC says it ran, which are not those that it took from its run cache."""
    return re.findall(r"Running stage '(.+)'", output)


def paths(entries: list[Any]) -> list[str]:
    """The paths of a list of outs, metrics or plots.

    An entry is a path or ``{path: options}``.
    """
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
