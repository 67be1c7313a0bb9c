"""The measurements: how much is measured, and a function a section, which gives what ``results.json`` holds under its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import EAGER, OURS, Recipe
from benchmarks.worker import Worker, workers
from flows import targets
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.data.splits import draw
from flows.training.smoothing import likelihood_bandwidth

Row = dict[str, Any]
DATA_SEED = 100  # for the main pipeline's reports only
NEVER_ENDS = 1_000_000  # epochs of a schedule that a timing does not get to the end of
TRUTH = targets.make("ring")
ROWS, TEST_ROWS = 1_000, 200  # of the main pipeline
NOISE_FACTOR = 1.5  # of the main pipeline's recipe


@dataclass(frozen=True)
class Plan:
    """Sizes are given as ``(couplings, hidden)``; ``reading`` is how long one timing should last, in seconds.

    The libraries on PyTorch train their networks one after another, so their time is proportional to the number of networks:
    for the time to quality they train ``eager_networks``, and their seconds are multiplied by ``networks / eager_networks``.
    """

    repeats: int = 5
    reading: float = 0.3
    threads: tuple[int, ...] = (1, 2)  # of ``epoch``; other sections use the last
    epoch_networks: tuple[int, ...] = (1, 10)
    epoch_hidden: tuple[int, ...] = (32, 64)
    epoch_couplings: int = 8
    batches: tuple[int, ...] = (128, 800)
    rows: int = 800

    quality_kl: float = 0.15
    quality_size: tuple[int, int] = (16, 32)
    spline_size: tuple[int, int] = (4, 32)
    spline_bins: int = 8
    quality_seeds: tuple[int, ...] = (100, 101, 102)  # for the main pipeline's reports only
    quality_lengths: tuple[int, ...] = (60, 100, 160, 200, 250, 400)
    networks: int = 10
    eager_networks: int = 3
    fresh: int = 20_000
    own_epochs: int = 1_000
    own_every: int = 20
    own_patience: int = 120  # epochs without a better score after which the usual recipe only overfits

    depths: tuple[int, ...] = (2, 4, 8, 16, 24)

    throughput_points: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    throughput_limit: float = 20.0  # a reading that would take longer is skipped, seconds
    throughput_size: tuple[int, int] = (8, 64)
    throughput_repeats: int = 3

    growth_rows: tuple[int, ...] = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
    growth_dimensions: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    growth_couplings: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    growth_members: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
    growth_dimension_rows: int = 10_000


@dataclass(frozen=True)
class Bench:
    """What every section needs: how much to measure, with whom, where files go for a while, and whom to tell what is going on."""

    plan: Plan
    libraries: Sequence[str]  # of peers.LIBRARIES, those that are wanted and installed
    folder: Path
    say: Callable[[str], None]

    def file(self, arrays: dict[str, Any]) -> str:
        """An npz file for workers to read; the next takes its place."""
        path = self.folder / "data.npz"
        np.savez(path, **arrays)
        return str(path)


def ring(data_seed: int, fresh: int = 1) -> dict[str, Array]:
    """``points``, the main pipeline's 800 training rows of this seed; and so many fresh ``draws`` of the truth, with ``log_p`` there in nats."""
    rows = draw(TRUTH, ROWS, TEST_ROWS, seed=data_seed, split_seed=0)[0]
    draws = TRUTH.sample(fresh, numpy_generator(data_seed, "fresh"))
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    log_p = TRUTH.log_prob(draws) + np.log(deviation).sum()
    return {"points": (rows - mean) / deviation, "draws": (draws - mean) / deviation, "log_p": log_p}


def epoch(bench: Bench) -> list[Row]:
    """Milliseconds of one training epoch, for every library, the floor and every setting; they take turns."""
    plan = bench.plan
    points = bench.file(ring(DATA_SEED))
    rows = []
    for threads in plan.threads:
        with workers((*bench.libraries, "floor"), threads) as runners:
            for networks, hidden, batch in product(plan.epoch_networks, plan.epoch_hidden, plan.batches):
                bench.say(f"{threads} threads, {networks} networks, hidden {hidden}, batch {batch}")
                setting = {"networks": networks, "hidden": hidden}
                begun = [begin(worker, points, batch, couplings=plan.epoch_couplings, **setting) for worker in runners]
                for worker, row, times in zip(runners, begun, interleaved(runners, plan), strict=True):
                    middle = median(times)
                    cost = {"ms": middle, "ms_min": min(times), "ms_max": max(times), "ms_per_network": middle / networks}
                    rows.append({"library": worker.library, "threads": threads, "batch": batch, **setting, **cost, **row})
    return rows


