"""``make repro``: what ``dvc repro`` does, with independent stages side by side, then the table of results and where the time went.

DVC runs one stage after another, and one stage keeps little more than one core busy. Several `dvc repro --single-item` at once
are fine where all they need is up to date, so every stage is started as soon as what it needs is there and a core is free. What
failed or was not started here, the plain `dvc repro` at the end runs, or reports. The results are the same bytes either way.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

from stages import settings
from tools import command, table


def main() -> int:
    params = settings.load()
    started = time.monotonic()
    prepared = subprocess.run(["dvc", "repro", "dvc.yaml:prepare"], check=False)
    if prepared.returncode:
        return prepared.returncode
    seconds = {"generate, prepare": time.monotonic() - started}
    seconds.update(side_by_side(cells(params)))
    rest_started = time.monotonic()
    rest = subprocess.run(["dvc", "repro", "dvc.yaml"], check=False)
    seconds["plot, and a look at all"] = time.monotonic() - rest_started
    if rest.returncode == 0:
        print(f"\n{table.table()}\n\n{report(seconds, time.monotonic() - started)}")
    return rest.returncode


def cells(params: settings.Settings) -> dict[str, list[str]]:
    """The stages between `prepare` and `plot`, long ones first, each with those of them that it needs."""
    training: dict[str, list[str]] = {f"train@{model}": [] for model in params.models}
    references: dict[str, list[str]] = {f"reference@{name}": [] for name in settings.References.model_fields}
    evaluation = {f"evaluate@{model}": [f"train@{model}"] for model in params.models}
    return {"reference@truth": [], **training, **references, **evaluation}


def side_by_side(cells: Mapping[str, Sequence[str]], file: str = "dvc.yaml") -> dict[str, float]:
    """Run the ``cells`` of ``file``, as many at once as there are cores, each after those it needs. Gives their seconds.

    What needs a failed one is left out.
    """
    cores = os.cpu_count() or 1
    at_once = min(len(cells), cores)
    share = str(max(1, cores // at_once))
    places: SimpleQueue[int] = SimpleQueue()  # of the lines on the terminal, one for the bar of each stage that runs
    for place in range(at_once):
        places.put(place)

    def run(cell: str) -> tuple[bool, float]:
        place, started = places.get(), time.monotonic()
        # Of threads and processes, each stage has its share. tqdm reads the line of its bar from the environment.
        limits = {"OMP_NUM_THREADS": share, "LOKY_MAX_CPU_COUNT": share, "TQDM_POSITION": str(place)}
        done = subprocess.run(["dvc", "repro", "--single-item", f"{file}:{cell}"], env={**limits, **os.environ}, check=False)
        places.put(place)
        return done.returncode == 0, time.monotonic() - started

    waiting, running, seconds = dict(cells), dict[Future[tuple[bool, float]], str](), dict[str, float]()
    finished: set[str] = set()
    with ThreadPoolExecutor(at_once) as pool:
        while True:
            for cell in [cell for cell, needs in waiting.items() if finished.issuperset(needs)]:
                del waiting[cell]
                running[pool.submit(run, cell)] = cell
            if not running:
                return {cell: seconds[cell] for cell in cells if cell in seconds}
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                succeeded, seconds[cell] = future.result()
                if succeeded:
                    finished.add(cell)


def report(seconds: Mapping[str, float], total: float) -> str:
    width = max(map(len, seconds))
    lines = [f"{name:{width}} {taken:6.1f} s" for name, taken in seconds.items()]
    return "\n".join(["where the time went (stages ran side by side):", *lines, f"{'from start to end':{width}} {total:6.1f} s"])


if __name__ == "__main__":
    command.run("repro", main, stopped="stopped; start it again and it goes on where it was")
