"""Ask a known density of six columns, at this commit and an older one in turns.

Run as ``python -m benchmarks.questions COMMIT``.

The density is a mixture of Gaussians, so answers have closed forms. Writes ``questions.json``, for
both commits:

- ``gap``: mean absolute error of the log-density of the known values of a row, in nats, with 1, 3
  and 5 unknown columns;
- ``effective``: mean effective number of draws of a prediction with 3 and 5 unknown columns, and
  with 2 and 3 under the constraint that one unknown column is at most another;
- ``covered``: share of 200 probabilities of boxes whose 90% interval holds the closed form;
- ``seconds``: CPU seconds of each part, without the set-up of the proposal, and the median ratio of
  turns;
- ``constraint``: for the present commit, the median CPU time of ``DRAWN`` samples of a fit with a
  constraint that 90% of the draws meet, divided by the time without the constraint;
- ``intervals``: for the present commit, the median CPU time of predictions of one column with
  intervals, divided by the time without intervals, with 1 to 3 unknown columns, and of a target.

A run takes some minutes. Leave the machine idle otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import flows
from benchmarks.against import cloned
from benchmarks.known import truth
from common import storage
from flows.core.arrays import rounded
from flows.tables.questions.few_rows import LEVEL
from tools import command

DRAWN, SHARE = 50_000, 0.9  # samples, and the share of them that meets the constraint
PREDICTED = 200  # rows that are predicted with intervals and without
OUTPUT = Path(__file__).with_name("questions.json")
KNOWN = Path(__file__).resolve().with_name("known.py")
# With the flows of the folder in which it runs
ASK = """
import runpy, sys
sys.path.insert(0, "")
runpy.run_path(sys.argv[1])["ask"]()
"""


def answers(clone: Path) -> dict[str, Any]:
    """Return what ``ask`` prints in a clone."""
    printed = command.output(sys.executable, "-c", ASK, str(KNOWN), cwd=clone)
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def cost_of_a_constraint(rounds: int) -> float:
    """Return the median ratio of the CPU times of samples with a constraint and without."""
    plain = flows.fit(truth().sample(400, np.random.default_rng(0)), members=5)
    most = plain.sample(DRAWN)["x0"].quantile(SHARE)
    schema = replace(plain.schema, require=(f"x0 <= {most:.6g}",))
    cut = flows.Density(plain.population, schema, plain.record)

    def seconds(density: flows.Density) -> float:
        start = time.process_time()
        density.sample(DRAWN)
        return time.process_time() - start

    seconds(cut)  # estimates the probability of the constraint
    return float(np.median([seconds(cut) / seconds(plain) for _ in range(rounds)]))


def cost_of_intervals(rounds: int) -> dict[str, float]:
    """Return the median ratios of the CPU times of predictions with intervals and without."""
    rows = truth().sample(400, np.random.default_rng(0))
    joint, asked = flows.fit(rows), pd.DataFrame(rows[:PREDICTED]).add_prefix("x")
    of_target = flows.fit(rows, target="x5")

    def ratio(density: flows.Density, unknown: int) -> float:
        given = asked.iloc[:, : 6 - unknown]

        def seconds(level: float | None) -> float:
            start = time.process_time()
            density.predict(given, "x5", interval=level)
            return time.process_time() - start

        seconds(LEVEL)  # the first answer prepares the proposal
        turns = [seconds(LEVEL) / seconds(None) for _ in range(rounds)]
        return float(rounded(np.median(turns), 3))

    found = {f"{count} unknown": ratio(joint, count) for count in (1, 2, 3)}
    return found | {"a target": ratio(of_target, 1)}


def main(arguments: Sequence[str] | None = None, output: Path = OUTPUT) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.questions")
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=3, help="turns of both commits")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        clones = cloned(options.commit, Path(folder))
        turns = [[answers(clone) for clone in clones] for _ in range(options.rounds)]
    found: dict[str, Any] = {"commit": options.commit, "old": turns[0][0], "new": turns[0][1]}
    seconds = [pd.DataFrame([turn[k]["seconds"] for turn in turns]) for k in (0, 1)]
    ratios = (seconds[1] / seconds[0]).median()
    found["ratio of seconds"] = {key: float(rounded(x, 3)) for key, x in ratios.items()}
    found["constraint"] = float(rounded(cost_of_a_constraint(options.rounds), 3))
    found["intervals"] = cost_of_intervals(options.rounds)
    storage.write_json(output, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    command.run("questions", main)
