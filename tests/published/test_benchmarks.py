"""The tables of the benchmarks are made from the committed measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from benchmarks import FOLDER, RESULTS, draw, fits


def test_the_committed_table_is_made_from_the_committed_results() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert Path(RESULTS.with_name("table.md")).read_text(encoding="utf-8") == draw.document(results)


def test_the_table_of_fit_times_is_made_from_the_committed_measurements() -> None:
    measured = pd.read_csv(FOLDER / "fits.csv", keep_default_na=False)
    assert (FOLDER / "fits.md").read_text(encoding="utf-8") == fits.document(measured)
