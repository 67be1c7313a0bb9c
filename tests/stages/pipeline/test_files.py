"""Damaged files stop a stage with one line that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import error_message
from pipeline import TINY

import flows
from common import storage
from flows import truths
from flows.mixtures.mixture import Mixture
from stages import evaluate, generate, plot, prepare, reference, train
from stages.pipeline import files
from stages.pipeline.models import write_model

RING = truths.make("ring")
TARGET = {"kind": "mixture", "entropy": 3.5} | {
    key: getattr(RING, key).tolist() for key in ("weights", "means", "covariances")
}
SCALER = {"columns": ["x", "y"], "mean": [0.0, 0.0], "std": [2.9, 2.9]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with valid inputs of all stages, and make it the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TINY, encoding="utf-8")
    rows = RING.sample(200, np.random.default_rng(0))
    storage.write_csv(files.RAW, {"x": rows[:, 0], "y": rows[:, 1]}, float_format="%.12g")
    storage.write_json(files.TARGET, TARGET)
    storage.write_json(files.SCALER, SCALER)
    storage.write_npy(files.TRAIN, rows[40:] / 2.9)
    storage.write_npy(files.TEST, rows[:40] / 2.9)
    model = flows.build(flows.RealNVP(couplings=2, hidden=8), (2,), members=3)
    curves = {"train_nll": np.ones((2, 3)), "test_nll": np.ones((2, 3))}
    model.history = {"epoch": np.array([2.0, 4.0]), **curves}
    write_model("realnvp", model)
    return tmp_path


def message(stage: Callable[..., None], *words: str) -> str:
    text = error_message(stage, *words)
    assert len(text) < 400
    return text


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def table(last: object) -> str:
    """Return the text of 200 rows, with ``last`` in the last row."""
    return "x,y\n" + "".join(f"{value},{k}\n" for k, value in enumerate([*range(199), last]))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "No such file"),
        ("", "is empty"),
        (table("many"), "'many'"),
        ("x,y\n" + "7,1\n" * 200, "column x"),
    ],
)
def test_the_error_names_a_damaged_table_of_raw_rows(folder: Path, content: str | None, word: str):
    files.RAW.unlink()
    if content is not None:
        files.RAW.write_text(content, encoding="utf-8")
    text = message(prepare.main)
    assert "data/raw.csv" in text
    assert word in text


def without(content: dict[str, Any], key: str) -> str:
    return json.dumps({name: content[name] for name in content if name != key})


@pytest.mark.parametrize(
    ("path", "content", "word"),
    [
        (files.TARGET, "{", "cannot be read"),
        *((files.TARGET, without(TARGET, key), key) for key in TARGET),
        (files.TARGET, json.dumps({**TARGET, "kind": "spiral"}), "'spiral'"),
        (files.SCALER, without(SCALER, "std"), "std"),
        (files.SCALER, without(SCALER, "mean"), "mean"),
    ],
)
def test_the_error_names_a_damaged_json_file(folder: Path, path: Path, content: str, word: str):
    path.write_text(content, encoding="utf-8")
    text = message(reference.main, "gmm")
    assert str(path) in text
    assert word in text
    if path == files.TARGET:
        assert message(plot.main) == text


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        truncate,
        lambda path: path.write_text("rows", encoding="utf-8"),
    ],
    ids=["missing", "truncated", "no array"],
)
def test_the_error_names_damaged_training_rows(folder: Path, damage: Callable[[Path], object]):
    damage(files.TRAIN)
    assert "data/prepared/train.npy" in message(train.main, "realnvp")
    assert not files.history("realnvp").exists()


def reference_in_its_place(_: Path) -> None:
    model = flows.GaussianMixture(RING.weights, RING.means, RING.covariances)
    write_model("realnvp", model)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "no such file"),
        (truncate, "`dvc repro train@realnvp`"),
        (lambda _: write_model("realnvp", flows.build(flows.RealNVP(), (2,))), "no trained"),
        (reference_in_its_place, "holds no trained networks; `dvc repro train@realnvp`"),
    ],
    ids=["missing", "truncated", "never trained", "a reference"],
)
def test_the_error_names_a_checkpoint_without_a_trained_model(
    folder: Path, damage: Callable[[Path], object], words: str
):
    damage(files.checkpoint("realnvp"))
    text = message(evaluate.main, "realnvp")
    assert "models/realnvp.safetensors: " in text
    assert words in text


def test_the_error_names_a_checkpoint_of_another_dimension(folder: Path):
    model = flows.build(flows.RealNVP(couplings=2, hidden=8), (3,), members=3)
    model.history = {"epoch": np.array([2.0, 4.0])}
    write_model("realnvp", model)
    assert "holds networks of 3 dimensions, and the rows" in message(evaluate.main, "realnvp")


# The true density


def test_the_truth_survives_a_round_trip_through_its_file(folder: Path):
    files.write_target(RING, (3.51234567, 0.001))
    truth, entropy, *_ = files.read_target()
    assert isinstance(truth, Mixture)
    assert entropy == 3.512346
    for key in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(truth, key), getattr(RING, key))
    files.write_target(None, None)
    assert files.read_target() == (None, None, [], "")


@pytest.fixture
def source(folder: Path) -> Path:
    """Return the folder of the user's table; the settings say ``target: table``."""
    Path("params.yaml").write_text(TINY.replace("target: ring", "target: table"), encoding="utf-8")
    files.SOURCE.mkdir()
    return files.SOURCE


TEXT = "x,y\n" + "".join(f"{k},{k * k}\n" for k in range(30)) + "1,no\n"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, ["data/source/", "one CSV or Parquet file", "it holds nothing"]),
        ({"a.csv": "x\n1\n", "b.csv": "x\n1\n"}, ["data/source/", "a.csv, b.csv"]),
        ({"a.csv": TEXT}, ["data/source/a.csv", "column y", "'no'"]),
    ],
    ids=["none", "two", "text"],
)
def test_the_error_names_an_unusable_table(source: Path, tables: dict[str, str], words: list[str]):
    for name, content in tables.items():
        (source / name).write_text(content)
    text = message(generate.main)
    assert [word for word in words if word not in text] == [], text
