"""Workers: equal results in this process, in others and on a cluster; errors of one line."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from clusters import cluster, place
from helpers import further
from pipeline import ROOT

from flows import workers
from flows.core.errors import UserError
from flows.kernels import variants
from flows.kernels.build import library
from studies import engine
from studies.engine import Study

CELLS = ["depth/small", "control/small", "curve/small", "equal/small", "images/small"]


pytestmark = pytest.mark.usefixtures("in_the_top_folder")


def collect(function: Callable[..., object], tasks: list[tuple[object, ...]]) -> dict[int, object]:
    return {i: result for i, result, _ in workers.completed(function, tasks)}


@pytest.mark.parametrize("where", ["", "1", further("2")])
def test_every_task_is_done_with_one_thread(
    where: str, monkeypatch: pytest.MonkeyPatch, set_threads: Callable[[int], None]
) -> None:
    place(monkeypatch, where)
    set_threads(2)
    done = collect(math.factorial, [(k,) for k in range(9)])
    threads = collect(torch.get_num_threads, [()] * 3)
    lazy = "[__import__('sklearn.cluster'), *__import__('threadpoolctl').threadpool_info()][1:]"
    pools = [pool for found in collect(eval, [(lazy,)] * 2).values() for pool in found]
    assert torch.get_num_threads() == 2
    assert done == {k: math.factorial(k) for k in range(9)}
    assert set(threads.values()) == {1}
    if where == "2":  # libraries that the task imports
        assert {pool["num_threads"] for pool in pools} == {1}


@pytest.mark.parametrize("where", ["0", "-1", "two", "tcp:host"])
def test_invalid_flows_workers_is_rejected(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, where)
    said = f"^FLOWS_WORKERS = '{where}': must be empty, a number of processes, or tcp"
    with pytest.raises(UserError, match=said):
        collect(math.factorial, [(1,)])


@pytest.mark.slow
def test_a_worker_that_differs_is_rejected_and_both_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head has seen a package that is deleted before workers search it."""
    package = tmp_path / "fleeting-1.5.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: fleeting\nVersion: 1.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert workers.identity(("flows",), ("fleeting",))["fleeting"] == "1.5"
    shutil.rmtree(package)
    place(monkeypatch, 2)
    said = re.escape("is not like the head: fleeting: not installed there, 1.5 here")
    with pytest.raises(UserError, match=said):
        list(workers.completed(math.factorial, [(1,), (2,)], packages=("fleeting",)))


def test_a_worker_of_another_kind_of_processor_is_rejected_and_another_model_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same = ("flows",), ("numpy",)
    head = workers.identity(*same)
    monkeypatch.setattr(variants, "features", lambda: {"avx2"})
    workers.identity.cache_clear()
    assert workers._run(same, head, abs, 0, (-1,)) == (0, 1, "")
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    workers.identity.cache_clear()
    with pytest.raises(UserError, match=r"is not like the head: system: \w+ on vax there, "):
        workers._run(same, head, abs, 0, (-1,))
    workers.identity.cache_clear()


@pytest.mark.slow
def test_a_killed_process_is_one_line_and_finished_tasks_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place(monkeypatch, 2)
    done: list[int] = []
    tasks = [("1",), ("2",), ("__import__('time').sleep(1.5) or __import__('os')._exit(9)",)]
    with pytest.raises(UserError, match="FLOWS_WORKERS = 2: a process was killed"):
        done.extend(i for i, *_ in workers.completed(eval, tasks))
    assert sorted(done) == [0, 1]


def test_the_digest_of_code_changes_with_any_source_file(
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
        workers.identity.cache_clear()
        digests.append(workers.identity(("mine_of_test",), ())["code of mine_of_test"])
    assert len(set(digests)) == 3
    assert digests[2] == digests[3]


# A cluster


def rows(folder: Path, name: str = "claims") -> bytes:
    """Return the results of a run of small cells of a study in a new folder."""
    folder.mkdir()
    shutil.copy(engine.HERE / name / "params.yaml", folder)
    assert engine.run(Study(name, folder), CELLS)
    return (folder / "results.csv").read_bytes()


@pytest.mark.slow
def test_rows_are_the_same_to_the_last_digit_wherever_cells_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, in two, on two workers, and on three with one killed."""
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
def test_an_error_of_a_cluster_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    patience: dict[str, Any] = {"patience": (2, 2)}

    def refused(said: str, function: Callable[..., object], *tasks: tuple[object, ...]) -> None:
        with pytest.raises(UserError, match=said):
            list(workers.completed(function, tasks, **patience))

    place(monkeypatch, "tcp://127.0.0.1:1")
    refused(r"= tcp://127\.0\.0\.1:1: no scheduler answers there", math.factorial, (1,))
    patience["patience"] = (30, 2)
    with cluster(tmp_path) as dask:
        place(monkeypatch, dask.address)
        refused("the scheduler has no worker after 2 s", math.factorial, (1,))
        patience["patience"] = (30, 60)
        dask.workers("plain", FLOWS_KERNELS="off")
        dask.workers("other")
        if library() is not None:
            said = "is not like the head: kernels: off there, on here"
            refused(said, time.sleep, *[(1,)] * 6)
        dask.kill("plain")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        # Even if the package is installed, this one is found first
        (elsewhere / "flows.py").write_text("raise ImportError('a broken installation')")
        dask.workers("lost", folder=elsewhere, PYTHONPATH="")
        said = r"cannot import the code .*start it in the folder of the repository"
        refused(said, time.sleep, (1,))
        dask.kill("lost")
        dask.kill("other")
        dask.workers("hardy", nanny=True)
        refused("a task killed every worker that ran it", os._exit, (9,))
        done: list[int] = []
        tasks = [(0.1,), (0.1,), *[(30,)] * 4]

        def until_killed() -> None:
            for i, *_ in workers.completed(time.sleep, tasks):
                done.append(i)
                if "scheduler" in dask.processes:
                    dask.kill("scheduler")

        with pytest.raises(UserError, match="the scheduler or its workers were lost"):
            until_killed()
        assert done
        assert set(done) <= {0, 1}


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(
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
