"""A temporary copy of the pipeline with tiny settings, for tests that run the pipeline."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from common import storage
from flows import plotting

ROOT = Path(__file__).resolve().parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# Glow has its own number of epochs, which a test raises. The VAE has fewer epochs than there are
# between two rows of its history.
TINY = text("tests/tiny.yaml")

REFERENCES = ("independent", "gaussian", "gmm", "kde", "sharpened_kde")  # without the truth

# The outputs of a run.
RESULTS = ("dvc.lock", "metrics", "figures", "models", "data")

# Runs the stages of a list in one process, which saves the start of Python and torch for each.
IN_ONE_PROCESS = """\
import sys
from importlib import import_module

for command in sys.argv[1:]:
    module, *words = command.split()
    import_module(module).main(*words)
"""


@dataclass(frozen=True)
class Clone:
    """A separate Git repository in ``folder`` with the committed files of the working tree."""

    folder: Path

    def run(
        self, *words: str, threads: int = 1, check: bool = True, merge: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; with ``check``, the command must succeed."""
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
        """Run a ``dvc`` command that must succeed, and return its output on both streams."""
        return self.run("dvc", *words, threads=threads, merge=True).stdout

    def status(self) -> set[str]:
        """Return the stages of the main pipeline that DVC reports as changed."""
        return set(json.loads(self.dvc("status", "--json", "dvc.yaml")))

    def git(self, *words: str) -> str:
        return self.run("git", *words).stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def start(self, *words: str, output: Path = Path(os.devnull)) -> subprocess.Popen[bytes]:
        """Start a command in a new session, which ``kill`` ends; write its output to ``output``."""
        with output.open("wb") as stream:
            return subprocess.Popen(
                words,
                cwd=self.folder,
                env=self._environment(1),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                # In the background of a shell, tests ignore interrupts, and subprocesses would
                # inherit this.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def edit(self, old: str, new: str) -> None:
        """Replace ``old`` by ``new`` in ``params.yaml``; ``old`` must occur exactly once."""
        text = self.text("params.yaml")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in params.yaml"
        (self.folder / "params.yaml").write_text(text.replace(old, new), encoding="utf-8")

    def copy(self, folder: Path) -> Clone:
        """Copy the repository to ``folder``, with cache, experiments and uncommitted changes."""
        # DVC's temporary files hold paths of the old folder, and its workers may still write them.
        shutil.copytree(
            self.folder, folder / "clone", ignore=shutil.ignore_patterns("tmp"), symlinks=True
        )
        return Clone(folder / "clone")

    def stages(self) -> dict[str, dict[str, Any]]:
        """Return the declared stages of the main pipeline, each after its dependencies."""
        return expand(*(yaml.safe_load(self.text(name)) for name in ("dvc.yaml", "params.yaml")))

    def commands(self) -> list[str]:
        """Return the commands of the stages for ``run_stages`` and ``IN_ONE_PROCESS``."""
        return [stage["cmd"].removeprefix("python -m ") for stage in self.stages().values()]

    def text(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def contents(self, *paths: str) -> dict[str, bytes]:
        """Return the bytes of files, and of all files in folders."""
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
    """Copy the files of the working tree to ``folder`` and commit them.

    Ignored files and outputs of earlier runs are left out.
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


def run_stages(folder: Path, *commands: str) -> str:
    """Run commands such as ``stages.train nsf`` in this process, and return their output.

    Figures are drawn but not rendered, which would take most of the time: their files are empty.
    """
    output = StringIO()

    def draw(name: str, scene: plotting.Scene, path: Path) -> None:
        assert plotting.draw(name, scene)
        storage.write_bytes(path, b"")

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        patch.chdir(folder)
        patch.setattr(plotting, "draw_figure", draw)
        for command in commands:
            module, *words = command.split()
            import_module(module).main(*words)
    return output.getvalue()


def tiny_settings(models: Sequence[str], **data: Any) -> str:
    """Return ``params.yaml`` with tiny settings, some of the models, and other settings of data."""
    content = yaml.safe_load(TINY)
    content["data"].update(data)
    content["models"] = {name: content["models"][name] for name in models}
    content["train"]["members"] = 2
    content["references"]["gmm"]["max_components"] = 3
    return yaml.safe_dump(content, sort_keys=False)


def run_models(clone: Clone, models: Sequence[str]) -> str:
    """Run the stages of some models and of all references, and return their output."""
    stages = ["generate", "prepare"]
    stages += [f"{verb} {name}" for verb in ("train", "evaluate") for name in models]
    stages += [*(f"reference {name}" for name in ("truth", *REFERENCES)), "rank", "plot"]
    return run_stages(clone.folder, *(f"stages.{stage}" for stage in stages))


def listed() -> list[str]:
    """Return the files of the working tree that Git tracks or does not ignore."""
    words = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        name for name in dict.fromkeys(done.stdout.split("\0")) if name and (ROOT / name).is_file()
    ]


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process from ``Clone.start`` and all its subprocesses, like a crash of the machine."""
    left = [process.pid]
    while left:  # some have their own process group, such as workers of DVC's queue
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        left = running(process.pid)


def running(session: int) -> list[int]:
    """Return the running processes of a session."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):  # ended meanwhile
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def expand(pipeline: dict[str, Any], params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the stages of ``dvc.yaml`` by full name, with each matrix and foreach expanded."""
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
    """Return the stages that DVC ran, without stages from its run cache."""
    return re.findall(r"Running stage '(.+)'", output)


def paths(entries: list[Any]) -> list[str]:
    """Return the paths of a list of outs, metrics or plots.

    An entry is a path or ``{path: options}``.
    """
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
