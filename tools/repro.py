"""Reproduce a pipeline like `dvc repro`, with independent stages in parallel: ``make repro``.

The command prints one line per stage, then the table of results. ``python -m tools.repro FILE``
does the same for the pipeline of another file, such as studies/claims/dvc.yaml.

DVC runs one stage after another, and one stage keeps little more than one core busy. Here each
stage is a separate process (``tools.stage``), which starts as soon as its dependencies are up to
date and a core is free. The results have the same bytes as after `dvc repro`. Parallel stages
divide the cores among them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from tqdm import tqdm

from flows.core.errors import UserError
from stages.pipeline import schema
from tools import command
from tools.stage import UNCHANGED

MAIN = "dvc.yaml"
LOCK = Path(".dvc/tmp/make-repro")
BUSY = (
    "another `make repro` is running in this checkout: process {process}; wait until it ends, or "
    "stop it with `kill {process}`"
)
OUTCOMES = {0: "updated", UNCHANGED: "unchanged"}  # updated: run, or restored from the cache of DVC
LOST = {"failed", "not run"}
BAR = "{n}/{total} {elapsed} {desc}{bar:0}"
CORES = os.cpu_count() or 1
GROUPS: set[int] = set()  # process groups, one per running stage
STOPPED = threading.Event()  # after a signal, no stage starts
# Held while a stage starts, so that a signal reaches the stage or prevents its start. It can be
# taken again, because a second signal may arrive in the handler of the first.
STARTING = threading.RLock()


class Ended(NamedTuple):
    """What a stage did.

    Attributes:
        outcome: one of ``OUTCOMES``, or ``LOST``.
        output: the lines of standard output.
        progress: the lines of standard error.
    """

    outcome: str
    output: Sequence[str] = ()
    progress: Sequence[str] = ()


def main(file: str = MAIN) -> int:
    """Run the stages of ``file`` that are not up to date; return the exit status."""
    if file == MAIN:
        schema.load()  # report a wrong setting before any stage runs
    LOCK.parent.mkdir(exist_ok=True)
    with command.alone(LOCK, BUSY, sign=True):
        if not side_by_side(*look(file)):
            return 1
    if file == MAIN:
        from tools import table  # imported here, like DVC below, because the import is slow

        print(f"\n{table.table()}")
    return 0


def look(file: str) -> tuple[dict[str, list[str]], set[str]]:
    """Return the stages that each stage of ``file`` depends on, and the names of changed stages."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo, repo.lock:
            stages, graph = repo.stage.collect(file), repo.index.graph
            for stage in stages:  # the list grows by the dependencies
                stages += [each for each in graph[stage] if each not in stages]
            needs = {each.addressing: [its.addressing for its in graph[each]] for each in stages}
            changed = {each.addressing for each in stages if each.changed()}
    except DvcException as error:
        raise UserError(f"{error}; see `dvc status {file}`") from None
    return needs, changed


def reproduce(stage: str, at_once: int) -> Ended:
    """Run a stage beside ``at_once - 1`` others. After a signal, no stage is run."""
    name = stage if ":" in stage or stage.endswith(".dvc") else f"{MAIN}:{stage}"
    threads = str(CORES // at_once)
    with STARTING:
        if STOPPED.is_set():
            return Ended("not run")
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.stage", name],
            env={"OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1", **command.environment()},
            process_group=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        GROUPS.add(process.pid)
    with process:
        texts = process.communicate()
        GROUPS.discard(process.pid)
    lines = [[*filter(str.strip, text.splitlines())] for text in texts]
    return Ended(OUTCOMES.get(process.returncode, "failed"), *lines)


def side_by_side(
    needs: Mapping[str, Sequence[str]],
    changed: Container[str],
    run: Callable[[str, int], Ended] = reproduce,
    cores: int = CORES,
) -> bool:
    """Run the stages in parallel, at most one per core, and return whether no stage failed.

    A stage is not started if it is not ``changed`` and all stages that it depends on are unchanged.
    A stage that depends on a failed stage is not run.

    Args:
        needs: the stages that each stage depends on.
        changed: the stages that are not up to date.
        run: runs a stage beside others, as ``reproduce`` does.
        cores: the number of stages at a time.
    """
    width = max(map(len, needs))
    ready: list[str] = []
    outcomes: dict[str, str] = {}
    running: dict[Future[Ended], tuple[str, float]] = {}  # name and start time
    sorter = TopologicalSorter(needs)
    sorter.prepare()

    def finish(stage: str, ended: Ended, more: str = "") -> None:
        """Print the outcome and the last line of the output, which is the result, then other lines.

        A failed stage has no result.
        """
        outcome, output, progress = ended
        outcomes[stage] = outcome
        sorter.done(stage)
        result = output[-1] if output and outcome != "failed" else ""
        others = [*progress, *(output[:-1] if result else output)]
        with bar.external_write_mode():
            print(f"{stage:{width}}  {outcome + more:14}  {result}".rstrip())
            print(*(f"  {line}\n" for line in others), sep="", end="", flush=True)
        bar.update()

    with (
        tqdm(total=len(needs), bar_format=BAR, leave=False, disable=None, file=sys.stdout) as bar,
        ThreadPoolExecutor(cores) as threads,  # waits for all threads, also after an interrupt
    ):
        while sorter.is_active():
            while fresh := sorter.get_ready():
                for stage in fresh:
                    before = {outcomes[each] for each in needs[stage]}
                    if before & LOST:
                        finish(stage, Ended("not run"))
                    elif stage in changed or before - {"unchanged"}:
                        ready.append(stage)
                    else:
                        finish(stage, Ended("unchanged"))
            at_once = min(cores, len(running) + len(ready))
            while len(running) < at_once:
                stage = ready.pop(0)
                future = threads.submit(run, stage, at_once)
                running[future] = stage, time.monotonic()
            bar.set_description(", ".join(stage for stage, _ in running.values()))
            for future in wait(running, None if bar.disable else 1, FIRST_COMPLETED).done:
                stage, since = running.pop(future)
                seconds = "" if bar.disable else f" ({time.monotonic() - since:.0f} s)"
                finish(stage, future.result(), seconds)
    return not LOST.intersection(outcomes.values())


def end(number: int, frame: FrameType | None) -> None:
    """Send a signal to all running stages, start no more, and raise ``KeyboardInterrupt``."""
    STOPPED.set()
    with STARTING:
        for group in [*GROUPS]:
            with suppress(ProcessLookupError):
                os.killpg(group, number)
    raise KeyboardInterrupt


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    stopped = "stopped; run the same command again to continue"
    command.run("repro", lambda: main(*sys.argv[1:]), stopped)
