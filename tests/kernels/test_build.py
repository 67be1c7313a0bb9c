"""The build of the kernels: without a compiler, with other compilers, and on other processors.

The kernels give the same bits for all compilers, vector widths and kinds of processor:
``portable.c`` prints a hash of the results.
"""

from __future__ import annotations

import functools
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from ctypes import CDLL
from pathlib import Path

import pytest
from shaking import compiled

import flows
from flows.kernels import build, interface, variants
from flows.kernels.build import FLAGS


@pytest.fixture
def build_anew(tmp_path, monkeypatch):
    """A build with an empty cache, and without -O3, so that it compiles faster."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return functools.partial(build.built, flags=[flag for flag in build.FLAGS if flag != "-O3"])


@pytest.mark.slow
@compiled
def test_a_structure_of_another_size_in_c_is_an_error(tmp_path, build_anew):
    sources = shutil.copytree(build.SOURCE.parent, tmp_path / "kernels")
    before = build_anew(sources / "chain.c")
    interface.declare(CDLL(str(before)))
    header = sources / "chain.h"
    header.write_text(header.read_text().replace("int bins;", "int bins, more;"))
    after = build_anew(sources / "chain.c")
    assert after != before
    with pytest.raises(RuntimeError, match="the structure Layer has "):
        interface.declare(CDLL(str(after)))


@compiled
def test_a_library_that_does_not_load_gives_way_to_one_without_openmp(
    tmp_path, monkeypatch, capsys, build_anew
):
    """As with ``zig cc -fopenmp``, which links to a library that is not there."""
    compiler, loads = tmp_path / "compiler.sh", shlex.quote(build.library()._name)
    compiler.write_text(
        f"""case "$*" in *-fopenmp*) loads=/dev/null;; *) loads={loads};; esac
while [ $# -gt 1 ]; do [ "$1" = -o ] && cp $loads "$2"; shift; done\n"""
    )
    monkeypatch.setenv("CC", shlex.join(["sh", str(compiler)]))
    library = build_anew()
    assert CDLL(str(library)).chain_apply
    line = "compiler.sh has no OpenMP, so the compiled kernels use one thread; CC=gcc names"
    assert capsys.readouterr().err.count(line) == 1
    assert build_anew() == library  # from the cache
    assert capsys.readouterr().err == ""
    compiler.write_text("""while [ $# -gt 1 ]; do [ "$1" = -o ] && : > "$2"; shift; done\n""")
    monkeypatch.setenv("CC", shlex.join(["sh", "-e", str(compiler)]))
    with pytest.raises(RuntimeError, match=r"does not compile chain\.c: .*chain-\w+\.so"):
        build_anew()


def test_the_name_in_the_cache_tells_processors_apart(monkeypatch):
    names = set()
    for there in ({"avx2"}, {"avx2", "avx512f"}):
        monkeypatch.setattr(variants, "features", lambda there=there: there)
        names.add(build._processor())
    monkeypatch.setattr(variants, "features", set)  # as on a Mac, which has no /proc/cpuinfo
    for version in ("root:xnu-1/RELEASE_ARM64_T8103", "root:xnu-1/RELEASE_ARM64_T6000"):
        monkeypatch.setattr(
            platform, "uname", lambda version=version: ("Darwin", "mac", "23", version, "arm64")
        )
        names.add(build._processor())
    assert len(names) == 4


@pytest.mark.parametrize(
    ("machine", "there", "name"),
    [
        ("x86_64", variants.V4 | {"amx"}, "x86-64-v4"),
        ("x86_64", variants.V4 - {"avx512bw"}, "x86-64-v3"),
        ("x86_64", variants.V3 - {"fma"}, "x86-64-v2"),
        ("x86_64", variants.V2 - {"ssse3"}, None),
        ("aarch64", {"asimd"}, "armv8-a"),
        ("riscv64", set(), None),
    ],
)
def test_the_best_variant_that_a_processor_can_run_is_chosen(machine, there, name):
    assert variants.best(machine, there) == name


