"""Measure: ``python -m benchmarks.run`` writes ``benchmarks/results.json``. What it holds is in ``README.md`` and ``table.md``."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import RESULTS, peers
from benchmarks.client import WorkerError, Workers
from benchmarks.plan import FULL, SMALL, Plan
from benchmarks.quality import quality
from benchmarks.sections import Bench, depth, epoch, growth, throughput
from flows.core import atomic

DIGITS = 4  # significant ones: a timing has no more
SECTIONS: dict[str, Callable[[Bench], list[dict[str, Any]]]] = {
    **{"epoch": epoch, "quality": quality, "depth": depth, "throughput": throughput, "growth": growth},
}
VERSIONS = ("torch", "numpy", "zuko", "normflows", "nflows", "FrEIA", "flowjax", "jax", "equinox")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", type=names(SECTIONS), default=list(SECTIONS), help="sections, with commas between; the others' results stay")
    parser.add_argument("--libraries", type=names(peers.LIBRARIES), default=list(peers.LIBRARIES), help="with commas between")
    parser.add_argument("--small", action="store_true", help="a smoke run of about a minute; its numbers mean nothing")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the file to write")
    options = parser.parse_args(arguments)
    if options.small and options.output == RESULTS:
        parser.error("--small needs an --output of its own: its numbers would take the place of measured ones")
    for library in options.libraries:
        if not peers.installed(library):
            print(peers.missing(library) + "; it is left out", file=sys.stderr)
    libraries = [library for library in options.libraries if peers.installed(library)]
    plan = SMALL if options.small else FULL
    try:
        measure(plan, options.only, libraries, options.output)
    except WorkerError as error:
        sys.exit(str(error))


def measure(plan: Plan, sections: Sequence[str], libraries: Sequence[str], output: Path) -> None:
    """Take the sections in turn; the file is written anew after each, so that a run which is stopped keeps what it has."""
    results = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    results.update(machine=machine(), versions=versions(), settings=rounded(vars(plan)))
    with tempfile.TemporaryDirectory() as folder, closing(Workers()) as workers, tqdm(sections, unit="section", disable=None) as bar:
        bench = Bench(plan, workers, libraries, Path(folder), bar.set_postfix_str)
        for section in bar:
            bar.set_description(section)
            results[section] = rounded(SECTIONS[section](bench))
            write(results, output)


def names(known: Any) -> Callable[[str], list[str]]:
    """Reads a list with commas, in the order of ``known``."""

    def read(text: str) -> list[str]:
        wanted = text.split(",")
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(known)}")
        return [name for name in known if name in wanted]

    return read


def rounded(value: Any) -> Any:
    """Numbers to a few significant digits; what is not finite becomes None, JSON's null."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def write(results: dict[str, Any], output: Path) -> None:
    with atomic.replacing(output) as unfinished:
        unfinished.write_text(json.dumps(results, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in VERSIONS:
        try:
            found[name] = version(name).partition("+")[0]  # without the word for the build
        except PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, Any]:
    return {"python": platform.python_version(), "cores": os.cpu_count(), "processor": processor()}


def processor() -> str:
    """The processor's name for people, where the system tells."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
