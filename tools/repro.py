"""``make repro``: what ``dvc repro`` does, with independent stages side by side, and then the table of results.

DVC runs one stage after another, and one training keeps little more than one core busy. Several `dvc repro --single-item` at once
are fine where all they need is up to date, so the trainings run together, and after them the evaluations and references, each on its
share of the cores. What failed or was not started here, the plain `dvc repro` at the end runs, or reports. The results are the
same bytes either way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from stages import settings
from tools import table


def main() -> int:
    params = settings.load()
    started = time.monotonic()
    prepared = subprocess.run(["dvc", "repro", "dvc.yaml:prepare"], check=False)
    if prepared.returncode:
        return prepared.returncode
    side_by_side([f"train@{model}" for model in params.models])
    trained = time.monotonic()
    side_by_side([f"reference@{name}" for name in settings.References.model_fields] + [f"evaluate@{model}" for model in params.models])
    rest = subprocess.run(["dvc", "repro", "dvc.yaml"], check=False)
    if rest.returncode == 0:
        print(f"\n{table.table()}\n\ntraining {trained - started:.0f} s, the rest {time.monotonic() - trained:.0f} s")
    return rest.returncode


def side_by_side(cells: list[str]) -> None:
    """Run stages that don't need each other, as many at once as there are cores."""
    at_once = min(len(cells), os.cpu_count() or 1)
    threads = max(1, (os.cpu_count() or 1) // at_once)

    def run(place: int, cell: str) -> None:
        # tqdm reads its position, the line of its bar on the terminal, from the environment.
        environment = {"OMP_NUM_THREADS": str(threads), "TQDM_POSITION": str(place), **os.environ}
        subprocess.run(["dvc", "repro", "--single-item", f"dvc.yaml:{cell}"], env=environment, check=False)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(run, range(len(cells)), cells))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except settings.UserError as error:
        sys.exit(f"repro: {error}")
