"""The benchmarks run with tiny sizes, and their tables have the measurements.

No timing is checked.
"""

from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmarks import PARAMS, RESULTS, against, draw, fits, run
from benchmarks.ours import Ours
from benchmarks.peers import BUILDS, Recipe
from benchmarks.run import SECTIONS, ring
from benchmarks.worker import workers
from common.settings import read_yaml
from flows.core.errors import UserError
from flows.networks.backend import backend

RECIPE = Recipe(800, 0.005, noise=0.1)
PLAN = read_yaml(PARAMS)["run"]
SMALL = PLAN | {key: value[:2] for key, value in PLAN.items() if isinstance(value, list)}
SMALL |= {"repeats": 2, "reading": 0.02, "threads": (1,), "batches": (800,), "fresh": 500}
SMALL |= {"epoch_couplings": 4, "epoch_networks": (1, 2), "networks": 2, "eager_networks": 1}
SMALL |= {"quality_size": (4, 8), "quality_lengths": (1, 2)}


@pytest.mark.slow
def test_a_small_run_measures_every_section_and_can_be_drawn(tmp_path):
    results = tmp_path / "results.json"
    run.measure(SMALL, list(SECTIONS), ["ours", "ours-plain", "ours-nsf", "zuko"], results)
    measured = json.loads(results.read_text(encoding="utf-8"))
    assert measured.keys() == SECTIONS.keys() | {"machine", "settings", "versions"}
    epochs = [row for row in measured["epoch"] if row["hidden"] == 32]
    parameters = {row["library"]: row["parameters"] for row in epochs}
    assert parameters["ours"] == parameters["ours-plain"] == parameters["zuko"]
    assert all(row["ms"] > 0 for row in measured["epoch"])
    draw.main(results)
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    assert "never" in (tmp_path / "table.md").read_text(encoding="utf-8")  # within two epochs


@pytest.mark.slow
def test_workers_train_and_score_our_flows_with_the_given_kernels():
    points, draws, _ = ring(100, 500)
    libraries = [f"ours-glow{build}" for build in BUILDS]
    scores = []
    with workers(libraries, 1) as runners:
        for worker in runners:
            assert worker.build(networks=2, hidden=8, couplings=2) > 0
            worker.ask("start", points, RECIPE, 40)
            before = worker.ask("log_prob", draws)
            assert worker.advance(40) > 0
            scores.append(worker.ask("log_prob", draws))
            assert scores[-1].mean() > before.mean()
        with pytest.raises(UserError, match="ours-glow: TypeError"):
            runners[0].build(nonsense=1)
    native, avx2, plain = scores
    assert np.array_equal(native, avx2)
    assert not np.array_equal(native, plain)
    assert np.allclose(native, plain, atol=1e-2)


@pytest.mark.slow
def test_this_commit_is_timed_against_another(tmp_path):
    """The other commit is the same one. Without the pipeline and the tests, which are long."""
    words = ["--rounds", "1", "--epochs", "1", "--fits", "1", "--verbs", "1"]
    words += ["--pipelines", "0", "--tests", "0"]
    plan = read_yaml(PARAMS)["against"]
    plan["sizes"], plan["verbs"] = [[30, 2, 1, 0.1]], [["info", [30, 2, 1, 0.1]]]
    plan["epochs"] = {"1 thread": plan["epochs"]["1 thread"]}
    against.main(["HEAD", *words], tmp_path / "against.json", plan)
    found = json.loads((tmp_path / "against.json").read_text(encoding="utf-8"))
    size = "30 x 2 and 1 of labels, 10% missing"
    timed = {f"fit, {size}", f"info, {size}", "epoch, 1 thread"}
    assert found.keys() == {"commit", "cores"} | timed
    assert all(found[name]["ratio"] > 0 for name in timed)
    nothing = ["--rounds", "0", "--fits", "0", "--verbs", "0", "--pipelines", "0", "--tests", "0"]
    against.main(["HEAD", *nothing], tmp_path / "against.json", plan)
    assert json.loads((tmp_path / "against.json").read_text(encoding="utf-8")) == found
    with pytest.raises(UserError, match="nowhere"):
        against.main(["nowhere"])


def test_our_flow_restarts_from_the_same_weights_and_plain_torch_learns_the_same():
    points, scored = ring(100)[0], ring(101)[0]
    trained = []
    for code in (nullcontext, backend.reference_code):
        with code():
            peer = Ours(2, 8, 2)
            for _ in range(2):
                peer.start(points, RECIPE, 5)
                peer.advance(5)
                trained.append(peer.log_prob(scored))
    assert trained[0].shape == (800, 2)
    assert np.array_equal(trained[0], trained[1])
    assert np.allclose(trained[0], trained[2], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--only", "nonsense"], "nonsense"), (["--libraries", "ours", "none"], "none")],
)
def test_an_invalid_argument_is_named(arguments, word, capsys):
    with pytest.raises(SystemExit):
        run.main(arguments)
    assert word in capsys.readouterr().err


def test_the_picture_shows_the_milliseconds_of_the_table():
    """Those of whichever number of threads is faster, so that none looks slower than it is."""
    measured = json.loads(RESULTS.read_text(encoding="utf-8"))
    ms, sizes = draw.fastest(measured)
    assert sizes == {"hidden": 64, "batch": 128}
    epochs = pd.DataFrame(measured["epoch"])
    zuko = epochs.query("library == 'zuko' and networks == 10 and hidden == 64 and batch == 128")
    assert sorted(zuko["threads"]) == measured["settings"]["threads"]
    assert ms["zuko", 10] == zuko["ms"].min()
    axis = Figure().subplots()
    draw.epoch(axis, measured)
    names = [label.get_text() for label in axis.get_yticklabels()]
    shown = dict(zip(names, [bar.get_width() for bar in axis.patches], strict=True))
    assert shown["zuko"] == zuko["ms"].min()
    assert shown["our RealNVP"] == ms["ours", 10]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0001234, "0.000123"),
        (12.345, "12.3"),
        (1234.5, "1,230"),
        (0.5, "0.5"),
        (2e7, "20,000,000"),
    ],
)
def test_numbers_have_three_significant_digits_and_no_powers_of_ten(value, text):
    assert draw.number(value) == text


@pytest.mark.slow
def test_the_table_of_a_timed_fit_has_its_gaussians_labels_and_gaps(tmp_path):
    table = fits.draw(rows=1000, columns=3, labels=1, missing=0.2, gaussians=2)
    assert table.shape == (1000, 4)
    assert table.isna().mean()[["x0", "x1", "x2"]].between(0.15, 0.25).all()
    assert table["x0_label"].value_counts().to_dict() == {"high": 500, "low": 500}
    table.to_csv(tmp_path / "rows.csv", index=False)
    seconds, memory = fits.run("inspect", str(tmp_path / "rows.csv"))
    assert 0 < seconds < 60
    assert 0.01 < memory < 10
    with pytest.raises(UserError, match="absent"):
        fits.run("inspect", str(tmp_path / "absent.csv"))