def begin(worker: Worker, points: str, batch: int, **setting: Any) -> Row:
    """Build networks, ready them on a schedule that doesn't end, and let one epoch go by unmeasured."""
    parameters = worker.ask("build", **setting)
    compiling = worker.ask("start", data=points, recipe=asdict(Recipe(batch)), epochs=NEVER_ENDS)
    worker.ask("advance", epochs=1)
    return {"parameters": parameters, "compile_seconds": compiling}


def interleaved(runners: Sequence[Worker], plan: Plan) -> list[list[float]]:
    """Milliseconds of an epoch, ``plan.repeats`` readings of everyone, in turns: what slows the machine for a while slows all alike."""
    counts = [max(1, math.ceil(plan.reading / worker.ask("advance", epochs=1))) for worker in runners]
    turns = [[1000 * worker.ask("advance", epochs=count) / count for worker, count in zip(runners, counts, strict=True)] for _ in range(plan.repeats)]
    return [list(readings) for readings in zip(*turns, strict=True)]


class Outcome(NamedTuple):
    """One data set: seconds (infinite) and epochs (None where it was never reached) to the target, and the best mean KL on the way, nats."""

    seconds: float
    epochs: int | None
    best_kl: float
    compile_seconds: float


def quality(bench: Bench) -> list[Row]:
    """Seconds until the mean KL of the networks is at the target, with our recipe and, for the others, with the usual one."""
    plan = bench.plan
    rows = []
    for library in bench.libraries:
        with workers([library], plan.threads[-1]) as (worker,):
            rows += entries(bench, worker, library, plan.quality_size, {})
            if library == "ours":
                rows += entries(bench, worker, "ours, spline", plan.spline_size, {"transform": "spline", "bins": plan.spline_bins})
    return rows


def entries(bench: Bench, worker: Worker, name: str, size: tuple[int, int], options: Row) -> list[Row]:
    """A row for each recipe. The seconds stand for ``plan.networks`` networks, however many are trained."""
    plan = bench.plan
    networks = plan.eager_networks if worker.library in EAGER else plan.networks
    setting = dict(zip(("couplings", "hidden"), size, strict=True))
    worker.ask("build", networks=networks, **setting, **options)
    rows = []
    for recipe in ("ours",) if worker.library in OURS else ("ours", "usual"):
        outcomes: list[Outcome] = []
        for seed in plan.quality_seeds:
            bench.say(f"{name}, {recipe} recipe, data seed {seed}")
            drawn = ring(seed, plan.fresh)
            path = bench.file(drawn)
            if recipe == "usual":
                outcomes.append(by_usual_recipe(worker, path, plan))
            else:
                noise = NOISE_FACTOR * likelihood_bandwidth(drawn["points"])
                outcomes.append(by_our_recipe(worker, path, plan, noise, outcomes))
            if outcomes[-1].epochs is None:
                break  # the others take as long and say no more
        times = [plan.networks / networks * outcome.seconds for outcome in outcomes]
        row = {"library": name, "recipe": recipe, **setting, "networks_trained": networks}
        row |= {"seconds": median(times), "seconds_min": min(times), "seconds_max": max(times)}
        row |= {key: [getattr(outcome, key) for outcome in outcomes] for key in ("epochs", "best_kl")}
        rows.append({**row, "compile_seconds": outcomes[0].compile_seconds})  # later data sets find it done
    return rows


def by_our_recipe(worker: Worker, path: str, plan: Plan, noise: float, before: list[Outcome]) -> Outcome:
    """Runs of growing length, each with its own schedule, until one ends at the target: its seconds alone.

    After the first data set, those lengths are left out that are more than one step shorter than what it took there.
    """
    recipe = asdict(Recipe(256, learning_rate=0.005, noise=noise))
    shortest = max(0, plan.quality_lengths.index(before[0].epochs) - 1) if before else 0
    best, compiled = math.inf, 0.0
    for epochs in plan.quality_lengths[shortest:]:
        compiled += worker.ask("start", data=path, recipe=recipe, epochs=epochs)
        seconds = worker.ask("advance", epochs=epochs)
        kl = fmean(worker.ask("kl", data=path))
        best = min(best, kl)
        if kl <= plan.quality_kl:
            return Outcome(seconds, epochs, best, compiled)
    return Outcome(math.inf, None, best, compiled)


def by_usual_recipe(worker: Worker, path: str, plan: Plan) -> Outcome:
    """One run without a schedule, scored now and then: seconds of training up to the first score at the target."""
    compiled = worker.ask("start", data=path, recipe=asdict(Recipe(128)), epochs=plan.own_epochs)
    seconds, best, best_epoch = 0.0, math.inf, 0
    for epochs in range(plan.own_every, plan.own_epochs + 1, plan.own_every):
        seconds += worker.ask("advance", epochs=plan.own_every)
        kl = fmean(worker.ask("kl", data=path))
        if kl < best:
            best, best_epoch = kl, epochs
        if kl <= plan.quality_kl:
            return Outcome(seconds, epochs, best, compiled)
        if epochs - best_epoch >= plan.own_patience:
            break
    return Outcome(math.inf, None, best, compiled)


