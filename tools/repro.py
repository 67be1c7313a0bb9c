"""``make repro``: what ``dvc repro`` does, with a line a stage and independent stages side by side, then the table of results.

``python -m tools.repro studies/claims/dvc.yaml`` does the same for another pipeline. DVC runs one stage after another, and one stage
keeps little more than one core busy. So every stage is a `dvc repro --single-item` of its own, started as soon as what it needs is
there and a core is free, in the order of the file. The results are the same bytes as those of a plain `dvc repro`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from stages.pipeline import settings
from tools import command

MAIN = "dvc.yaml"
LOCK = Path(".dvc/tmp/make-repro")
LOST = {"failed", "not run"}
# How DVC's lines begin where all is well: what it does, and advice.
USUAL = re.compile(
    r"\s*($|Running stage '|> |Updating lock file|Generating lock file|Stage '|'.*\.dvc' didn't change|Data and pipelines are up to date"
    r"|To track the changes|git add |To enable auto staging|dvc config core\.autostage|Use `dvc push`)"
)


def main() -> int:
    file = sys.argv[1] if len(sys.argv) > 1 else MAIN
    if file == MAIN:
        settings.load()  # one line for a wrong setting, before anything runs
    started = time.monotonic()
    with alone():
        needs, changed = look(file)
        screen = Screen(max(map(len, needs)))
        if not side_by_side(needs, changed, screen):
            return 1
    if file == MAIN:
        from tools import (
            table,
        )  # here: pandas and matplotlib take seconds, and a second `make repro` is told at once

        print(f"\n{table.table()}")
    if screen.terminal:
        print(f"\n{time.monotonic() - started:.0f} s")
    return 0


@contextmanager
def alone() -> Iterator[None]:
    """Nobody else is in here, in this checkout. However the process ends, the system takes its lock away."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise command.UserError(
                "another one is at work in this checkout; wait for it to end"
            ) from None
        yield


def look(file: str) -> tuple[dict[str, list[str]], set[str]]:
    """The stages of ``file``, each with those that it needs, and those of them that DVC finds changed."""
    questions = (["dvc", "dag", "--dot", file], ["dvc", "status", "--json", file])
    asked = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for words in questions
    ]
    (graph, graph_error), (status, status_error) = (each.communicate() for each in asked)
    for each, error in zip(asked, (graph_error, status_error), strict=True):
        if each.returncode:
            raise command.UserError(error.strip())
    needs: dict[str, list[str]] = {
        name: [] for name in re.findall(r'^"([^"]+)";$', graph, flags=re.M)
    }
    for first, then in re.findall(r'^"([^"]+)" -> "([^"]+)";$', graph, flags=re.M):
        needs[then].append(first)
    return needs, set(json.loads(status))


def side_by_side(
    needs: Mapping[str, Sequence[str]], changed: Container[str], screen: Screen
) -> bool:
    """Run the stages, as many at once as there are cores. What is not ``changed``, nor needs one that was started, is not even started.

    False where one failed; those that need it are then not run, and all others are.
    """
    cores = os.cpu_count() or 1
    waiting, state = dict(needs), dict[str, str]()
    running: dict[
        Future[subprocess.CompletedProcess[str]], tuple[str, float]
    ] = {}  # and since when
    with (
        ThreadPoolExecutor(cores) as threads
    ):  # after an interrupt from the keyboard it waits for the stages, which had that too
        while waiting or running:
            ready = {
                stage: {state[each] for each in its}
                for stage, its in waiting.items()
                if state.keys() >= set(its)
            }
            idle = {
                stage: "unchanged"
                for stage, its in ready.items()
                if its <= {"unchanged"} and stage not in changed
            }
            idle |= {stage: "not run" for stage, its in ready.items() if its & LOST}
            for stage in idle:
                screen.line(stage, idle[stage])
                del waiting[stage]
            state |= idle
            if idle:
                continue  # others may be, that need these
            at_once = min(cores, len(running) + len(ready))
            for stage in list(ready)[: at_once - len(running)]:
                running[threads.submit(reproduce, stage, max(1, cores // at_once))] = (
                    stage,
                    time.monotonic(),
                )
                del waiting[stage]
            screen.show(running.values())
            for ended in wait(running, 1 if screen.terminal else None, FIRST_COMPLETED).done:
                stage, since = running.pop(ended)
                outcome, said = told(ended.result().stdout)
                state[stage] = "failed" if ended.result().returncode else "ran"
                screen.line(
                    stage,
                    "failed" if state[stage] == "failed" else outcome,
                    said,
                    time.monotonic() - since,
                )
    return not LOST.intersection(state.values())


def reproduce(stage: str, share: int) -> subprocess.CompletedProcess[str]:
    """Run a stage with its share of threads."""
    limits = {"OMP_NUM_THREADS": str(share), "PYTHONUNBUFFERED": "1"}
    name = stage if ":" in stage or stage.endswith(".dvc") else f"{MAIN}:{stage}"
    words = ["dvc", "--wait-for-lock", "repro", "--single-item", name]
    limited = {**limits, **os.environ}
    return subprocess.run(
        words,
        env=limited,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


class Screen:
    """A line for every stage that is done with; on a terminal, what runs stands below them."""

    def __init__(self, width: int):
        self.terminal = sys.stdout.isatty()
        self.width = width  # of the stages' names
        self.below = 0

    def line(
        self, stage: str, outcome: str, said: Sequence[str] = (), seconds: float | None = None
    ) -> None:
        """``said``: the stage's own words, its result last; of a stage that failed, all of them, as they are."""
        more, result = (said, "") if outcome == "failed" or not said else (said[:-1], said[-1])
        if self.terminal and seconds is not None:
            outcome = f"{outcome} ({seconds:.0f} s)"
        self._print(f"{stage:{self.width}}  {outcome:{22 if self.terminal else 14}}  {result}")
        print(*(f"  {each}\n" for each in more), sep="", end="", flush=True)

    def show(self, running: Collection[tuple[str, float]]) -> None:
        """How long each stage that runs has been at it."""
        if self.terminal:
            self._print(
                *(
                    f"{stage:{self.width}}  {time.monotonic() - since:.0f} s"
                    for stage, since in running
                )
            )
            self.below = len(running)

    def _print(self, *lines: str) -> None:
        """In place of what stands below."""
        if self.below:
            print(f"\x1b[{self.below}A\x1b[J", end="")
            self.below = 0
        for line in lines:
            print(
                line.rstrip()[: shutil.get_terminal_size().columns - 1 if self.terminal else None],
                flush=True,
            )


def told(output: str) -> tuple[str, list[str]]:
    """What DVC did with a stage, and what the stage itself said, without DVC's usual words. It is only shown: nothing hangs on it."""
    did = {"' didn't change": "unchanged", "' is cached - skipping run": "from the cache"}
    lines = [line.rstrip() for line in output.split("\n")]
    outcomes = [
        outcome
        for line in lines
        for words, outcome in did.items()
        if line.startswith("Stage '") and words in line
    ]
    return outcomes[0] if outcomes else "ran", [line for line in lines if not USUAL.match(line)]


if __name__ == "__main__":
    command.run("repro", main, stopped="stopped; start it again and it goes on where it was")
