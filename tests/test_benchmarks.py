"""The benchmarks run, and their tables say what was measured. With tiny sizes: no number of these is looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import draw, run, tables
from benchmarks.sections import slope

HERE = Path("benchmarks")
SECTIONS = {"epoch", "floor", "quality", "depth", "throughput", "growth"}


@pytest.mark.slow
def test_a_small_run_measures_every_section_and_can_be_drawn(tmp_path):
    results = tmp_path / "results.json"
    run.main(["--small", "--output", str(results), "--libraries", "ours,ours-plain,zuko"])
    measured = json.loads(results.read_text(encoding="utf-8"))
    assert measured.keys() == SECTIONS | {"machine", "settings", "versions"}
    parameters = {row["library"]: row["parameters"] for row in measured["epoch"]}
    assert parameters["ours"] == parameters["ours-plain"] == parameters["zuko"]
    assert all(row["ms"] > 0 for row in measured["epoch"] + measured["floor"])
    draw.main(["--results", str(results)])
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    assert "never" in (tmp_path / "table.md").read_text(encoding="utf-8")  # a network trained for two epochs


@pytest.mark.parametrize(
    ("arguments", "word"), [(["--only", "nonsense"], "nonsense"), (["--libraries", "ours,none"], "none"), (["--small"], "--output")]
)
def test_a_wrong_word_on_the_command_line_is_named(arguments, word, capsys):
    with pytest.raises(SystemExit):
        run.main(arguments)
    assert word in capsys.readouterr().err


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_slopes_are_those_of_the_upper_half(exponent):
    sizes = np.array([1, 10, 100, 1_000, 10_000])
    found = slope(sizes, 1e-3 * sizes**exponent + np.array([1, 1, 0, 0, 0]))
    assert found["points_fitted"] == 3
    assert found["exponent"] == pytest.approx(exponent)
    assert found["exponent_se"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("value", "text"), [(0.0001234, "0.000123"), (12.345, "12.3"), (1234.5, "1,230"), (0.5, "0.5"), (2e7, "20,000,000")])
def test_numbers_are_written_out(value, text):
    assert tables.number(value) == text


def test_the_committed_table_is_made_from_the_committed_results():
    results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    assert results.keys() >= SECTIONS
    assert (HERE / "table.md").read_text(encoding="utf-8") == tables.document(results)


def test_no_benchmark_runs_with_the_main_pipeline():
    text = Path("dvc.yaml").read_text(encoding="utf-8")
    assert not re.search("benchmarks", text)
