"""Measure how the cost of training grows: ``python -m benchmarks.scale``.

It takes a quarter of an hour, and writes ``scale.json``, ``scale.md`` and ``scale.png``. RealNVP
trains for an epoch by the fixed recipe, every time in a process of its own with one thread. From
one base, a single size changes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from tqdm import tqdm

from flows.core.errors import errors_in_one_line
from flows.plotting.style import STYLE, panels, save
from stages.pipeline import files
from stages.pipeline.settings import label_and_color
from tools import markdown

HERE = Path(__file__).parent
BASE = {"rows": 100_000, "columns": 8, "members": 2, "couplings": 8, "epochs": 1}
SIZES = {
    "rows": [10_000, 100_000, 1_000_000, 10_000_000],
    "columns": [2, 8, 32, 128],
    "members": [1, 2, 10, 40],
    "couplings": [2, 8, 24],
}
POPULATION = {"rows": 800, "columns": 2, "couplings": 24, "epochs": 1000}  # the pipeline's
MEMBERS, WORKERS = [10, 40], [1, 2]
TURNS = 3  # of each number of workers
COLOR = label_and_color("realnvp")[1]


def train(rows: int, columns: int, members: int, couplings: int, epochs: int) -> None:
    """Train, and print as JSON the seconds before the first epoch, those after, and the memory.

    The memory is the peak of this process or, with workers, of the largest, in GiB.
    """
    import flows
    from flows.training import train as training
    from flows.training.trainer import Trainer

    points = np.empty((rows, columns))
    generator = np.random.default_rng(0)
    for part in np.array_split(points, max(1, rows // 100_000)):  # a part at a time: less memory
        part[:] = generator.standard_normal(part.shape)
        part[:, 1] += part[:, 0] ** 2
    model = flows.build("realnvp", (columns,), {"couplings": couplings}, members=members)
    settings = flows.TrainingSettings(epochs=epochs, log_every=epochs)
    begun = time.perf_counter()
    if epochs == 1:
        trainer = Trainer(model, points, settings)
        before = time.perf_counter() - begun
        trainer.epoch()
    else:
        before = 0.0
        training.train(model, points, settings=settings)
    after = time.perf_counter() - begun - before
    get_reusable_executor().shutdown()  # the system tells the memory of processes that have ended
    peaks = [resource.getrusage(who).ru_maxrss for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    print(json.dumps({"before": before, "seconds": after, "memory": max(peaks) / 2**20}))


def measured(workers: int = 1, **sizes: int) -> dict[str, Any]:
    """Return the sizes and what ``train`` prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", json.dumps(sizes)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "FLOWS_WORKERS": str(workers)}
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, check=True, text=True)
    return {**sizes, "workers": workers, **json.loads(done.stdout.splitlines()[-1])}


def measure() -> dict[str, list[dict[str, Any]]]:
    """Measure all sizes; the population and its workers in turns."""
    plans = [(name, {**BASE, name: size}) for name, sizes in SIZES.items() for size in sizes]
    for members in MEMBERS:
        own = {**POPULATION, "members": members}
        plans += [("workers", {**own, "workers": each}) for each in WORKERS * TURNS]
    found: dict[str, list[dict[str, Any]]] = {}
    for name, plan in tqdm(plans, desc="scale", disable=None):
        found.setdefault(name, []).append(measured(**plan))
    return found


def draw(found: dict[str, list[dict[str, Any]]]) -> None:
    """Write the tables and the picture."""
    lines = []
    with plt.rc_context(STYLE):
        figure, axes = panels(2 * len(SIZES), len(SIZES), 2.4, sharey="row")
        for place, name in enumerate(SIZES):
            rows = pd.DataFrame(found[name])
            for axis, key in zip(axes[place :: len(SIZES)], ("seconds", "memory"), strict=True):
                axis.loglog(rows[name], rows[key], "o-", color=COLOR)
                slope = np.diff(np.log(rows[key]))[-1] / np.diff(np.log(rows[name]))[-1]
                axis.set_title(f"slope {slope:.2f} at the end", fontsize=9)
            axis.set_xlabel(name)
            for row in found[name]:
                cells = (f"{row['before']:.1f}", f"{row['seconds']:.3g}", f"{row['memory']:.2f}")
                lines.append([name, f"{row[name]:,}", *cells])
        axes[0].set_ylabel("an epoch (s)")
        axes[len(SIZES)].set_ylabel("peak memory (GiB)")
        save(figure, HERE / "scale.png")
    head = ["what changes", "to", "before the first epoch (s)", "an epoch (s)", "peak memory (GiB)"]
    base = ", ".join(f"{BASE[name]:,} {name}" for name in SIZES)
    keys = ["members", "workers"]
    turns = pd.DataFrame(found["workers"]).groupby(keys)[["seconds", "memory"]].median()
    population = [
        [str(members), str(workers), f"{row.seconds:.1f}", f"{ratio:.2f}", f"{row.memory:.2f}"]
        for (members, workers), row in turns.iterrows()
        for ratio in [turns.seconds[members, 1] / row.seconds]
    ]
    labels = [*keys, "seconds", "times the throughput", "peak memory of a process (GiB)"]
    text = [
        f"RealNVP on one thread; one size at a time differs from {base}:",
        markdown.table(head, lines, "llr"),
        f"Members over workers of one thread, {POPULATION['epochs']} epochs of "
        f"{POPULATION['rows']} rows; medians of {TURNS} in turns:",
        markdown.table(labels, population, "lr"),
    ]
    files.write_bytes(HERE / "scale.md", ("\n\n".join(text) + "\n").encode())


def main() -> None:
    if len(sys.argv) > 1:
        train(**json.loads(sys.argv[1]))
        return
    with errors_in_one_line("benchmarks"):
        found = measure()
        files.write_json(HERE / "scale.json", found)
        draw(found)


if __name__ == "__main__":
    main()
