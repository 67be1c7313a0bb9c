"""The benchmarks run, and their tables say what was measured. With tiny sizes: no number of these is looked at."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks import draw, run, tables
from benchmarks.ours import Ours, Plain
from benchmarks.peers import Recipe
from benchmarks.sections import SECTIONS, Plan, ring, slope
from benchmarks.worker import workers
from flows.core.errors import UserError

TOP = Path(__file__).resolve().parents[1]
RECIPE = Recipe(800, 0.005, noise=0.1)
SMALL = {key: value[:2] for key, value in vars(Plan()).items() if isinstance(value, tuple)} | {
    **{
        "repeats": 2,
        "reading": 0.02,
        "threads": (1,),
        "epoch_couplings": 2,
        "epoch_networks": (1, 2),
        "networks": 2,
        "eager_networks": 1,
        "fresh": 500,
        "batches": (800,),
    },
    **{"quality_size": (2, 8), "spline_size": (2, 8), "quality_lengths": (1, 2), "own_epochs": 4, "own_every": 2},
    **{"throughput_size": (2, 8), "throughput_repeats": 1, "growth_dimensions": (2, 3, 4)},
}


@pytest.mark.slow
def test_a_small_run_measures_every_section_and_can_be_drawn(tmp_path):
    results = tmp_path / "results.json"
    run.measure(Plan(**SMALL), list(SECTIONS), ["ours", "ours-plain", "zuko"], results)
    measured = json.loads(results.read_text(encoding="utf-8"))
    assert measured.keys() == SECTIONS.keys() | {"machine", "settings", "versions"}
    parameters = {row["library"]: row["parameters"] for row in measured["epoch"] if row["hidden"] == 32}
    assert parameters["ours"] == parameters["ours-plain"] == parameters["zuko"] == parameters["floor"]
    assert all(row["ms"] > 0 for row in measured["epoch"])
    draw.main(results)
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    assert "never" in (tmp_path / "table.md").read_text(encoding="utf-8")  # a network trained for two epochs


@pytest.mark.slow
def test_a_worker_trains_and_scores_ours(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, **ring(100, 500))
    with workers(["ours"], 1) as (worker,):
        assert worker.ask("build", networks=2, hidden=8, couplings=2, model="glow") > 0
        worker.ask("start", data=str(path), recipe=asdict(RECIPE), epochs=40)
        before = worker.ask("kl", data=str(path))
        assert worker.ask("advance", epochs=40) > 0
        after = worker.ask("kl", data=str(path))
        with pytest.raises(UserError, match="ours: TypeError"):
            worker.ask("build", nonsense=1)
    assert max(after) < min(before)


def test_ours_starts_anew_from_the_same_weights_and_plain_torch_learns_the_same():
    points, scored = ring(100)["points"], ring(101)["points"]
    trained = []
    for peer in (Ours(2, 8, 2), Plain(2, 8, 2)):
        for _ in range(2):
            peer.start(points, RECIPE, 5)
            peer.advance(5)
            trained.append(peer.log_prob(scored))
        assert peer.sample(10, 0).shape == (10, 2, 2)
    assert trained[0].shape == (800, 2)
    assert np.array_equal(trained[0], trained[1])
    assert np.allclose(trained[0], trained[2], atol=1e-3)


@pytest.mark.parametrize(("arguments", "word"), [(["--only", "nonsense"], "nonsense"), (["--libraries", "ours", "none"], "none")])
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


def test_no_benchmark_runs_with_the_main_pipeline():
    text = (TOP / "dvc.yaml").read_text(encoding="utf-8")
    assert not re.search("benchmarks", text)
