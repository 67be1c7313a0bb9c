"""Does the committed pipeline give the committed numbers? ``make verify`` runs it in a clean clone and says what moved.

Case 1: every tracked file comes out byte for byte. That is what every machine with the compiled kernels and the pinned libraries must give.
Case 2: without the kernels, or with another version of a library, the last bits are others and training amplifies that. Then
the ``kl`` of every model must agree with the committed one within 3 sqrt(2) kl_sd / sqrt(members), and a reference's within 0.001 nat.
Case 3, failure: a ``kl`` moved by more, or a file, or a row or a key of one, is missing or was not there before.
``--same``: case 2 fails, too.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image, ImageSequence

from tools import command

REFERENCE_TOLERANCE = 0.001  # nat
OTHER_BITS = "case 2: other bits, as without the kernels or by other libraries; every kl is within its tolerance"
BY_CODE = "by code or settings, first"  # said of a lock that is stale
STALE = "case 2: dvc.lock is of other code or settings, so run `dvc repro` and commit; every kl is within its tolerance"


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(usage="make verify [SAME=yes]")
    parser.add_argument("--same", action="store_true", help="fail where a file moved at all")
    least = 2 if parser.parse_args(arguments).same else 3  # the case that fails
    top = Path(command.git("rev-parse", "--show-toplevel").strip())
    if not command.git("rev-list", "--all", "--max-count=1"):
        raise command.UserError("there is no commit yet, so there is nothing to verify")
    if command.git("status", "--porcelain").strip():
        print(
            "verify: there are changes that are not committed; what is verified is the last commit",
            flush=True,
        )
    worst = 0
    for machine, variables in machines().items():
        with tempfile.TemporaryDirectory() as folder:
            clone = Path(folder) / "clone"
            command.git("clone", "--quiet", str(top), str(clone))
            print(f"verify: as {machine}", flush=True)
            committed = contents(clone)
            run = subprocess.run(
                [sys.executable, "-m", "tools.repro"],
                cwd=clone,
                env=environment(variables),
                check=False,
            )
            if run.returncode:
                print("verify: FAILED: the pipeline does not run in a clean clone")
                return 1
            case, lines = explain(committed, contents(clone))
        print("\n".join(["", *lines]), flush=True)
        worst = max(worst, case)
    if worst == 2 == least:
        print("verify: FAILED: the bytes had to be the same")
    return int(worst >= least)


def machines() -> dict[str, dict[str, str]]:
    """This machine, and two that it stands in for: what each has in its environment.

    NumPy's own list says what it would use beyond AVX2; a processor that has no more is held down by nothing. The OpenBLAS of the wheels
    has no kernels of its own for Zen, it takes Haswell's; it has some for Nehalem, and they run everywhere.
    """
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__  # type: ignore[import-not-found]

    beyond = [
        name
        for name in __cpu_dispatch__
        if ("AVX512" in name or "V4" in name) and __cpu_features__[name]
    ]
    laptop = {
        "FLOWS_MARCH": "x86-64-v3",
        "NPY_DISABLE_CPU_FEATURES": " ".join(beyond),
        "OPENBLAS_CORETYPE": "Haswell",
    }
    laptop |= {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
    if platform.machine() != "x86_64":
        return {"this machine": {}}
    return {
        "this machine": {},
        "one without AVX-512": laptop,
        "one with another OpenBLAS": {"OPENBLAS_CORETYPE": "Nehalem"},
    }


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Of a machine. What the caller tells OpenBLAS would make it another."""
    return {
        name: value
        for name, value in command.environment().items()
        if not name.startswith("OPENBLAS_")
    } | dict(variables)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in command.listed(folder)}


class StructureError(Exception):
    """A file differs by more than its numbers, which no other rounding can do."""


def explain(committed: Mapping[str, bytes], here: Mapping[str, bytes]) -> tuple[int, list[str]]:
    """Which of the three cases it is, and the lines to say so: one a file that differs, one a model, and the case."""
    checks = kl_checks(committed, here)
    failures = [f"kl of {name} is not within its tolerance" for name, _, good in checks if not good]
    moved = []
    for name in sorted(
        name for name in committed.keys() | here.keys() if committed.get(name) != here.get(name)
    ):
        try:
            moved.append(f"{name}: {movement(name, committed.get(name), here.get(name))}")
        except StructureError as error:
            moved.append(f"{name}: {error}")
            failures.append(moved[-1])
    if not moved:
        return 1, ["verify: case 1: every tracked file came out byte for byte"]
    lines = [
        f"verify: {len(moved)} of {len(committed)} tracked files differ, committed -> here:",
        *(f"  {line}" for line in moved),
    ]
    if checks:
        lines += [
            "verify: kl (nat) of every model and reference:",
            *(f"  {line}" for _, line, _ in checks),
        ]
    if failures:
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        return 3, [*lines, f"verify: case 3: FAILED: {failures[0]}{more}"]
    return 2, [*lines, f"verify: {STALE if any(BY_CODE in line for line in moved) else OTHER_BITS}"]


def movement(path: str, before: bytes | None, after: bytes | None) -> str:
    """What moved in a file whose bytes differ. ``None``: there is no file. Raises ``StructureError``."""
    if before is None or after is None:
        raise StructureError("is missing here" if after is None else "is not committed")
    try:
        if path.endswith("dvc.lock"):
            return _lock(yaml.safe_load(before), yaml.safe_load(after))
        if path.endswith((".json", ".csv")):
            return _numbers(
                *(
                    command.flat(json.loads(text)) if path.endswith(".json") else _cells(text)
                    for text in (before, after)
                )
            )
        if path.endswith((".png", ".gif")):
            return _pixels(before, after)
    except StructureError:
        raise
    except Exception as error:  # each format has its own errors for a damaged file
        raise StructureError(f"can't be read ({' '.join(str(error).split())[:40]})") from None
    return f"other bytes, {len(before)} -> {len(after)} of them"


