"""Time to quality: how long a library trains until its networks are close to the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from benchmarks import data
from benchmarks.client import Worker
from benchmarks.peers import EAGER, OURS, Recipe
from benchmarks.plan import NOISE_FACTOR, Plan
from benchmarks.sections import PLAIN_RATE, Bench, Row
from flows.training.smoothing import likelihood_bandwidth


@dataclass(frozen=True)
class Outcome:
    """One data set: seconds and epochs to the target (None: never reached), and the best mean KL seen on the way, nats."""

    seconds: float | None
    epochs: int | None
    best_kl: float
    compile_seconds: float


@dataclass(frozen=True)
class Entrant:
    """What is timed: a library, its networks, and by how much its seconds are multiplied to stand for ``plan.networks`` of them."""

    name: str
    library: str
    size: tuple[int, int]
    networks: int
    scale: float
    options: dict[str, Any]


def quality(bench: Bench) -> list[Row]:
    """Seconds until the mean KL of the networks is at the target, with our recipe and, for the others, with the usual one."""
    plan = bench.plan
    sets = {seed: data.data_set(seed, plan.fresh, bench.folder) for seed in plan.quality_seeds}
    rows: list[Row] = []
    for entrant in entrants(bench):
        worker = bench.workers.get(entrant.library, bench.threads)
        couplings, hidden = entrant.size
        worker.ask("build", networks=entrant.networks, couplings=couplings, hidden=hidden, **entrant.options)
        for recipe in ("ours", "usual") if entrant.library not in OURS else ("ours",):
            outcomes: list[Outcome] = []
            for seed, training in sets.items():
                bench.say(f"{entrant.name}, {recipe} recipe, data seed {seed}")
                if recipe == "ours":
                    outcome = by_our_recipe(worker, training, plan, entrant.scale, outcomes)
                else:
                    outcome = by_usual_recipe(worker, training, plan, entrant.scale)
                outcomes.append(outcome)
                if outcome.seconds is None:
                    break  # the others take as long and say no more
            rows.append(summary(entrant, recipe, outcomes))
    return rows


def entrants(bench: Bench) -> Iterator[Entrant]:
    plan = bench.plan
    for library in bench.libraries:
        networks = plan.eager_networks if library in EAGER else plan.networks
        yield Entrant(library, library, plan.quality_size, networks, plan.networks / networks, {})
        if library == "ours":
            yield Entrant("ours, spline", "ours", plan.spline_size, networks, 1.0, {"transform": "spline", "bins": plan.spline_bins})


def by_our_recipe(worker: Worker, training: data.DataSet, plan: Plan, scale: float, before: list[Outcome]) -> Outcome:
    """Runs of growing length, each with its own schedule, until one ends at the target: its seconds alone.

    After the first data set, those lengths are left out that are more than one step shorter than what it took there.
    """
    noise = NOISE_FACTOR * likelihood_bandwidth(training.points)
    recipe = Recipe(batch_size=256, learning_rate=0.005, one_cycle=True, noise=noise, sharpen=1.0, clip=1.0)
    lengths = plan.quality_lengths
    if before and before[0].epochs is not None:
        lengths = lengths[max(0, lengths.index(before[0].epochs) - 1) :]
    best, compiled = math.inf, 0.0
    for epochs in lengths:
        compiled += worker.ask("start", points=training.training, recipe=asdict(recipe), epochs=epochs)["compile_seconds"]
        seconds = scale * worker.ask("advance", epochs=epochs)["seconds"]
        kl = fmean(worker.ask("kl", draws=training.draws)["kl"])
        best = min(best, kl)
        if kl <= plan.quality_kl:
            return Outcome(seconds, epochs, best, compiled)
    return Outcome(None, None, best, compiled)


def by_usual_recipe(worker: Worker, training: data.DataSet, plan: Plan, scale: float) -> Outcome:
    """One run without a schedule, scored now and then: seconds of training up to the first score at the target."""
    recipe = Recipe(128, PLAIN_RATE)
    compiled = worker.ask("start", points=training.training, recipe=asdict(recipe), epochs=plan.own_epochs)["compile_seconds"]
    seconds, best, best_epoch = 0.0, math.inf, 0
    for epochs in range(plan.own_every, plan.own_epochs + 1, plan.own_every):
        seconds += scale * worker.ask("advance", epochs=plan.own_every)["seconds"]
        kl = fmean(worker.ask("kl", draws=training.draws)["kl"])
        if kl < best:
            best, best_epoch = kl, epochs
        if kl <= plan.quality_kl:
            return Outcome(seconds, epochs, best, compiled)
        if epochs - best_epoch >= plan.own_patience:
            break
    return Outcome(None, None, best, compiled)


def summary(entrant: Entrant, recipe: str, outcomes: list[Outcome]) -> Row:
    times = [math.inf if outcome.seconds is None else outcome.seconds for outcome in outcomes]
    couplings, hidden = entrant.size
    return {
        "library": entrant.name,
        "recipe": recipe,
        "couplings": couplings,
        "hidden": hidden,
        "networks_trained": entrant.networks,
        "seconds": median(times),  # infinite, which is written as null, where most data sets never got there
        "seconds_min": min(times),
        "seconds_max": max(times),
        "epochs": [outcome.epochs for outcome in outcomes],
        "best_kl": [outcome.best_kl for outcome in outcomes],
        "compile_seconds": outcomes[0].compile_seconds,  # later data sets find it done
    }
