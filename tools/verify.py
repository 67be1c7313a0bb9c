"""Does the committed pipeline give the committed numbers? ``make verify`` runs it in a clean clone and explains what it finds.

Case 1: every tracked file comes out byte for byte. That is what the machine kind where ``dvc.lock`` was made must give.
Case 2: another kind of processor, or another C compiler or none, rounds differently in the last bits and training amplifies that. Then
the ``kl`` of every model must agree with the committed one within 3 sqrt(2) kl_sd / sqrt(members), and a reference's within 0.001 nat.
Case 3, failure: a number moved by more, or a file is missing.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

REFERENCE_TOLERANCE = 0.001  # nat


def main() -> int:
    top = Path(_git("rev-parse", "--show-toplevel").strip())
    if _git("status", "--porcelain").strip():
        print("verify: there are changes that are not committed; what is verified is the last commit")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(top), str(clone)], check=True)
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        run = subprocess.run([sys.executable, "-m", "tools.repro"], cwd=clone, env=environment, check=False)
        if run.returncode:
            print("verify: FAILED: the pipeline does not run in a clean clone")
            return 1
        changed = [line[3:] for line in _git("status", "--porcelain", cwd=clone).splitlines()]
        if not changed:
            print("verify: case 1: every tracked file came out byte for byte")
            return 0
        return _explain(top, clone, changed)


def _explain(top: Path, clone: Path, changed: list[str]) -> int:
    moved = []
    for path in sorted((clone / "metrics").glob("*.json")):
        name = f"metrics/{path.name}"
        try:
            before = json.loads(_git("show", f"HEAD:{name}", cwd=clone))
        except subprocess.CalledProcessError:
            moved.append(f"{name}: is not committed")
            continue
        after = json.loads(path.read_text(encoding="utf-8"))
        tolerance = kl_tolerance(before, len(pd.read_csv(clone / "metrics" / path.stem / "members.csv")))
        difference = _difference(before["kl"], after["kl"])
        verdict = "within" if difference <= tolerance else "BEYOND"
        line = f"{name}: kl {before['kl']} committed, {after['kl']} here; {verdict} the tolerance of {tolerance:.4f} nat"
        print(f"verify: {line}")
        if difference > tolerance:
            moved.append(line)
    print(f"verify: {len(changed)} tracked files differ: {', '.join(changed)}")
    if moved:
        print("verify: case 3: FAILED: " + "; ".join(moved))
        return 1
    print("verify: case 2: the bits differ, as on another kind of processor or with another C compiler, and every kl agrees with the committed one")
    return 0


def kl_tolerance(headline: dict[str, float | None], members: int) -> float:
    """How far a ``kl`` may move: three standard errors of a difference of two means, or 0.001 nat for a reference."""
    spread = headline["kl_sd"]
    return 3 * math.sqrt(2) * spread / math.sqrt(members) if spread else REFERENCE_TOLERANCE


def _difference(before: float | None, after: float | None) -> float:
    if before is None or after is None:  # a model without a density
        return 0.0 if before is after else math.inf
    difference = abs(before - after)
    return math.inf if math.isnan(difference) else difference


def _git(*arguments: str, cwd: Path | None = None) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
