"""``make repro``: what ``dvc repro`` does, with the models trained side by side, and then the table of results.

DVC runs one stage after another, and one training keeps little more than one core busy. Two `dvc repro --single-item` at once are
fine where all they need is up to date, so the trainings run together, each on its share of the cores. What failed or was not
started here, the plain `dvc repro` at the end runs, or reports. The results are the same bytes either way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from stages import settings
from tools import table


def main() -> int:
    started = time.monotonic()
    models = list(settings.load().models)
    prepared = subprocess.run(["dvc", "repro", "dvc.yaml:prepare"], check=False)
    if prepared.returncode:
        return prepared.returncode
    threads = max(1, (os.cpu_count() or 1) // len(models))
    trainings = []
    for place, model in enumerate(models):
        # tqdm reads its position, the line of its bar on the terminal, from the environment.
        environment = {"OMP_NUM_THREADS": str(threads), "TQDM_POSITION": str(place), **os.environ}
        trainings.append(subprocess.Popen(["dvc", "repro", "--single-item", f"dvc.yaml:train@{model}"], env=environment))
    for training in trainings:
        training.wait()
    trained = time.monotonic()
    rest = subprocess.run(["dvc", "repro", "dvc.yaml"], check=False)
    if rest.returncode == 0:
        print(f"\n{table.table()}\n\ntraining {trained - started:.0f} s, the rest {time.monotonic() - trained:.0f} s")
    return rest.returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except settings.UserError as error:
        sys.exit(f"repro: {error}")
