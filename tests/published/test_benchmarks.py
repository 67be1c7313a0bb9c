"""The tables of the benchmarks are made from the committed measurements."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import RESULTS, draw


def test_the_committed_table_is_made_from_the_committed_results() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert Path(RESULTS.with_name("table.md")).read_text(encoding="utf-8") == draw.document(results)
