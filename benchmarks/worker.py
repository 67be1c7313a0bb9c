"""Processes that hold one library each, so that libraries can take turns on one machine, each with its own threads and memory.

``Worker`` is the near end: it starts ``python -m benchmarks.worker <library> <threads>`` and asks. The far end answers with ``Session``:
a JSON request a line on standard input, ``do`` and the arguments of a method, and a JSON answer a line on standard output.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flows.core.errors import UserError, one_line

THROUGHPUT_SECONDS = 0.2  # a reading is repeated until it has lasted so long


class Worker:
    """The near end of one process."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        command = [sys.executable, "-m", "benchmarks.worker", library, str(threads)]
        top = Path(__file__).resolve().parent.parent
        self.process = subprocess.Popen(command, cwd=top, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, do: str, **request: Any) -> Any:
        """What the session's method ``do`` gives. Raises ``UserError``."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UserError(f"{self.library}: the worker ended at {do!r} with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return answer["answer"]

    def close(self) -> None:
        self.process.communicate()  # the far end's loop ends with its input


@contextmanager
def workers(libraries: Iterable[str], threads: int) -> Iterator[list[Worker]]:
    """A worker for each library, until the end of the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Worker(library, threads))) for library in libraries]


class Session:
    """One library, and the networks that the requests have built. Seconds are by ``time.perf_counter``."""

    def __init__(self, library: str) -> None:
        self.library = library

    def build(self, networks: int, hidden: int, couplings: int, **options: Any) -> int:
        """The number of parameters of one network. ``options``: what else the library's class takes."""
        from benchmarks.peers import peer_class  # here: the threads are limited first, as most libraries look only when they are imported

        make = peer_class(self.library)
        self.imports_mib = peak_memory()
        self.peer = make(networks, hidden, couplings, **options)
        return self.peer.parameters

    def start(self, data: str, recipe: dict[str, Any], epochs: int) -> float:
        """Train anew from now on, on the ``points`` of the npz file ``data``. Gives the seconds of compiling."""
        from benchmarks.peers import Recipe

        before = self.peer.compile_seconds
        self.peer.start(np.load(data)["points"], Recipe(**recipe), epochs)
        return self.peer.compile_seconds - before

    def advance(self, epochs: int) -> float:
        """The seconds of so many epochs."""
        begin = time.perf_counter()
        self.peer.advance(epochs)
        return time.perf_counter() - begin

    def kl(self, data: str) -> list[float]:
        """The mean of ``log p - log q`` over the ``draws`` of the file, a number a network, in nats."""
        with np.load(data) as file:
            return (file["log_p"][:, None] - self.peer.log_prob(file["draws"])).mean(axis=0).tolist()

    def throughput(self, points: int) -> dict[str, float]:
        """The seconds that the density and the samples of so many points take."""
        x = np.random.default_rng(0).standard_normal((points, 2))
        return {"log_prob": repeated(lambda: self.peer.log_prob(x)), "sample": repeated(lambda: self.peer.sample(points, 0))}

    def memory(self) -> dict[str, float]:
        """MiB at the peak so far, and when everything was imported and nothing built."""
        return {"peak_mib": peak_memory(), "imports_mib": self.imports_mib}


def repeated(action: Callable[[], object]) -> float:
    """Seconds of one of many calls. The first, which may compile, is left out."""
    action()
    count, begin = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - begin < THROUGHPUT_SECONDS:
        action()
        count += 1
    return (time.perf_counter() - begin) / count


def peak_memory() -> float:
    """The most memory this process has held, MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main(library: str, threads: int) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not end up among the answers
    os.environ |= {"OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    if hasattr(os, "sched_setaffinity"):  # XLA has no setting: it takes as many threads as it sees cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    import torch

    torch.set_num_threads(threads)
    session = Session(library)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": getattr(session, request.pop("do"))(**request)}
        except Exception as error:  # whatever a library raises: the near end is told in one line, and decides
            answer = {"error": f"{library}: {type(error).__name__}: {one_line(error)}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
