"""This commit against an older one, in turns on one machine, as ratios: ``python -m benchmarks.against ec870d9`` writes ``against.json``.

An epoch: ten affine RealNVPs, 8 couplings of width 64, batches of 128 of 800 points, with one thread and with two; also with the kernels built for
AVX2. The pipeline: `make repro` in a clean clone. Leave the machine alone meanwhile: it takes five minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from flows.core.errors import errors_in_one_line

ROUNDS, EPOCHS = 15, 20  # so many readings of so many epochs
WORKER = """
import sys, time, numpy, torch, flows
torch.set_num_threads(int(sys.argv[1]))
points = numpy.random.default_rng(0).standard_normal((800, 2))
try:
    from flows.core.settings import TrainingSettings
    from flows.training.trainer import Trainer
    model = flows.build("realnvp", (2,), {"couplings": 8, "hidden": 64}, members=10)
except ImportError:  # before flows was laid out in rooms
    from flows.training import Trainer, TrainingSettings
    model, points = flows.model_class("realnvp")(dim=2, members=10, couplings=8, hidden=64), torch.from_numpy(points)
trainer = Trainer(model, points, TrainingSettings(epochs=100000, batch_size=128, learning_rate=0.001, noise=0.1, clip=1.0, seed=0))
for epochs in map(int, sys.stdin):
    begin = time.perf_counter()
    for _ in range(epochs):
        trainer.epoch()
    print((time.perf_counter() - begin) / epochs, flush=True)
"""


def main() -> None:
    commit = sys.argv[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "PYTHONPATH"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    with tempfile.TemporaryDirectory() as folder:
        clones = [Path(folder) / name for name in ("old", "new")]
        for clone, wanted in zip(clones, (commit, "HEAD"), strict=True):
            git("clone", "--quiet", ".", str(clone))
            git("checkout", "--quiet", git("rev-parse", wanted), cwd=clone)
        results: dict[str, Any] = {"commit": commit, "cores": os.cpu_count()}
        for threads in (1, 2):
            results[f"epoch, {threads} threads"] = epochs(clones, threads, environment)
        for build in Path(clones[0], "flows").rglob("build.py"):  # the old code has no setting for it
            build.write_text(build.read_text(encoding="utf-8").replace("-march=native", "-march=x86-64-v3"), encoding="utf-8")
        results["epoch, 1 thread, AVX2"] = epochs(clones, 1, {**environment, "FLOWS_MARCH": "x86-64-v3"})
        git("checkout", "--quiet", ".", cwd=clones[0])
        results["pipeline"] = ratio([[cold(clone, environment) for clone in clones] for _ in range(2)])
    RESULTS.with_name("against.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def git(*words: str, cwd: Path | None = None) -> str:
    return subprocess.run(["git", *words], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def epochs(clones: list[Path], threads: int, environment: dict[str, str]) -> dict[str, float]:
    words = [sys.executable, "-c", WORKER, str(threads)]
    limited = {**environment, "OMP_NUM_THREADS": str(threads)}
    workers = [
        subprocess.Popen(words, cwd=clone, env=limited, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for clone in clones
    ]

    def reading(worker: subprocess.Popen[str]) -> float:
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(f"{EPOCHS}\n")
        return float(worker.stdout.readline())

    readings = [[reading(worker) for worker in workers] for _ in range(ROUNDS + 1)]
    for worker in workers:
        worker.communicate()
    return ratio(readings[1:])  # the first warms up


def cold(clone: Path, environment: dict[str, str]) -> float:
    """Seconds of the pipeline where nothing is there but what Git holds; the kernels are built."""
    git("clean", "-d", "-f", "-q", "-x", cwd=clone)
    shutil.rmtree(clone / ".dvc/cache", ignore_errors=True)
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tools.repro"], cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def ratio(readings: list[list[float]]) -> dict[str, float]:
    """Medians in seconds, and the median of the ratios of neighbours in time."""
    old, new = (statistics.median(column) for column in zip(*readings, strict=True))
    found = {"old": old, "new": new, "ratio": statistics.median(now / before for before, now in readings)}
    print({name: f"{value:.4g}" for name, value in found.items()}, flush=True)
    return {name: float(f"{value:.4g}") for name, value in found.items()}


if __name__ == "__main__":
    with errors_in_one_line("against"):
        main()
