"""Workers: equal results in this process, in others and on a cluster; errors of one line."""

from __future__ import annotations

import hashlib
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

import numpy as np
import psutil
import pytest
import torch
from pipeline import ROOT, TINY

import flows
from flows import TrainingSettings, targets
from flows.core.errors import UserError
from flows.core.seeds import numpy_generators
from flows.kernels.build import library
from flows.networks import registry
from flows.networks.network import Network
from flows.training import slices, workers
from stages import generate, prepare
from stages import train as stage
from studies import engine
from studies.claims.remedies import MixtureBase
from studies.engine import Study
from tools.verify import machines

RING = targets.make("ring").sample(96, np.random.default_rng(0))
CELLS = ["depth/small", "control/small", "curve/small", "equal/small", "images/small"]


@pytest.fixture(autouse=True)
def _in_the_top_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the folder from which workers import code."""
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
def test_invalid_flows_workers_is_rejected(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, where)
    said = f"^FLOWS_WORKERS = '{where}': must be empty, a number of processes, or tcp"
    with pytest.raises(UserError, match=said):
        collect(math.factorial, [(1,)])


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


class Cluster:
    """A Dask scheduler and workers of one thread, in processes with a log each in ``logs``."""

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
        """Start workers, and wait until the scheduler has registered them."""
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
        threading.Timer(12, dask.kill, ["scheduler"]).start()
        tasks = [(0.1,), (0.1,), *[(30,)] * 4]
        with pytest.raises(UserError, match="the scheduler or its workers were lost"):
            done.extend(i for i, *_ in workers.completed(time.sleep, tasks))
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


# A population in slices


def train(model: str = "realnvp", members: int | range = 5, **changes: Any) -> Network:
    """A short training on rows that all members share."""
    own = {"couplings": 2} if "couplings" in registry.find(model).model_fields else {}
    settings = TrainingSettings(**{"epochs": 3, "log_every": 2, "batch_size": 32} | changes)
    network = flows.build(registry.architecture(model, {"hidden": 8} | own), (2,), members=members)
    return flows.train(network, RING[:64], RING[64:], settings, name=model)


def digest(network: Network, folder: Path) -> str:
    """Return the digest of the checkpoint: parameters, history and description."""
    flows.save(network, folder / "model")
    return hashlib.sha256((folder / "model").read_bytes()).hexdigest()


@pytest.mark.skipif(library() is None, reason="without kernels, last bits differ")
@pytest.mark.parametrize("model", ["realnvp", "glow", "nsf", "flow_matching", "vae", "gan"])
def test_a_population_trained_in_slices_has_the_same_bytes(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The population has all members, or a range of members."""
    for members in (5, range(3, 5)):
        digests = []
        for where in ("", 2):
            place(monkeypatch, where)
            digests.append(digest(train(model, members), tmp_path))
        assert digests[0] == digests[1]


def test_an_image_flow_trained_in_slices_differs_in_last_bits_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.random.default_rng(0).integers(4, size=(20, 1, 4, 4))
    own = {"levels": 4, "steps": [1], "hidden": 4}
    states = []
    for where in ("", 2):
        place(monkeypatch, where)
        network = flows.build(flows.GlowImage(**own), (1, 4, 4), members=3)
        flows.train(network, images, settings=TrainingSettings(epochs=2))
        states.append(network.state_dict())
    for key, one in states[0].items():
        torch.testing.assert_close(one, states[1][key], rtol=0, atol=1e-5)


