"""Does the committed pipeline give the committed numbers? ``make verify`` runs it in a clean clone and says what moved.

Case 1: every tracked file comes out byte for byte. That is what the machine kind where ``dvc.lock`` was made must give.
Case 2: another kind of processor, or another C compiler or none, rounds differently in the last bits and training amplifies that. Then
the ``kl`` of every model must agree with the committed one within 3 sqrt(2) kl_sd / sqrt(members), and a reference's within 0.001 nat.
Case 3, failure: a ``kl`` moved by more, or a file, or a row or a key of one, is missing or was not there before.
"""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image, ImageSequence

from flows.core.errors import UserError
from tools import command

REFERENCE_TOLERANCE = 0.001  # nat
BYTES_ALONE = "other bytes, but every number is the same"
ENDS = {
    1: "case 1: every tracked file came out byte for byte",
    2: "case 2: other bits, as of another processor or C compiler; every kl is within its tolerance",
    3: "case 3: FAILED: {}",
}
STALE = "case 2: dvc.lock is of other code or settings, so run `dvc repro` and commit; every kl is within its tolerance"


def main() -> int:
    top = Path(command.git("rev-parse", "--show-toplevel").strip())
    if not command.git("rev-list", "--all", "--max-count=1"):
        raise UserError("there is no commit yet, so there is nothing to verify")
    if command.git("status", "--porcelain").strip():
        print("verify: there are changes that are not committed; what is verified is the last commit", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        command.git("clone", "--quiet", str(top), str(clone))
        committed = contents(clone)
        run = subprocess.run([sys.executable, "-m", "tools.repro"], cwd=clone, env=command.environment(), check=False)
        if run.returncode:
            print("verify: FAILED: the pipeline does not run in a clean clone")
            return 1
        case, lines = explain(committed, contents(clone))
    print("\n".join(["", *lines]))
    return 1 if case == 3 else 0


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in command.listed(folder)}


# The comparison: bytes in, words out


@dataclass(frozen=True)
class Movement:
    """How one file differs. ``structure``: not by its numbers alone, which no other rounding can do. ``stale``: it was made by other code."""

    path: str
    what: str
    structure: bool = False
    stale: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def explain(committed: Mapping[str, bytes], here: Mapping[str, bytes]) -> tuple[int, list[str]]:
    """Which of the three cases it is, and the lines to say so: one a file that differs, one a model, and the case."""
    names = sorted(name for name in committed.keys() | here.keys() if committed.get(name) != here.get(name))
    moved = [movement(name, committed.get(name), here.get(name)) for name in names]
    if not moved:
        return 1, [f"verify: {ENDS[1]}"]
    checks = kl_checks(committed, here)
    failures = [f"kl of {name} is not within its tolerance" for name, _, good in checks if not good]
    failures += [str(each) for each in moved if each.structure]
    case = 3 if failures else 2
    end = STALE if case == 2 and any(each.stale for each in moved) else ENDS[case]
    more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    lines = [f"verify: {len(moved)} of {len(committed)} tracked files differ, committed -> here:", *(f"  {each}" for each in moved)]
    if checks:
        lines += ["verify: kl (nat) of every model and reference:", *(f"  {line}" for _, line, _ in checks)]
    return case, [*lines, f"verify: {end.format(''.join(failures[:1]) + more)}"]


def movement(path: str, before: bytes | None, after: bytes | None) -> Movement:
    """What moved in a file whose bytes differ. ``None``: there is no file."""
    if after is None:
        return Movement(path, "is missing here", structure=True)
    if before is None:
        return Movement(path, "is not committed", structure=True)
    try:
        if path.endswith("dvc.lock"):
            return _lock(path, yaml.safe_load(before), yaml.safe_load(after))
        if path.endswith(".json"):
            return _numbers(path, command.flat(json.loads(before)), command.flat(json.loads(after)))
        if path.endswith(".csv"):
            return _numbers(path, _cells(before), _cells(after))
        if path.endswith((".png", ".gif")):
            return Movement(path, _pixels(before, after))
    except Exception as error:  # each format has its own errors for a damaged file
        return Movement(path, f"can't be read ({' '.join(str(error).split())[:40]})", structure=True)
    return Movement(path, f"other bytes, {len(before)} -> {len(after)} of them")


def _numbers(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Movement:
    """The values of two tables by their names: how many moved, and which moved most of its own size."""
    gone, new = [name for name in before if name not in after], [name for name in after if name not in before]
    if gone or new:
        first = f"no {gone[0]} any more" if gone else f"{new[0]} is new"
        return Movement(path, f"{len(gone)} values are missing and {len(new)} new: {first}", structure=True)
    moved = {name: relative(before[name], after[name]) for name in before}
    moved = {name: size for name, size in moved.items() if size > 0}
    if not moved:
        return Movement(path, BYTES_ALONE)
    most = max(moved, key=lambda name: moved[name])
    return Movement(path, f"{len(moved)} of {len(before)} moved, most {most}: {_change(before[most], after[most])}")


def relative(before: Any, after: Any) -> float:
    """``|after - before| / max(|before|, |after|)``; 0 for equal values and infinite where one is no finite number."""
    if before == after or (_is_nan(before) and _is_nan(after)):
        return 0.0
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in (before, after)):
        return math.inf
    return abs(after - before) / max(abs(before), abs(after))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _change(before: Any, after: Any) -> str:
    text = f"{json.dumps(before)} -> {json.dumps(after)}"
    finite = math.isfinite(relative(before, after))
    return f"{text} ({100 * (after - before) / abs(before):+.3g}%)" if finite and before else text