def _numbers(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The values of two tables by their names: how many moved, and which moved most of its own size."""
    gone, new = (
        [name for name in before if name not in after],
        [name for name in after if name not in before],
    )
    if gone or new:
        first = f"no {gone[0]} any more" if gone else f"{new[0]} is new"
        raise StructureError(f"{len(gone)} values are missing and {len(new)} new: {first}")
    sizes = {name: relative(before[name], after[name]) for name in before}
    moved = sum(size > 0 for size in sizes.values())
    if not moved:
        return "other bytes, but every number is the same"
    most = max(sizes, key=lambda name: sizes[name])
    old, now = before[most], after[most]
    share = f" ({100 * (now - old) / abs(old):+.3g}%)" if old and math.isfinite(sizes[most]) else ""
    return f"{moved} of {len(before)} moved, most {most}: {json.dumps(old)} -> {json.dumps(now)}{share}"


def relative(before: Any, after: Any) -> float:
    """``|after - before| / max(|before|, |after|)``; 0 for equal values and infinite where one is no finite number."""
    if before == after or (before != before and after != after):  # NaN twice
        return 0.0
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in (before, after)):
        return math.inf
    return abs(after - before) / max(abs(before), abs(after))


def _cells(text: bytes) -> dict[str, Any]:
    """Every cell of a table by its row, named by the first column (a member, a draw, an epoch), and its column."""
    table = pd.read_csv(io.BytesIO(text))
    key, *columns = table.columns
    if table[key].duplicated().any():
        raise ValueError(f"a {key} is there twice")
    return {
        f"{key} {row[0]}, {column}": value
        for row in table.to_numpy(object).tolist()
        for column, value in zip(columns, row[1:], strict=True)
    }


def _pixels(before: bytes, after: bytes) -> str:
    """The share of pixels that differ, over all frames."""
    old, new = (
        [
            np.asarray(frame.convert("RGBA"))
            for frame in ImageSequence.Iterator(Image.open(io.BytesIO(it)))
        ]
        for it in (before, after)
    )
    if len(old) != len(new):
        return f"{len(old)} frames -> {len(new)}"
    if old[0].shape != new[0].shape:
        return "{1} x {0} pixels -> {3} x {2}".format(*old[0].shape[:2], *new[0].shape[:2])
    share = 100 * float(np.mean([(a != b).any(axis=2) for a, b in zip(old, new, strict=True)]))
    return (
        f"{share:.2g}% of the pixels differ"
        if share
        else "other bytes, but every pixel is the same"
    )


def _lock(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """In how many stages ``dvc.lock`` moved, and in how many of them by what no stage makes: code, settings, the command."""
    stages, others = before["stages"], after["stages"]
    for odd in sorted(stages.keys() ^ others.keys()):
        raise StructureError(
            f"stage {odd} is {'missing here' if odd in stages else 'not committed'}"
        )
    outs = [Path(out["path"]) for stage in stages.values() for out in stage.get("outs", [])]
    made = {
        str(path) for out in outs for path in (out, *out.parents)
    }  # a stage may need the folder of what others made

    def given(stage: Mapping[str, Any]) -> list[Any]:
        return [
            stage.get("cmd"),
            stage.get("params"),
            [dep for dep in stage.get("deps", []) if dep["path"] not in made],
        ]

    moved = [name for name in stages if stages[name] != others[name]]
    stale = [name for name in moved if given(stages[name]) != given(others[name])]
    if not moved:
        return "other bytes, but every entry is the same"
    return f"{len(moved)} of {len(stages)} stages moved, {f'{len(stale)} {BY_CODE} {stale[0]}' if stale else 'none by code or settings'}"


def kl_checks(
    committed: Mapping[str, bytes], here: Mapping[str, bytes]
) -> list[tuple[str, str, bool]]:
    """For every ``metrics/<name>.json`` of both: the name, a line, and whether its ``kl`` is within the tolerance.

    That is three standard errors of a difference of two means, or 0.001 nat for a reference.
    """
    checks = []
    for name in sorted(
        Path(path).stem
        for path in committed.keys() & here.keys()
        if re.fullmatch(r"metrics/(?!ranking\.)[^/]+\.json", path)
    ):
        try:
            before, after = (
                json.loads(files[f"metrics/{name}.json"]) for files in (committed, here)
            )
        except ValueError:
            continue  # a damaged file: ``movement`` says so
        members = len(pd.read_csv(io.BytesIO(committed[f"metrics/{name}/members.csv"])))
        old, new, spread = before["kl"], after.get("kl"), before["kl_sd"]
        tolerance = (
            3 * math.sqrt(2) * spread / math.sqrt(members) if spread else REFERENCE_TOLERANCE
        )
        difference = (
            0 if old == new else math.inf if None in (old, new) else abs(old - new)
        )  # infinite: a density on one side alone
        good = difference <= tolerance  # not of NaN
        words = f"moved by {difference:.2g}, {'within' if good else 'BEYOND'} the tolerance of {tolerance:.2g}"
        checks.append(
            (
                name,
                f"{name}: none"
                if old is new is None
                else f"{name}: {json.dumps(old)} -> {json.dumps(new)}, {words}",
                good,
            )
        )
    return checks


if __name__ == "__main__":
    command.run("verify", lambda: main(sys.argv[1:]))
