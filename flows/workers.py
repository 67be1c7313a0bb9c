"""Workers for independent tasks: the cells of a study, and the refits of a check.

The environment variable ``FLOWS_WORKERS`` chooses them.
``FLOWS_WORKERS`` is empty or 1 (this process), a number of processes on this machine (started by
joblib), or ``tcp://host:port`` (a Dask cluster). A result does not depend on the worker that
computes it: every task has one thread, and a worker that differs from this process, the head, is
refused. The code, the versions of packages, the system, the kind of processor, and whether kernels
are on are compared. Two models of a kind, such as x86-64 with AVX2 and with AVX-512, give the same
bytes (docs/reproducibility.md).
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import platform
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, as_completed
from contextlib import contextmanager, redirect_stderr
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool
from threadpoolctl import threadpool_limits

from flows.core.errors import UserError, one_line
from flows.kernels.build import library

VARIABLE = "FLOWS_WORKERS"
PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "torch")
Outcome = tuple[int, Any, str]
# Packages whose code is compared, and packages whose versions are compared
Same = tuple[tuple[str, ...], tuple[str, ...]]


def completed(
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    *,
    code: Sequence[str] = ("flows",),
    packages: Sequence[str] = PACKAGES,
    patience: tuple[float, float] = (15, 30),
) -> Generator[Outcome, None, None]:
    """Run ``function(*tasks[i])`` for every i, and yield each outcome when its task is done.

    An outcome is i, the result and the text written to standard error.

    Args:
        function: a function in one of the packages of ``code``, which workers must be able to
            import.
        tasks: the arguments of the calls; the first tasks start first.
        code: packages whose source must be the same on workers and on the head.
        packages: packages whose versions must be the same.
        patience: the seconds to wait for the answer of a scheduler, and for its first worker.

    Raises ``UserError`` if there is no scheduler or no worker, if a worker differs from the head,
    and if workers are lost. Outcomes that were yielded before stay valid.
    """
    same = tuple(code), tuple(packages)
    calls = [(same, identity(*same), function, i, task) for i, task in enumerate(tasks)]
    place = _place()
    if place == 1:
        yield from (_run(*call) for call in calls)
        return
    pool = _processes(place) if isinstance(place, int) else _cluster(place, same[0], patience)
    with pool as executor:
        for future in as_completed([executor.submit(_run, *call) for call in calls]):
            yield future.result()


def _place() -> int | str:
    """Return the number of processes on this machine, or the address of a Dask scheduler."""
    place = os.environ.get(VARIABLE, "")
    if place.startswith("tcp://"):
        return place
    if not place or (place.isdigit() and int(place)):
        return int(place or 1)
    must = "must be empty, a number of processes, or tcp://host:port of a Dask scheduler"
    raise _fault(repr(place), must)


def processes() -> int:
    """Return the number of processes on this machine that run tasks; 1 for a cluster."""
    place = _place()
    return place if isinstance(place, int) else 1


def _fault(place: Any, what: str) -> UserError:
    return UserError(f"{VARIABLE} = {place}: {what}")


@cache
def identity(code: tuple[str, ...], packages: tuple[str, ...]) -> dict[str, str]:
    """Return the properties of this process that results depend on.

    These are digests of the packages ``code``, whether kernels are on, the system, the kind of
    processor, and the versions of Python and of ``packages``.
    """
    parts = {f"code of {name}": _digest(name) for name in code}
    parts |= {
        "kernels": "on" if library() is not None else "off",
        "python": platform.python_version(),
        "system": f"{platform.system()} on {platform.machine()}",
    }
    return parts | {name: _version(name) for name in packages}


def _digest(package: str) -> str:
    """Return a digest of the source files of a package and their names."""
    folder, whole = Path(next(iter(import_module(package).__path__))), hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".c", ".h")):
        whole.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:8]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _run(
    same: Same, head: dict[str, str], function: Callable[..., Any], i: int, task: tuple[Any, ...]
) -> Outcome:
    """Run a task on a worker, with one thread.

    Raises ``UserError`` if the worker differs from the head.
    """
    for name, here in identity(*same).items():
        if here != head[name]:
            raise UserError(
                f"a worker on {platform.node()} is not like the head: {name}: {here} there, "
                f"{head[name]} here"
            )
    threads, notes = torch.get_num_threads(), io.StringIO()
    try:
        with threadpool_limits(1), redirect_stderr(notes):
            torch.set_num_threads(1)
            return i, function(*task), notes.getvalue()
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _processes(count: int) -> Iterator[Executor]:
    """Start processes on this machine, or take those of an earlier call.

    After an error, the processes are killed with their tasks.
    """
    # Libraries that a task imports also get one thread
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    executor = get_reusable_executor(max_workers=count, timeout=None, env=dict.fromkeys(names, "1"))
    try:
        with warnings.catch_warnings():
            # A process whose memory grew ends after a task, and another one takes its place
            warnings.filterwarnings("ignore", "A worker stopped while")
            yield executor
    except BaseException as error:
        executor.shutdown(kill_workers=True)
        if isinstance(error, BrokenProcessPool):
            what = "a process was killed, perhaps for lack of memory"
            raise _fault(count, what) from None
        raise


@contextmanager
def _cluster(
    address: str, code: Sequence[str], patience: tuple[float, float]
) -> Iterator[Executor]:
    """Connect to a cluster whose workers can import ``code``.

    Joblib's backend for Dask is not used, because the backend waits forever for a task that Dask
    gives up (joblib 1.6.0). Raises ``UserError`` if the connection fails or the cluster is lost.
    """
    try:
        from distributed import Client
        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise _fault(address, "Dask is not installed (pip install distributed)") from None
    # Errors are reported below, in one line
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=patience[0])
    except (OSError, ValueError) as error:
        raise _fault(address, f"no scheduler answers there ({one_line(error)})") from None
    try:
        _check_workers(client, address, code, patience[1])
        yield client.get_executor(pure=False)
    except KilledWorker:
        what = "a task killed every worker that ran it, perhaps for lack of memory"
        raise _fault(address, what) from None
    except (CommClosedError, CancelledError, OSError) as error:
        what = f"the scheduler or its workers were lost ({type(error).__name__})"
        raise _fault(address, what) from None
    finally:
        client.close(timeout=1)


def _check_workers(client: Any, address: str, code: Sequence[str], seconds: float) -> None:
    """Wait for a worker; check that all have one thread and can import ``code``.

    Raises ``UserError`` if a check fails.
    """
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        raise _fault(address, f"the scheduler has no worker after {seconds} s") from None
    threads = max(client.nthreads().values())
    if threads > 1:
        what = f"a worker has {threads} threads; start workers with --nthreads 1"
        raise _fault(address, what)
    try:
        for everywhere in (client.run, client.run_on_scheduler):
            everywhere(exec, f"import {', '.join(code)}")
    except ImportError as error:
        what = f"the scheduler or a worker cannot import the code ({one_line(error)}); "
        what += "start it in the folder of the repository with python -m dask"
        raise _fault(address, what) from None
