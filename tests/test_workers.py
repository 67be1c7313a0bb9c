"""Where tasks run.

The same results in this process, in others, and on a cluster; one line for what goes wrong there.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pipeline import ROOT

from flows.core.errors import UserError
from flows.kernels.build import library
from flows.training import workers
from studies import engine
from studies.engine import Study

CELLS = ["depth/small", "control/small", "curve/small", "equal/small", "images/small"]


@pytest.fixture(autouse=True)
def _in_the_top_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """From where workers import what they run."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def place(monkeypatch: pytest.MonkeyPatch, where: object) -> None:
    monkeypatch.setenv(workers.VARIABLE, str(where))


def collect(function: Callable[..., object], tasks: list[tuple[object, ...]]) -> dict[int, object]:
    return {i: result for i, result, _ in workers.completed(function, tasks)}


@pytest.mark.parametrize("where", ["", "1", "2"])
def test_every_task_is_done_with_one_thread(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, where)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        done = collect(math.factorial, [(k,) for k in range(9)])
        threads = collect(torch.get_num_threads, [()] * 3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert done == {k: math.factorial(k) for k in range(9)}
    assert set(threads.values()) == {1}


@pytest.mark.parametrize("where", ["0", "-1", "two", "tcp:host"])
def test_a_place_that_is_none_is_one_line(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, where)
    said = f"^FLOWS_WORKERS = '{where}': must be empty, a number of processes, or tcp"
    with pytest.raises(UserError, match=said):
        collect(math.factorial, [(1,)])


def test_a_worker_that_differs_is_refused_and_both_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The head says that it is another one."""
    place(monkeypatch, 2)
    real: Callable[..., dict[str, str]] = workers.identity
    monkeypatch.setattr(workers, "identity", lambda *same: {**real(*same), "torch": "another"})
    there = real((), ("torch",))["torch"]
    said = re.escape(f"is not like the head: torch: {there} there, another here")
    with pytest.raises(UserError, match=said):
        collect(math.factorial, [(1,), (2,)])


def test_a_process_that_is_killed_is_one_line_and_what_was_done_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place(monkeypatch, 2)
    done: list[int] = []
    tasks = [("1",), ("2",), ("__import__('time').sleep(2) or __import__('os')._exit(9)",)]
    with pytest.raises(UserError, match="FLOWS_WORKERS = 2: a process was killed"):
        done.extend(i for i, *_ in workers.completed(eval, tasks))
    assert sorted(done) == [0, 1]


def test_the_digest_of_code_changes_with_any_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "mine_of_test"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    files = [
        ("__init__.py", ""),
        ("kernel.c", "int a;"),
        ("kernel.c", "b"),
        ("notes.txt", "no code"),
    ]
    digests = []
    for name, content in files:
        (package / name).write_text(content)
        digests.append(workers._digest("mine_of_test"))
    assert len(set(digests)) == 3
    assert digests[2] == digests[3]


# A cluster


class Cluster:
    """A Dask scheduler and workers of one thread, in processes of their own.

    ``logs`` has a file for each.
    """

    def __init__(self, logs: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.logs, self.processes = logs, dict[str, subprocess.Popen[bytes]]()
        self.start("scheduler", "scheduler", "--host", self.address)

    def start(self, name: str, *words: str, folder: Path = ROOT, **variables: str) -> None:
        command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
        own, log = {**os.environ, **variables}, (self.logs / name).open("wb")
        with log:
            started = subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log)
        self.processes[name] = started

    def workers(self, *names: str, nanny: bool = False, **options: Any) -> None:
        """Start them, and wait until the scheduler knows them."""
        words = ["--nthreads", "1", "--local-directory", str(self.logs)]
        words += [] if nanny else ["--no-nanny"]
        for name in names:
            self.start(name, "worker", self.address, *words, **options)
        deadline = time.monotonic() + 60
        while any("Registered to" not in (self.logs / name).read_text() for name in names):
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        self.processes.pop(name).kill()


@contextmanager
def cluster(logs: Path, *names: str) -> Iterator[Cluster]:
    made = Cluster(logs)
    try:
        made.workers(*names)
        yield made
    finally:
        for process in made.processes.values():
            process.kill()
            process.wait()


def rows(folder: Path, name: str = "claims") -> bytes:
    """What a run of the small cells leaves in a new folder."""
    folder.mkdir()
    shutil.copy(engine.HERE / name / "params.yaml", folder)
    assert engine.run(Study(name, folder), CELLS)
    return (folder / "results.csv").read_bytes()


@pytest.mark.slow
def test_rows_are_the_same_to_the_last_digit_wherever_cells_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, in two, on two workers, and on three of which one is killed."""
    place(monkeypatch, "")
    here = rows(tmp_path / "here")
    place(monkeypatch, 2)
    assert rows(tmp_path / "loky") == here
    with cluster(tmp_path, "one", "two") as dask:
        place(monkeypatch, dask.address)
        slow = [("(__import__('time').sleep(0.2), __import__('os').getpid())[1]",)] * 6
        pids = {*collect(eval, slow).values()}
        assert pids == {dask.processes[name].pid for name in ("one", "two")}
        assert rows(tmp_path / "dask") == here
        dask.workers("three")

        def kill_after_the_first_row() -> None:
            while not (tmp_path / "killed/results.csv").exists():
                time.sleep(0.01)
            dask.kill("two")

        killer = threading.Thread(target=kill_after_the_first_row, daemon=True)
        killer.start()
        assert rows(tmp_path / "killed") == here
        killer.join()


@pytest.mark.slow
def test_what_goes_wrong_with_a_cluster_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def refused(said: str, function: Callable[..., object], *tasks: tuple[object, ...]) -> None:
        with pytest.raises(UserError, match=said):
            collect(function, list(tasks))

    monkeypatch.setattr(workers, "SCHEDULER_SECONDS", 2)
    monkeypatch.setattr(workers, "WORKER_SECONDS", 2)
    place(monkeypatch, "tcp://127.0.0.1:1")
    refused(r"= tcp://127\.0\.0\.1:1: no scheduler answers there", math.factorial, (1,))
    monkeypatch.setattr(workers, "SCHEDULER_SECONDS", 30)
    with cluster(tmp_path) as dask:
        place(monkeypatch, dask.address)
        refused("the scheduler has no worker after 2 s", math.factorial, (1,))
        monkeypatch.setattr(workers, "WORKER_SECONDS", 60)
        dask.workers("plain", FLOWS_KERNELS="off")
        dask.workers("other")
        if library() is not None:
            said = "is not like the head: kernels: off there, on here"
            refused(said, time.sleep, *[(1,)] * 6)
        dask.kill("plain")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        dask.workers("lost", folder=elsewhere, PYTHONPATH="")
        said = r"can't import the code .*start it in the folder of the repository"
        refused(said, time.sleep, (1,))
        dask.kill("lost")
        dask.kill("other")
        dask.workers("hardy", nanny=True)
        refused("a task killed every worker that took it", os._exit, (9,))
        done: list[int] = []
        threading.Timer(12, dask.kill, ["scheduler"]).start()
        tasks = [(0.1,), (0.1,), *[(30,)] * 4]
        with pytest.raises(UserError, match="the scheduler or its workers were lost"):
            done.extend(i for i, *_ in workers.completed(time.sleep, tasks))
        assert done
        assert set(done) <= {0, 1}


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(monkeypatch, "")
    whole, folder = rows(tmp_path / "whole"), tmp_path / "killed"
    folder.mkdir()
    shutil.copy(engine.HERE / "claims/params.yaml", folder)
    code = f"import pathlib, studies.engine as e; place = pathlib.Path({str(folder)!r})"
    code += f"\ne.run(e.Study('claims', place), {CELLS})"
    own = {**os.environ, workers.VARIABLE: "2"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=own)
    while not (folder / "results.csv").exists() and process.poll() is None:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for child in children:
        child.kill()
    kept = Study("claims", folder).stored.rows
    assert 0 < len(kept) < len(CELLS)
    assert engine.run(Study("claims", folder), CELLS)
    assert (folder / "results.csv").read_bytes() == whole
