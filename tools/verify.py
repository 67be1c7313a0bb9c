"""Verify that the committed pipeline gives the committed results: ``make verify [SAME=yes]``.

The pipeline runs in a clean clone, once for each of ``machines()``; with ``--machines``, only for
the first ones.

Case 1: every tracked file is the same, byte for byte. This is the expected case on each machine
with the compiled kernels and the pinned libraries.
Case 2: some bytes changed. Without the kernels, or with another version of a library, the last bits
of results differ, and training amplifies the differences. The new ``kl`` of each model must then be
within three standard errors of the difference of two means, 3 sqrt(2) kl_sd / sqrt(members), of the
committed ``kl``, or within 0.001 nat if ``kl_sd`` is null or 0, as for a reference.
Case 3, failure: a ``kl`` changed by more, or a file, or a key of a file, is missing or new; or the
committed ``dvc.lock`` names other code or parameters than those of the commit.

``git diff --stat`` lists the changed files. With ``--same``, case 2 is a failure, too.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.core.errors import INTERRUPTED
from tools import command

TOLERANCE = 0.001  # nat, if `kl_sd` is null or 0
OTHER_BITS = "other bits, as expected without the kernels or with other libraries"


def main(arguments: list[str] | None = None) -> int:
    """Verify the last commit; return the exit status."""
    parser = argparse.ArgumentParser(usage="make verify [SAME=yes] [MACHINES=2]")
    parser.add_argument("--same", action="store_true", help="fail if any byte of a file changed")
    parser.add_argument("--machines", type=int, choices=(1, 2, 3), help="only the first machines")
    options = parser.parse_args(arguments)
    top = command.git("rev-parse", "--show-toplevel").strip()
    command.git("log", "--max-count=1")  # fails in a repository without a commit
    if command.git("status", "--porcelain"):
        say("some changes are not committed; only the last commit is verified")
    cases = []
    for machine, variables in [*machines().items()][: options.machines]:
        with tempfile.TemporaryDirectory() as folder:
            say(f"as {machine}")
            command.git("clone", "--quiet", top, folder)
            cases.append(case(Path(folder), environment(variables)))
    if options.same and max(cases) == 2:
        say("FAILED: the bytes must be the same")
    return int(max(cases) >= (2 if options.same else 3))


def say(words: str) -> None:
    print(f"verify: {words}", flush=True)


def case(clone: Path, variables: dict[str, str]) -> int:
    """Run the pipeline of a clean clone, and print and return the number of the case."""
    if changed := unsigned(clone):
        what = f"dvc.lock holds the hash of another {', '.join(changed)}"
        say(f"case 3: FAILED: {what}; run `make repro`, and commit dvc.lock")
        return 3
    for folder in ("figures", "metrics"):  # DVC would not write files that exist
        shutil.rmtree(clone / folder)
    repro = [sys.executable, "-m", "tools.repro"]
    with subprocess.Popen(repro, cwd=clone, env=variables) as process:
        # After SIGTERM, `tools.repro` ends its stages, which would otherwise continue.
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        status = process.wait()
        signal.signal(signal.SIGTERM, before)
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        say("case 3: FAILED: the pipeline does not run in a clean clone")
        return 3
    if not command.git("status", "--porcelain", cwd=clone):
        say("case 1: every tracked file is the same, byte for byte")
        return 1
    print(f"\n{command.git('diff', '--stat', cwd=clone)}", end="")
    if found := list(failures(clone)):
        say(f"case 3: FAILED: {'; '.join(found)}")
        return 3
    say(f"case 2: {OTHER_BITS}; every kl is within its tolerance")
    return 2


def unsigned(clone: Path) -> list[str]:
    """Return the files and folders of a clean clone of which ``dvc.lock`` holds another hash.

    DVC calls them modified. Files that the pipeline writes and Git does not track are missing in a
    clean clone, and DVC calls them deleted.
    """
    stages = json.loads(command.output("dvc", "status", "--json", cwd=clone)).values()
    found = set()
    for change in (change for stage in stages for change in stage if isinstance(change, dict)):
        for path, state in change.get("changed deps", {}).items():
            # The state of a file of parameters is a dictionary with the state of each parameter
            if "modified" in (state.values() if isinstance(state, dict) else [state]):
                found.add(path)
    return sorted(found)


def machines() -> dict[str, dict[str, str]]:
    """Return the environment variables of this machine and of two other machines that it simulates.

    NumPy lists the processor features beyond AVX2 that it would use here; the list may be empty.
    The OpenBLAS of the wheels uses its Haswell kernels on Zen processors. Its Nehalem kernels run
    on every processor.
    """
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__  # type: ignore[import-not-found]

    if platform.machine() != "x86_64":
        return {"this machine": {}}
    used = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    beyond = " ".join(name for name in used if "AVX512" in name or "V4" in name)
    laptop = {
        "FLOWS_MARCH": "x86-64-v3",
        "NPY_DISABLE_CPU_FEATURES": beyond,
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
    return {
        "this machine": {},
        "one without AVX-512": laptop,
        "one with another OpenBLAS": {"OPENBLAS_CORETYPE": "Nehalem"},
    }


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a machine, without the caller's settings of OpenBLAS."""
    own = command.environment()
    return {name: own[name] for name in own if not name.startswith("OPENBLAS_")} | variables


def failures(clone: Path) -> Iterator[str]:
    """Yield changes of files that rounding cannot explain, and print each changed ``kl``."""
    for line in command.git("status", "--porcelain", cwd=clone).splitlines():
        if line[:2] != " M":
            yield f"{line[3:]} is {'missing' if line[1] == 'D' else 'new'}"
    for path in command.git("ls-files", "metrics/*.json", cwd=clone).split():
        if not (clone / path).exists():
            continue
        before = json.loads(command.git("show", f"HEAD:{path}", cwd=clone))
        after = json.loads((clone / path).read_text(encoding="utf-8"))
        # The ranking has no kl, and a GAN has none
        old, new = (math.nan if (kl := each.get("kl")) is None else kl for each in (before, after))
        if before.keys() != after.keys():
            yield f"{path} has other keys"
        elif repr(old) != repr(new):  # as text, because NaN does not equal NaN
            table = command.git("show", f"HEAD:{Path(path).with_suffix('')}/members.csv", cwd=clone)
            sd, members = before["kl_sd"], len(table.splitlines()) - 1
            tolerance = 3 * math.sqrt(2 / members) * sd if sd else TOLERANCE
            change = f"kl of {Path(path).stem}: {old} -> {new}, tolerance {tolerance:.2g}"
            print(f"  {change}")
            if not abs(new - old) <= tolerance:  # also true for NaN
                yield change


if __name__ == "__main__":
    command.run("verify", main)
