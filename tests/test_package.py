"""The library as users install it: from the wheel, outside of the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, packages_distributions
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from pipeline import ROOT, listed

pytestmark = pytest.mark.slow

# The code of a user, which runs in three ways: with kernels, with kernels switched off, and without
# a compiler. The last line prints the names of the imported packages.
USER = """
import importlib, pathlib, sys
import numpy as np
import flows

rows = np.random.default_rng(0).normal(size=(200, 2))
train, test = rows[:160], rows[160:]
model = flows.build(flows.RealNVP(couplings=2, hidden=8), (2,), members=2, seed=0)
flows.train(model, train, test, flows.TrainingSettings(epochs=2))
flows.save(model, "model.safetensors")
found = flows.load("model.safetensors").log_prob(test)
assert found.shape == (40, 2) and found.isfinite().all()
assert (found == model.log_prob(test)).all()
top = pathlib.Path(flows.__file__).parent
for file in sorted(top.rglob("*.py"), key=lambda file: "plotting" in file.parts):
    assert "plotting" in file.parts or "matplotlib" not in sys.modules, file
    if file.name not in ("__init__.py", "__main__.py"):
        importlib.import_module(".".join(file.relative_to(top.parent).with_suffix("").parts))
print(top, *{name.partition(".")[0] for name in sys.modules})
"""
WAYS = {
    "kernels": ({}, "", 1),
    "switched off": ({"FLOWS_KERNELS": "off"}, "", 0),
    "no compiler": ({"PATH": "nothing"}, "no C compiler", 0),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the wheel of a copy of the working tree is installed."""
    folder = tmp_path_factory.mktemp("package")
    for name in listed():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "source" / name)
    pip(folder, "wheel", "--no-build-isolation", "--wheel-dir", "wheels", "./source")
    (wheel,) = (folder / "wheels").iterdir()
    pip(folder, "install", "--target", "site", str(wheel))
    return folder / "site"


def pip(folder: Path, verb: str, *words: str) -> None:
    """Run pip in ``folder``, without a network."""
    command = [sys.executable, "-m", "pip", "--quiet", verb, "--no-index", "--no-deps", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_wheel_holds_only_the_library_and_the_command(site: Path) -> None:
    files = (str(file.relative_to(site)) for file in site.rglob("*") if file.is_file())
    held = {name for name in files if "__pycache__" not in name and ".dist-info" not in name}
    assert held == {"bin/flows", *(name for name in listed() if name.startswith("flows/"))}


@pytest.mark.parametrize("way", WAYS)
def test_the_installed_library_trains_saves_and_loads_a_flow(
    site: Path, tmp_path: Path, way: str
) -> None:
    variables, said, built = WAYS[way]
    if way == "kernels" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("there is no C compiler")
    own = ("PYTHON", "FLOWS_", "CC")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    environment |= {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path), **variables}
    done = subprocess.run(
        [sys.executable, "-c", USER],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stderr
    assert len(list(tmp_path.glob("flows/*.so"))) == built
    place, *imported = done.stdout.splitlines()[-1].split()
    assert Path(place) == site / "flows"
    assert not {"dvc", "benchmarks", "common", "stages", "studies", "tools"} & {*imported}


def test_the_requirements_of_the_wheel_match_its_imports(site: Path) -> None:
    needs = Distribution.at(next(site.glob("*.dist-info"))).requires or []
    asked = {normal(need.name): need for need in map(Requirement, needs)}
    graph = grimp.build_graph(
        "flows",
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )
    outside = {name for name in graph.modules if name != "flows" and "." not in name}
    owners = {name: packages_distributions()[name] for name in outside - sys.stdlib_module_names}
    found = {normal(owner) for each in owners.values() for owner in each} & asked.keys()
    assert len(found) == len(owners)
