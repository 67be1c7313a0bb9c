"""Measure the time and memory of ``flows fit`` and ``flows check``: ``python -m benchmarks.fits``.

It takes three quarters of an hour, and writes ``fits.csv`` and ``fits.md``. Each command runs once
per table, in a new process, with its default settings and one thread per core. The rows are drawn
from one Gaussian, or from several with different means and covariances.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import FOLDER, PARAMS
from common import storage
from common.settings import read_yaml
from flows.core.progress import progress
from tools import command, markdown

SIZES = ["rows", "columns", "labels", "missing", "target"]  # of a table
DEFAULTS = {"labels": 0, "missing": 0.0, "target": ""}  # if a table has no such key
RUN = """
import sys
from flows.__main__ import main
from flows.core.progress import peak_memory
main(sys.argv[1:])
print(peak_memory())
"""


def main() -> None:
    plan = read_yaml(PARAMS)["fits"]
    tables = [DEFAULTS | table for table in plan["tables"]]
    sizes = pd.DataFrame(tables, columns=SIZES).merge(
        pd.DataFrame({"gaussians": plan["gaussians"]}), how="cross"
    )
    measured = []
    with progress("fits", len(sizes), "table") as bar:
        for each in sizes.to_dict("records"):
            measured.append(measure(**each))
            bar.update()
    table = sizes.join(pd.DataFrame(measured))
    storage.write_csv(FOLDER / "fits.csv", table, "%.4g")
    written = pd.read_csv(FOLDER / "fits.csv", keep_default_na=False)  # rounded
    storage.write_bytes(FOLDER / "fits.md", document(written).encode())


def measure(target: str, **sizes: Any) -> dict[str, float]:
    """Return the seconds of a fit and of a check of the fit, and the memory of the fit in GB."""
    with tempfile.TemporaryDirectory() as folder:
        path, model = str(Path(folder, "rows.csv")), str(Path(folder, "rows.flow"))
        draw(**sizes).to_csv(path, index=False)
        options = ["--target", target] if target else []
        fit, memory = run("fit", path, *options, "-o", model)
        check, _ = run("check", model, path)
    return {"fit": fit, "check": check, "memory": memory}


def draw(rows: int, columns: int, labels: int, missing: float, gaussians: int) -> pd.DataFrame:
    """Return rows of Gaussians with equal weights; ``missing`` is the share of missing numbers."""
    random = np.random.default_rng(0)
    sizes = np.diff(np.linspace(0, rows, gaussians + 1).astype(int))
    parts = []
    for size in sizes:
        center = 3 * random.standard_normal(columns)
        mix = random.standard_normal((columns, columns)) / np.sqrt(columns)
        parts.append(center + random.standard_normal((size, columns)) @ mix)
    table = pd.DataFrame(random.permutation(np.concatenate(parts))).add_prefix("x")
    gaps = random.random(table.shape) < missing
    return table.mask(gaps).join(labels_of(table, labels))


def labels_of(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return labels that tell whether each of the first ``count`` numbers is above the median."""
    above = table.iloc[:, :count].gt(table.iloc[:, :count].median())
    return above.replace({True: "high", False: "low"}).add_suffix("_label")


def run(*words: str) -> tuple[float, float]:
    """Return the seconds and the peak memory in GB of a command of ``flows`` in a new process."""
    begin = time.perf_counter()
    output = command.output(sys.executable, "-c", RUN, *words)
    return time.perf_counter() - begin, float(output.splitlines()[-1])


def document(table: pd.DataFrame) -> str:
    """Return the measurements in Markdown: the longest check of a table, and the most memory."""
    fits = table.pivot(index=SIZES, columns="gaussians", values="fit")
    most = table.groupby(SIZES)[["check", "memory"]].max()
    lines = []
    for sizes in table[SIZES].drop_duplicates().itertuples(index=False):
        seconds = [*fits.loc[sizes], most["check"][sizes]]
        memory = f"{most['memory'][sizes]:.1f}"
        lines.append([name(*sizes), *(f"{each:.0f}" for each in seconds), memory])
    head = [f"fit, {count} Gaussian{'s' * (count > 1)} (s)" for count in fits]
    return markdown.table(["table", *head, "check (s)", "memory (GB)"], lines, "lr") + "\n"


def name(rows: int, columns: int, labels: int, missing: float, target: str) -> str:
    """Return the words for a table."""
    words = f"{rows:,} x {columns}"
    words += f" and {labels} of labels" if labels else ""
    words += f", {missing:.0%} of the numbers missing" if missing else ""
    return words + (f", target {target}" if target else "")


if __name__ == "__main__":
    command.run("fits", main)
