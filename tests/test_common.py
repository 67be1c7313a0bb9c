"""What the cells of a study share: the file changes with any of it, and with nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from studies import common

ROOT = Path(__file__).resolve().parents[1]


def written(folder: Path) -> dict[str, Any]:
    common.main(str(folder), "common")
    return json.loads((folder / "common.json").read_text(encoding="utf-8"))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    home = tmp_path / "studies" / "mine"
    (tmp_path / "flows" / "room").mkdir(parents=True)
    home.mkdir(parents=True)
    (tmp_path / "flows" / "room" / "a.py").write_text("a = 1\n")
    (home / "score.py").write_text("score = 1\n")
    (home / "params.yaml").write_text("rows: {train: 8}\nseed: 0\nother: 1\n")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    stage = {"deps": ["../../flows/room", "score.py"], "params": ["rows.train", "seed", {"../../params.yaml": ["train.epochs"]}]}
    (home / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"common": stage}}))
    return home


def test_the_file_holds_a_digest_of_each_dependency_and_the_numbers(study: Path) -> None:
    content = written(study)
    assert list(content["code"]) == ["../../flows/room", "score.py"]
    assert content["numbers"] == {"rows.train": 8, "seed": 0, "train.epochs": 1000}


def test_a_change_of_code_changes_its_digest_alone(study: Path) -> None:
    before = written(study)
    room = study / "../../flows/room"
    (room / "a.py").write_text("a = 2\n")
    after = written(study)
    assert after["code"]["../../flows/room"] != before["code"]["../../flows/room"]
    assert after["code"]["score.py"] == before["code"]["score.py"]
    (room / "a.py").rename(room / "b.py")
    assert written(study)["code"] != after["code"]


def test_what_is_no_source_is_no_matter(study: Path) -> None:
    before = written(study)
    (study / "../../flows/room/__pycache__").mkdir()
    (study / "../../flows/room/__pycache__/a.pyc").write_bytes(b"compiled")
    (study / "params.yaml").write_text("rows: {train: 8}\nseed: 0\nother: 2\n")
    assert written(study) == before
