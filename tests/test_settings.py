"""Bad settings stop with one line that names the file, the key and the value.

It says what is allowed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipeline import ROOT, TINY

import flows
from flows import targets
from flows.core.errors import UserError
from flows.core.settings import Section
from flows.networks import registry
from stages import evaluate, prepare, reference, train
from stages.pipeline import settings
from stages.pipeline.settings import load, run

BAD_COMPONENT = (
    "  custom:\n    - weight: {weight}\n      mean: {mean}\n      covariance: {covariance}\n"
)


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


def component(
    weight: str = "1.0", mean: str = "[0.0, 0.0]", covariance: str = "[[1.0, 0.0], [0.0, 1.0]]"
) -> tuple[tuple[str, str], ...]:
    return ("target: ring", "target: custom"), (
        "  custom: []\n",
        BAD_COMPONENT.format(weight=weight, mean=mean, covariance=covariance),
    )


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    assert str(path) in text
    return text


# Each: edits of good settings; then the key, the value, and a word of what is allowed, all of which
# the message must hold.
BAD = {
    "unknown key at the top": (
        [("data:\n", "dta: 3\ndata:\n")],
        ["dta", "data, prepare, train, models, references, evaluate"],
    ),
    "unknown key in train": (
        [("  epochs: 4", "  epoch: 4\n  epochs: 4")],
        ["train.epoch ", "epochs"],
    ),
    "misspelt key in train": (
        [("  epochs: 4", "  epoch: 4")],
        ["train.epoch is not a known key", "epochs"],
    ),
    "unknown key in a model": (
        [("    couplings: 2", "    layers: 3\n    couplings: 2")],
        ["models.realnvp.layers", "couplings"],
    ),
    "unknown key in a reference": (
        [("    draws: 3", "    draw: 3\n    draws: 3")],
        ["references.truth.draw ", "draws"],
    ),
    "unknown key in a component": (
        [*component(), ("    - weight: 1.0", "    - wait: 1\n      weight: 1.0")],
        ["data.custom.0.wait", "weight"],
    ),
    "missing key": ([("  epochs: 4\n", "")], ["train.epochs", "missing"]),
    "missing section": (
        [("prepare:\n  test_fraction: 0.2\n  seed: 0\n", "")],
        ["prepare", "missing"],
    ),
    "no members": (
        [("members: 3", "members: 0")],
        ["train.members", "= 0", "greater than or equal to 1"],
    ),
    "negative noise": ([("noise: auto", "noise: -0.1")], ["train.noise = -0.1", "auto"]),
    "noise that is a word": (
        [("noise: auto", "noise: lots")],
        ["train.noise = 'lots'", "number", "auto"],
    ),
    "test_fraction 0": (
        [("test_fraction: 0.2", "test_fraction: 0.0")],
        ["prepare.test_fraction", "= 0.0", "greater than 0"],
    ),
    "test_fraction 1": (
        [("test_fraction: 0.2", "test_fraction: 1.0")],
        ["prepare.test_fraction", "= 1.0", "less than 1"],
    ),
    "test_fraction 1.5": (
        [("test_fraction: 0.2", "test_fraction: 1.5")],
        ["prepare.test_fraction", "= 1.5", "less than 1"],
    ),
    "test_fraction that leaves too few rows": (
        [("test_fraction: 0.2", "test_fraction: 0.01")],
        ["prepare.test_fraction", "0.01", "at least 10"],
    ),
    "batch larger than the data": (
        [("batch_size: 64", "batch_size: 161")],
        ["train.batch_size", "161", "at most", "160"],
    ),
    "a model's batch larger than the data": (
        [("    bins: 8", "    bins: 8\n    batch_size: 161")],
        ["models.realnvp.batch_size", "161", "160"],
    ),
    "what only looks like a power of ten": (
        [("learning_rate: 0.005", "learning_rate: 1e3x")],
        ["train.learning_rate", "'1e3x'", "number"],
    ),
    "a power of ten for a whole number": (
        [("epochs: 4", "epochs: 1e3")],
        ["train.epochs", "1000.0", "integer"],
    ),
    "text for a whole number": ([("epochs: 4", "epochs: '4'")], ["train.epochs", "'4'", "integer"]),
    "true for a number": ([("epochs: 4", "epochs: true")], ["train.epochs", "True", "integer"]),
    "a fraction for a whole number": (
        [("epochs: 4", "epochs: 4.5")],
        ["train.epochs", "4.5", "integer"],
    ),
    "infinity": ([("clip: 1.0", "clip: .inf")], ["train.clip", "inf", "finite"]),
    "not a number": (
        [("noise_factor: 1.5", "noise_factor: .nan")],
        ["train.noise_factor", "nan", "finite"],
    ),
    "nothing for a number": ([("epochs: 4", "epochs:")], ["train.epochs", "None", "integer"]),
    "a negative seed": (
        [("  seed: 0", "  seed: -1")],
        ["data.seed", "-1", "greater than or equal to 0"],
    ),
    "unknown target": (
        [("target: ring", "target: moons")],
        ["data.target", "'moons'", *targets.names(), "table"],
    ),
    "custom without components": (
        [("target: ring", "target: custom")],
        ["data.custom", "[]", "at least one component"],
    ),
    "covariance not positive definite": (
        component(covariance="[[1.0, 2.0], [2.0, 1.0]]"),
        ["data.custom", "[[1.0, 2.0], [2.0, 1.0]]", "positive definite"],
    ),
    "covariance not symmetric": (
        component(covariance="[[1.0, 0.5], [0.0, 1.0]]"),
        ["data.custom", "[[1.0, 0.5], [0.0, 1.0]]", "symmetric"],
    ),
    "covariance of one row": (
        component(covariance="[[1.0, 0.5]]"),
        ["data.custom", "[[1.0, 0.5]]", "covariance of 2 x 2"],
    ),
    "negative weight": (
        component(weight="-1.0"),
        ["data.custom.0.weight", "-1.0", "greater than 0"],
    ),
    "mean of three numbers": (
        component(mean="[0.0, 0.0, 0.0]"),
        ["data.custom", "[0.0, 0.0, 0.0]", "mean of 3 numbers and a covariance of 3 x 3"],
    ),
    "no mean": (component(mean="[]"), ["data.custom.0.mean", "[]", "at least 1"]),
    "no models": (
        [(TINY[TINY.index("models:") : TINY.index("references:")], "models: {}\n\n")],
        ["models: ", "at least 1", "not 0"],
    ),
    "a model without a file": (
        [("  realnvp:\n", "  nobody:\n")],
        ["models.nobody", "flows/models/nobody.py", *registry.names()],
    ),
    "a misspelt model": (
        [("  vae:\n", "  vea:\n")],
        ["models.vea", "flows/models/vea.py", *registry.names()],
    ),
    "a module that is no model": ([("  realnvp:\n", "  targets:\n")], ["models.targets"]),
    "no couplings": (
        [("couplings: 2", "couplings: 0")],
        ["models.realnvp.couplings", "= 0", "greater than or equal to 2"],
    ),
    "a model that is a list": (
        [("  vae:\n    hidden: 8\n    log_every: 100\n", "  vae: [8]\n")],
        ["models.vae", "[8]", "dictionary"],
    ),
    "unknown transform": (
        [("transform: affine", "transform: cubic")],
        ["models.realnvp.transform", "'cubic'", "'affine'", "'spline'"],
    ),
    "one fold": (
        [("folds: 3", "folds: 1")],
        ["references.gmm.folds", "= 1", "greater than or equal to 2"],
    ),
    "too many folds": (
        [("    folds: 3", "    folds: 161")],
        ["references.gmm.folds", "161", "at most", "160"],
    ),
    "too many components": (
        [("max_components: 9", "max_components: 107")],
        ["references.gmm.max_components", "107", "at most", "106"],
    ),
    "more neighbours than test rows": (
        [("neighbours: 5", "neighbours: 40")],
        ["evaluate.neighbours", "40", "at most", "39"],
    ),
    "fewer samples than test rows": (
        [
            ("  samples: 200", "  samples: 2000"),
            ("  samples: 500", "  samples: 399"),
            ("fresh: 2000", "fresh: 3000"),
        ],
        ["evaluate.samples", "399", "at least", "400"],
    ),
    "fewer fresh draws than samples": (
        [("fresh: 2000", "fresh: 499")],
        ["evaluate.fresh", "499", "at least", "500"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_named_in_one_line(tmp_path: Path, name: str):
    pairs, words = BAD[name]
    text = message(written(tmp_path, edited(*pairs)))
    assert [word for word in words if word not in text] == [], text


@pytest.mark.parametrize(
    "text", ["data: [1, 2", "", "# nothing\n"], ids=["no YAML", "empty", "comments alone"]
)
def test_a_file_that_holds_no_settings_is_named(tmp_path: Path, text: str):
    assert ("not valid YAML" if text.startswith("data") else "data is missing") in message(
        written(tmp_path, text)
    )


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
    params = load(
        written(
            tmp_path,
            edited(
                (
                    "  glow:\n    epochs: 150\n",
                    "  glow:\n    epochs: 9\n    noise: 0.1\n    members: 2\n",
                )
            ),
        )
    )
    glow, realnvp = params.training("glow"), params.training("realnvp")
    assert (glow.epochs, glow.noise, glow.members, glow.batch_size) == (9, 0.1, 2, 64)
    assert (realnvp.epochs, realnvp.noise, realnvp.members) == (4, "auto", 3)
    assert params.architecture("glow") == {
        "couplings": 2,
        "hidden": 8,
        "transform": "affine",
        "bins": 8,
    }


def models(text: str) -> str:
    return TINY[: TINY.index("models:")] + "models:\n" + text + TINY[TINY.index("references:") :]


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("nothing", ["", " {}"], ids=["nothing", "an empty mapping"])
def test_a_model_without_settings_of_its_own_has_those_of_its_class_and_is_trained_like_the_others(
    tmp_path: Path, name: str, nothing: str
):
    params = load(written(tmp_path, models(f"  {name}:{nothing}\n")))
    assert params.architecture(name) == {}
    assert params.training(name) == params.train
    shape = (1, 8, 8) if name.endswith("_image") else (2,)
    assert (
        flows.build(name, shape, params.architecture(name)).description["settings"]
        == registry.find(name)().model_dump()
    )


def test_a_model_may_name_some_of_its_settings(tmp_path: Path):
    params = load(written(tmp_path, models("  glow:\n    hidden: 9\n    epochs: 2\n")))
    assert params.architecture("glow") == {"hidden": 9}
    assert params.training("glow").epochs == 2


@pytest.mark.parametrize("word", ["5e-3", "5E-3", "0.5e-2", "50.e-4", ".005", "+5e-3", "0.005"])
def test_a_number_is_a_number_however_it_is_written(tmp_path: Path, word: str):
    """To PyYAML, which goes by YAML 1.1, half of these are text.

    To DVC, which writes them, they are numbers.
    """
    assert (
        load(
            written(tmp_path, edited(("learning_rate: 0.005", f"learning_rate: {word}")))
        ).train.learning_rate
        == 0.005
    )


def read(tmp_path: Path, word: str) -> Any:
    return settings.read(written(tmp_path, f"value: {word}\n"), Anything).value


class Anything(Section):
    value: Any


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1E5", 100_000.0),
        ("-2e3", -2000.0),
        ("3.", 3.0),
        ("1e3x", "1e3x"),
        ("e3", "e3"),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
        ("'1e3'", "1e3"),
    ],
)
def test_what_is_a_number_and_what_is_text(tmp_path: Path, word: str, value: Any):
    found = read(tmp_path, word)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("word", "value"),
    [("7", 7), ("-7", -7), ("0", 0), ("true", True), ("auto", "auto"), ("null", None)],
)
def test_what_is_a_whole_number_stays_one(tmp_path: Path, word: str, value: Any):
    found = read(tmp_path, word)
    assert found == value
    assert type(found) is type(value)


def test_a_history_that_is_kept_more_rarely_than_there_are_epochs_holds_the_last_one(
    tmp_path: Path,
):
    params = load(
        written(tmp_path, edited(("    log_every: 100\n", "    log_every: 100\n    epochs: 20\n")))
    )
    assert (params.training("vae").log_every, params.training("vae").epochs) == (100, 20)
    assert load(written(tmp_path, edited(("log_every: 2", "log_every: 5")))).train.epochs == 4


def test_every_model_and_every_target_may_stand_in_the_settings(tmp_path: Path):
    everything = load(
        written(tmp_path, models("".join(f"  {name}: {{}}\n" for name in registry.names())))
    )
    assert list(everything.models) == registry.names()
    for name in set(targets.names()) - {"custom"}:
        assert (
            load(written(tmp_path, edited(("target: ring", f"target: {name}")))).data.make_truth()
            is not None
        )
    assert (
        load(written(tmp_path, edited(("target: ring", "target: table")))).data.make_truth() is None
    )


# The command line


@pytest.mark.parametrize(
    ("stage", "known"),
    [
        (train, "realnvp, glow"),
        (evaluate, "realnvp, glow"),
        (reference, "truth, independent, gaussian, gmm, kde"),
    ],
    ids=["train", "evaluate", "reference"],
)
def test_a_wrong_name_on_the_command_line_lists_the_right_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage, known: str
):
    written(tmp_path, TINY)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=known) as caught:
        stage.main("nice")
    assert "\n" not in str(caught.value)
    assert "nice" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_bad_setting_ends_a_command_with_one_line_on_standard_error_and_writes_nothing(
    tmp_path: Path,
):
    written(tmp_path, edited(("members: 3", "members: 0")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "stages.generate"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "train.members = 0" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("stage", "words", "usage"),
    [
        (train, [], "python -m stages.train <model>"),
        (train, ["glow", "realnvp"], "python -m stages.train <model>"),
        (reference, [], "python -m stages.reference <name>"),
        (prepare, ["glow"], "python -m stages.prepare"),
    ],
)
def test_too_few_or_too_many_words_on_the_command_line_get_the_usage(
    monkeypatch: pytest.MonkeyPatch, stage, words: list[str], usage: str
):
    monkeypatch.setattr(sys, "argv", [stage.__file__, *words])
    with pytest.raises(SystemExit) as caught:
        run(stage.main)
    assert usage in str(caught.value.code)
    assert "\n" not in str(caught.value.code)
