"""``python -m benchmarks.run`` writes the measurements to ``benchmarks/results.json``.

``README.md`` describes them. One function per section of ``results.json``, with the same name,
returns its content.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import PARAMS, RESULTS
from benchmarks.peers import EAGER, LIBRARIES, OURS, Recipe, installed
from benchmarks.worker import Worker, workers
from common import storage
from common.settings import read_yaml
from common.splits import draw_split
from flows import truths
from flows.core.arrays import Array
from flows.core.scaler import Scaler
from flows.core.seeds import numpy_generator
from flows.mixtures.bandwidth import likelihood_bandwidth
from flows.training.smoothing import sharpen
from tools import command

Row = dict[str, Any]  # also a plan: the section ``run`` of ``params.yaml``
DIGITS = 4  # significant digits of a timing
VERSIONS = ("torch", "numpy", "zuko", "normflows", "nflows", "FrEIA", "flowjax", "jax", "equinox")
NEVER_ENDS = 1_000_000  # epochs of a schedule that is longer than any timing
TRUTH = truths.make("ring")
# Of the main pipeline when the benchmark was written, as the recipe of ``until_good``
ROWS, TEST_ROWS, NOISE_FACTOR = 1_000, 200, 1.5


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    only = "sections to measure; the results of others stay"
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help=only)
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    options = parser.parse_args(arguments)
    libraries = list(filter(installed, options.libraries))
    if absent := set(options.libraries).difference(libraries):
        how = "pip install -r benchmarks/requirements.txt"
        print(f"not installed, so left out ({how}): {', '.join(sorted(absent))}", file=sys.stderr)
    measure(read_yaml(PARAMS)["run"], options.only, libraries, RESULTS)


def measure(plan: Row, sections: Sequence[str], libraries: Sequence[str], output: Path) -> None:
    """Measure the sections in turn.

    The file is written after each section, so that a stopped run keeps its finished sections.
    """
    before = storage.read_json(output) if output.exists() else {}
    results = {section: before[section] for section in SECTIONS if section in before}
    found = {each.name: each.version.partition("+")[0] for each in distributions()}  # no build
    versions = {name: version for name, version in found.items() if name in VERSIONS}
    results.update(machine=machine(), versions=versions, settings=round_numbers(plan))
    for section in sections:
        results[section] = round_numbers(SECTIONS[section](plan, libraries))
        text = json.dumps(results, indent=1, sort_keys=True, allow_nan=False)
        storage.write_bytes(output, f"{text}\n".encode())


def round_numbers(value: Any) -> Any:
    """Return ``value`` with ``DIGITS`` significant digits; numbers that are not finite are None."""
    return json.loads(
        json.dumps(value),
        parse_float=lambda digits: float(f"{float(digits):.{DIGITS}g}"),
        parse_constant=lambda _: None,
    )


def machine() -> Row:
    """Return the properties of the machine that times depend on."""
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8") if information.exists() else ""
    named = re.search(r"^model name\s*:\s*(.*)", text, re.M)
    processor = named[1].strip() if named else platform.processor() or platform.machine()
    return {"python": platform.python_version(), "cores": os.cpu_count(), "processor": processor}


def ring(data_seed: int, fresh: int = 1) -> tuple[Array, Array, Array]:
    """Return the 800 training rows of a seed, and fresh draws of the true density.

    Both are standardised; the third array is the log-density of the draws, in nats.
    """
    rows = draw_split(TRUTH, ROWS, TEST_ROWS, seed=data_seed, split_seed=0)[0]
    draws = TRUTH.sample(fresh, numpy_generator(data_seed, "fresh"))
    scaler = Scaler.fit(rows)
    log_p = TRUTH.log_prob(draws) + np.log(scaler.deviation).sum()
    return scaler.scale(rows), scaler.scale(draws), log_p


def extremes(key: str, values: Sequence[float]) -> Row:
    """Return the median, the lowest and the highest reading."""
    return {key: median(values), f"{key}_min": min(values), f"{key}_max": max(values)}


def epoch(plan: Row, libraries: Sequence[str]) -> list[Row]:
    """Return milliseconds of one training epoch, for every library and setting.

    The libraries take turns.
    """
    points, rows = ring(plan["quality_seeds"][0])[0], []
    settings = list(product(plan["epoch_networks"], plan["epoch_hidden"], plan["batches"]))
    for threads in plan["threads"]:
        with workers(libraries, threads) as runners:
            bar = tqdm(settings, desc=f"epoch, {threads} threads", disable=None)
            for networks, hidden, batch in bar:
                sizes = {"networks": networks, "hidden": hidden}
                parameters = []
                for worker in runners:
                    parameters.append(worker.build(**sizes, couplings=plan["epoch_couplings"]))
                    worker.ask("start", points, Recipe(batch), NEVER_ENDS)
                    worker.advance(1)  # not measured
                readings = interleaved(runners, plan)
                for worker, count, times in zip(runners, parameters, readings, strict=True):
                    row = {"library": worker.library, "threads": threads, "batch": batch, **sizes}
                    rows.append({**row, "parameters": count, **extremes("ms", times)})
    return rows


def interleaved(runners: Sequence[Worker], plan: Row) -> list[tuple[float, ...]]:
    """Return milliseconds per epoch, ``repeats`` readings of every worker, in turns.

    A slow phase of the machine then slows all workers alike.
    """
    counts = [max(1, math.ceil(plan["reading"] / worker.advance(1))) for worker in runners]
    pairs = list(zip(runners, counts, strict=True))
    turns = [[1000 * worker.advance(n) / n for worker, n in pairs] for _ in range(plan["repeats"])]
    return list(zip(*turns, strict=True))


def quality(plan: Row, libraries: Sequence[str]) -> list[Row]:
    """Return seconds until the mean KL of ``networks`` networks is at the target.

    All libraries are measured with our recipe, and the others also with the usual one.
    """
    couplings, hidden = plan["quality_size"]
    rows = []
    for library in tqdm(libraries, desc="quality", disable=None):
        networks = plan["eager_networks"] if library in EAGER else plan["networks"]
        with workers([library], plan["threads"][-1]) as (worker,):
            worker.build(networks=networks, hidden=hidden, couplings=couplings)
            for recipe in ("ours",) if library in OURS else ("ours", "usual"):
                outcomes: list[tuple[float, int | None, float]] = []
                for seed in plan["quality_seeds"]:
                    outcomes.append(until_good(worker, seed, recipe, plan))
                    if outcomes[-1][1] is None:
                        break  # the other seeds would take as long
                seconds, epochs, best = zip(*outcomes, strict=True)
                row = {"library": library, "recipe": recipe, "networks_trained": networks}
                if library in OURS:
                    row |= extremes("sample_ms", [worker.sample() for _ in range(plan["repeats"])])
                times = [plan["networks"] / networks * each for each in seconds]
                rows.append(
                    {**row, "epochs": epochs, "best_kl": best, **extremes("seconds", times)}
                )
    return rows


def until_good(
    worker: Worker, seed: int, recipe: str, plan: Row
) -> tuple[float, int | None, float]:
    """Return seconds and epochs to the target, and the best mean KL on the way, in nats.

    If the target is never reached, the seconds are infinite and the epochs None. Our schedule ends
    with the run, so every length is a separate run, and only the last run counts. The usual recipe
    has no schedule: a single run continues from length to length.
    """
    points, draws, log_p = ring(seed, plan["fresh"])
    how = Recipe(128)
    if recipe == "ours":
        how = Recipe(256, learning_rate=0.005, noise=NOISE_FACTOR * likelihood_bandwidth(points))
        points = sharpen(points, how.noise, 1.0)
    seconds, done, best = 0.0, 0, math.inf
    for epochs in plan["quality_lengths"]:
        if how.noise or not done:
            worker.ask("start", points, how, epochs)
            seconds, done = 0.0, 0
        seconds += worker.advance(epochs - done)
        done = epochs
        kl = float((log_p[:, None] - worker.ask("log_prob", draws)).mean())
        best = min(best, kl)
        if kl <= plan["quality_kl"]:
            return seconds, epochs, best
    return math.inf, None, best


SECTIONS = {"epoch": epoch, "quality": quality}


if __name__ == "__main__":
    command.run("benchmarks", main)