def test_a_variant_of_the_wheel_gives_way_to_a_compiler_that_the_user_names(tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "FOLDER", tmp_path)
    monkeypatch.setattr(variants, "features", lambda: variants.V3)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for name in ("CC", "FLOWS_MARCH"):
        monkeypatch.delenv(name, raising=False)
    assert variants.in_wheel() is None
    for name in ("x86-64-v2", "x86-64-v3"):
        (tmp_path / f"chain-{name}.so").touch()
    assert variants.in_wheel() == tmp_path / "chain-x86-64-v3.so"
    monkeypatch.setenv("FLOWS_MARCH", "x86-64-v2")
    assert variants.in_wheel() == tmp_path / "chain-x86-64-v2.so"
    monkeypatch.setenv("FLOWS_MARCH", "native")
    assert variants.in_wheel() is None
    monkeypatch.delenv("FLOWS_MARCH")
    monkeypatch.setenv("CC", "clang")
    assert variants.in_wheel() is None


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CC": "no-such-compiler"}, "no-such-compiler"),
        ({"CC": "false"}, "false"),
        ({"PATH": "", "CC": ""}, "no C compiler"),
        ({"FLOWS_KERNELS": "off"}, ""),
    ],
)
def test_without_a_compiler_pytorch_takes_its_place(
    tmp_path, monkeypatch, capsys, environment, reason
):
    monkeypatch.setattr(
        build, "_loaded", functools.cache(build._loaded.__wrapped__)
    )  # as in a process that has not loaded the library
    own = {"FLOWS_KERNELS": "on", "XDG_CACHE_HOME": str(tmp_path), **environment}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert flows.build(flows.RealNVP(), (2,), members=2).sample((4,)).shape == (4, 2, 2)
    assert build.library() is None
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == (1 if reason else 0)
    assert not reason or reason in lines[0]


@compiled
def test_the_library_is_built_once_or_per_process_if_the_cache_is_not_writable(
    tmp_path, monkeypatch, build_anew
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first = build_anew()
    written = first.stat().st_mtime_ns
    assert first.is_relative_to(tmp_path / "cache")
    assert build_anew() == first
    assert first.stat().st_mtime_ns == written
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    alone = build_anew()
    assert alone.is_file()
    assert alone.parent.parent == tmp_path


def compare_with(compiler, **environment):
    """Run the tests that compare the kernels with PyTorch, with kernels of ``compiler``."""
    words = ["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-m", "not slow"]
    file = str(Path(__file__).with_name("test_kernels.py"))
    command = [sys.executable, *words, file, "-k", "pytorch or refused"]
    environment = {**os.environ, "CC": compiler, **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc -mno-avx512f", "gcc -mno-avx", "clang"])
def test_kernels_of_other_compilers_and_with_narrower_vectors_match_pytorch(compiler):
    if not shutil.which(compiler.split()[0]) or (
        "avx" in compiler and platform.machine() != "x86_64"
    ):
        pytest.skip("not on this machine")
    compare_with(compiler)


@compiled
@pytest.mark.slow
def test_sanitizers_find_no_wrong_address_and_no_undefined_behaviour(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("no gcc on this machine")
    names = ("libasan.so", "libubsan.so")
    runtimes = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in names
    ]
    if not all(Path(path).is_absolute() for path in runtimes):
        pytest.skip("gcc has no runtime of the sanitizers on this machine")
    options = {
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "XDG_CACHE_HOME": str(tmp_path),
    }  # Python itself leaks
    compare_with(
        "gcc -fsanitize=address,undefined -fno-sanitize-recover=all",
        LD_PRELOAD=" ".join(runtimes),
        **options,
    )


DRIVER = Path(__file__).with_name("portable.c")
HASH = "d9f87422c01af4ff"  # on every machine
OPTIMISE = [flag for flag in FLAGS if flag not in ("-shared", "-fPIC")]
CASES = {
    **{
        f"{cc}, {march}": (cc, [f"-march={march}"], [])
        for cc in ("gcc", "clang")
        for march in ("x86-64", "x86-64-v2", "x86-64-v3", "native")
    },
    "gcc, threads": ("gcc", ["-march=native", "-fopenmp"], []),
    "gcc, hardly optimised": ("gcc", ["-O1"], []),
    "gcc, arm64": ("aarch64-linux-gnu-gcc", ["-static"], ["qemu-aarch64"]),
}


@pytest.mark.slow  # all other tests of the kernels use native builds
@pytest.mark.parametrize("case", CASES)
def test_a_driver_of_all_layers_has_one_hash(case: str, tmp_path: Path):
    compiler, flags, emulator = CASES[case]
    if platform.machine() != "x86_64" and (emulator or "x86-64" in case):
        pytest.skip(f"{case} is not for {platform.machine()}")
    for program in (compiler, *emulator):
        if shutil.which(program) is None:
            if os.environ.get("CI"):  # set by continuous integration, which must run every case
                pytest.fail(f"{program} is not installed")
            pytest.skip(f"{program} is not installed")
    subprocess.run(
        [compiler, *OPTIMISE, *flags, str(DRIVER), "-o", str(tmp_path / "driver"), "-lm"],
        check=True,
        capture_output=True,
    )
    # Only the pragmas of OpenMP read the number of threads.
    for threads in ("1", "2") if "-fopenmp" in flags else ("1",):
        done = subprocess.run(
            [*emulator, str(tmp_path / "driver"), threads],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.split()[0] == HASH
