"""Where the tests of workers run tasks: ``FLOWS_WORKERS``, and a cluster on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pipeline import ROOT

from flows import workers


def place(monkeypatch: pytest.MonkeyPatch, where: object) -> None:
    monkeypatch.setenv(workers.VARIABLE, str(where))


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
