"""Where independent tasks run, as the environment variable ``FLOWS_WORKERS`` says.

Empty: in this process. A number: in so many processes of this machine (loky). ``tcp://host:port``: on the workers of a Dask cluster.
joblib does all of it. A result does not depend on where it was computed: every task has one thread, and a worker that would compute
otherwise than this process, the head, is refused (other code, other versions of packages, kernels on here and off there).
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, redirect_stderr
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import BrokenProcessPool
from threadpoolctl import threadpool_limits

from flows.core.errors import UserError, one_line
from flows.networks.kernels.build import library

VARIABLE = "FLOWS_WORKERS"
SCHEDULER_SECONDS, WORKER_SECONDS = 15, 30  # to wait for a scheduler to answer, and for a first worker
PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "torch")
Outcome = tuple[int, Any, str]


def completed(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], *, code: Sequence[str] = ("flows",), packages: Sequence[str] = PACKAGES
) -> Iterator[Outcome]:
    """Run ``function(*tasks[i])`` for every i; yield i, the result and what was written to standard error, as each is done.

    Workers must be able to import ``function``, which is in one of the packages of ``code``.
    Raises ``UserError`` where there is no scheduler or no worker, where a worker differs from the head in ``code``, ``packages`` or
    kernels, and where workers are lost. What was yielded before is not touched by that.
    """
    same = tuple(code), tuple(packages)
    with _place(os.environ.get(VARIABLE, "")):
        # A task at a time: of a batch, nothing is handed over before all of it is done.
        parallel = Parallel(batch_size=1, return_as="generator_unordered")
        yield from parallel(delayed(_run)(same, identity(*same), function, i, task) for i, task in enumerate(tasks))


@cache
def identity(code: tuple[str, ...], packages: tuple[str, ...]) -> dict[str, str]:
    """What this process computes with: digests of the packages ``code``, kernels on or off, the versions of ``packages``."""
    found = {f"code of {name}": _digest(name) for name in code}
    found |= {"kernels": "on" if library() is not None else "off", "python": platform.python_version()}
    return found | {name: _version(name) for name in packages}


def _digest(package: str) -> str:
    """Of the source files of a package and their names."""
    folder, whole = Path(next(iter(import_module(package).__path__))), hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".c", ".h")):
        whole.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:8]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _run(same: tuple[tuple[str, ...], tuple[str, ...]], head: dict[str, str], function: Callable[..., Any], i: int, task: tuple[Any, ...]) -> Outcome:
    """On the worker: refuse, or run with one thread."""
    for name, here in identity(*same).items():
        if here != head[name]:
            raise UserError(f"a worker on {platform.node()} is not like the head: {name}: {here} there, {head[name]} here")
    threads, said = torch.get_num_threads(), io.StringIO()
    try:
        with threadpool_limits(1), redirect_stderr(said):
            torch.set_num_threads(1)
            return i, function(*task), said.getvalue()
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _place(place: str) -> Iterator[None]:
    """Make joblib run tasks there, and raise ``UserError`` for what only happens there."""
    if not place or place == "1":
        with parallel_config("sequential"):
            yield
    elif place.isdigit() and int(place):
        try:
            with warnings.catch_warnings(), parallel_config("loky", n_jobs=int(place), inner_max_num_threads=1):
                warnings.filterwarnings("ignore", "A worker stopped while")  # an idle one, after five minutes
                yield
        except BrokenProcessPool:
            raise UserError(f"{VARIABLE} = {place}: a process was killed, perhaps as memory was short") from None
    elif place.startswith("tcp://"):
        with _cluster(place):
            yield
    else:
        raise UserError(f"{VARIABLE} = {place!r}: must be empty, a number of processes, or tcp://host:port of a Dask scheduler")


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    try:
        from distributed import Client
        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise UserError(f"{VARIABLE} = {address}: Dask is not installed (pip install distributed)") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # one line is said below
    try:
        client = Client(address, timeout=SCHEDULER_SECONDS)
    except (OSError, ValueError) as error:
        raise UserError(f"{VARIABLE} = {address}: no scheduler answers there ({one_line(error)})") from None
    try:
        try:
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except TimeoutError:
            raise UserError(f"{VARIABLE} = {address}: the scheduler has no worker after {WORKER_SECONDS} s") from None
        threads = client.nthreads().values()
        if max(threads) > 1:
            raise UserError(f"{VARIABLE} = {address}: a worker has {max(threads)} threads; start workers with --nthreads 1")
        if len(threads) == 1:  # joblib's rule
            print(f"{address} has one worker: the tasks run in this process", file=sys.stderr)
        with parallel_config("dask", client=client):
            yield
    except (CommClosedError, KilledWorker, CancelledError, OSError) as error:
        raise UserError(f"{VARIABLE} = {address}: the scheduler or its workers were lost ({type(error).__name__})") from None
    finally:
        client.close(timeout=1)
