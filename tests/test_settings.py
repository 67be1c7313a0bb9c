"""Bad settings stop with one line that names the file, the key and the value, and says what is allowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT, TINY, make_clone
from stages.settings import UserError, load, run

from stages import evaluate, prepare, reference, train

BAD_COMPONENT = "  custom:\n    - weight: {weight}\n      mean: {mean}\n      covariance: {covariance}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def edited(*pairs: tuple[str, str]) -> str:
    text = TINY
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def component(weight: str = "1.0", mean: str = "[0.0, 0.0]", covariance: str = "[[1.0, 0.0], [0.0, 1.0]]") -> tuple[tuple[str, str], ...]:
    return ("target: ring", "target: custom"), ("  custom: []\n", BAD_COMPONENT.format(weight=weight, mean=mean, covariance=covariance))


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    assert str(path) in text
    return text


def test_the_shipped_settings_are_good():
    assert list(load(ROOT / "params.yaml").models) == ["realnvp", "glow", "vae", "gan"]


# Each: edits of good settings; then the key, the value, and a word of what is allowed, all of which the message must hold.
BAD = {
    "unknown key at the top": ([("data:\n", "dta: 3\ndata:\n")], ["dta", "data, prepare, train, models, references, evaluate"]),
    "unknown key in train": ([("  epochs: 4", "  epoch: 4\n  epochs: 4")], ["train.epoch ", "epochs"]),
    "misspelt key in train": ([("  epochs: 4", "  epoch: 4")], ["train.epoch is not a known key", "epochs"]),
    "unknown key in a model": ([("    couplings: 2", "    layers: 3\n    couplings: 2")], ["models.realnvp.layers", "couplings"]),
    "unknown key in a reference": ([("    draws: 3", "    draw: 3\n    draws: 3")], ["references.truth.draw ", "draws"]),
    "unknown key in a component": ([*component(), ("    - weight: 1.0", "    - wait: 1\n      weight: 1.0")], ["data.custom.0.wait", "weight"]),
    "missing key": ([("  epochs: 4\n", "")], ["train.epochs", "missing"]),
    "missing section": ([("prepare:\n  test_fraction: 0.2\n  seed: 0\n", "")], ["prepare", "missing"]),
    "no members": ([("members: 3", "members: 0")], ["train.members", "= 0", "greater than or equal to 1"]),
    "negative noise": ([("noise: auto", "noise: -0.1")], ["train.noise = -0.1", "auto"]),
    "noise that is a word": ([("noise: auto", "noise: lots")], ["train.noise = 'lots'", "number", "auto"]),
    "test_fraction 0": ([("test_fraction: 0.2", "test_fraction: 0.0")], ["prepare.test_fraction", "= 0.0", "greater than 0"]),
    "test_fraction 1": ([("test_fraction: 0.2", "test_fraction: 1.0")], ["prepare.test_fraction", "= 1.0", "less than 1"]),
    "test_fraction 1.5": ([("test_fraction: 0.2", "test_fraction: 1.5")], ["prepare.test_fraction", "= 1.5", "less than 1"]),
    "test_fraction that leaves too few rows": ([("test_fraction: 0.2", "test_fraction: 0.01")], ["prepare.test_fraction", "0.01", "at least 10"]),
    "batch larger than the data": ([("batch_size: 64", "batch_size: 161")], ["train.batch_size", "161", "at most", "160"]),
    "a model's batch larger than the data": ([("    bins: 8", "    bins: 8\n    batch_size: 161")], ["models.realnvp.batch_size", "161", "160"]),
    "log_every above epochs": ([("log_every: 2", "log_every: 5")], ["train.log_every", "= 5", "at most", "4"]),
    "a power of ten, text to YAML": ([("learning_rate: 0.005", "learning_rate: 1e-3")], ["train.learning_rate", "'1e-3'", "number"]),
    "text for a whole number": ([("epochs: 4", "epochs: '4'")], ["train.epochs", "'4'", "integer"]),
    "true for a number": ([("epochs: 4", "epochs: true")], ["train.epochs", "True", "integer"]),
    "a fraction for a whole number": ([("epochs: 4", "epochs: 4.5")], ["train.epochs", "4.5", "integer"]),
    "infinity": ([("clip: 1.0", "clip: .inf")], ["train.clip", "inf", "finite"]),
    "not a number": ([("noise_factor: 1.5", "noise_factor: .nan")], ["train.noise_factor", "nan", "finite"]),
    "nothing for a number": ([("epochs: 4", "epochs:")], ["train.epochs", "None", "integer"]),
    "a negative seed": ([("  seed: 0", "  seed: -1")], ["data.seed", "-1", "greater than or equal to 0"]),
    "unknown target": ([("target: ring", "target: moons")], ["data.target", "'moons'", "'ring'", "'grid'", "'custom'"]),
    "custom without components": ([("target: ring", "target: custom")], ["data.custom", "[]", "at least one component"]),
    "covariance not positive definite": (
        component(covariance="[[1.0, 2.0], [2.0, 1.0]]"),
        ["data.custom", "[[1.0, 2.0], [2.0, 1.0]]", "positive definite"],
    ),
    "covariance not symmetric": (component(covariance="[[1.0, 0.5], [0.0, 1.0]]"), ["data.custom", "[[1.0, 0.5], [0.0, 1.0]]", "symmetric"]),
    "covariance of one row": (component(covariance="[[1.0, 0.5]]"), ["data.custom.0.covariance", "[[1.0, 0.5]]", "at least 2"]),
    "negative weight": (component(weight="-1.0"), ["data.custom.0.weight", "-1.0", "greater than 0"]),
    "mean of three numbers": (component(mean="[0.0, 0.0, 0.0]"), ["data.custom.0.mean", "[0.0, 0.0, 0.0]", "at most 2"]),
    "no models": ([(TINY[TINY.index("models:") : TINY.index("references:")], "models: {}\n\n")], ["models", "{}", "at least 1"]),
    "a model without a file": ([("  realnvp:\n", "  nice:\n")], ["models.nice", "flows/nice.py"]),
    "a misspelt model": ([("  vae:\n", "  vea:\n")], ["models.vea", "flows/baselines/vea.py"]),
    "a module that is no model": ([("  realnvp:\n", "  targets:\n")], ["models.targets"]),
    "no couplings": ([("couplings: 2", "couplings: 0")], ["models.realnvp.couplings", "= 0", "greater than or equal to 2"]),
    "unknown transform": ([("transform: affine", "transform: cubic")], ["models.realnvp.transform", "'cubic'", "'affine'", "'spline'"]),
    "one fold": ([("folds: 3", "folds: 1")], ["references.gmm.folds", "= 1", "greater than or equal to 2"]),
    "too many folds": ([("    folds: 3", "    folds: 161")], ["references.gmm.folds", "161", "at most", "160"]),
    "too many components": ([("max_components: 9", "max_components: 107")], ["references.gmm.max_components", "107", "at most", "106"]),
    "more neighbours than test rows": ([("neighbours: 5", "neighbours: 40")], ["evaluate.neighbours", "40", "at most", "39"]),
    "fewer samples than test rows": (
        [("  samples: 200", "  samples: 2000"), ("  samples: 500", "  samples: 399"), ("fresh: 2000", "fresh: 3000")],
        ["evaluate.samples", "399", "at least", "400"],
    ),
    "fewer fresh draws than samples": ([("fresh: 2000", "fresh: 499")], ["evaluate.fresh", "499", "at least", "500"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_named_in_one_line(tmp_path: Path, name: str):
    pairs, words = BAD[name]
    text = message(written(tmp_path, edited(*pairs)))
    assert [word for word in words if word not in text] == [], text


@pytest.mark.parametrize("text", ["data: [1, 2", "", "# nothing\n"], ids=["no YAML", "empty", "comments alone"])
def test_a_file_that_holds_no_settings_is_named(tmp_path: Path, text: str):
    assert ("not valid YAML" if text.startswith("data") else "data is missing") in message(written(tmp_path, text))


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "train\n"], ids=["a list", "a word"])
def test_a_file_without_sections_is_told_which_there_are(tmp_path: Path, text: str):
    assert "data, prepare, train, models, references, evaluate" in message(written(tmp_path, text))


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe\x00data")
    message(path)


def test_a_missing_file_is_named(tmp_path: Path):
    assert "No such file" in message(tmp_path / "params.yaml")


def test_a_model_overrides_training_settings_in_its_own_section(tmp_path: Path):
    settings = load(written(tmp_path, edited(("  glow:\n", "  glow:\n    epochs: 9\n    noise: 0.1\n    members: 2\n"))))
    glow, realnvp = settings.training("glow"), settings.training("realnvp")
    assert (glow.epochs, glow.noise, glow.members, glow.batch_size) == (9, 0.1, 2, 64)
    assert (realnvp.epochs, realnvp.noise, realnvp.members) == (4, "auto", 3)
    assert settings.architecture("glow") == {"couplings": 2, "hidden": 8, "transform": "affine", "bins": 8}


# The command line


@pytest.mark.parametrize(
    ("stage", "known"),
    [(train, "realnvp, glow"), (evaluate, "realnvp, glow"), (reference, "truth, gmm, kde")],
    ids=["train", "evaluate", "reference"],
)
def test_a_wrong_name_on_the_command_line_lists_the_right_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage, known: str):
    written(tmp_path, TINY)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=known) as caught:
        stage.main("nice")
    assert "\n" not in str(caught.value)
    assert "nice" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_bad_setting_ends_a_command_with_one_line_on_standard_error_and_writes_nothing(tmp_path: Path):
    clone = make_clone(tmp_path, edited(("members: 3", "members: 0")))
    before = clone.git("status", "--porcelain", "--ignored")
    done = subprocess.run([sys.executable, "-B", "-m", "stages.train", "glow"], cwd=clone.folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "train.members = 0" in done.stderr
    assert clone.git("status", "--porcelain", "--ignored") == before


@pytest.mark.parametrize(
    ("stage", "words", "usage"),
    [
        (train, [], "python -m stages.train <model>"),
        (train, ["glow", "realnvp"], "python -m stages.train <model>"),
        (reference, [], "python -m stages.reference <name>"),
        (prepare, ["glow"], "python -m stages.prepare"),
    ],
)
def test_too_few_or_too_many_words_on_the_command_line_get_the_usage(monkeypatch: pytest.MonkeyPatch, stage, words: list[str], usage: str):
    monkeypatch.setattr(sys, "argv", [stage.__file__, *words])
    with pytest.raises(SystemExit) as caught:
        run(stage.main)
    assert usage in str(caught.value.code)
    assert "\n" not in str(caught.value.code)
