"""The measurements. A section takes the plan and the workers, and gives what ``results.json`` holds under its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.client import Worker, Workers
from benchmarks.peers import Recipe
from benchmarks.plan import DATA_SEED, NEVER_ENDS, Plan
from flows.core.arrays import Array

Row = dict[str, Any]
PLAIN_RATE = 0.001  # of Adam, in the recipe that libraries are used with, and in all timings


@dataclass(frozen=True)
class Bench:
    """What every section needs: how much to measure, with whom, where files go for a while, and whom to tell what is going on."""

    plan: Plan
    workers: Workers
    libraries: Sequence[str]  # of peers.LIBRARIES, those that are wanted and installed
    folder: Path
    say: Callable[[str], None]

    @property
    def threads(self) -> int:
        return self.plan.threads[-1]


def epoch(bench: Bench) -> list[Row]:
    """Milliseconds of one training epoch, for every library, the floor and every setting; they take turns."""
    plan = bench.plan
    training = data.data_set(DATA_SEED, plan.fresh, bench.folder).training
    rows: list[Row] = []
    for threads, networks, hidden, batch in product(plan.threads, plan.epoch_networks, plan.epoch_hidden, plan.batches):
        bench.say(f"{threads} threads, {networks} networks, hidden {hidden}, batch {batch}")
        recipe = Recipe(batch, PLAIN_RATE)
        runners: dict[str, Worker] = {}
        built: dict[str, Row] = {}
        for library in (*bench.libraries, "floor"):
            worker = runners[library] = bench.workers.get(library, threads)
            built[library] = begin(worker, training, recipe, networks=networks, hidden=hidden, couplings=plan.epoch_couplings)
        for library, times in interleaved(runners, plan).items():
            setting = {"threads": threads, "networks": networks, "hidden": hidden, "batch": batch}
            cost = {"ms": median(times), "ms_min": min(times), "ms_max": max(times), "ms_per_network": median(times) / networks}
            rows.append({"library": library, **setting, **cost, **built[library]})
    return rows


def depth(bench: Bench) -> list[Row]:
    """Milliseconds of an epoch of RealNVP and of Glow, ten members, by the number of couplings."""
    plan = bench.plan
    training = data.data_set(DATA_SEED, plan.fresh, bench.folder).training
    rows: list[Row] = []
    for couplings in plan.depths:
        bench.say(f"{couplings} couplings")
        runners = {model: bench.workers.get("ours", bench.threads, label=model) for model in ("realnvp", "glow")}
        for model, worker in runners.items():
            begin(worker, training, Recipe(256, PLAIN_RATE), networks=plan.networks, hidden=32, couplings=couplings, model=model)
        times = {model: median(readings) for model, readings in interleaved(runners, plan).items()}
        rows.append({"couplings": couplings, "realnvp_ms": times["realnvp"], "glow_ms": times["glow"], "ratio": times["glow"] / times["realnvp"]})
    return rows


def throughput(bench: Bench) -> list[Row]:
    """Points per second, of densities and of samples, one network; None where a reading would take too long."""
    plan = bench.plan
    couplings, hidden = plan.throughput_size
    slowest = dict.fromkeys(bench.libraries, 0.0)  # seconds a point, at the size before
    rows: list[Row] = []
    for library in bench.libraries:
        bench.workers.get(library, bench.threads).ask("build", networks=1, hidden=hidden, couplings=couplings)
    for points in plan.throughput_points:
        readings: dict[str, list[Row]] = {library: [] for library in bench.libraries if slowest[library] * points <= plan.throughput_limit}
        for _ in range(plan.throughput_repeats):
            for library in readings:
                bench.say(f"{library}, {points} points")
                readings[library].append(bench.workers.get(library, bench.threads).ask("throughput", points=points))
        for library in bench.libraries:
            row: Row = {"library": library, "points": points, "log_prob_per_second": None, "sample_per_second": None}
            if library in readings:
                seconds = {what: median(reading[what] for reading in readings[library]) for what in ("log_prob", "sample")}
                slowest[library] = max(seconds.values()) / points
                row.update({f"{what}_per_second": points / taken for what, taken in seconds.items()})
            rows.append(row)
    return rows


def growth(bench: Bench) -> list[Row]:
    """How ours grows in time and memory with one size at a time, every reading in a process of its own; beside the floor for rows."""
    result: list[Row] = []
    for axis, cases in growth_cases(bench.plan).items():
        rows = []
        for case in cases:
            bench.say(f"{axis} {case.size}")
            points = bench.folder / "growth.npy"
            np.save(points, case.make())
            row: Row = {"size": case.size}
            for library in ("ours", "floor") if axis == "rows" else ("ours",):
                with closing(Worker(library, bench.threads)) as worker:
                    begin(worker, str(points), Recipe(case.batch, PLAIN_RATE), **case.setting)
                    row[f"{library}_seconds"] = median(interleaved({library: worker}, bench.plan)[library]) / 1000
                    if library == "ours":
                        row.update(worker.ask("memory"))
            rows.append(row)
        result.append({"axis": axis, **slope([row["size"] for row in rows], [row["ours_seconds"] for row in rows]), "rows": rows})
    return result


@dataclass(frozen=True)
class Case:
    """One size on one axis of ``growth``: how its standardised points are made, the batch, and the networks."""

    size: int
    make: Callable[[], Array]
    batch: int
    setting: dict[str, int]


def growth_cases(plan: Plan) -> dict[str, list[Case]]:
    ring = partial(data.ring_rows, DATA_SEED)
    wide = {"networks": 1, "couplings": 8, "hidden": 64}
    ours = {"networks": plan.networks, "couplings": 8, "hidden": 32}
    return {
        "rows": [Case(n, partial(data.many_rows, n), 8192, wide) for n in plan.growth_rows],
        "dimensions": [Case(d, partial(data.many_features, plan.growth_dimension_rows, d), 1000, {**wide, "dim": d}) for d in plan.growth_dimensions],
        "couplings": [Case(k, ring, 256, {**ours, "couplings": k}) for k in plan.growth_couplings],
        "members": [Case(m, ring, 256, {**ours, "networks": m}) for m in plan.growth_members],
    }


def begin(worker: Worker, training: str, recipe: Recipe, **setting: Any) -> Row:
    """Build networks, ready them on a schedule that doesn't end, and let one epoch go by unmeasured."""
    parameters = worker.ask("build", **setting)["parameters"]
    started = worker.ask("start", points=training, recipe=asdict(recipe), epochs=NEVER_ENDS)
    worker.ask("advance", epochs=1)
    return {"parameters": parameters, "compile_seconds": started["compile_seconds"]}


def interleaved(runners: dict[str, Worker], plan: Plan) -> dict[str, list[float]]:
    """Milliseconds of an epoch, ``plan.repeats`` readings of everyone, in turns: what slows the machine for a while slows all alike."""
    counts = {}
    for name, worker in runners.items():
        counts[name] = max(1, math.ceil(plan.reading / worker.ask("advance", epochs=1)["seconds"]))
    readings: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(plan.repeats):
        for name, worker in runners.items():
            readings[name].append(1000 * worker.ask("advance", epochs=counts[name])["seconds"] / counts[name])
    return readings


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> Row:
    """The exponent b of ``seconds ~ size^b``, least squares on logarithms over the upper half of the range, and its standard error."""
    x, y = np.log(sizes), np.log(seconds)
    upper = x >= (x[0] + x[-1]) / 2 - 1e-9
    x, y = x[upper], y[upper]
    deviation = x - x.mean()
    exponent = float(deviation @ y / (deviation @ deviation)) if len(x) > 1 else None
    error = None
    if exponent is not None and len(x) > 2:
        rest = y - y.mean() - exponent * deviation
        error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(deviation @ deviation))
    return {"exponent": exponent, "exponent_se": error, "points_fitted": len(x)}
