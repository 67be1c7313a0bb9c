"""How long a table takes on the command line, and how much memory: ``python -m benchmarks.tables`` writes ``tables.json``.

Five minutes, with imports and files counted, on as many threads as there are cores. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import RESULTS
from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from stages.shared import files

OUTPUT = RESULTS.with_name("tables.json")
FITTED = ((500, 10), (10_000, 10))  # rows, columns
SCORED, COLUMNS = (1_000_000, 10_000_000), 8
CHUNK = 1_000_000  # rows that are written at once


def main(fitted: Sequence[tuple[int, int]] = FITTED, scored: Sequence[int] = SCORED, output: Path = OUTPUT) -> None:
    found: dict[str, object] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder, "rows.parquet"), Path(folder, "rows.flow")
        for rows, columns in fitted:
            write(path, rows, columns)
            found[f"fit {rows} x {columns}"] = measured("fit", path, "-o", model)
        write(path, fitted[0][0], COLUMNS)
        measured("fit", path, "-o", model, "--members", 1)
        for rows in scored:
            write(path, rows, COLUMNS)
            found[f"score {rows} x {COLUMNS}"] = measured("score", model, path, "-o", Path(folder, "scores.parquet"))
    files.write_json(output, found)


def table(rows: int, columns: int, seed: int) -> Array:
    """Two correlated clusters ``(rows, columns)``, every third column with a long tail."""
    mixing = np.random.default_rng(0).normal(size=(2, columns, columns)) / np.sqrt(columns)
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, 2, size=rows)
    values = np.einsum("nd,nde->ne", rng.normal(size=(rows, columns)), mixing[cluster]) + 2 * cluster[:, None]
    values[:, ::3] = np.exp(values[:, ::3])
    return values


def write(path: Path, rows: int, columns: int) -> None:
    names = [f"x{i}" for i in range(columns)]
    with pq.ParquetWriter(path, pa.schema([(name, pa.float64()) for name in names])) as file:
        for start in range(0, rows, CHUNK):
            values = table(min(CHUNK, rows - start), columns, seed=1 + start)
            file.write_table(pa.Table.from_pandas(pd.DataFrame(values, columns=names), preserve_index=False))


def measured(*words: object) -> dict[str, float]:
    """Seconds of the wall, and the most memory in MiB, of one command."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "flows", *map(str, words)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise UserError(f"flows {words[0]} ended with status {os.waitstatus_to_exitcode(status)}")
    found = {"seconds": round(seconds, 1), "mebibytes": round(usage.ru_maxrss / 1024)}
    print(*words[:1], found, flush=True)
    return found


if __name__ == "__main__":
    with errors_in_one_line("tables"):
        main()
