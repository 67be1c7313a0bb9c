"""NICE, added word for word as in docs/extending.md, passes the tests of every model."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT, expand, make_clone, text

from flows.bijections.check import check_bijection
from flows.core.errors import UserError
from flows.core.seeds import numpy_generators
from flows.networks import registry
from stages.pipeline import schema

BLOCKS: dict[str, str] = dict(
    re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text("docs/extending.md"), flags=re.S)
)
CODE = "flows/models/nice.py"
# The line of each file below which the page puts a block
HEADINGS = {
    "params.yaml": "models:",
    "tests/tiny.yaml": "models:",
    "docs/settings.md": r"\| key .* \| class \|\n",
    "dvc.yaml": "  - code:",
}
test_models = import_module("models.test_models")  # tests/models/test_models.py
# The tests of every model: those whose only argument is a name
CHECKS = [
    test
    for test in vars(test_models).values()
    if any(
        mark in (test_models.every_model.mark, test_models.every_density.mark)
        for mark in getattr(test, "pytestmark", ())
    )
    and list(inspect.signature(test).parameters) == ["name"]
]


@pytest.fixture(autouse=True)
def models(tmp_path: Path, models_of: Callable[[Path], None]) -> Iterator[Path]:
    """Add NICE to a copy of the folder of models."""
    shutil.copytree(ROOT / "flows/models", tmp_path / "models")
    (tmp_path / "models/nice.py").write_text(BLOCKS[CODE], encoding="utf-8")
    models_of(tmp_path / "models")
    yield tmp_path / "models"
    sys.modules.pop("flows.models.nice", None)


def inserted(path: str) -> str:
    """Return a file with its block of the page inserted below its heading."""
    head, line, rest = re.split(rf"^({HEADINGS[path]}.*\n)", text(path), flags=re.M)
    return head + line + BLOCKS[path] + rest


def test_the_page_adds_one_file_its_settings_and_one_line() -> None:
    assert BLOCKS.keys() == {CODE, *HEADINGS}
    params = yaml.safe_load(inserted("params.yaml"))
    assert schema.check_all(params).architecture("nice") == registry.architecture("nice")
    stages = expand(yaml.safe_load(inserted("dvc.yaml")), params)
    assert CODE in stages["train@nice"]["deps"]
    assert CODE in stages["evaluate@nice"]["deps"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_new_model_passes_the_tests_of_every_model(check) -> None:
    assert registry.find("nice").label == "NICE"
    check("nice")


def test_the_coupling_of_the_page_is_a_bijection() -> None:
    registry.find("nice")
    shift = sys.modules["flows.models.nice"].Shift
    check_bijection(shift(5, 1, 8, numpy_generators(0, "initialize", range(3))), dim=5)


def test_two_models_with_one_label_are_refused(models: Path) -> None:
    same = BLOCKS[CODE].replace('"NICE"', '"RealNVP"')
    (models / "nice.py").write_text(same, encoding="utf-8")
    params = yaml.safe_load(inserted("params.yaml"))
    with pytest.raises(UserError, match=r"models\.\w+: its label, RealNVP, is also that of models"):
        schema.check_all(params)


@pytest.mark.slow
def test_the_tests_pass_in_a_checkout_that_follows_the_page(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, text("params.yaml"))
    for name, block in BLOCKS.items():
        changed = inserted(name) if name in HEADINGS else block
        (clone.folder / name).write_text(changed, encoding="utf-8")
    words = ["-p", "no:xdist", "-m", "not slow", "tests/models", "tests/stages/pipeline"]
    words += ["tests/test_documents.py", "-k", "nice or pipeline or settings or known"]
    done = clone.run(sys.executable, "-m", "pytest", *words, check=False, merge=True)
    assert done.returncode == 0, done.stdout
