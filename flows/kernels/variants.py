"""The kernels in a wheel: a library for each level of processors; one is chosen at run time.

``setup.py`` runs this file by its path, so only the standard library is imported here.
"""

import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("chain.c")
FOLDER = Path(__file__).with_name("compiled")  # only in a wheel
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-ffp-contract=off", "-shared", "-fPIC")
V2 = {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}
V3 = V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
# By kind of processor and name, the best first: the flags, and the features that a processor needs.
# x86-64-v2 has no fused multiply-add, so the kernels compute one in double precision (vector.h)
VARIANTS: dict[str, dict[str, tuple[tuple[str, ...], set[str]]]] = {
    "x86_64": {
        "x86-64-v4": (("-march=x86-64-v4", "-mprefer-vector-width=512"), V4),
        "x86-64-v3": (("-march=x86-64-v3",), V3),
        "x86-64-v2": (("-march=x86-64-v2",), V2),
    },
    "aarch64": {"armv8-a": (("-march=armv8-a",), set())},
}


def features() -> set[str]:
    """Return the features of the processor, as Linux calls them; empty on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    found = (line for line in lines if line.startswith(("flags", "Features")))
    return set(next(found, "").partition(":")[2].split())


def best(machine: str, there: Collection[str]) -> str | None:
    """Return the name of the best variant for a processor with these features, if there is one."""
    known = VARIANTS.get(machine, {}).items()
    return next((name for name, (_, needs) in known if needs.issubset(there)), None)


def in_wheel() -> Path | None:
    """Return the library of the wheel for this processor, or the one that FLOWS_MARCH names.

    ``None`` means that the kernels have to be compiled: in a source folder, if CC names a compiler,
    and for any other FLOWS_MARCH.
    """
    name = os.environ.get("FLOWS_MARCH") or best(platform.machine(), features())
    path = FOLDER / f"chain-{name}.so"
    return path if path.is_file() and not os.environ.get("CC") else None


def load(path: Path) -> ctypes.CDLL:
    """Return a loaded library of the wheel, after PyTorch was imported.

    The library calls the OpenMP that PyTorch has loaded, whose file has another name in each wheel
    of PyTorch, and whose functions are not always visible to other libraries. Raises ``OSError`` if
    there is none.
    """
    from threadpoolctl import threadpool_info  # setup.py runs without it

    there = [each["filepath"] for each in threadpool_info() if each["prefix"] == "libgomp"]
    for openmp in sorted(there, key=lambda name: "torch" not in name)[:1]:
        ctypes.CDLL(openmp, mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(path))


def machine_of(compiler: Sequence[str]) -> str | None:
    """Return the kind of processor that GCC compiles for; ``None`` for another compiler.

    PyTorch loads the OpenMP of GCC, which clang does not call.
    """
    try:
        version, machine = (
            subprocess.run([*compiler, word], capture_output=True, text=True, check=True).stdout
            for word in ("--version", "-dumpmachine")
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = machine.partition("-")[0]
    is_gcc = "Free Software Foundation" in version and "linux" in machine
    return found if is_gcc and found in VARIANTS else None


def compile_all(compiler: Sequence[str], folder: Path) -> None:
    """Compile the variants into ``folder``; print a line for a variant that GCC does not know.

    The functions of OpenMP stay open until ``load``.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of a build for another machine
    folder.mkdir(parents=True)
    for name, (flags, _) in VARIANTS[machine_of(compiler) or ""].items():
        target = folder / f"chain-{name}.so"
        made = target.with_suffix(".o")
        try:
            words = [*compiler, *FLAGS, *flags, "-fopenmp", "-c", str(SOURCE), "-o", str(made)]
            subprocess.run(words, check=True)
            subprocess.run([*compiler, *FLAGS, str(made), "-o", str(target), "-lm"], check=True)
        except subprocess.SubprocessError as error:
            print(f"flows: no kernels for {name} in this wheel ({error})")
        made.unlink(missing_ok=True)
