"""Processes with one library each, so that libraries can take turns on one machine.

Each process has its own threads.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import Any
from unittest import mock

from benchmarks import peers
from flows.core.errors import UserError, one_line


class Process(ProcessPoolExecutor):
    """A new process with these environment variables."""

    def __init__(self, variables: Mapping[str, str], **options: Any) -> None:
        super().__init__(1, get_context("spawn"), **options)
        with mock.patch.dict(os.environ, variables):
            self.submit(int).result()  # starts the process, with these variables


class Worker(Process):
    """A process with one library and a number of threads.

    ``ask`` calls a method of the library's ``Peer``; ``sample`` exists only for our models.
    """

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        own = peers.OURS[library][1] if library in peers.OURS else {}
        variables = {"OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu", **own}
        super().__init__(variables, initializer=_limit, initargs=(threads,))

    def build(self, **sizes: Any) -> int:
        """Build networks in place of previous ones; return the number of parameters of one."""
        return self._run(_build, self.library, sizes)

    def ask(self, method: str, *request: Any) -> Any:
        """Call a method of the ``Peer`` and return its result."""
        return self._run(_answer, method, *request)

    def advance(self, epochs: int) -> float:
        """Train for more epochs; return the seconds."""
        begin = time.perf_counter()  # measured here: a call takes far less than a reading
        self.ask("advance", epochs)
        return time.perf_counter() - begin

    def sample(self, count: int = 1000) -> float:
        """Draw ``count`` points of each network of ours: the milliseconds it takes."""
        begin = time.perf_counter()
        self.ask("sample", count)
        return 1000 * (time.perf_counter() - begin)

    def _run(self, function: Any, *arguments: Any) -> Any:
        try:
            return self.submit(function, *arguments).result()
        except Exception as error:  # a library may raise any error; the head reports its message
            raise UserError(f"{self.library}: {type(error).__name__}: {one_line(error)}") from None


@contextmanager
def workers(libraries: Iterable[str], threads: int) -> Iterator[list[Worker]]:
    """Yield one worker per library; they end with the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(Worker(library, threads)) for library in libraries]


# In the process of a worker

_peer: peers.Peer


def _limit(threads: int) -> None:
    """Limit the threads before a library is imported: most libraries read the number only then."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt ends the process silently
    if hasattr(os, "sched_setaffinity"):  # XLA uses one thread per visible core
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    import torch

    torch.set_num_threads(threads)


def _build(library: str, sizes: dict[str, Any]) -> int:
    global _peer
    _peer = peers.maker(library)(**sizes)
    return _peer.parameters


def _answer(method: str, *request: Any) -> Any:
    return getattr(_peer, method)(*request)