def test_members_keep_their_own_rows_their_scaler_and_their_log_in_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = np.stack([RING[:64] * (1 + member) + member for member in range(3)], axis=1)
    seen, networks = [], []
    for where in ("", 2):
        place(monkeypatch, where)
        log: list[tuple[int, list[float]]] = []
        network = flows.train(
            flows.build(flows.RealNVP(couplings=2, hidden=8), (2,), members=3),
            rows,
            settings=TrainingSettings(epochs=5, log_every=2),
            on_log=lambda epoch, curves, log=log: log.append((epoch, curves["train_nll"].tolist())),
        )
        seen.append(log)
        networks.append(network)
    assert [epoch for epoch, _ in seen[0]] == [2, 4, 5]
    assert seen[0] == seen[1]
    for one, other in zip(*(each.state_dict().values() for each in networks), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_member_that_fails_in_a_slice_is_reported_by_its_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place(monkeypatch, 2)
    network = flows.build(flows.RealNVP(couplings=2, hidden=8), (2,), members=range(4, 8))
    with torch.no_grad():
        network.get_parameter("chain.bijections.1.conditioner.theta")[3, 0] = math.nan
    flows.train(network, RING, settings=TrainingSettings(epochs=2))
    said = "model: the loss of member 7 was not finite from epoch 1 on; the member stays in "
    assert capsys.readouterr().err == f"{said}the results\n"


def no_description(network: Network) -> None:
    network.description = {}


def another_base(network: Network) -> None:
    network.base = MixtureBase(2, 2, numpy_generators(0, "base", range(4)))


def another_order(network: Network) -> None:
    network.get_submodule("chain.bijections.0").kept = (1, 2)  # type: ignore[assignment]


def other_betas(network: Network) -> None:
    network.betas = (0.5, 0.9)  # type: ignore[misc]


@pytest.mark.parametrize("change", [no_description, another_base, another_order, other_betas])
def test_a_network_that_workers_cannot_build_is_trained_in_one_process(
    change: Callable[[Network], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place(monkeypatch, 2)
    network = flows.build(flows.RealNVP(couplings=2, hidden=8), (2,), members=4)
    assert slices.cut(network, "mine") == [slice(0, 2), slice(2, 4)]
    assert capsys.readouterr().err == ""
    change(network)
    assert slices.cut(network, "mine") == []
    said = "mine: trained in one process, as flows.build did not make it\n"
    assert capsys.readouterr().err == said


def test_invalid_rows_are_rejected_before_workers_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place(monkeypatch, 2)
    monkeypatch.setattr(workers, "completed", None)
    network = flows.build(flows.RealNVP(hidden=8), (2,), members=2)
    rows = np.where(RING[7] == RING, np.nan, RING)
    with pytest.raises(ValueError, match="row 7 of train holds a value that is not finite"):
        flows.train(network, rows)


def test_inside_a_task_there_are_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("1", "2"):
        place(monkeypatch, where)
        assert collect(workers.count, [(), ()]) == {0: 1, 1: 1}
        assert workers.count() == int(where)


@pytest.mark.slow
def test_nothing_is_written_before_all_slices_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure, earlier files stay; workers then write the bytes of one process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(TINY)
    (tmp_path / "data/source").mkdir(parents=True)
    outputs = [tmp_path / "models/realnvp.safetensors", tmp_path / "metrics/realnvp/history.csv"]
    place(monkeypatch, "")
    generate.main()
    prepare.main()
    stage.main("realnvp")
    before = [path.read_bytes() for path in outputs]
    place(monkeypatch, 2)
    real: Callable[..., dict[str, str]] = workers.identity
    with monkeypatch.context() as patched:
        patched.setattr(workers, "identity", lambda *same: {**real(*same), "torch": "another"})
        with pytest.raises(UserError, match="is not like the head"):
            stage.main("realnvp")
    assert [path.read_bytes() for path in outputs] == before
    for path in outputs:
        path.unlink()
    stage.main("realnvp")
    if library() is not None:
        assert [path.read_bytes() for path in outputs] == before


@pytest.mark.slow
@pytest.mark.skipif(library() is None, reason="without kernels, last bits differ")
def test_a_population_has_one_digest_wherever_its_slices_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In processes, and on a cluster with a worker without AVX-512 and a worker that is killed."""

    def trained(model: str, epochs: int) -> str:
        return digest(train(model, 10, epochs=epochs), tmp_path)

    runs = [("glow", 60), ("vae", 20), ("glow", 3000)]
    place(monkeypatch, "")
    here = {each: trained(*each) for each in runs}
    for where in (2, 3, 4):
        place(monkeypatch, where)
        assert all(trained(*each) == here[each] for each in runs[:2])
    with cluster(tmp_path, "one") as dask:
        dask.workers("two", **machines().get("one without AVX-512", {}))
        place(monkeypatch, dask.address)
        assert workers.count() == 2
        assert all(trained(*each) == here[each] for each in runs[:2])
        dask.workers("three")
        assert workers.count() == 3
        assert all(trained(*each) == here[each] for each in runs[:2])
        killer = threading.Timer(1, dask.kill, ["three"])
        killer.start()
        assert trained(*runs[2]) == here[runs[2]]
        assert not killer.is_alive()
        assert "three" not in dask.processes
