"""The tables of the benchmarks are made from the committed measurements."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import RESULTS, draw


def test_the_committed_table_is_made_from_the_committed_results() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert Path(RESULTS.with_name("table.md")).read_text(encoding="utf-8") == draw.document(results)


def test_the_ratios_in_the_page_are_those_that_were_measured() -> None:
    found = json.loads(RESULTS.with_name("against.json").read_text(encoding="utf-8"))
    one, two, narrow, whole = (f"{found[key]['ratio']:.2f}" for key in ("epoch, 1 thread", "epoch, 2 threads", "epoch, 1 thread, AVX2", "pipeline"))
    page = " ".join(RESULTS.with_name("README.md").read_text(encoding="utf-8").split())
    assert f"{one} of the time on one thread, {two} on two and {narrow} with kernels for AVX2" in page
    assert f"in a clean clone takes {whole}" in page


def test_the_times_of_a_table_in_the_pages_are_those_that_were_measured() -> None:
    found = json.loads(RESULTS.with_name("tables.json").read_text(encoding="utf-8"))
    small, large = (found[f"fit {rows} x 10"]["seconds"] for rows in (500, 10_000))
    million, many = (found[f"score {rows} x 8"] for rows in (1_000_000, 10_000_000))
    page, tables = (" ".join(Path(name).read_text(encoding="utf-8").split()) for name in ("benchmarks/README.md", "docs/tables.md"))
    assert f"takes {small:.0f} s for 500 rows of 10 columns, and {large:.0f} s for 10,000" in page
    assert f"takes {million['seconds']} s for a million rows of 8 columns, from Parquet to Parquet, and {many['seconds']:.0f} s for ten" in page
    assert f"takes {many['mebibytes']} MiB of memory" in page
    assert f"500 rows of 10 columns take {small:.0f} s, 10,000 take {large:.0f} s. `score` takes {million['seconds']:.0f} s a million" in tables
