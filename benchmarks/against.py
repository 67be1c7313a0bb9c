"""This commit against an older one, in turns on one machine.

Run as ``python -m benchmarks.against COMMIT``.

Writes ``against.json``: medians in seconds, and the median of the ratios of neighbours in time, of

- an epoch: ten affine RealNVPs, 8 couplings of width 64, batches of 128 of 800 points;
- `flows fit` of a made-up table on the command line, ten members, imports and files counted;
- `make repro` in a clean clone, without compiling the kernels.

Leave the machine alone meanwhile, for half an hour.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from sklearn.datasets import make_blobs

from benchmarks import RESULTS
from flows.core.errors import UserError, errors_in_one_line
from stages.pipeline import files

OUTPUT = RESULTS.with_name("against.json")
EPOCH = """
import sys, time, flows, numpy, torch  # flows before torch: it says how threads wait
from flows.core.settings import TrainingSettings
from flows.training.trainer import Trainer
torch.set_num_threads(int(sys.argv[1]))
points = numpy.random.default_rng(0).standard_normal((800, 2))
model = flows.build("realnvp", (2,), {"couplings": 8, "hidden": 64}, members=10)
settings = TrainingSettings(epochs=10**5, batch_size=128, learning_rate=0.001, noise=0.1)
trainer = Trainer(model, points, settings)
for _ in range(2):  # the first warms up
    begin = time.perf_counter()
    for _ in range(int(sys.argv[2])):
        trainer.epoch()
print((time.perf_counter() - begin) / int(sys.argv[2]))
"""
SIZES = ((500, 10), (10_000, 10))  # rows and columns of the tables that are fitted


def main(
    arguments: Sequence[str] | None = None,
    output: Path = OUTPUT,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against")
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=15, help="readings of an epoch on each side")
    parser.add_argument("--epochs", type=int, default=20, help="epochs a reading")
    parser.add_argument("--fits", type=int, default=2, help="of each table on each side")
    parser.add_argument("--pipelines", type=int, default=2, help="of the pipeline on each side")
    options = parser.parse_args(arguments)
    found: dict[str, object] = {"commit": options.commit, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        clones = [Path(folder, name) for name in ("old", "new")]
        for clone, commit in zip(clones, (options.commit, "HEAD"), strict=True):
            git("clone", "--quiet", ".", str(clone))
            git("checkout", "--quiet", git("rev-parse", commit), cwd=clone)
            if options.fits:
                fit(
                    clone, 20, 2
                )  # compiles the kernels, and tells at once where there is no such command
        for rows, columns in sizes if options.fits else ():
            name = f"fit, {rows} x {columns}"
            found[name] = ratio(
                name, clones, partial(fit, rows=rows, columns=columns), options.fits
            )
        for name, threads, march in (
            ("1 thread", 1, "native"),
            ("2 threads", 2, "native"),
            ("1 thread, AVX2", 1, "x86-64-v3"),
        ):
            measure = partial(epoch, threads=threads, march=march, count=options.epochs)
            found[f"epoch, {name}"] = ratio(name, clones, measure, options.rounds)
        if options.pipelines:
            found["pipeline"] = ratio("pipeline", clones, pipeline, options.pipelines)
    files.write_json(output, found)


def ratio(
    name: str, clones: Sequence[Path], measure: Callable[[Path], float], rounds: int
) -> dict[str, float]:
    """Measure the clones in turns."""
    readings = [[measure(clone) for clone in clones] for _ in range(rounds)]
    old, new = (statistics.median(column) for column in zip(*readings, strict=True))
    between = statistics.median(now / before for before, now in readings)
    found = {"old": old, "new": new, "ratio": between}
    found = {key: float(f"{value:.4g}") for key, value in found.items()}
    print(name, found, flush=True)
    return found


def epoch(clone: Path, threads: int, march: str, count: int) -> float:
    """Seconds of an epoch, over so many of them in a new process."""
    words = ("-c", EPOCH, str(threads), str(count))
    return float(run(clone, *words, OMP_NUM_THREADS=str(threads), FLOWS_MARCH=march))


def fit(clone: Path, rows: int, columns: int) -> float:
    """Seconds of a fit of two clusters, every third column with a long tail."""
    values = pd.DataFrame(make_blobs(rows, columns, centers=2, random_state=0)[0]).add_prefix("x")
    values.iloc[:, ::3] = (values.iloc[:, ::3] / 4).apply("exp")
    path = clone.with_name("rows.csv")
    values.to_csv(path, index=False)
    return timed(clone, "-m", "flows", "fit", str(path), "-o", str(path.with_suffix(".flow")))


def pipeline(clone: Path) -> float:
    """Seconds of the pipeline where nothing is there but what Git holds."""
    git("checkout", "--quiet", ".", cwd=clone)
    git("clean", "-d", "-f", "-q", "-x", cwd=clone)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return timed(clone, "-m", "tools.repro", PATH=path)


def timed(clone: Path, *words: str, **variables: str) -> float:
    begin = time.perf_counter()
    run(clone, *words, **variables)
    return time.perf_counter() - begin


def run(clone: Path, *words: str, **variables: str) -> str:
    """What Python prints in the clone, with these words. Raises ``UserError``."""
    command, own = [sys.executable, *words], {**os.environ, **variables}
    done = subprocess.run(command, cwd=clone, env=own, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise UserError(f"the {clone.name} commit failed, exit status {done.returncode}: {last}")
    return done.stdout


def git(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.splitlines()[0].removeprefix("fatal: "))
    return done.stdout.strip()


if __name__ == "__main__":
    with errors_in_one_line("against"):
        main()
