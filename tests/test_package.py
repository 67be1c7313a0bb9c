"""The library as they have it who install it.

From the wheel, away from the checkout, with and without a compiler.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import command

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
OTHERS = {
    "dvc",
    "hydra",
    "omegaconf",
    "optuna",
    "benchmarks",
    "stages",
    "studies",
    "tests",
    "tools",
}  # nobody needs these to use a flow
COMPILER = next(filter(shutil.which, ("cc", "gcc", "clang")), None)

# What a user does. Its last line says where `flows` was found and what was imported.
USER = """
import sys

import numpy as np

import flows
from flows.core.settings import TrainingSettings

rows = np.random.default_rng(0).normal(size=(200, 2))
train, test = rows[:160], rows[160:]
model = flows.build("realnvp", (2,), {"couplings": 2, "hidden": 8}, members=2, seed=0)
flows.fit(model, train, test, TrainingSettings(epochs=2))
flows.save(model, "model.safetensors")
found = flows.load("model.safetensors").log_prob(test)
assert found.shape == (40, 2)
assert found.isfinite().all()
assert (found == model.log_prob(test)).all()
print(flows.__file__, *{name.partition(".")[0] for name in sys.modules})
"""

# Everything that is in the wheel can be imported, and figures are all that needs matplotlib.
# {names} are those of the modules.
EVERYTHING = """
import importlib, sys

names = {names!r}
for name in sorted(names, key=lambda name: "plotting" in name):
    assert "plotting" in name or "matplotlib" not in sys.modules, name
    importlib.import_module(name)
imported = {{name.partition(".")[0] for name in sys.modules}}
print(importlib.import_module("flows").__file__, *imported)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel, built from a copy of the working tree, was installed."""
    folder = tmp_path_factory.mktemp("package")
    for name in command.listed(ROOT):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "source" / name)
    pip(folder, "wheel", "--no-build-isolation", "--wheel-dir", "wheels", "./source")
    (wheel,) = (folder / "wheels").iterdir()
    pip(folder, "install", "--target", "site", str(wheel))
    return folder / "site"


def pip(folder: Path, verb: str, *words: str) -> None:
    """Run pip in ``folder``, without a network."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        verb,
        "--no-index",
        "--no-deps",
    ]
    done = subprocess.run([*pip, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def run(site: Path, folder: Path, script: str, **variables: str) -> str:
    """Run a script in ``folder``, where ``site`` is on the path and the checkout is not.

    Gives what it says on standard error.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "FLOWS_")) and key != "CC"
    }
    folder.joinpath("script.py").write_text(script, encoding="utf-8")
    environment = {
        **kept,
        "PYTHONPATH": str(site),
        "XDG_CACHE_HOME": str(folder / "cache"),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    place, *imported = done.stdout.splitlines()[-1].split()
    assert Path(place).is_relative_to(site)
    assert OTHERS.isdisjoint(imported)
    return done.stderr


def modules(site: Path) -> list[str]:
    files = [file.relative_to(site).with_suffix("") for file in site.glob("flows/**/*.py")]
    return [
        ".".join(file.parts).removesuffix(".__init__") for file in files if file.name != "__main__"
    ]


def requirements(site: Path) -> dict[str, Requirement]:
    """What the wheel asks for, by name. A requirement with a marker belongs to an extra."""
    (metadata,) = site.glob("*.dist-info")
    return {
        normal(need.name): need
        for need in map(Requirement, Distribution.at(metadata).requires or [])
    }


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_flow_is_made_trained_saved_and_loaded_with_the_kernels(site, tmp_path):
    run(site, tmp_path, USER)
    assert list(tmp_path.glob("cache/flows/*.so"))


def test_a_flow_is_made_trained_saved_and_loaded_with_the_kernels_switched_off(site, tmp_path):
    run(site, tmp_path, USER, FLOWS_KERNELS="off")
    assert not list(tmp_path.glob("cache/flows/*.so"))


def test_a_flow_is_made_trained_saved_and_loaded_without_a_compiler(site, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "no C compiler" in run(site, tmp_path, USER, PATH=str(tmp_path / "nothing"))
    assert not list(tmp_path.glob("cache/flows/*.so"))


def test_all_modules_can_be_imported_and_only_figures_need_matplotlib(site, tmp_path):
    run(site, tmp_path, EVERYTHING.format(names=modules(site)))


def test_the_wheel_holds_the_whole_library_and_nothing_else(site):
    held = {
        str(file.relative_to(site))
        for file in site.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    held = {name for name in held if ".dist-info" not in name}
    assert held == {
        "bin/flows",
        *(name for name in command.listed(ROOT) if name.startswith("flows/")),
    }
    assert "flows/py.typed" in held
    assert any(name.endswith("/chain.c") for name in held)


def test_the_wheel_asks_for_what_the_library_imports_and_for_no_tool_of_the_pipeline(site):
    asked = requirements(site)
    assert not [name for name in asked if name.startswith(("dvc", "hydra", "optuna"))]
    owners = packages_distributions()
    for file in site.glob("flows/**/*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        names = {
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {
            node.module
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module and not node.level
        }
        for name in (
            {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"flows"}
        ):
            found = [
                asked[normal(owner)] for owner in owners.get(name, [name]) if normal(owner) in asked
            ]
            assert found, f"{file.name} imports {name}"
            extras = {("table.py", "pyarrow"), ("images.py", "PIL"), ("workers.py", "distributed")}
            extra = "plotting" in str(file.relative_to(site)) or (file.name, name) in extras
            assert extra or found[0].marker is None, (
                f"{file.name} imports {name}, which is of an extra"
            )


def test_the_command_is_installed_with_the_verbs_of_the_module(site):
    (command,) = Distribution.at(next(site.glob("*.dist-info"))).entry_points
    assert (command.name, command.value) == ("flows", "flows.__main__:main")


def test_what_is_called_in_continuous_integration_is_a_target_of_make():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    )
    for name, quick in ((".ci/run", set()), (".github/workflows/test.yml", {"test"})):
        called = set(
            re.findall(
                r"^[- ]*(?:run: )?make ([a-z-]+)",
                (ROOT / name).read_text(encoding="utf-8"),
                flags=re.M,
            )
        )
        assert called == {"lint", "test-all", "check", "verify"} | quick <= targets, name


def test_the_pipelines_pins_are_within_the_wheels_ranges(site):
    texts = [
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("requirements.txt", "requirements-test.txt")
    ]  # the latter for [cluster]
    lines = (line.partition("#")[0].strip() for text in texts for line in text.splitlines())
    pins = {
        normal(pin.name): pin.specifier
        for pin in map(Requirement, (line for line in lines if line and not line.startswith("-r")))
    }
    for name, need in requirements(site).items():
        versions = [part.version for part in pins[name] if part.operator in ("==", ">=")]
        assert all(need.specifier.contains(version) for version in versions), name
