"""The compiled kernels of a wheel. Everything else is in ``pyproject.toml``.

With GCC on Linux, a wheel holds the kernels for its kind of processor. Without GCC, and in an
editable install, there are none, and the kernels are compiled at their first use.
"""

import os
import runpy
import shlex
from pathlib import Path
from typing import Any

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

VARIANTS = runpy.run_path(str(Path(__file__).with_name("flows") / "kernels" / "variants.py"))
COMPILER = shlex.split(os.environ.get("CC", "")) or ["gcc"]
MACHINE = VARIANTS["machine_of"](COMPILER)


class BuildWithKernels(build_py):
    def run(self) -> None:
        super().run()
        if MACHINE and not self.editable_mode:
            VARIANTS["compile_all"](COMPILER, Path(self.build_lib, "flows", "kernels", "compiled"))


class WithKernels(Distribution):
    def has_ext_modules(self) -> bool:  # whether the files depend on the machine
        return bool(MACHINE)


class WheelOfMachine(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", f"linux_{MACHINE}") if MACHINE else super().get_tag()


commands: dict[str, Any] = {"build_py": BuildWithKernels, "bdist_wheel": WheelOfMachine}
setup(distclass=WithKernels, cmdclass=commands)
