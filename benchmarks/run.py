"""Measure: ``python -m benchmarks.run`` writes ``benchmarks/results.json``. What it holds is in ``README.md`` and ``table.md``."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import RESULTS
from benchmarks.peers import LIBRARIES, installed
from benchmarks.sections import SECTIONS, Bench, Plan
from flows.core import atomic
from flows.core.errors import errors_in_one_line

DIGITS = 4  # significant ones: a timing has no more
VERSIONS = ("torch", "numpy", "zuko", "normflows", "nflows", "FrEIA", "flowjax", "jax", "equinox")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections; the others' results stay")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    options = parser.parse_args(arguments)
    for library in options.libraries:
        if not installed(library):
            print(f"{library} is not installed (pip install -r benchmarks/requirements.txt); it is left out", file=sys.stderr)
    with errors_in_one_line("benchmarks"):
        measure(Plan(), list(options.only), list(filter(installed, options.libraries)), RESULTS)


def measure(plan: Plan, sections: Sequence[str], libraries: Sequence[str], output: Path) -> None:
    """Take the sections in turn; the file is written anew after each, so that a run which is stopped keeps what it has."""
    results = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    results.update(machine=machine(), versions=versions(), settings=rounded(vars(plan)))
    with tempfile.TemporaryDirectory() as folder, tqdm(sections, unit="section", disable=None) as bar:
        bench = Bench(plan, libraries, Path(folder), bar.set_postfix_str)
        for section in bar:
            bar.set_description(section)
            results[section] = rounded(SECTIONS[section](bench))
            with atomic.replacing(output) as unfinished:
                unfinished.write_text(json.dumps(results, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Numbers to a few significant digits; what is not finite becomes None, JSON's null."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def versions() -> dict[str, str | None]:
    there = {each.name: each.version.partition("+")[0] for each in distributions()}  # without the word for the build
    return {name: there.get(name) for name in VERSIONS}


def machine() -> dict[str, Any]:
    """The processor by its name for people, where the system tells."""
    information = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.*)", information.read_text(encoding="utf-8"), re.M) if information.exists() else None
    processor = named[1].strip() if named else platform.processor() or platform.machine()
    return {"python": platform.python_version(), "cores": os.cpu_count(), "processor": processor}


if __name__ == "__main__":
    main()