def depth(bench: Bench) -> list[Row]:
    """Milliseconds of an epoch of RealNVP and of Glow, ten members, by the number of couplings."""
    plan = bench.plan
    points = bench.file(ring(DATA_SEED))
    rows = []
    with workers(["ours", "ours"], plan.threads[-1]) as runners:
        for couplings in plan.depths:
            bench.say(f"{couplings} couplings")
            for worker, model in zip(runners, ("realnvp", "glow"), strict=True):
                begin(worker, points, 256, networks=plan.networks, hidden=32, couplings=couplings, model=model)
            realnvp, glow = map(median, interleaved(runners, plan))
            rows.append({"couplings": couplings, "realnvp_ms": realnvp, "glow_ms": glow, "ratio": glow / realnvp})
    return rows


def throughput(bench: Bench) -> list[Row]:
    """Points per second, of densities and of samples, one network; NaN where a reading would take too long."""
    plan = bench.plan
    couplings, hidden = plan.throughput_size
    slowest = dict.fromkeys(bench.libraries, 0.0)  # seconds a point, at the size before
    rows = []
    with workers(bench.libraries, plan.threads[-1]) as runners:
        for worker in runners:
            worker.ask("build", networks=1, hidden=hidden, couplings=couplings)
        for points in plan.throughput_points:
            bench.say(f"{points} points")
            quick = [worker for worker in runners if slowest[worker.library] * points <= plan.throughput_limit]
            readings = [{worker.library: worker.ask("throughput", points=points) for worker in quick} for _ in range(plan.throughput_repeats)]
            for library in bench.libraries:
                missed = {"log_prob": math.nan, "sample": math.nan}
                seconds = {what: median(reading.get(library, missed)[what] for reading in readings) for what in missed}
                slowest[library] = max(seconds.values()) / points
                rows.append({"library": library, "points": points, **{f"{what}_per_second": points / taken for what, taken in seconds.items()}})
    return rows


def growth(bench: Bench) -> list[Row]:
    """How ours grows in time and memory with one size at a time, every reading in a process of its own; beside the floor for rows."""
    plan = bench.plan
    rng = np.random.default_rng(0)
    points = ring(DATA_SEED)["points"]
    wide = {"networks": 1, "couplings": 8, "hidden": 64}
    ours = {"networks": plan.networks, "couplings": 8, "hidden": 32}
    axes = {  # the sizes; and for a size the points, the batch and the networks
        "rows": (plan.growth_rows, lambda size: (TRUTH.sample(size, rng), 8192, wide)),
        "dimensions": (plan.growth_dimensions, lambda size: (rng.standard_normal((plan.growth_dimension_rows, size)), 1000, {**wide, "dim": size})),
        "couplings": (plan.growth_couplings, lambda size: (points, 256, {**ours, "couplings": size})),
        "members": (plan.growth_members, lambda size: (points, 256, {**ours, "networks": size})),
    }
    result = []
    for axis, (sizes, case) in axes.items():
        rows = []
        for size in sizes:
            bench.say(f"{axis} {size}")
            made, batch, setting = case(size)
            path = bench.file({"points": made})
            row: Row = {"size": size}
            for library in ("ours", "floor") if axis == "rows" else ("ours",):
                with workers([library], plan.threads[-1]) as (worker,):
                    begin(worker, path, batch, **setting)
                    row[f"{library}_seconds"] = median(interleaved([worker], plan)[0]) / 1000
                    if library == "ours":
                        row |= worker.ask("memory")
            rows.append(row)
        result.append({"axis": axis, **slope(sizes, [row["ours_seconds"] for row in rows]), "rows": rows})
    return result


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> Row:
    """The exponent b of ``seconds ~ size^b``, least squares on logarithms over the upper half of the range, and its standard error."""
    x, y = np.log(sizes), np.log(seconds)
    upper = x >= (x[0] + x[-1]) / 2 - 1e-9
    exponent = error = None
    if upper.sum() > 2:
        coefficients, covariance = np.polyfit(x[upper], y[upper], 1, cov=True)
        exponent, error = float(coefficients[0]), math.sqrt(covariance[0, 0])
    return {"exponent": exponent, "exponent_se": error, "points_fitted": int(upper.sum())}


SECTIONS = {"epoch": epoch, "quality": quality, "depth": depth, "throughput": throughput, "growth": growth}
