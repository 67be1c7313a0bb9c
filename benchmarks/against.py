"""This commit against an older one, in turns on one machine, as ratios.

``python -m benchmarks.against COMMIT`` writes ``against.json``.

An epoch: ten affine RealNVPs, 8 couplings of width 64, batches of 128 of 800 points, with one thread and with two; also with the kernels built for
AVX2. A fit: `flows fit` of a made-up table, ten members, imports and files counted, on all cores.
The pipeline: `make repro` in a clean clone. Leave the machine alone meanwhile, for half an hour.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import RESULTS
from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from stages.shared import files

OUTPUT = RESULTS.with_name("against.json")
FITTED = ((500, 10), (10_000, 10))  # rows, columns
TINY = (20, 2)
WORKER = """
import sys, time, flows, numpy, torch  # flows before torch: it says how threads wait
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
for _ in range(2):  # the first warms up
    begin = time.perf_counter()
    for _ in range(int(sys.argv[2])):
        trainer.epoch()
print(time.perf_counter() - begin)
"""


def main(
    arguments: Sequence[str] | None = None,
    output: Path = OUTPUT,
    fitted: Sequence[tuple[int, int]] = FITTED,
) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against")
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=15, help="readings of each side")
    parser.add_argument("--epochs", type=int, default=20, help="epochs a reading")
    parser.add_argument("--pipelines", type=int, default=2, help="runs of the pipeline on each side; 0 leaves it out")
    parser.add_argument("--fits", type=int, default=2, help="runs of each fit a side; 0 for none")
    options = parser.parse_args(arguments)
    found: dict[str, object] = {"commit": options.commit, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        clones = [Path(folder) / name for name in ("old", "new")]
        for clone, commit in zip(clones, (options.commit, "HEAD"), strict=True):
            git("clone", "--quiet", ".", str(clone))
            git("checkout", "--quiet", git("rev-parse", commit), cwd=clone)
        if options.fits:  # first: a commit without the command is not found out after minutes
            found |= fits(clones, fitted, options.fits)
        for name, threads, march in (("1 thread", 1, "native"), ("2 threads", 2, "native"), ("1 thread, AVX2", 1, "x86-64-v3")):
            for build in clones[0].glob("flows/**/build.py"):  # the oldest code has no setting for it
                build.write_text(build.read_text(encoding="utf-8").replace("-march=native", f"-march={march}"), encoding="utf-8")
            readings = [[epochs(clone, threads, march, options.epochs) for clone in clones] for _ in range(options.rounds)]
            found[f"epoch, {name}"] = ratio(name, readings)
        runs = [[cold(clone) for clone in clones] for _ in range(options.pipelines)]
        if runs:
            found["pipeline"] = ratio("pipeline", runs)
    files.write_json(output, found)


def git(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.splitlines()[0].removeprefix("fatal: "))
    return done.stdout.strip()


def epochs(clone: Path, threads: int, march: str, count: int) -> float:
    """Seconds of an epoch, over so many of them in a new process."""
    return float(run(clone, "-c", WORKER, str(threads), str(count), OMP_NUM_THREADS=str(threads), FLOWS_MARCH=march)) / count


def fits(
    clones: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    count: int,
) -> dict[str, dict[str, float]]:
    """Of every size the seconds, and the most memory in MiB of the new commit."""
    for clone in clones:
        if not (clone / "flows/__main__.py").exists():
            raise UserError(f"the {clone.name} commit has no `flows fit`; --fits 0 leaves it out")
        fit(clone, *TINY)  # compiles the kernels
    found = {}
    for rows, columns in sizes:
        readings = [[fit(clone, rows, columns) for clone in clones] for _ in range(count)]
        name = f"fit, {rows} x {columns}"
        found[name] = ratio(name, [[seconds for seconds, _ in pair] for pair in readings])
        found[name]["mebibytes"] = max(mebibytes for _, (_, mebibytes) in readings)
    return found


def fit(clone: Path, rows: int, columns: int) -> tuple[float, int]:
    """Seconds of the wall, and the most memory in MiB, of one `flows fit`."""
    path = clone.with_name("rows.csv")
    names = ",".join(f"x{i}" for i in range(columns))
    np.savetxt(path, table(rows, columns), delimiter=",", header=names, comments="")
    words = ["-m", "flows", "fit", str(path), "-o", str(path.with_suffix(".flow"))]
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], cwd=clone, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    succeeded(clone, process.returncode)
    return seconds, round(usage.ru_maxrss / 1024)


def table(rows: int, columns: int) -> Array:
    """Two correlated clusters ``(rows, columns)``, every third column with a long tail."""
    mixing = np.random.default_rng(0).normal(size=(2, columns, columns)) / np.sqrt(columns)
    rng = np.random.default_rng(1)
    cluster = rng.integers(0, 2, size=rows)
    values = np.einsum("nd,nde->ne", rng.normal(size=(rows, columns)), mixing[cluster])
    values += 2 * cluster[:, None]
    values[:, ::3] = np.exp(values[:, ::3])
    return values


def cold(clone: Path) -> float:
    """Seconds of the pipeline where nothing is there but what Git holds. To compile the kernels is not counted: the user's cache has them."""
    git("checkout", "--quiet", ".", cwd=clone)
    git("clean", "-d", "-f", "-q", "-x", cwd=clone)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    begin = time.perf_counter()
    run(clone, "-m", "tools.repro", PATH=path)
    return time.perf_counter() - begin


def run(clone: Path, *words: str, **variables: str) -> str:
    """What Python prints in the clone, with these words. Raises ``UserError``: an old commit may need what this one doesn't."""
    done = subprocess.run([sys.executable, *words], cwd=clone, env={**os.environ, **variables}, check=False, stdout=subprocess.PIPE, text=True)
    succeeded(clone, done.returncode)
    return done.stdout


def succeeded(clone: Path, status: int) -> None:
    if status:
        needs = "all that its requirements.txt names must be there"
        raise UserError(f"the {clone.name} commit ended with exit status {status}; {needs}")


def ratio(name: str, readings: list[list[float]]) -> dict[str, float]:
    """Medians in seconds, and the median of the ratios of neighbours in time."""
    old, new = (statistics.median(column) for column in zip(*readings, strict=True))
    found = {"old": old, "new": new, "ratio": statistics.median(now / before for before, now in readings)}
    found = {key: float(f"{value:.4g}") for key, value in found.items()}
    print(name, found, flush=True)
    return found


if __name__ == "__main__":
    with errors_in_one_line("against"):
        main()
