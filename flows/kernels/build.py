"""The compiled kernels.

Built from ``chain.c`` once a machine, with whatever C compiler there is; none is needed.

``library()`` gives the loaded library, or ``None`` where there is no compiler, or where
``FLOWS_KERNELS=off`` says to do without. The plain torch code then takes its place: the same
mathematics, several times slower, and not the same low bits.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flows.kernels import interface

SOURCE = Path(__file__).with_name("chain.c")
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-ffp-contract=off", "-shared", "-fPIC")
# From the best to what every compiler takes: vector instructions of this processor, at their full
# width, and several threads. For many processors with AVX-512 GCC prefers half of it, and takes the
# kernels' vectors apart in memory: 610 ms an epoch in place of 19.
# Another one stands in for another processor: the bits are the same.
MARCH = f"-march={os.environ.get('FLOWS_MARCH', 'native')}"
EXTRA_FLAGS = (
    (MARCH, "-mprefer-vector-width=512", "-fopenmp"),
    (MARCH, "-fopenmp"),
    (MARCH,),
    ("-mcpu=native",),
    (),
)
COMPILERS = ("cc", "gcc", "clang")

_off = 0


def library() -> Any:
    """The compiled library; ``None`` where the plain code has to do."""
    return None if _off or os.environ.get("FLOWS_KERNELS", "on") == "off" else _loaded()


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels take these tensors.

    Single precision, on the CPU, not empty, and a compiler was found.
    """
    return (
        all(t.dtype == torch.float32 and t.device.type == "cpu" and t.numel() for t in tensors)
        and library() is not None
    )


def call(function: str, *arguments: Any) -> None:
    """Calls a function of the library, which is there (``usable``).

    Structures and tensors go by their addresses.

    Raises ``MemoryError`` for the bytes that the system refused to a thread.
    """
    structures = [ctypes.addressof(a) if isinstance(a, ctypes.Structure) else a for a in arguments]
    refused = getattr(library(), function)(
        *[a.data_ptr() if isinstance(a, Tensor) else a for a in structures]
    )
    if refused:
        raise MemoryError(
            f"the compiled chain needs {refused:,} bytes a thread to work in, "
            "and the system has not got them"
        )


@contextmanager
def reference_code() -> Iterator[None]:
    """Inside, the plain torch code is used.

    For what has to see every operation, such as a counter of them, and for the tests.
    """
    global _off
    _off += 1
    try:
        yield
    finally:
        _off -= 1


@functools.cache
def _loaded() -> ctypes.CDLL | None:
    try:
        # Torch is imported by now: its OpenMP is used, and not a second one
        kernels = ctypes.CDLL(str(_built()))
    except (OSError, RuntimeError) as error:
        print(
            (
                "flows: no compiled kernels, plain torch takes their place, "
                f"several times slower ({error})"
            ),
            file=sys.stderr,
        )
        return None
    return interface.declare(kernels)


def _built() -> Path:
    """The shared library for this source, compiler and processor.

    Compiled if it isn't in the cache. Raises ``RuntimeError``.
    """
    compiler = (
        shlex.split(os.environ.get("CC", ""))
        or [found for name in COMPILERS if (found := shutil.which(name))][:1]
    )
    if not compiler:
        raise RuntimeError(
            f"no C compiler: looked for {', '.join(COMPILERS)}, and for one named in CC"
        )
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"the C compiler {shlex.join(compiler)} does not run: {error}") from None
    sources = [path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[ch]"))]
    parts = [*sources, version, _processor(), repr((compiler, FLAGS, EXTRA_FLAGS)).encode()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    name = f"chain-{key}.so"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flows"
    if (cache / name).is_file():
        return cache / name
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Two processes may build at once: each moves a whole file into place
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            return _compile(compiler, Path(folder) / name).replace(cache / name)
    except OSError:  # a read-only home, a full disk: compiled for this process alone
        folder = tempfile.mkdtemp(prefix="flows-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return _compile(compiler, Path(folder) / name)


def _compile(compiler: list[str], target: Path) -> Path:
    """``target``, compiled with the best flags that the compiler takes.

    Raises ``RuntimeError`` where none will do.
    """
    problems: list[str] = []
    for extra in EXTRA_FLAGS:
        command = [*compiler, *FLAGS, *extra, str(SOURCE), "-o", str(target), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return target
        lines = done.stderr.strip().splitlines() or ["no message"]
        problems.append(next((line for line in lines if "error" in line), lines[0]))
    raise RuntimeError(f"{shlex.join(compiler)} does not compile {SOURCE.name}: {problems[0]}")


def _processor() -> bytes:
    """What the processor can do, as far as the system says.

    A cache may be shared between machines.
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_bytes().splitlines() if cpuinfo.is_file() else []
    return next(
        (line for line in lines if line.startswith((b"flags", b"Features"))),
        platform.machine().encode(),
    )