def _cells(text: bytes) -> dict[str, Any]:
    """Every cell of a table by its row, named by the first column (a member, a draw, an epoch), and its column."""
    table = pd.read_csv(io.BytesIO(text))
    key, *columns = table.columns
    if table[key].duplicated().any():
        raise ValueError(f"a {key} is there twice")
    return {f"{key} {row[0]}, {column}": value for row in table.to_numpy(object).tolist() for column, value in zip(columns, row[1:], strict=True)}


def _pixels(before: bytes, after: bytes) -> str:
    frames, others = _frames(before), _frames(after)
    if len(frames) != len(others):
        return f"{len(frames)} frames -> {len(others)}"
    if frames[0].shape != others[0].shape:
        return "{1} x {0} pixels -> {3} x {2}".format(*frames[0].shape[:2], *others[0].shape[:2])
    differ = [(a != b).any(axis=2) for a, b in zip(frames, others, strict=True)]
    share = 100 * float(np.mean(differ))
    return f"{share:.2g}% of the pixels differ" if share else "other bytes, but every pixel is the same"


def _frames(content: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(content)) as image:
        return [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]


def _lock(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Movement:
    """How many entries of ``dvc.lock`` moved, and the one that all others follow from, as far as the lock can tell."""
    stages, others = before["stages"], after["stages"]
    odd = sorted(stages.keys() ^ others.keys())
    if odd:
        return Movement(path, f"stage {odd[0]} is {'missing here' if odd[0] in stages else 'not committed'}", structure=True)
    moved = [(stage, *entry) for stage in stages for entry in _entries(stages[stage], others[stage])]
    if not moved:
        return Movement(path, "other bytes, but every entry is the same")
    touched = {stage for stage, *_ in moved}
    made = {name for _, kind, name, *_ in moved if kind == "output"}
    follows = {stage for stage, kind, *_ in moved if kind != "output"}
    given = [each for each in moved if each[1] != "output" and each[2] not in made]  # code, settings: what no stage makes
    own = [each for each in moved if each[1] == "output" and each[0] not in follows]  # outputs of a stage whose inputs are the same
    stage, kind, name, old, new = (given or own or moved)[0]
    what = f"{len(moved)} moved in {len(touched)} of {len(stages)} stages, first {kind} {name} of {stage}: {old} -> {new}"
    return Movement(path, what, stale=bool(given))


def _entries(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """What moved in one stage: kind, name, old and new (of a hash, its first letters)."""
    for kind, key in (("input", "deps"), ("output", "outs")):
        old, new = ({entry["path"]: str(entry.get("md5"))[:7] for entry in stage.get(key, [])} for stage in (before, after))
        yield from ((kind, name, old.get(name, "none"), new.get(name, "none")) for name in {**old, **new} if old.get(name) != new.get(name))
    old, new = (command.flat(stage.get("params", {})) for stage in (before, after))
    yield from (("setting", name, str(old.get(name)), str(new.get(name))) for name in {**old, **new} if old.get(name) != new.get(name))
    if before.get("cmd") != after.get("cmd"):
        yield "command", "line", str(before.get("cmd")), str(after.get("cmd"))


# The criterion of case 2


def kl_checks(committed: Mapping[str, bytes], here: Mapping[str, bytes]) -> list[tuple[str, str, bool]]:
    """For every committed ``metrics/<name>.json``: the name, a line, and whether its ``kl`` is within the tolerance."""
    checks = []
    for path in sorted(committed):
        if Path(path).parent != Path("metrics") or not path.endswith(".json") or path not in here:
            continue  # a missing file is a failure of its own
        name = Path(path).stem
        try:
            before, after = json.loads(committed[path]), json.loads(here[path])
            tolerance = kl_tolerance(before, len(pd.read_csv(io.BytesIO(committed[f"metrics/{name}/members.csv"]))))
            kl = before["kl"], after["kl"]
        except (KeyError, TypeError, ValueError) as error:
            checks.append((name, f"{name}: can't be judged ({type(error).__name__}: {' '.join(str(error).split())[:60]})", False))
            continue
        if kl == (None, None):
            checks.append((name, f"{name}: none, as it has no density", True))
            continue
        difference = _difference(*kl)
        good = difference <= tolerance
        words = f"moved by {difference:.2g}, {'within' if good else 'BEYOND'} the tolerance of {tolerance:.2g}"
        checks.append((name, f"{name}: {json.dumps(kl[0])} -> {json.dumps(kl[1])}, {words}", good))
    return checks


def kl_tolerance(headline: Mapping[str, float | None], members: int) -> float:
    """How far a ``kl`` may move: three standard errors of a difference of two means, or 0.001 nat for a reference."""
    spread = headline["kl_sd"]
    return 3 * math.sqrt(2) * spread / math.sqrt(members) if spread else REFERENCE_TOLERANCE


def _difference(before: float | None, after: float | None) -> float:
    if before is None or after is None:  # a density on one side alone
        return math.inf
    difference = abs(before - after)
    return math.inf if math.isnan(difference) else difference


if __name__ == "__main__":
    command.run("verify", main)
