"""A temporary copy of the pipeline with tiny settings, for tests that run it for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# Glow trains long enough to be caught in the middle of it. The rows of the VAE's history are
# further apart than its epochs are many.
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
  recipe: fixed
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
    epochs: 150
    couplings: 2
    hidden: 8
    transform: affine
    bins: 8
  nsf:
    couplings: 2
    hidden: 8
    bins: 8
  vae:
    hidden: 8
    log_every: 100
  gan:
    hidden: 8
    latent: 2
    penalty: 0.1

references:
  truth:
    draws: 3
  independent: {}
  gaussian: {}
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
            raise AssertionError(
                f"{' '.join(words)} failed with {done.returncode}:\n"
                f"{done.stdout}\n{done.stderr or ''}"
            )
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
        return expand(
            yaml.safe_load(self.text("dvc.yaml")), yaml.safe_load(self.text("params.yaml"))
        )

    def text(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def contents(self, *paths: str) -> dict[str, bytes]:
        """The bytes of files, and of every file in folders."""
        found = [
            file
            for path in paths
            for file in (
                [self.folder / path]
                if (self.folder / path).is_file()
                else (self.folder / path).rglob("*")
            )
        ]
        return {
            str(file.relative_to(self.folder)): file.read_bytes()
            for file in sorted(found)
            if file.is_file()
        }

    def _environment(self, threads: int) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("GIT_", "DVC_", "PYTHON", "OMP_", "MKL_"))
        }
        return {
            **kept,
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
            ),
            "OMP_NUM_THREADS": str(threads),
            "DVC_NO_ANALYTICS": "1",
        }


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
    names = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return [name for name in dict.fromkeys(names) if name and (ROOT / name).is_file()]


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process from ``Clone.start`` and all that it started, at once.

    As a crash of the machine would.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while left := running(
        process.pid
    ):  # what is in a group of its own, as each worker of DVC's queue is
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
    """The stages of a ``dvc.yaml`` by their full names, each matrix and foreach written out."""
    known = {
        **params,
        **{
            key: value
            for group in pipeline.get("vars", [])
            if isinstance(group, dict)
            for key, value in group.items()
        },
    }

    def found(over: Any) -> Any:
        if not isinstance(over, str):
            return over
        value: Any = known
        for key in over.removeprefix("${").removesuffix("}").split("."):
            value = value[key]
        return value

    result: dict[str, dict[str, Any]] = {}
    for name, stage in pipeline["stages"].items():
        cells: list[dict[str, Any]] = [{}]
        if "foreach" in stage:
            over = found(stage["foreach"])
            if isinstance(over, list):
                cells = [{"key": item, "item": item} for item in over]
            else:
                cells = [
                    {"key": key, **{f"item.{word}": detail for word, detail in details.items()}}
                    for key, details in over.items()
                ]
        elif "matrix" in stage:
            cells = [
                dict(zip((f"item.{key}" for key in stage["matrix"]), cell, strict=True))
                for cell in product(*map(found, stage["matrix"].values()))
            ]
        text = yaml.safe_dump(
            {key: value for key, value in stage.get("do", stage).items() if key != "matrix"}
        )
        for cell in cells:
            of_cell = [
                str(value) for word, value in cell.items() if "matrix" in stage or word == "key"
            ]
            filled = text
            for word, value in cell.items():
                filled = filled.replace("${" + word + "}", str(value))
            result["@".join([name, *(["-".join(of_cell)] if of_cell else [])])] = yaml.safe_load(
                filled
            )
    return result


def stages_run(output: str) -> list[str]:
    """The stages that DVC says it ran, which are not those that it took from its run cache."""
    return re.findall(r"Running stage '(.+)'", output)


def paths(entries: list[Any]) -> list[str]:
    """The paths of a list of outs, metrics or plots.

    An entry is a path or ``{path: options}``.
    """
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
