"""The other end of ``worker.py``: start workers, ask them, end them (``contextlib.closing`` does)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class WorkerError(Exception):
    """A library could not do what it was asked; the message is its one line."""


class Worker:
    """One process with one library."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        command = [sys.executable, "-m", "benchmarks.worker", library, str(threads)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to one request. Raises ``WorkerError``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"{self.library}: the worker ended at {do!r} with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()  # the worker's loop ends with its input
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Workers:
    """Workers that are kept from section to section, of one number of threads at a time: starting one takes seconds."""

    def __init__(self) -> None:
        self.threads = 0
        self.running: dict[str, Worker] = {}

    def get(self, library: str, threads: int, label: str | None = None) -> Worker:
        """The worker of ``library``; a ``label`` tells two workers of one library apart."""
        if threads != self.threads:
            self.close()
            self.threads = threads
        name = label or library
        if name not in self.running:
            self.running[name] = Worker(library, threads)
        return self.running[name]

    def close(self) -> None:
        for worker in self.running.values():
            worker.close()
        self.running = {}
