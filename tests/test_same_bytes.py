"""The kernels give the same bits for all compilers, vector widths and kinds of processor.

``portable.c`` prints a hash of the results.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from flows.kernels.build import FLAGS

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
    for program in (compiler, *emulator):
        if shutil.which(program) is None:
            if os.environ.get("CI"):  # set by continuous integration, which must run every case
                pytest.fail(f"{program} is not installed")
            pytest.skip(f"{program} is not installed")
    if not emulator and platform.machine() != "x86_64":
        pytest.skip(f"{case} is not for {platform.machine()}")
    subprocess.run(
        [compiler, *OPTIMISE, *flags, str(DRIVER), "-o", str(tmp_path / "driver"), "-lm"],
        check=True,
        capture_output=True,
    )
    for threads in ("1", "2"):
        done = subprocess.run(
            [*emulator, str(tmp_path / "driver"), threads],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.split()[0] == HASH
