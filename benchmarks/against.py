"""Time this commit and an older one in turns on one machine.

Run as ``python -m benchmarks.against COMMIT``.

Writes ``against.json``: medians in seconds, and the median ratio of consecutive readings, of

- an epoch: ten affine RealNVPs, 8 couplings of width 64, batches of 128 of 800 points;
- `flows fit` of simulated tables on the command line, one with labels and one with gaps: ten
  members, with imports and files;
- other verbs of `flows` with such a fit: a check, and short verbs, whose time is that of a start;
- `make repro` in a clean clone, without compiling the kernels;
- `make test`, in the environment of this commit.

A run takes 40 minutes. Leave the machine idle otherwise.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import make_blobs

from benchmarks import FOLDER, PARAMS
from benchmarks.fits import labels_of
from common import storage
from common.settings import read_yaml
from flows.core.arrays import rounded
from flows.core.errors import UserError
from tools import command

OUTPUT = FOLDER / "against.json"
EPOCH = """
import sys, timeit, flows, numpy, torch  # flows before torch: it sets how threads wait
from flows.core.settings import TrainingSettings
from flows.training.trainer import Trainer
torch.set_num_threads(int(sys.argv[1]))
points = numpy.random.default_rng(0).standard_normal((800, 2))
try:
    model = flows.build(flows.RealNVP(couplings=8, hidden=64), (2,), members=10)
except AttributeError:  # in a commit that builds by name
    model = flows.build("realnvp", (2,), {"couplings": 8, "hidden": 64}, members=10)
