"""``make repro``: what ``dvc repro`` does, with a line a stage and independent stages side by side, then the table of results.

``python -m tools.repro studies/claims/dvc.yaml`` does the same for another pipeline. DVC runs one stage after another, and one stage
keeps little more than one core busy. So every stage is a `dvc repro --single-item` of its own, started as soon as what it needs is
there and a core is free, in the order of the file. The results are the same bytes as those of a plain `dvc repro`.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import selectors
import shutil
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stages.shared import settings
from tools import command

MAIN = "dvc.yaml"
LOCK = Path(".dvc/tmp/make-repro")
LOST = {"failed", "not run"}
BAR = re.compile(r"\d%\|")  # of tqdm
COLOR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
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
        from tools import table  # here: pandas and matplotlib take seconds, and a second `make repro` is told at once

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
            raise command.UserError("another one is at work in this checkout; wait for it to end") from None
        yield


def look(file: str) -> tuple[dict[str, list[str]], set[str]]:
    """The stages of ``file``, each with those that it needs, and those of them that DVC finds changed."""
    questions = (["dvc", "dag", "--dot", file], ["dvc", "status", "--json", file])
    asked = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for words in questions]
    (graph, graph_error), (status, status_error) = (each.communicate() for each in asked)
    for each, error in zip(asked, (graph_error, status_error), strict=True):
        if each.returncode:
            raise command.UserError(error.strip())
    needs: dict[str, list[str]] = {name: [] for name in re.findall(r'^"([^"]+)";$', graph, flags=re.M)}
    for first, then in re.findall(r'^"([^"]+)" -> "([^"]+)";$', graph, flags=re.M):
        needs[then].append(first)
    return needs, set(json.loads(status))


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    output: int
    started: float = field(default_factory=time.monotonic)
    said: bytes = b""


class Screen:
    """A line for every stage that is done with; on a terminal, what runs stands below them."""

    def __init__(self, width: int):
        self.terminal = sys.stdout.isatty()
        self.width = width  # of the stages' names
        self.below = 0
        self.shown = 0.0

    def line(self, stage: str, outcome: str, said: Sequence[str] = (), seconds: float | None = None) -> None:
        """``said``: the stage's own words, its result last; of a stage that failed, all of them, as they are."""
        self._clear()
        more, result = (said, "") if outcome == "failed" or not said else (said[:-1], said[-1])
        if self.terminal and seconds is not None:
            outcome = f"{outcome} ({seconds:.0f} s)"
        head = self._fit(f"{stage:{self.width}}  {outcome:{22 if self.terminal else 14}}  {result}")
        print(head, *(f"  {each}" for each in more), sep="\n", flush=True)

    def show(self, running: Mapping[str, Running]) -> None:
        """The bar of each stage that runs, or how long it has been at it."""
        now = time.monotonic()
        if not self.terminal or now - self.shown < 0.1:
            return
        self._clear()
        for stage, each in running.items():
            bars = [part for part in re.split(r"[\r\n]", each.said[-2000:].decode(errors="replace")) if BAR.search(part)]
            print(self._fit(f"{stage:{self.width}}  {bars[-1] if bars else f'{now - each.started:.0f} s'}"))
        sys.stdout.flush()
        self.below, self.shown = len(running), now

    def _fit(self, text: str) -> str:
        return text.rstrip()[: shutil.get_terminal_size().columns - 1 if self.terminal else None]

    def _clear(self) -> None:
        if self.below:
            print(f"\x1b[{self.below}A\x1b[J", end="")
            self.below = 0


def side_by_side(needs: Mapping[str, Sequence[str]], changed: Container[str], screen: Screen) -> bool:
    """Run the stages, as many at once as there are cores. What is not ``changed``, nor needs one that was started, is not even started.

    False where one failed; those that need it are then not run, and all others are.
    """
    cores = os.cpu_count() or 1
    waiting, running, state = dict(needs), dict[str, Running](), dict[str, str]()
    selector = selectors.DefaultSelector()
    try:
        while waiting or running:
            ready = [stage for stage, its in waiting.items() if state.keys() >= set(its)]
            idle = {}
            for stage in ready:
                its = {state[each] for each in needs[stage]}
                if its & LOST:
                    idle[stage] = "not run"
                elif stage not in changed and its <= {"unchanged"}:
                    idle[stage] = "unchanged"
            for stage, outcome in idle.items():
                screen.line(stage, outcome)
                del waiting[stage]
            state |= idle
            if idle:
                continue
            at_once = min(cores, len(running) + len(ready))
            for stage in ready[: at_once - len(running)]:
                running[stage] = start(stage, max(1, cores // at_once), screen)
                selector.register(running[stage].output, selectors.EVENT_READ, stage)
                del waiting[stage]
            for key, _ in selector.select(0.2 if screen.terminal else None):
                stage, each = key.data, running[key.data]
                if more := read(each.output):
                    each.said += more
                    continue
                selector.unregister(each.output)
                os.close(each.output)
                outcome, said = told(each.said.decode(errors="replace"))
                state[stage] = "failed" if each.process.wait() else "ran"
                screen.line(stage, "failed" if state[stage] == "failed" else outcome, said, time.monotonic() - each.started)
                del running[stage]
            screen.show(running)
    finally:
        for each in running.values():  # after an interrupt from the keyboard, which they had too
            each.process.wait()
    return not LOST.intersection(state.values())


def read(output: int) -> bytes:
    """What is there to be read; nothing at the end."""
    try:
        return os.read(output, 1 << 16)
    except OSError:  # the end of a terminal
        return b""


def start(stage: str, share: int, screen: Screen) -> Running:
    """Start a stage with its share of threads and processes; on a terminal, on one of its own, or it would not draw its bar."""
    if screen.terminal:
        output, end = pty.openpty()
        tty.setraw(end)
        termios.tcsetwinsize(end, (24, max(20, shutil.get_terminal_size().columns - screen.width - 3)))
    else:
        output, end = os.pipe()
    limits = {"OMP_NUM_THREADS": str(share), "LOKY_MAX_CPU_COUNT": str(share), "PYTHONUNBUFFERED": "1"}
    name = stage if ":" in stage or stage.endswith(".dvc") else f"{MAIN}:{stage}"
    try:
        words = ["dvc", "--wait-for-lock", "repro", "--single-item", name]
        return Running(subprocess.Popen(words, env={**limits, **os.environ}, stdout=end, stderr=end), output)
    finally:
        os.close(end)


def told(output: str) -> tuple[str, list[str]]:
    """What DVC did with a stage, and what the stage itself said, without bars and DVC's usual words. It is only shown: nothing hangs on it."""
    lines = []
    for line in COLOR.sub("", output).split("\n"):
        seen = ""  # as on a terminal: what follows a return is written over what was there
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        if not BAR.search(seen):
            lines.append(seen.rstrip())
    did = {"' didn't change": "unchanged", "' is cached - skipping run": "from the cache"}
    outcomes = [outcome for line in lines for words, outcome in did.items() if line.startswith("Stage '") and words in line]
    return outcomes[0] if outcomes else "ran", [line for line in lines if not USUAL.match(line)]


if __name__ == "__main__":
    command.run("repro", main, stopped="stopped; start it again and it goes on where it was")
