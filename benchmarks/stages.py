"""Where the pipeline's seconds go, and what a busy neighbour costs: ``python -m benchmarks.stages`` writes ``stages.json``.

Every stage runs twice, one after another, in a clean clone: with one thread, and with as many as there are cores while another process keeps
one of them busy. What takes a second or two does so five times, and the medians count. Leave the machine alone meanwhile: it takes six minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import yaml

from benchmarks import RESULTS
from benchmarks.against import git
from flows.core.errors import errors_in_one_line
from stages.shared import files

OUTPUT = RESULTS.with_name("stages.json")
SHORT = 2.0  # seconds
ORDER = ("generate", "prepare", "reference", "train", "evaluate", "rank", "plot")


def main(arguments: Sequence[str] | None = None, output: Path = OUTPUT) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages")
    parser.add_argument("last", nargs="?", choices=ORDER, default=ORDER[-1], help="kind of stage to end with, as each needs what came before")
    kinds = ORDER[: ORDER.index(parser.parse_args(arguments).last) + 1]
    locked = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
    names = sorted((name for name in locked if name.partition("@")[0] in kinds), key=lambda name: ORDER.index(name.partition("@")[0]))
    found: dict[str, object] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as clone:
        git("clone", "--quiet", ".", clone)
        for name in names:
            words = [sys.executable, *locked[name]["cmd"].split()[1:]]
            readings = [both(words, clone)]
            if readings[0][0] < SHORT:
                readings += [both(words, clone) for _ in range(4)]
            alone, beside = map(median, zip(*readings, strict=True))
            found[name] = {"alone": round(alone, 2), "beside": round(beside, 2), "ratio": round(beside / alone, 2)}
            print(name, found[name], flush=True)
    files.write_json(output, found)


def both(words: Sequence[str], clone: str) -> tuple[float, float]:
    """Seconds alone, and beside a busy neighbour."""
    alone = seconds(words, clone, OMP_NUM_THREADS="1")
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        return alone, seconds(words, clone, OMP_NUM_THREADS=str(os.cpu_count()))
    finally:
        neighbour.kill()


def seconds(words: Sequence[str], clone: str, **variables: str) -> float:
    begin = time.perf_counter()
    subprocess.run(words, cwd=clone, env={**os.environ, **variables}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


if __name__ == "__main__":
    with errors_in_one_line("stages"):
        main()
