"""The pipeline on a user's table, and on a known density in more than two dimensions.

The tests do small runs in one process, and try each kind of invalid input.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import error_message
from pipeline import REFERENCES, Clone, make_clone, run_models, tiny_settings

from common import storage
from flows.evaluation.statistics import mean_ci95
from flows.tables.columns import files as table
from flows.tables.columns.notices import TableError
from stages import generate, rank
from stages.pipeline import files
from stages.pipeline.runner import pipeline_words

KINDS = {"income": "positive", "share": "interval:0:1", "children": "integer"}
MODELS = ("realnvp", "gan")  # a GAN has no density


def people(count: int = 90, seed: int = 0) -> pd.DataFrame:
    """Return a table of all kinds: a positive column over 20 powers of ten, a share, whole numbers,
    a column far from 0, a rounded column, and text.

    All columns but the text depend on each other.
    """
    rng = np.random.default_rng(seed)
    z, noise = rng.normal(size=count), rng.normal(size=(count, 4))
    columns = {
        "income": np.exp(10 * z + noise[:, 0]),
        "share": 1 / (1 + np.exp(-z + noise[:, 1])),
        "children": rng.poisson(np.exp(0.5 * z)),
        "far away": 1e9 + z + 0.1 * noise[:, 2],
        "temperature": (20 + 5 * z**2 + noise[:, 3]).round(1),
        "ward": [("west", "east", "north")[k % 3] for k in range(count)],
    }
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def of_a_table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, str]:
    params = tiny_settings(MODELS, target="table", columns=KINDS, missing="drop")
    clone = make_clone(tmp_path_factory.mktemp("table"), params)
    frame = people(93)
    frame.iloc[[3, 50, 92], 0] = np.nan
    frame.to_parquet(clone.folder / "data/source/people.parquet")
    return clone, run_models(clone, MODELS)


@pytest.fixture(scope="module")
def of_many_dimensions(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    means, covariance = 3 * np.eye(2, 4), (np.eye(4) + 0.3).tolist()
    custom = [
        {"weight": weight, "mean": mean.tolist(), "covariance": covariance}
        for weight, mean in zip((1.0, 2.0), means, strict=True)
    ]
    params = tiny_settings(MODELS[:1], target="custom", custom=custom)
    clone = make_clone(tmp_path_factory.mktemp("custom"), params)
    run_models(clone, MODELS[:1])
    return clone


def headline(clone: Clone, name: str) -> dict[str, Any]:
    return json.loads(clone.text(f"metrics/{name}.json"))


def kept(clone: Clone, name: str) -> dict[str, np.ndarray]:
    with np.load(clone.folder / f"data/plots/{name}.npz") as arrays:
        return dict(arrays)


# A small run


def test_metrics_that_need_the_truth_are_null_for_a_table(of_a_table: tuple[Clone, str]):
    clone, _ = of_a_table
    assert set(headline(clone, "truth").values()) == {None}
    for name in (*MODELS, *REFERENCES):
        found = headline(clone, name)
        assert {found[key] for key in ("kl", "kl_sd", "kl_ensemble", "modes")} == {None}
        assert (found["test_nll"] is None) == (name == "gan")
        assert None not in {found[key] for key in ("precision", "recall", "c2st_auc")}


def test_the_stages_print_notices_on_a_table(of_a_table: tuple[Clone, str]):
    _, said = of_a_table
    lines = said.splitlines()
    assert lines[0] == "3 rows with a missing value are left out"
    assert lines[1] == "column ward is taken as a category of 3 labels"
    assert lines[2].startswith("column temperature holds ")
    assert lines[3] == "90 rows of 6 columns from table, density unknown"
    assert [line for line in lines if "truth: the true density of a table is unknown" in line]
    assert lines[-2].startswith("best model: realnvp, ")
    assert lines[-2].endswith(", the best reference")


OF_ALL = {"quality.png", "summary.png", "training.png"}
OF_COLUMNS = {"margins.png", "pairs.png", "probability.png"}
OF_A_TRUTH = {"calibration.png", "modes.png"}


def drawn(clone: Clone) -> set[str]:
    return {path.name for path in (clone.folder / "figures").iterdir()}


def test_the_figures_of_a_table_are_drawn(of_a_table: tuple[Clone, str]):
    clone, _ = of_a_table
    assert drawn(clone) == {*OF_COLUMNS, *OF_ALL}


def test_models_and_references_respect_the_kinds_and_score_each_test_row(
    of_a_table: tuple[Clone, str],
):
    clone, _ = of_a_table
    for name in (*MODELS, *REFERENCES):
        arrays = kept(clone, name)
        income, share, children, *_, ward = arrays["samples"].T
        assert len(income) == 500
        assert (income > 0).all()
        assert ((share > 0) & (share < 1)).all()
        assert (children == children.round()).all()
        assert set(ward) <= {0, 1, 2}
        if name != "gan":
            members = 2 if name in MODELS else 1
            assert arrays["test_log_density"].shape == (18, members)
            assert arrays["test_log_density_ensemble"].shape == (18,)
            assert arrays["test_log_density"].dtype == np.float64


def test_models_are_ranked_by_their_gain_over_the_best_reference(
    of_a_table: tuple[Clone, str],
):
    clone, _ = of_a_table
    ranking = json.loads(clone.text("metrics/ranking.json"))
    assert list(ranking) == ["realnvp"]
    scores = {
        name: kept(clone, name)["test_log_density_ensemble"] for name in ("realnvp", *REFERENCES)
    }
    best = max(REFERENCES, key=lambda name: scores[name].mean())
    gain = scores["realnvp"] - scores[best]
    assert ranking["realnvp"]["gain_over"] == best
    assert ranking["realnvp"]["gain"] == pytest.approx(gain.mean(), rel=1e-5)
    width = mean_ci95(gain, np.random.default_rng(0))
    assert ranking["realnvp"]["gain_ci95"] == pytest.approx(width, rel=0.1)


def test_only_training_rows_are_dequantised(
    of_a_table: tuple[Clone, str], monkeypatch: pytest.MonkeyPatch
):
    clone, _ = of_a_table
    monkeypatch.chdir(clone.folder)
    problem, (names, raw) = files.read_prepared().problem, table.read_numbers(files.RAW)
    assert names == problem.to_real.names == list(people().columns)
    steps = [column.cell for column in problem.to_real.fields]
    assert steps == [0, 0, 1, 0, pytest.approx(0.1), 1]
    assert problem.to_real.fields[-1].labels == ("east", "north", "west")
    assert raw[:3, -1].tolist() == [2, 0, 1]
    for rows, half in ((problem.train, 0.5), (problem.test, 0)):
        nearest = raw[np.abs(np.log(rows[:, :1] / raw[:, 0])).argmin(axis=1)]
        off = np.abs(rows - nearest)
        np.testing.assert_allclose(rows[:, :2], nearest[:, :2], rtol=1e-12)
        assert off[:, 3].max() < 1e-6
        assert 0.1 * half <= off[:, 2].max() <= half
        assert 0.005 < off[:, 4].max() < 0.0505
        assert 0.4 < off[:, 5].max() < 0.5  # scored categories are dequantised, too


@pytest.mark.slow
def test_kl_is_exact_in_more_dimensions(of_many_dimensions: Clone):
    for name in ("realnvp", *REFERENCES, "truth"):
        assert headline(of_many_dimensions, name)["kl"] is not None
    assert headline(of_many_dimensions, "truth")["kl"] == 0
    assert headline(of_many_dimensions, "truth")["modes"] == 2
    assert (
        0
        < headline(of_many_dimensions, "gaussian")["kl"]
        < headline(of_many_dimensions, "independent")["kl"]
    )


@pytest.mark.slow
def test_figures_of_a_truth_and_of_a_table_are_drawn_in_more_dimensions(
    of_many_dimensions: Clone,
):
    assert drawn(of_many_dimensions) == {*OF_A_TRUTH, *OF_COLUMNS, *OF_ALL}


# Wrong tables


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files.SOURCE.mkdir(parents=True)
    return files.SOURCE / "people.csv"


@pytest.mark.parametrize(
    ("rows", "data", "words"),
    [
        (50, {"columns": {"childern": "integer"}}, "params.yaml: data.columns.childern"),
        (50, {"columns": {"share": "interval:0:0.5"}}, "data/source/people.csv: column share"),
        (50, {"missing": "ignore"}, "params.yaml: data.missing = 'ignore': "),
        (40, {}, "prepare.test_fraction = 0.2"),
    ],
)
def test_an_invalid_table_gives_a_one_line_error_and_writes_nothing(
    source: Path, rows: int, data: dict[str, Any], words: str
):
    people(50).head(rows).to_csv(source, index=False)
    Path("params.yaml").write_text(tiny_settings(MODELS, target="table", **data), encoding="utf-8")
    assert words in error_message(generate.main)
    assert not files.RAW.exists()
    assert not files.TARGET.exists()


@pytest.mark.parametrize(
    ("change", "data", "words"),
    [
        ({"ward": "west"}, {}, "column ward holds 'west' in every row, and in samples; to leave"),
        ({"ward": None}, {}, "column ward holds no value in any row, nor in samples; to leave the"),
        ({"double": lambda table: 2 * table.income}, {}, "so samples compute it; to leave the "),
        ({"id": range(100, 150)}, {}, "data.columns.id: integer in params.yaml; to leave the "),
        ({"ward": [f"w{k}" for k in range(50)]}, {}, "data.columns.ward: category in params.yaml"),
        ({"ward": [*range(49), "x"]}, {}, "to learn labels, set data.columns.ward: category in "),
        ({"ward": [*range(49), "x"]}, {"missing": "drop"}, "leave the fields that hold x empty"),
        ({"ward": [*range(9), "x"] * 5}, {}, "set data.columns.ward: category in params.yaml"),
        ({"Unnamed: 6": np.sqrt(range(50))}, {}, "column 'Unnamed: 6' has no name; give it one"),
    ],
)
def test_a_column_that_is_not_learned_as_it_is_needs_a_decision(
    source: Path, change: dict[str, Any], data: dict[str, Any], words: str
):
    people(50).assign(**change).to_csv(source, index=False)
    Path("params.yaml").write_text(tiny_settings(MODELS, target="table", **data), encoding="utf-8")
    with pytest.raises(TableError) as caught:
        generate.main()
    assert words in caught.value.text(pipeline_words)
    assert not files.RAW.exists()


# Ranking


def test_a_reference_with_a_nan_score_is_ranked_last(
    source: Path, capsys: pytest.CaptureFixture[str]
):
    Path("params.yaml").write_text(tiny_settings(MODELS, target="table"), encoding="utf-8")
    levels = {"independent": 0.0, "gaussian": 1.0, "gmm": 9.0, "kde": -1.0, "realnvp": 2.0}
    levels["sharpened_kde"] = -2.0
    for seed, (name, level) in enumerate(levels.items()):
        scores = level + 0.1 * np.random.default_rng(seed).uniform(-1, 1, 20)
        if name == "gmm":
            scores[3] = np.nan
        storage.write_npz(files.plot_data(name), {"test_log_density_ensemble": scores})
    storage.write_npz(files.plot_data("gan"), {"samples": np.zeros((3, 2))})
    rank.main()
    ranking = json.loads(files.RANKING.read_text())
    assert list(ranking) == ["realnvp"]
    assert ranking["realnvp"]["gain_over"] == "gaussian"
    assert ranking["realnvp"]["gain"] == pytest.approx(1, abs=0.1)
    assert 0.01 < ranking["realnvp"]["gain_ci95"] < 0.1
    order = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert order == ["realnvp", "gaussian", "independent", "kde", "sharpened_kde", "gmm"]


def test_a_gain_that_is_not_finite_is_null(source: Path, capsys: pytest.CaptureFixture[str]):
    Path("params.yaml").write_text(tiny_settings(MODELS, target="table"), encoding="utf-8")
    for name in ("realnvp", "gan", *REFERENCES):
        scores = np.zeros(20)
        scores[3] = -np.inf if name in ("realnvp", "gan") else 0
        storage.write_npz(files.plot_data(name), {"test_log_density_ensemble": scores})
    with np.errstate(invalid="ignore"):
        rank.main()
    gain = json.loads(files.RANKING.read_text(), parse_constant=pytest.fail)["realnvp"]
    assert (gain["gain"], gain["gain_ci95"]) == (None, None)
    assert "best model: realnvp, -inf" in capsys.readouterr().out
