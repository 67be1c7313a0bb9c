"""The library as users install it: from the wheel, outside of the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, packages_distributions
from pathlib import Path
from zipfile import ZipFile

import grimp
import pytest
from packaging.requirements import Requirement
from pipeline import ROOT, listed
from threadpoolctl import threadpool_info

from flows.kernels import variants

pytestmark = pytest.mark.slow

# The code of a user, which runs in four ways: with the kernels of the wheel, with kernels that are
# compiled, with kernels switched off, and with neither kernels nor a compiler. The last line prints
# the names of the imported packages.
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
def draws(file):  # needs the optional packages
    return "plotting" in file.parts or file == top / "tables/density/report.py"
for file in sorted(top.rglob("*.py"), key=draws):
    assert draws(file) or "matplotlib" not in sys.modules, file
    if file.name not in ("__init__.py", "__main__.py"):
        importlib.import_module(".".join(file.relative_to(top.parent).with_suffix("").parts))
print(top, *{name.partition(".")[0] for name in sys.modules})
"""
WAYS = {
    "wheel": ({"PATH": "nothing"}, "", 0),
    "compiled": ({"FLOWS_MARCH": "native"}, "", 1),
    "switched off": ({"FLOWS_KERNELS": "off"}, "", 0),
    "no compiler": ({"PATH": "nothing", "FLOWS_MARCH": "native"}, "no C compiler", 0),
}
MACHINE = variants.machine_of(["gcc"])  # None without GCC: then wheels have no kernels
with_gcc = pytest.mark.skipif(MACHINE is None, reason="no GCC for this machine")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the wheel of a copy of the working tree is installed."""
    folder = tmp_path_factory.mktemp("package")
    for name in listed():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "source" / name)
    if made := os.environ.get("FLOWS_WHEEL"):  # the wheel of a release
        wheel = Path(made)
    else:
        wheel = wheel_of(folder, "gcc")
        assert wheel.name.endswith(f"-py3-none-{f'linux_{MACHINE}' if MACHINE else 'any'}.whl")
    pip(folder, "install", "--target", "site", str(wheel))
    return folder / "site"


def wheel_of(folder: Path, compiler: str) -> Path:
    """Return a wheel of ``folder/source`` whose kernels a compiler made."""
    place = f"wheels-{Path(compiler).name}"
    pip(folder, "wheel", "--no-build-isolation", "--wheel-dir", place, "./source", CC=compiler)
    (wheel,) = (folder / place).iterdir()
    return wheel


def pip(folder: Path, verb: str, *words: str, **variables: str) -> None:
    """Run pip in ``folder``, without a network."""
    command = [sys.executable, "-m", "pip", "--quiet", verb, "--no-index", "--no-deps", *words]
    environment = {**os.environ, **variables}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_wheel_holds_only_the_library_and_the_command(site: Path) -> None:
    files = (str(file.relative_to(site)) for file in site.rglob("*") if file.is_file())
    held = {name for name in files if "__pycache__" not in name and ".dist-info" not in name}
    own = {str(file.relative_to(site)) for file in libraries(site)}
    assert held - own == {"bin/flows", *(name for name in listed() if name.startswith("flows/"))}
    assert len(own) == len(variants.VARIANTS.get(MACHINE or "", {}))


def libraries(site: Path) -> list[Path]:
    return sorted(site.glob("flows/kernels/compiled/chain-*.so"))


@with_gcc
def test_all_kernels_of_the_wheel_give_the_bytes_of_compiled_kernels(
    site: Path, tmp_path: Path
) -> None:
    """The kernels that this processor can run, one after another."""
    known = variants.VARIANTS[MACHINE or ""].items()
    names = [name for name, (_, needs) in known if needs <= variants.features()]
    assert names
    written = set()
    for name in ("native", *names):
        folder = tmp_path / name
        folder.mkdir()
        environment = own_environment(site, folder)
        code = f"{USER}\nfrom flows.kernels import build\nprint(build.library()._name)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env={**environment, "FLOWS_MARCH": name},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (f"chain-{name}.so" in done.stdout) == (name != "native")
        written.add((folder / "model.safetensors").read_bytes())
    assert len(written) == 1


@with_gcc
def test_the_kernels_of_the_wheel_need_no_library_of_openmp(site: Path) -> None:
    """The OpenMP of PyTorch has another name in each wheel, and a machine may have no other."""
    if shutil.which("readelf") is None:
        pytest.skip("no readelf on this machine")
    for library in libraries(site):
        done = subprocess.run(
            ["readelf", "-dW", library], capture_output=True, text=True, check=True
        )
        needed = set(re.findall(r"NEEDED.*\[(.*)\]", done.stdout))
        assert not [name for name in needed if re.search("omp", name)]


@with_gcc
def test_the_kernels_of_the_wheel_find_an_openmp_of_any_name(site: Path, tmp_path: Path) -> None:
    """Wheels of PyTorch for arm64 have a name with a hash, and other libraries do not see it."""
    (openmp,) = (each for each in threadpool_info() if is_of_torch(each))
    hidden = shutil.copy(openmp["filepath"], tmp_path / "libgomp-0123abcd.so.1.0.0")
    library = site / f"flows/kernels/compiled/chain-{[*variants.VARIANTS[MACHINE or '']][-1]}.so"
    code = f"""
import ctypes, pathlib, runpy
load = runpy.run_path({str(site / "flows/kernels/variants.py")!r})["load"]
try:
    load(pathlib.Path({str(library)!r}))
except OSError as error:
    print("omp_get" in str(error) or "GOMP" in str(error))
ctypes.CDLL({str(hidden)!r})
print(load(pathlib.Path({str(library)!r})).chain_apply is not None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\nTrue\n"


def is_of_torch(library: dict[str, str]) -> bool:
    return library["prefix"] == "libgomp" and "torch" in library["filepath"]


def test_another_compiler_makes_a_wheel_for_its_kind_of_machine_or_for_all(site: Path) -> None:
    folder, expected = site.parent, {"aarch64-linux-gnu-gcc": "linux_aarch64", "clang": "any"}
    for compiler in filter(shutil.which, expected):
        wheel = wheel_of(folder, compiler)
        assert wheel.name.endswith(f"-py3-none-{expected[compiler]}.whl")
        names = [name for name in ZipFile(wheel).namelist() if name.endswith(".so")]
        known = ["flows/kernels/compiled/chain-armv8-a.so"] if "aarch64" in compiler else []
        assert names == known


def own_environment(site: Path, folder: Path) -> dict[str, str]:
    """Return the environment of a user with an empty cache in ``folder``."""
    own = ("PYTHON", "FLOWS_", "CC")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    return environment | {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(folder)}


@pytest.mark.parametrize("way", WAYS)
def test_the_installed_library_trains_saves_and_loads_a_flow(
    site: Path, tmp_path: Path, way: str
) -> None:
    variables, said, built = WAYS[way]
    if way in ("wheel", "compiled") and MACHINE is None:
        pytest.skip("no GCC for this machine")
    environment = own_environment(site, tmp_path) | variables
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
