"""Measure how the cost of training grows: ``python -m benchmarks.scale``.

It takes a quarter of an hour, and writes ``scale.csv``, ``scale.md`` and ``scale.png``. RealNVP
trains with the fixed recipe, each time in a new process with one thread. One size at a time
differs from the base settings. Then a large population is trained by one process with two threads,
and by two processes with half of the members each, in turns.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.ticker import EngFormatter
from tqdm import tqdm

from benchmarks import FOLDER, PARAMS
from benchmarks.worker import Process
from common import storage
from common.labels import label_and_color
from common.settings import read_yaml
from flows.plotting.style import STYLE, panels, save
from tools import command, markdown

PLAN = read_yaml(PARAMS)["scale"]
BASE, SIZES, DIVIDED = PLAN["base"], PLAN["sizes"], PLAN["divided"]
CORES = max(DIVIDED["processes"])


def main() -> None:
    plans = [{**BASE, "what": what, what: size} for what in SIZES for size in SIZES[what]]
    for processes in DIVIDED["processes"] * DIVIDED["turns"]:
        own = {"what": "processes", "processes": processes, "threads": CORES // processes}
        plans.append({**DIVIDED["base"], **own})
    table = pd.DataFrame([measured(plan) for plan in tqdm(plans, desc="scale", disable=None)])
    storage.write_csv(FOLDER / "scale.csv", table, "%.4g")
    storage.write_bytes(FOLDER / "scale.md", document(table).encode())
    draw_speed(table)


def measured(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the plan with the largest measurements of ``train`` in new processes.

    Each process has an equal part of the members.
    """
    sizes = {name: plan[name] for name in ("rows", "columns", "couplings", "epochs")}
    size, variables = (
        plan["members"] // plan["processes"],
        {"OMP_NUM_THREADS": str(plan["threads"])},
    )
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(variables)) for _ in range(plan["processes"])]
        started = [
            process.submit(train, members=range(place * size, (place + 1) * size), **sizes)
            for place, process in enumerate(processes)
        ]
        found = pd.DataFrame([each.result() for each in started])
    return {**plan, **found.max()}


def train(rows: int, columns: int, members: range, couplings: int, epochs: int) -> dict[str, float]:
    """Train, and return the seconds before and from the first epoch on, and the memory in GiB.

    With several epochs, all seconds count as from the first epoch on.
    """
    import flows
    from flows.core.progress import peak_memory
    from flows.training.trainer import Trainer

    points = np.random.default_rng(0).standard_normal((rows, columns))
    points[:, 1] += points[:, 0] ** 2
    model = flows.build(flows.RealNVP(couplings=couplings), (columns,), members=members)
    settings = flows.TrainingSettings(epochs=epochs, log_every=epochs)
    begun = start = time.perf_counter()
    if epochs == 1:
        trainer = Trainer(model, points, settings)
        start = time.perf_counter()
        trainer.epoch()
    else:
        flows.train(model, points, settings=settings)
    end = time.perf_counter()
    memory = peak_memory() * 1e9 / 2**30
    return {"before": start - begun, "seconds": end - start, "memory": memory}


def document(table: pd.DataFrame) -> str:
    """Return the tables in Markdown."""
    grown = [
        [
            row.what,
            f"{row[row.what]:,}",
            f"{row.before:.1f}",
            f"{row.seconds:.3g}",
            f"{row.memory:.2f}",
        ]
        for _, row in table[table.what != "processes"].iterrows()
    ]
    turns = table[table.what == "processes"].groupby("processes")[["seconds", "memory"]]
    medians = turns.median()
    gain = medians.seconds[1] / medians.seconds
    divided = [
        [str(count), f"{row.seconds:.1f}", f"{gain[count]:.2f}", f"{row.memory:.2f}"]
        for count, row in medians.iterrows()
    ]
    base, fixed = ", ".join(f"{BASE[name]:,} {name}" for name in SIZES), DIVIDED["base"]
    head = ["size", "value", "before the first epoch (s)", "one epoch (s)", "memory (GiB)"]
    parts = [
        f"One size varies from {base}; one thread:",
        markdown.table(head, grown, "lr"),
        f"{fixed['epochs']} epochs of {fixed['members']:,} members on {CORES} cores (medians of "
        f"{DIVIDED['turns']}; memory per process):",
        markdown.table(["processes", "s", "throughput", "memory (GiB)"], divided, "r"),
    ]
    return "\n\n".join(parts) + "\n"


def draw_speed(table: pd.DataFrame) -> None:
    """Draw time and memory against each size; a slope of 1 means proportional."""
    color = label_and_color("realnvp")[1]
    with rc_context(STYLE):
        figure, axes = panels(2 * len(SIZES), len(SIZES), 2.2, sharey="row")
        for place, what in enumerate(SIZES):
            own = table[table.what == what]
            for axis, key in zip(axes[place :: len(SIZES)], ("seconds", "memory"), strict=True):
                axis.loglog(own[what], own[key], "o-", color=color)
                slope = np.diff(np.log(own[key]))[-1] / np.diff(np.log(own[what]))[-1]
                axis.set_title(f"slope at the end {slope:z.2f}", fontsize=9)
                axis.set_xticks(SIZES[what])
                axis.xaxis.set_major_formatter(EngFormatter(sep=""))
                axis.minorticks_off()
            axis.set_xlabel(what)
        for axis in axes[: len(SIZES) + 1 : len(SIZES)]:
            axis.yaxis.set_major_formatter("{x:g}")
        axes[0].set_ylabel("time per epoch (s)")
        axes[len(SIZES)].set_yticks([0.5, 1, 2])
        axes[len(SIZES)].set_ylabel("peak memory (GiB)")
        save(figure, FOLDER / "scale.png")


if __name__ == "__main__":
    command.run("scale", main)
