"""Invalid settings give one line with the file, the key, the value and the allowed values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import error_message
from pipeline import TINY

import flows
from common.settings import read_yaml
from flows import truths
from flows.networks import registry
from stages.pipeline.schema import load


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def edited(old: str, new: str) -> str:
    assert old in TINY, old
    return TINY.replace(old, new, 1)


def changed(**sections: Any) -> str:
    """The settings with replaced sections, or with replaced keys if a section is a mapping."""
    content = yaml.safe_load(TINY)
    for name, section in sections.items():
        content[name] = {**content[name], **section} if section else section
    return yaml.safe_dump(content, sort_keys=False)


def message(path: Path) -> str:
    text = error_message(load, path)
    assert len(text) < 400
    assert str(path) in text
    return text


SECTIONS = "data, prepare, train, models, references, evaluate"


# The edit, and words of the message: the key, the value and the allowed values
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("data:\n", "dta: 3\ndata:\n", ["dta", SECTIONS]),
        ("  epochs: 4", "  epoch: 4", ["train.epoch is not a known key", "epochs"]),
        ("  epochs: 4\n", "", ["train.epochs", "missing"]),
        ("members: 3", "members: 0", ["train.members = 0", "greater than or equal to 1"]),
        ("noise: auto", "noise: -0.1", ["train.noise = -0.1", "auto"]),
        ("recipe: fixed", "recipe: best", ["train.recipe = 'best'", "'fixed'", "'auto'"]),
        ("fraction: 0.2", "fraction: 0.01", ["prepare.test_fraction = 0.01", "at least 10"]),
        ("batch_size: 64", "batch_size: 161", ["train.batch_size = 161", "at most 160"]),
        ("rate: 0.005", "rate: 1e3x", ["train.learning_rate = '1e3x'", "number"]),
        ("epochs: 4", "epochs: 1e3", ["train.epochs = 1000.0", "integer"]),
        ("clip: 1.0", "clip: .inf", ["train.clip = inf", "finite"]),
        ("target: ring", "target: moons", ["data.target = 'moons'", *truths.names(), "table"]),
        ("target: ring", "target: custom", ["data.custom", "[]", "at least one component"]),
        ("  realnvp:\n", "  nobody:\n", ["models.nobody", "flows/models/", *registry.names()]),
        ("neighbours: 5", "neighbours: 40", ["evaluate.neighbours = 40", "at most 39"]),
        ("fresh: 2000", "fresh: 499", ["evaluate.fresh = 499", "at least 500"]),
        ("data:\n", "data: [1, 2\n", ["not valid YAML"]),
        ("  epochs: 4\n", "  epochs: 4\n  epochs: 5\n", ['duplicate key "epochs"']),
    ],
)
def test_invalid_settings_give_one_line(tmp_path: Path, old: str, new: str, words: list[str]):
    text = message(written(tmp_path, edited(old, new)))
    assert [word for word in words if word not in text] == [], text


UNIT = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("component", "words"),
    [
        ({"weight": -1.0}, ["data.custom.0.weight = -1.0", "greater than 0"]),
        ({"mean": [0.0, 0.0, 0.0]}, ["mean of 3 numbers and a covariance of 3 x 3"]),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, ["[2.0, 1.0]]", "positive definite"]),
    ],
)
def test_an_invalid_component_gives_one_line(
    tmp_path: Path, component: dict[str, Any], words: list[str]
):
    good = {"weight": 1.0, "mean": [0.0, 0.0], "covariance": UNIT}
    data = {"target": "custom", "custom": [{**good, **component}]}
    text = message(written(tmp_path, changed(data=data)))
    assert [word for word in ("data.custom", *words) if word not in text] == [], text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "data is missing"),
        (b"- 1\n- 2\n", SECTIONS),
        (b"\xff\xfe\x00data", "not valid YAML"),
        (changed(models={"vae": [8]}).encode(), "models.vae = [8]: "),
        (changed(data={"samples": 2000}, evaluate={"samples": 399}).encode(), "at least 400"),
    ],
)
def test_a_file_without_settings_gives_one_line_with_the_required_content(
    tmp_path: Path, text: bytes, words: str
):
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    assert words in message(path)


# Reading


def test_a_model_overrides_training_settings_in_its_own_section(tmp_path: Path):
    own = {"epochs": 9, "noise": 0.1, "members": 2, "hidden": 9}
    params = load(written(tmp_path, changed(models={"glow": own})))
    glow, realnvp = params.training("glow"), params.training("realnvp")
    assert (glow.epochs, glow.noise, glow.members, glow.batch_size) == (9, 0.1, 2, 64)
    assert (realnvp.epochs, realnvp.noise, realnvp.members) == (4, "auto", 3)
    assert params.architecture("glow") == flows.Glow(hidden=9)


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_model_with_an_empty_section_has_the_default_settings(
    tmp_path: Path, nothing: dict[str, Any] | None
):
    params = load(written(tmp_path, changed(models=dict.fromkeys(registry.names(), nothing))))
    for name in registry.names():
        assert params.architecture(name) == registry.find(name)()
        assert params.training(name) == params.train
        shape = (1, 8, 8) if name.endswith("_image") else (2,)
        context = 1 if name == "conditional" else 0
        built = flows.build(params.architecture(name), shape, context=context)
        assert built.description["settings"] == registry.find(name)().model_dump()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((word, 0.005) for word in ("5e-3", "5E-3", "0.5e-2", "50.e-4", ".005", "+5e-3")),
        *(("1E5", 100_000.0), ("-2e3", -2000.0), ("3.", 3.0)),
        *((word, word) for word in ("1e3x", "e3", "1e", "1.2.3", "auto")),
        *(("'1e3'", "1e3"), ("7", 7), ("-7", -7), ("true", True), ("null", None)),
    ],
)
def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path, word: str, value: object):
    """PyYAML follows YAML 1.1 and reads half of the powers of ten as text."""
    found = read_yaml(written(tmp_path, f"value: {word}\n"))["value"]
    assert (found, type(found)) == (value, type(value))


def test_more_members_than_the_automatic_recipe_can_keep_are_rejected(tmp_path: Path) -> None:
    text = changed(train={"recipe": "auto", "members": 65})
    said = message(written(tmp_path, text))
    assert ": members = 65: the automatic recipe keeps at most" in said
    assert "up to 50" in said
