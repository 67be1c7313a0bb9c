"""The compiled kernels: those of the wheel, or a build of ``chain.c``, once per machine.

Any C compiler will do, and a wheel with kernels needs none. ``library()`` returns the loaded
library, or ``None`` if there are neither kernels nor a compiler, or if ``FLOWS_KERNELS=off``.
PyTorch then computes the same formulas, several times slower and with other low bits.
"""

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from flows.kernels import interface, variants
from flows.kernels.variants import FLAGS, SOURCE

# From the best flags to no flags, which every compiler accepts: the vector instructions of this
# processor at their full width, and several threads. On many processors with AVX-512, GCC prefers
# half the width and takes the vectors of the kernels apart in memory, which took 30 times as
# long on one Xeon. FLOWS_MARCH selects another processor; the results have the same bits.
MARCH = f"-march={os.environ.get('FLOWS_MARCH', 'native')}"
OPENMP = "-fopenmp"
EXTRA_FLAGS = (
    (MARCH, "-mprefer-vector-width=512", OPENMP),
    (MARCH, OPENMP),
    ("-mcpu=native", OPENMP),
    (MARCH,),
    ("-mcpu=native",),
    (),
)
COMPILERS = ("cc", "gcc", "clang")


def library() -> Any:
    """Return the compiled library, or ``None`` if PyTorch has to take its place."""
    return None if os.environ.get("FLOWS_KERNELS", "on") == "off" else _loaded()


def call(function: str, *arguments: Any) -> None:
    """Call a ``function`` of the library, which must be available.

    Structures and tensors are passed by address. Raises ``MemoryError``, with the number of bytes,
    if the system refuses a thread its working memory.
    """
    plain = [ctypes.addressof(a) if isinstance(a, ctypes.Structure) else a for a in arguments]
    plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in plain]
    refused = getattr(library(), function)(*plain)
    if refused:
        raise MemoryError(
            f"the compiled chain needs {refused:,} bytes per thread, "
            "and the system does not have them"
        )


@functools.cache
def _loaded() -> ctypes.CDLL | None:
    if path := variants.in_wheel():
        with suppress(OSError):  # of a PyTorch without the OpenMP of GCC
            return interface.declare(variants.load(path))
    try:
        # Torch is already imported, so the library uses its OpenMP and no second one
        kernels = ctypes.CDLL(str(built()))
    except (OSError, RuntimeError) as error:
        line = "flows: no compiled kernels; PyTorch takes their place, several times slower"
        print(f"{line} ({error})", file=sys.stderr)
        return None
    return interface.declare(kernels)


def built(source: Path = SOURCE, flags: Sequence[str] = FLAGS) -> Path:
    """Return the shared library for ``source``, the compiler, ``flags`` and the processor.

    The library is compiled if it is not in the cache. Raises ``RuntimeError`` if there is no
    compiler, or if the compiler fails.
    """
    found = [path for name in COMPILERS if (path := shutil.which(name))]
    compiler = shlex.split(os.environ.get("CC", "")) or found[:1]
    if not compiler:
        raise RuntimeError(
            f"no C compiler: found none of {', '.join(COMPILERS)}, and CC is not set"
        )
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"the C compiler {shlex.join(compiler)} does not run: {error}") from None
    sources = [path.read_bytes() for path in sorted(source.parent.glob("*.[ch]"))]
    parts = [*sources, version, _processor(), repr((compiler, flags, EXTRA_FLAGS)).encode()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    name = f"chain-{key}.so"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flows"
    if (cache / name).is_file():
        return cache / name
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Two processes may build at once: each moves a whole file into place
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            return _compile(compiler, source, flags, Path(folder) / name).replace(cache / name)
    except OSError:  # on a read-only home or a full disk, compile for this process only
        folder = tempfile.mkdtemp(prefix="flows-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return _compile(compiler, source, flags, Path(folder) / name)


def _compile(compiler: list[str], source: Path, flags: Sequence[str], target: Path) -> Path:
    """Compile ``source`` with the best flags that give a library that loads; return ``target``.

    Print a line if the library has one thread. Raises ``RuntimeError`` if no flags work.
    """
    problems: list[str] = []
    for extra in EXTRA_FLAGS:
        command = [*compiler, *flags, *extra, str(source), "-o", str(target), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stderr.strip().splitlines() or ["no message"]
        if done.returncode == 0:
            try:  # a compiler may link to a library that is not there
                ctypes.CDLL(str(target))
            except OSError as error:
                lines = [f"error: {error}"]
            else:
                if OPENMP not in extra:
                    name = shlex.join(compiler)
                    line = f"flows: {name} has no OpenMP, so the compiled kernels use one thread"
                    print(f"{line}; CC=gcc names another compiler", file=sys.stderr)
                return target
        problems.append(next((line for line in lines if "error" in line), lines[0]))
    raise RuntimeError(f"{shlex.join(compiler)} does not compile {source.name}: {problems[0]}")


def _processor() -> bytes:
    """Return the features of the processor, or the names of the system and the machine.

    The name of a library depends on them, because machines may share a cache. The name of a Mac's
    system holds the kind of its processor.
    """
    found = sorted(variants.features())
    return " ".join(found).encode() if found else repr(platform.uname()).encode()
