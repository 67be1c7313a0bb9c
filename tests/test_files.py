"""Damaged files stop a stage with one line that names the file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pipeline import TINY

import flows
from flows import targets
from flows.core.errors import UserError
from flows.core.mixture import Mixture
from flows.data.table import read
from stages import evaluate, generate, plot, prepare, reference, train
from stages.pipeline import files

RING = targets.make("ring")
TARGET = {
    "kind": "mixture",
    "entropy": 3.5,
    **{key: getattr(RING, key).tolist() for key in ("weights", "means", "covariances")},
}
SCALER = {"columns": ["x", "y"], "mean": [0.0, 0.0], "std": [2.9, 2.9]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with sound inputs of every stage, in which the stage runs."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TINY, encoding="utf-8")
    rows = RING.sample(200, np.random.default_rng(0))
    files.write_csv(files.RAW, {"x": rows[:, 0], "y": rows[:, 1]}, float_format="%.12g")
    files.write_json(files.TARGET, TARGET)
    files.write_json(files.SCALER, SCALER)
    files.write_npy(files.TRAIN, rows[40:] / 2.9)
    files.write_npy(files.TEST, rows[:40] / 2.9)
    model = flows.build("realnvp", (2,), {"couplings": 2, "hidden": 8}, members=3)
    model.history = {
        "epoch": np.array([2.0, 4.0]),
        "train_nll": np.ones((2, 3)),
        "test_nll": np.ones((2, 3)),
    }
    files.write_model("realnvp", model)
    return tmp_path


def message(stage: Callable[..., None], *words: str) -> str:
    with pytest.raises(UserError) as caught:
        stage(*words)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def table(x: list[object]) -> str:
    return "x,y\n" + "".join(f"{value},{i}\n" for i, value in enumerate(x))


GOOD = list(range(199))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "No such file"),
        ("", "is no table"),
        ("x,y\n", "holds no rows"),
        (table([*GOOD, "many"]), "'many'"),
        (table([*GOOD, "nan"]), "holds no value"),
        (table([*GOOD, ""]), "holds no value"),
        (table([*GOOD, "inf"]), "inf"),
        (table([7] * 200), "column x"),
        ("x,y\n1,2\n3,4,5,6\n", "is no table"),
    ],
    ids=[
        "missing",
        "empty",
        "header alone",
        "text",
        "nan",
        "a hole",
        "inf",
        "constant column",
        "ragged",
    ],
)
def test_a_damaged_table_of_raw_rows_is_named(folder: Path, content: str | None, word: str):
    files.RAW.unlink()
    if content is not None:
        files.RAW.write_text(content, encoding="utf-8")
    text = message(prepare.main)
    assert "data/raw.csv" in text
    assert word in text


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "can't be read"),
        ("[]", "mixture"),
        *(
            (json.dumps({key: value for key, value in TARGET.items() if key != gone}), gone)
            for gone in TARGET
        ),
        (json.dumps({**TARGET, "kind": "spiral"}), "'spiral'"),
        (json.dumps({**TARGET, "weights": [1.0]}), "mixture"),
        (json.dumps({**TARGET, "entropy": None}), "mixture"),
    ],
    ids=[
        "no JSON",
        "a list",
        *(f"no {key}" for key in TARGET),
        "another kind",
        "a single weight",
        "null entropy",
    ],
)
def test_a_damaged_description_of_the_truth_is_named(folder: Path, content: str, word: str):
    files.TARGET.write_text(content, encoding="utf-8")
    text = message(reference.main, "truth")
    assert "data/target.json" in text
    assert word in text
    assert message(plot.main) == text


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "can't be read"),
        (json.dumps({"columns": ["x", "y"], "mean": [0, 0]}), "std"),
        (json.dumps({"columns": ["x", "y"], "std": [1, 1]}), "mean"),
        (json.dumps({**SCALER, "mean": [0, 0, 0], "std": [1, 1, 1]}), "mean"),
    ],
    ids=["empty", "no std", "no mean", "three numbers for two columns"],
)
@pytest.mark.parametrize(
    ("stage", "name"),
    [(train.main, "realnvp"), (reference.main, "gmm")],
    ids=["train", "reference"],
)
def test_a_damaged_scaler_is_named(
    folder: Path, stage: Callable[..., None], name: str, content: str, word: str
):
    files.SCALER.write_text(content, encoding="utf-8")
    text = message(stage, name)
    assert "data/prepared/scaler.json" in text
    assert word in text


@pytest.mark.parametrize(
    "damage", ["missing", "truncated", "no array", "one axis", "three columns", "text"]
)
@pytest.mark.parametrize(
    ("stage", "name"),
    [(train.main, "realnvp"), (reference.main, "gmm")],
    ids=["train", "reference"],
)
def test_damaged_training_rows_are_named(
    folder: Path, stage: Callable[..., None], name: str, damage: str
):
    if damage == "missing":
        files.TRAIN.unlink()
    elif damage == "truncated":
        truncate(files.TRAIN)
    elif damage == "no array":
        files.TRAIN.write_text("rows", encoding="utf-8")
    else:
        wrong = {
            "one axis": np.zeros(160),
            "three columns": np.zeros((160, 3)),
            "text": np.full((160, 2), "a"),
        }
        files.write_npy(files.TRAIN, wrong[damage])
    assert "data/prepared/train.npy" in message(stage, name)
    assert not files.history("realnvp").exists()


def test_a_truncated_checkpoint_is_named_with_the_command_that_makes_it_anew(folder: Path):
    truncate(files.checkpoint("realnvp"))
    text = message(evaluate.main, "realnvp")
    assert "models/realnvp.safetensors" in text
    assert "dvc repro train@realnvp" in text


def test_a_missing_checkpoint_is_named(folder: Path):
    files.checkpoint("realnvp").unlink()
    assert "models/realnvp.safetensors: no such file" in message(evaluate.main, "realnvp")


def test_a_model_that_was_never_trained_is_named(folder: Path):
    files.write_model("realnvp", flows.build("realnvp", (2,)))
    text = message(evaluate.main, "realnvp")
    assert "models/realnvp.safetensors: holds no trained network" in text
    assert "dvc repro train@realnvp" in text


def test_a_reference_in_the_place_of_a_model_is_named(folder: Path):
    files.write_model("realnvp", flows.GaussianMixture(RING.weights, RING.means, RING.covariances))
    assert "models/realnvp.safetensors: holds no trained network" in message(
        evaluate.main, "realnvp"
    )


# What is known of the truth


def test_the_truth_is_read_as_it_was_written(folder: Path):
    files.write_target(RING, (3.51234567, 0.001))
    truth, entropy, _ = files.read_target()
    assert isinstance(truth, Mixture)
    assert entropy == 3.512346
    for key in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(truth, key), getattr(RING, key))


def test_of_a_table_no_truth_is_known(folder: Path):
    files.write_target(None, None)
    assert files.read_target() == (None, None, [])
    assert files.read_problem().truth is None


def test_a_problem_is_in_the_units_and_with_the_columns_of_the_raw_rows(folder: Path):
    prepare.main()
    problem, (columns, raw, *_) = files.read_problem(), read(files.RAW)
    assert list(problem.columns) == columns == ["x", "y"]
    both = np.concatenate([problem.train, problem.test])
    np.testing.assert_allclose(both[np.lexsort(both.T)], raw[np.lexsort(raw.T)], rtol=0, atol=1e-9)


@pytest.fixture
def of_a_table(folder: Path) -> Path:
    """Settings that take the user's own rows."""
    Path("params.yaml").write_text(TINY.replace("target: ring", "target: table"), encoding="utf-8")
    files.SOURCE.mkdir()
    return files.SOURCE


