"""A process that holds one library: ``python -m benchmarks.worker <library> <threads>``.

One JSON request a line on standard input, one JSON answer a line on standard output. So libraries can take turns on one
machine, each with its own threads and memory, while the others sleep. What a request says under ``do``:

    build       networks, hidden, couplings, seed, and what else the library's class takes
    start       points (path of an npy file, ``(n, D)``), recipe, epochs
    advance     epochs
    kl          draws (path of an npz file: ``points``, and ``log_p`` in nats)
    throughput  points: how many
    memory      nothing

Answers give ``seconds`` by ``time.perf_counter``, or ``error`` in one line.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the threads are limited first: most libraries look only when they are imported
    from benchmarks.peers import Peer

THROUGHPUT_SECONDS = 0.2  # a reading is repeated until it has lasted so long


def main(library: str, threads: str) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not end up among the answers
    limit_threads(int(threads))
    session = Session(library)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(session, request.pop("do"))(**request)
        except Exception as error:  # whatever a library raises: the other end is told in one line, and decides
            answer = {"error": f"{library}: {type(error).__name__}: {error}".replace("\n", " ")}
        answers.write(json.dumps(answer) + "\n")


def limit_threads(threads: int) -> None:
    """Hold this process to so many threads and cores. XLA has no setting for it: it takes as many threads as it sees cores."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    import torch

    torch.set_num_threads(threads)


class Session:
    """One library, and the networks that the requests have built; a method a request."""

    def __init__(self, library: str) -> None:
        self.library = library

    def build(self, networks: int, hidden: int, couplings: int, seed: int = 0, **options: Any) -> dict[str, Any]:
        from benchmarks.peers import peer_class

        make = peer_class(self.library)
        self.imports_mib = peak_memory()
        self.peer: Peer = make(networks, hidden, couplings, seed, **options)
        return {"parameters": self.peer.parameters}

    def start(self, points: str, recipe: dict[str, Any], epochs: int) -> dict[str, Any]:
        import numpy as np

        from benchmarks.peers import Recipe

        rows, before = np.load(points), self.peer.compile_seconds
        seconds = timed(lambda: self.peer.start(rows, Recipe(**recipe), epochs))
        return {"seconds": seconds, "compile_seconds": self.peer.compile_seconds - before}

    def advance(self, epochs: int) -> dict[str, Any]:
        return {"seconds": timed(lambda: self.peer.advance(epochs))}

    def kl(self, draws: str) -> dict[str, Any]:
        """Mean of ``log p - log q`` over the draws, a number a network, in nats."""
        import numpy as np

        with np.load(draws) as file:
            return {"kl": (file["log_p"][:, None] - self.peer.log_prob(file["points"])).mean(axis=0).tolist()}

    def throughput(self, points: int) -> dict[str, Any]:
        """Seconds that the density and the samples of so many points take; the first call of each, which may compile, is left out."""
        import numpy as np

        x = np.random.default_rng(0).standard_normal((points, 2))
        return {"log_prob": repeated(lambda: self.peer.log_prob(x)), "sample": repeated(lambda: self.peer.sample(points, 0))}

    def memory(self) -> dict[str, Any]:
        """MiB at the peak so far, and when everything was imported and nothing built."""
        return {"peak_mib": peak_memory(), "imports_mib": self.imports_mib}


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def repeated(action: Callable[[], object]) -> float:
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


if __name__ == "__main__":
    main(*sys.argv[1:])