settings = TrainingSettings(epochs=10**5, batch_size=128, learning_rate=0.001, noise=0.1)
trainer, count = Trainer(model, points, settings), int(sys.argv[2])
print(timeit.repeat(trainer.epoch, number=count, repeat=2)[1] / count)  # the first warms up
"""


def main(
    arguments: Sequence[str] | None = None,
    output: Path = OUTPUT,
    plan: Mapping[str, Any] | None = None,
) -> None:
    plan = read_yaml(PARAMS)["against"] if plan is None else plan
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against")
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=15, help="readings of an epoch per commit")
    parser.add_argument("--epochs", type=int, default=20, help="epochs per reading")
    parser.add_argument("--fits", type=int, default=2, help="fits of each table per commit")
    parser.add_argument("--verbs", type=int, default=4, help="runs of each verb per commit")
    parser.add_argument("--pipelines", type=int, default=2, help="runs of the pipeline per commit")
    parser.add_argument("--tests", type=int, default=2, help="runs of the tests per commit")
    options = parser.parse_args(arguments)
    measures: dict[str, tuple[int, Callable[[Path], float]]] = {}
    for size in plan["sizes"]:
        measures[f"fit, {described(*size)}"] = options.fits, partial(fit, size=size)
    for words, size in plan["verbs"]:
        measures[f"{words}, {described(*size)}"] = options.verbs, partial(verb, words, size=size)
    for name, own in plan["epochs"].items():
        measures[f"epoch, {name}"] = options.rounds, partial(epoch, **own, count=options.epochs)
    measures["pipeline"] = options.pipelines, pipeline
    measures["tests"] = options.tests, tests
    found: dict[str, object] = {"commit": options.commit, "cores": os.cpu_count()}
    if output.is_file() and (before := storage.read_json(output)).items() >= found.items():
        found = before  # parts that are left out keep their numbers
    with tempfile.TemporaryDirectory() as folder:
        clones = cloned(options.commit, Path(folder))
        for clone in clones if options.fits else ():
            fit(clone, (20, 2))  # compiles the kernels; fails early without `flows fit`
        for name, (rounds, measure) in measures.items():
            turns = [[measure(clone) for clone in clones] for _ in range(rounds)]
            if turns:
                readings = pd.DataFrame(turns, columns=["old", "new"]).eval("ratio = new / old")
                found[name] = {key: float(rounded(x, 4)) for key, x in readings.median().items()}
                print(name, found[name], flush=True)
    storage.write_json(output, found)


def cloned(commit: str, folder: Path) -> list[Path]:
    """Return clones of a commit, the old one, and of the present commit, the new one."""
    clones = [folder / name for name in ("old", "new")]
    for clone, each in zip(clones, (commit, "HEAD"), strict=True):
        command.git("clone", "--quiet", ".", str(clone))
        revision = command.git("log", "-1", "--format=%H", each, "--").strip()
        command.git("checkout", "--quiet", revision, cwd=clone)
    return clones


def epoch(clone: Path, threads: int, march: str, count: int) -> float:
    """Return the mean seconds of ``count`` epochs in a new process."""
    words = (sys.executable, "-c", EPOCH, str(threads), str(count))
    return float(run(clone, *words, OMP_NUM_THREADS=str(threads), FLOWS_MARCH=march))


def described(rows: int, columns: int, labels: int = 0, missing: float = 0) -> str:
    """Return the size of a table in words."""
    found = f"{rows} x {columns}" + (f" and {labels} of labels" if labels else "")
    return found + (f", {missing:.0%} missing" if missing else "")


def fit(clone: Path, size: Sequence[Any]) -> float:
    """Return the seconds of a fit of two clusters; every third column has a long tail.

    Args:
        clone: the commit.
        size: the arguments of ``described``.
    """
    path = clone.with_name(f"{described(*size)}.csv")
    draw(*size).to_csv(path, index=False)
    words = ("-m", "flows", "fit", str(path), "-o", str(model_of(clone, size)))
    return timed(clone, sys.executable, *words)


def draw(rows: int, columns: int, labels: int = 0, missing: float = 0) -> pd.DataFrame:
    """Return the table of ``fit``, with a share ``missing`` of gaps in the numbers."""
    values = pd.DataFrame(make_blobs(rows, columns, centers=2, random_state=0)[0]).add_prefix("x")
    values.iloc[:, ::3] = (values.iloc[:, ::3] / 4).apply("exp")
    gaps = np.random.default_rng(0).random(values.shape) < missing
    return values.mask(gaps).join(labels_of(values, labels))


def model_of(clone: Path, size: Sequence[Any]) -> Path:
    """Return the file of the last fit of a commit to a table."""
    return clone.with_name(f"{clone.name}, {described(*size)}.flow")


def verb(words: str, clone: Path, size: Sequence[Any]) -> float:
    """Return the seconds of a verb with the commit's own fit to a table, which is fitted once.

    Args:
        words: the verb and its options; ``TABLE`` stands for the file of the table.
        clone: the commit.
        size: the arguments of ``described``.
    """
    model = model_of(clone, size)
    if not model.is_file():
        fit(clone, size)
    table = str(clone.with_name(f"{described(*size)}.csv"))
    name, *options = (table if word == "TABLE" else word for word in words.split())
    return timed(clone, sys.executable, "-m", "flows", name, str(model), *options)


def pipeline(clone: Path) -> float:
    """Return the seconds of the pipeline in a clone that has only the files of Git."""
    command.git("checkout", "--quiet", ".", cwd=clone)
    command.git("clean", "-d", "-f", "-q", "-x", cwd=clone)
    return timed(clone, sys.executable, "-m", "tools.repro")


def tests(clone: Path) -> float:
    """Return the seconds of `make test`."""
    words = ("make", "--old-file", ".venv/ready-tests", "test")  # which builds no environment
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return timed(clone, *words, PATH=path, PYTHONPATH=str(clone))


def timed(clone: Path, *words: str, **variables: str) -> float:
    """Return the seconds of ``run``."""
    begin = time.perf_counter()
    run(clone, *words, **variables)
    return time.perf_counter() - begin


def run(clone: Path, *words: str, **variables: str) -> str:
    """Return the output of a command in the clone.

    Raises ``UserError`` with the last line of its errors if it fails.
    """
    try:
        return command.output(*words, cwd=clone, **variables)
    except UserError as error:
        raise UserError(f"the {clone.name} commit failed: {error}") from None


if __name__ == "__main__":
    command.run("against", main)