def test_the_users_table_is_taken_with_its_names_and_has_no_truth(of_a_table: Path):
    rows = np.random.default_rng(0).normal(size=(120, 3))
    files.write_csv(
        of_a_table / "mine.csv",
        dict(zip(["height", "width", "age"], rows.T, strict=True)),
        float_format="%.17g",
    )
    (of_a_table / ".gitignore").write_text("/mine.csv\n")
    (of_a_table / "mine.csv.dvc").write_text("outs:\n")
    generate.main()
    columns, found, *_ = read(files.RAW)
    assert columns == ["height", "width", "age"]
    np.testing.assert_allclose(found, rows, rtol=0, atol=1e-11)
    assert files.read_target()[:2] == (None, None)
    prepare.main()
    assert files.read_problem().event_shape == (3,)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, ["data/source/", "one CSV or Parquet file", "it holds nothing"]),
        ({"a.csv": "x\n1\n", "b.csv": "x\n1\n"}, ["data/source/", "a.csv, b.csv"]),
        ({"a.csv": "x,y\n" + "1,2\n" * 30 + "1,no\n"}, ["data/source/a.csv", "column y", "'no'"]),
        (
            {"a.csv": "x,y\n" + "1,2\n" * 30 + "1,inf\n"},
            ["data/source/a.csv", "row 31", "column y", "inf"],
        ),
        ({"a.csv": "x,y\n1,2\n"}, ["data/source/a.csv", "1 rows", "at least 13"]),
    ],
    ids=["none", "two", "text", "inf", "too short"],
)
def test_a_table_that_can_not_be_taken_is_named(
    of_a_table: Path, tables: dict[str, str], words: list[str]
):
    for name, content in tables.items():
        (of_a_table / name).write_text(content)
    text = message(generate.main)
    assert [word for word in words if word not in text] == [], text


# Writing and importing


def test_a_file_is_written_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = files.SCALER.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(
        UserError, match=r"^data/prepared/scaler.json: can't be written \(the disk is full\)$"
    ):
        files.write_json(files.SCALER, {"mean": [1.0]})
    assert files.SCALER.read_bytes() == before
    assert not list(files.SCALER.parent.glob("*.tmp"))


HEAVY = {"torch", "pandas", "scipy", "sklearn", "matplotlib", "safetensors"}


@pytest.mark.parametrize(
    ("stage", "needed"),
    [
        ("generate", set()),
        ("prepare", set()),
        ("train", {"torch", "scipy"}),
        ("plot", {"matplotlib", "pandas"}),
    ],
)
def test_no_stage_imports_a_heavy_library_that_it_does_not_need(stage, needed):
    """pandas and safetensors are imported where a table or a model is really read or written."""
    script = f"import sys, stages.{stage}; print(*({HEAVY} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == needed
