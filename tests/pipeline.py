"""A temporary copy of the pipeline with tiny settings, for tests that run it for real."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tools import command

ROOT = Path(__file__).resolve().parents[1]

TINY = """\
data:
  target: ring
  samples: 200
  seed: 0
  custom: []

prepare:
  test_fraction: 0.2
  seed: 0

train:
  epochs: 4
  members: 3
  seed: 0
  batch_size: 64
  learning_rate: 0.005
  noise: auto
  noise_factor: 1.5
  sharpen: 1.0
  clip: 1.0
  log_every: 2

models:
  realnvp:
    couplings: 2
    hidden: 8
    transform: affine
    bins: 8
  glow:
    couplings: 2
    hidden: 8
    transform: affine
    bins: 8
  vae:
    hidden: 8
  gan:
    hidden: 8
    latent: 2
    penalty: 0.1

references:
  truth:
    draws: 3
  gmm:
    max_components: 9
    folds: 3
  kde:
    bandwidths: 8
    folds: 3

evaluate:
  fresh: 2000
  samples: 500
  neighbours: 5
  projections: 16
  grid: 40
  seed: 0
"""

# Glow trains long enough to be caught in the middle of it.
SETTINGS = TINY.replace("  glow:\n", "  glow:\n    epochs: 150\n")
# What a run leaves behind.
RESULTS = ("dvc.lock", "metrics", "figures", "models", "data")

# Python runs this file on its own at every start, where its folder is on PYTHONPATH. At the end of a stage it notes which
# files of the repository the stage had imported, then or in an earlier run: one that failed may not have come to all of them.
RECORDER = """\
import atexit, os, sys
from pathlib import Path

def record():
    here = Path.cwd().resolve()
    files = {Path(m.__file__).resolve() for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
    note = Path(os.environ["IMPORTS"], " ".join(sys.orig_argv[2:]))
    inside = {*(note.read_text().splitlines() if note.exists() else ()), *(str(f.relative_to(here)) for f in files if f.is_relative_to(here))}
    note.write_text("\\n".join(sorted(inside)))

if sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].startswith("stages."):
    atexit.register(record)
"""


@dataclass(frozen=True)
class Clone:
    """A Git repository of its own in ``folder`` with the working tree's files, committed. ``imports`` has a file for every stage that ran."""

    folder: Path
    imports: Path

    def run(self, *words: str, threads: int = 1, check: bool = True, merge: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone. ``check``: it must succeed."""
        errors = subprocess.STDOUT if merge else subprocess.PIPE
        done = subprocess.run(words, cwd=self.folder, env=self._environment(threads), stdout=subprocess.PIPE, stderr=errors, text=True, timeout=300)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)} failed with {done.returncode}:\n{done.stdout}\n{done.stderr or ''}")
        return done

    def dvc(self, *words: str, threads: int = 1) -> str:
        """What a ``dvc`` command that succeeds says, on both streams."""
        return self.run("dvc", *words, threads=threads, merge=True).stdout

    def git(self, *words: str) -> str:
        return self.run("git", *words).stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def start(self, *words: str, output: Path = Path(os.devnull)) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own, to be ended by ``kill``. What it says is in ``output``."""
        with output.open("wb") as stream:
            return subprocess.Popen(
                words,
                cwd=self.folder,
                env=self._environment(1),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                # Where the tests run in the background of a shell, they ignore interrupts, and so would all that they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def edit(self, old: str, new: str) -> None:
        """Replace the one place of ``params.yaml`` that reads ``old``."""
        text = self.text("params.yaml")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in params.yaml"
        (self.folder / "params.yaml").write_text(text.replace(old, new), encoding="utf-8")

    def copy(self, folder: Path) -> Clone:
        """The same repository in ``folder``, with its cache, its experiments and what it has not committed."""
        # DVC's temporary files are about the place where they lie, and its workers may still write there.
        shutil.copytree(self.imports.parent, folder, ignore=shutil.ignore_patterns("tmp"), dirs_exist_ok=True)
        return Clone(folder / "clone", folder / "imports")

    def text(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def contents(self, *paths: str) -> dict[str, bytes]:
        """The bytes of files, and of every file in folders."""
        found = [file for path in paths for file in ([self.folder / path] if (self.folder / path).is_file() else (self.folder / path).rglob("*"))]
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in sorted(found) if file.is_file()}

    def _environment(self, threads: int) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "DVC_", "PYTHON", "OMP_", "MKL_"))}
        return {
            **kept,
            "PATH": command.environment()["PATH"],
            "PYTHONPATH": str(self.imports.parent / "recorder"),
            "IMPORTS": str(self.imports),
            "OMP_NUM_THREADS": str(threads),
            "DVC_NO_ANALYTICS": "1",
        }


def make_clone(folder: Path, params: str = TINY) -> Clone:
    """A committed copy in ``folder`` of the working tree's files that Git doesn't ignore, without what earlier runs wrote."""
    clone = Clone(folder / "clone", folder / "imports")
    for new in (clone.folder, clone.imports, folder / "recorder"):
        new.mkdir(parents=True)
    (folder / "recorder" / "sitecustomize.py").write_text(RECORDER, encoding="utf-8")
    for name in command.listed(ROOT):
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


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process from ``Clone.start`` and all that it started, at once, as a crash of the machine would."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while left := running(process.pid):  # what is in a group of its own, as each worker of DVC's queue is
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def running(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):  # ended meanwhile
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def expand(pipeline: dict[str, Any], params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The stages of ``dvc.yaml`` by their full names, each matrix and each foreach over a mapping written out."""
    mappings = {**params, **{key: value for group in pipeline.get("vars", []) for key, value in group.items()}}
    result: dict[str, dict[str, Any]] = {}
    for name, stage in pipeline["stages"].items():
        if "foreach" in stage:
            over, body, key_word = stage["foreach"], stage["do"], "${key}"
        elif "matrix" in stage:
            ((item, over),) = stage["matrix"].items()
            body, key_word = {key: value for key, value in stage.items() if key != "matrix"}, "${item." + item + "}"
        else:
            result[name] = stage
            continue
        for value, details in mappings[over.removeprefix("${").removesuffix("}")].items():
            text = yaml.safe_dump(body).replace(key_word, value)
            for key, detail in details.items():
                text = text.replace("${item." + key + "}", str(detail))
            result[f"{name}@{value}"] = yaml.safe_load(text)
    return result


def stages_run(output: str) -> list[str]:
    """The stages that DVC says it ran, which are not those that it took from its run cache."""
    return re.findall(r"Running stage '(.+)'", output)


def paths(entries: list[Any]) -> list[str]:
    """The paths of a list of outs, metrics or plots, where an entry is a path or ``{path: options}``."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
