"""Adding a model as docs/extending.md says: its files, word for word, in temporary clones. The pipeline runs there, and all fast tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT, Clone, listed, make_clone, stages_run

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
BLOCKS: dict[str, str] = dict(
    re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE, flags=re.S)
)
(CODE,) = (path for path in BLOCKS if path.startswith("flows/models/"))
NAME = Path(CODE).stem


def add_the_model(clone: Clone) -> None:
    """One file, one section below `models:`, one line below `code:`: what else stands there stays as it is."""
    (clone.folder / CODE).write_text(BLOCKS[CODE], encoding="utf-8")
    for path, heading in (("params.yaml", r"^models:.*\n"), ("dvc.yaml", r"^  - code:.*\n")):
        text = clone.text(path)
        (place,) = re.finditer(heading, text, flags=re.M)
        (clone.folder / path).write_text(
            text[: place.end()] + BLOCKS[path] + text[place.end() :], encoding="utf-8"
        )


@pytest.fixture(scope="session")
def fast_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """The fast tests in a clone with the settings and results as they are and the new model, which has not been run. They run meanwhile."""
    clone = make_clone(
        tmp_path_factory.mktemp("fast"), (ROOT / "params.yaml").read_text(encoding="utf-8")
    )
    for name in listed():  # the results too, which a clone of other settings is made without
        if name == "dvc.lock" or name.startswith(("metrics/", "figures/")):
            (clone.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (clone.folder / name).write_bytes((ROOT / name).read_bytes())
    add_the_model(clone)
    clone.commit("Add a model")
    # All but the small run of the pipeline itself, which is made here with the new model.
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "not slow",
        "--deselect",
        "tests/test_pipeline.py",
        "-p",
        "no:cacheprovider",
    ]
    process = clone.start(*words, output=clone.folder.parent / "output")
    yield process
    process.kill()


def test_the_page_adds_one_file_one_section_and_at_most_one_line() -> None:
    assert set(BLOCKS) == {CODE, "params.yaml", "dvc.yaml"}
    assert list(yaml.safe_load(BLOCKS["params.yaml"])) == [NAME]
    assert len(BLOCKS["dvc.yaml"].splitlines()) <= 1


def test_the_model_is_trained_scored_and_drawn_beside_the_others_and_another_branch_knows_nothing_of_it(
    fast_tests: subprocess.Popen[bytes], finished: Clone, tmp_path: Path
) -> None:
    clone = finished.copy(tmp_path)
    before = clone.contents("figures")
    clone.git("switch", "--quiet", "--create", "extended")
    add_the_model(clone)
    assert set(stages_run(clone.dvc("repro"))) == {
        f"train@{NAME}",
        f"evaluate@{NAME}",
        "rank",
        "plot",
    }
    assert json.loads(clone.text(f"metrics/{NAME}.json"))["kl"] > 0
    after = clone.contents("figures")
    assert after.keys() == before.keys()
    changed = {path for path in after if after[path] != before[path]}
    assert {
        f"figures/{name}.png"
        for name in ("summary", "density", "samples", "training", "quality", "calibration", "modes")
    } <= changed
    label = re.search(r'label: ClassVar\[str\] = "(.+)"', BLOCKS[CODE])
    assert label
    assert label[1] in clone.run(sys.executable, "-m", "tools.repro").stdout
    clone.commit("Add a model")
    clone.git("switch", "--quiet", "main")
    assert clone.git("status", "--porcelain") == ""
    # The folder that these two read still holds what Git ignores, of the model that is not there any more.
    assert clone.status() <= {"plot", "rank"}
    (clone.folder / f"data/plots/{NAME}.npz").unlink()
    assert clone.status() == set()


@pytest.mark.last
def test_every_fast_test_is_green_with_the_model(
    fast_tests: subprocess.Popen[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    status = fast_tests.wait(1800)
    output = next(tmp_path_factory.getbasetemp().glob("fast*/output")).read_text(encoding="utf-8")
    assert status == 0, output[-10_000:]
