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
