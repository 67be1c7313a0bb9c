"""A study scores cells once, stores their rows in one file, and reports on them.

A study is a folder of ``studies/``:

- ``params.yaml``, the settings;
- ``cells.py``: ``FAMILIES``, the kinds of cells by name; ``cells(params)``, all cells;
  ``PACKAGES``, the packages whose versions affect the scores;
- ``report.py``: ``report(study)``, which writes figures, and tables into ``template.md``;
- ``results.csv``, the rows of all cells, and ``artefacts/``, the arrays of cells that have some;
- ``runs.csv``, the seconds of each cell, the commit that ran it and the version of its family then:
  no lock records this file.

A row is keyed by the cell, a digest, and the replicate. The digest covers the cell's settings and
the version of its family. A cell is scored again if one of them changes, but not if only the code
changes. If the definition of single columns changes (``Family.changed``), the rows of earlier
versions are outdated: reports show them, and a run scores their cells again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from common import storage
from common.settings import read_yaml
from flows import workers
from flows.core.errors import UserError, one_line
from tools import command

HERE = Path(__file__).parent
NAMES = ("claims", "tables", "target", "digits", "alarms", "few_rows")
SMALL = "small"  # in the name of a cell that is quick to run again and in no table
KEYS = ["cell", "digest", "replicate"]
ARTEFACTS = "artefacts"
Scores = Mapping[str, Any]  # columns by name: a number per replicate, or one for all
Rows = list[dict[str, str]]  # as in results.csv
# A unit of scoring: its name, "family/part/...", and all settings of its rows, as JSON values
Cell = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Family:
    """Cells that one function scores.

    Args:
        score: takes a cell's settings as keywords; returns ``Scores``, or ``Scores`` and arrays by
            name.
        version: to be raised when the definition of the scores changes. All rows become invalid.
        changed: ``{column: version}``. If the definition of a column changes, set its version to
            ``newest + 1``. Rows stay valid, and become outdated.
        tolerance: for comparing a second run, by column (``"*"``: all others): a number may differ
            by ``tolerance max(1, |number|)``. Without a tolerance, all digits must agree.
    """

    score: Callable[..., Scores | tuple[Scores, Mapping[str, Any]]]
    version: int = 1
    changed: Mapping[str, int] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        """The version of rows that are scored now."""
        return max([self.version, *self.changed.values()])


class Study:
    """The study ``name``; its files are in ``folder``. Raises ``UserError`` for wrong settings."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        if name not in NAMES:
            raise UserError(f"there is no study {name!r}; the studies are: {', '.join(NAMES)}")
        self.name, self.folder = name, folder or HERE / name
        self.code = import_module(f"studies.{name}.cells")
        path = self.folder / "params.yaml"
        self.params = read_yaml(path)
        self.cells: dict[str, Mapping[str, Any]] = {}  # settings by name
        files: dict[str, str] = {}  # names by the file of their arrays
        try:
            for cell, settings in self.code.cells(self.params):
                if cell in self.cells:
                    raise ValueError(f"two cells are called {cell}")
                if (other := files.setdefault(_file(cell), cell)) != cell:
                    raise ValueError(f"{other} and {cell} would have the same {_file(cell)}")
                if (family := _family(cell)) not in self.code.FAMILIES:
                    raise ValueError(f"cells.py has {cell}, and no family {family} in FAMILIES")
                signature(self.family(cell).score).bind(**settings)
                self.cells[cell] = settings
        except UserError:  # it names its own file, such as the pipeline's settings
            raise
        except KeyError as error:
            reader = "cells.py reads this key from the file or from one of its sections"
            raise UserError(f"{path}: {error.args[0]} is missing; {reader}") from None
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise UserError(f"{path}: {one_line(error)}") from None
        self.stored = Stored(self.folder)

    def family(self, cell: str) -> Family:
        return self.code.FAMILIES[_family(cell)]

    def key(self, name: str) -> tuple[str, str]:
        """Return the name of a cell and the digest of its settings and version."""
        whole = json.dumps([self.cells[name], self.family(name).version], sort_keys=True)
        return name, hashlib.sha256(whole.encode()).hexdigest()[:12]

    def missing(self) -> list[str]:
        return [name for name in self.cells if self.key(name) not in self.stored.rows]

    def outdated(self) -> dict[str, list[str]]:
        """Return the cells with columns of an earlier definition, and these columns."""
        found = {}
        for name in self.cells:
            family, key = self.family(name), self.key(name)
            version = int(self.stored.runs.get(key, {}).get("version") or family.version)
            changed = [column for column, since in family.changed.items() if since > version]
            rows = self.stored.rows.get(key, [])
            if columns := [column for column in changed if any(column in row for row in rows)]:
                found[name] = columns
        return found

    def table(self, *parts: object) -> pd.DataFrame:
        """Return the scores of a cell, one row per replicate and one column per score.

        Raises ``UserError`` if the cell is missing.
        """
        name = "/".join(map(str, parts))
        if name not in self.cells or self.key(name) not in self.stored.rows:
            raise UserError(f"{name} was not run: python -m studies run {self.name}")
        return pd.DataFrame(self.stored.rows[self.key(name)]).drop(columns=KEYS).astype(float)

    def arrays(self, name: str) -> dict[str, Any]:
        """Return the arrays of a cell by name; empty if it has no file."""
        path = self.folder / ARTEFACTS / _file(name)
        return storage.read_npz(path) if path.exists() else {}

    def report(self) -> None:
        """Write the tables and figures, and print the number of outdated cells.

        Raises ``UserError`` if a cell is missing.
        """
        if missing := self.missing():
            summary = f"{missing[0]} and {len(missing) - 1} more" if missing[1:] else missing[0]
            raise UserError(f"not run yet: {summary} (python -m studies run {self.name})")
        if outdated := self.outdated():
            columns = ", ".join(dict.fromkeys(chain.from_iterable(outdated.values())))
            summary = f"{len(outdated)} of {len(self.cells)} cells are outdated in {columns}"
            print(f"{self.name}: {summary} (python -m studies run {self.name})", file=sys.stderr)
        import_module(f"studies.{self.name}.report").report(self)

    def seconds(self, name: str) -> float:
        """Return the seconds that the cell took; ``NaN`` if unknown."""
        return float(self.stored.runs.get(self.key(name), {}).get("seconds") or "nan")

    def template(self, name: str = "template.md") -> str:
        """Return a text with placeholders that a report fills in."""
        return (HERE / self.name / name).read_text(encoding="utf-8")

    def write(self, name: str, content: str) -> None:
        storage.write_bytes(self.folder / name, content.encode())


class Stored:
    """The rows of ``results.csv`` and the lines of ``runs.csv``, by cell and digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[tuple[str, str], Rows] = {}
        for row in _read(folder / "results.csv"):
            scores = {name: value for name, value in row.items() if value}
            self.rows.setdefault((row["cell"], row["digest"]), []).append(scores)
        self.runs = {(run["cell"], run["digest"]): run for run in _read(folder / "runs.csv")}

    def add(
        self, key: tuple[str, str], rows: Rows, arrays: Mapping[str, Any], run: dict[str, str]
    ) -> None:
        """Store a cell in place of its rows with other settings.

        The rows are written last: if a write fails, the cell counts as missing.
        """
        path = self.folder / ARTEFACTS / _file(key[0])
        path.unlink(missing_ok=True)  # it has the arrays of other settings
        if arrays and SMALL not in key[0].split("/"):
            np.savez_compressed(buffer := io.BytesIO(), **arrays)
            storage.write_bytes(path, buffer.getvalue())
        self.drop(lambda other: other[0] == key[0])
        head = dict(zip(KEYS, key, strict=False))
        self.runs[key] = {**head, **run}
        self.rows[key] = [{**head, **row} for row in rows]
        self.save()

    def drop(self, which: Callable[[tuple[str, str]], bool]) -> None:
        self.rows = {key: rows for key, rows in self.rows.items() if not which(key)}
        self.runs = {key: run for key, run in self.runs.items() if not which(key)}

    def save(self) -> None:
        """Write both files, and remove the arrays of cells that no longer exist."""
        runs = [run for _, run in sorted(self.runs.items())]
        _write(self.folder / "runs.csv", ["cell", "digest", "seconds", "commit", "version"], runs)
        rows = [row for _, rows in sorted(self.rows.items()) for row in rows]
        columns = sorted({name for row in rows for name in row} - set(KEYS))
        _write(self.folder / "results.csv", [*KEYS, *columns], rows)
        names = {_file(name) for name, _ in self.rows}
        for path in (self.folder / ARTEFACTS).glob("*.npz"):
            if path.name not in names:
                path.unlink()


def run(study: Study, names: Sequence[str] | None = None, *, fresh: bool = False) -> bool:
    """Score missing and outdated cells.

    Each cell is stored as soon as it is scored. A cell that fails is named on standard error, and
    the others continue. A successful run of all cells drops the rows of cells that no longer exist.

    Args:
        study: the study.
        names: the cells to consider; without them, all.
        fresh: also score cells that are neither missing nor outdated.

    Returns whether all cells succeeded.
    """
    chosen, commit, failed = list(study.cells) if names is None else list(names), _commit(), []
    to_drop = fresh
    busy = f"another run of {study.name} is in progress; wait for it to end"
    with command.alone(study.folder / "params.yaml", busy):
        study.stored = Stored(study.folder)  # read again: another run may have added rows
        due = {*study.missing(), *study.outdated()}
        for name, outcome in scored(study, [name for name in chosen if fresh or name in due]):
            if to_drop:  # after the first result: if no worker answers, nothing is lost
                study.stored.drop(lambda key: key[0] in chosen)
                to_drop = False
            if isinstance(outcome, str):
                failed.append(name)
                tqdm.write(f"{name}: {outcome}", file=sys.stderr)
                continue
            rows, arrays, seconds = outcome
            version = str(study.family(name).newest)
            about = {"seconds": f"{seconds:.4g}", "commit": commit, "version": version}
            study.stored.add(study.key(name), rows, arrays, about)
        if names is None and not failed:
            current = set(map(study.key, study.cells))
            study.stored.drop(lambda key: key not in current)
            study.stored.save()
    return not failed


def check(study: Study, names: Sequence[str]) -> list[str]:
    """Score these cells again; return their differences from the committed rows.

    There is one line per number. Outdated columns are not compared. Raises ``UserError`` if a cell
    is missing.
    """
    for name in names:
        study.table(name)  # raises an error if the cell is missing
    lines, outdated = [], study.outdated()
    for name, outcome in scored(study, names):
        tolerance, but_for = study.family(name).tolerance, outdated.get(name, [])
        if isinstance(outcome, str):
            found, how = [f"{name}: {outcome}"], ""
        else:
            committed, new = study.stored.rows[study.key(name)], outcome[0]
            found = [f"{name}{each}" for each in differences(committed, new, tolerance, but_for)]
            exact = not any(differences(committed, new, {}, but_for))
            how = "to the last digit" if exact else "within its tolerance"
            if but_for:
                how += f", except in columns with a new definition: {', '.join(but_for)}"
        tqdm.write("\n".join(found) or f"{name}: agrees {how}")  # above the bar
        sys.stdout.flush()
        lines += found
    return lines


def differences(
    committed: Rows, new: Rows, tolerance: Mapping[str, float], but_for: Iterable[str]
) -> Iterator[str]:
    """Yield the differences between the rows of a cell that exceed the tolerance.

    The columns ``but_for`` are not compared.
    """
    if len(committed) != len(new):
        yield f": {len(committed)} replicates in results.csv, {len(new)} now"
        return
    for old, now in zip(committed, new, strict=True):
        for column in sorted({*old, *now} - {"cell", "digest", *but_for}):
            a, b = old.get(column, ""), now.get(column, "")
            limit = tolerance.get(column, tolerance.get("*", 0.0))
            near = a and b and math.isclose(float(a), float(b), rel_tol=limit, abs_tol=limit)
            if a != b and not near:
                where = f", replicate {old['replicate']}, {column}"
                yield f"{where}: {a or 'none'} in results.csv, {b or 'none'} now"


def small(study: Study) -> list[str]:
    """Return the cells that are quick to run again."""
    return [name for name in study.cells if SMALL in name.split("/")]


def draw_cells(study: Study, count: int, seed: int) -> list[str]:
    """Return the names of ``count`` random cells, drawn with ``seed``."""
    return np.random.default_rng(seed).permutation(sorted(study.cells))[:count].tolist()


def select(study: Study, patterns: Iterable[str]) -> list[str]:
    """Return the cells that match a pattern: the name of a cell, or its first parts.

    Raises ``UserError`` if a pattern matches no cell.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        own = [name for name in study.cells if name == pattern or name.startswith(f"{pattern}/")]
        if not own:
            raise UserError(
                f"{study.name} has no cell {pattern!r}; the families are: "
                f"{', '.join(study.code.FAMILIES)}; cells are named like {next(iter(study.cells))}"
            )
        found.update(dict.fromkeys(own))
    return list(found)


def scores_of(study: Study, patterns: Iterable[str], parts: Sequence[str]) -> pd.DataFrame:
    """Return the first row of each cell that matches a pattern, with the seconds of the cell.

    Cells named small are left out. ``parts`` are the columns for the parts of a cell's name after
    the family; a part that is a number is an ``int``.
    """
    lines = []
    for name in select(study, patterns):
        own = [int(part) if part.isdigit() else part for part in name.split("/")[1:]]
        if SMALL not in own:
            row = {**study.table(name).iloc[0], "seconds": study.seconds(name)}
            lines.append({**dict(zip(parts, own, strict=True)), **row})
    return pd.DataFrame(lines)


def scored(study: Study, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Score cells on the workers of ``FLOWS_WORKERS``, the longest first.

    Yield the name of each cell, and its rows, arrays and seconds, or one line if it failed.
    """
    known = {name: study.seconds(name) for name in names}
    order = sorted(names, key=lambda name: -np.nan_to_num(known[name], nan=np.inf))
    tasks = [(study.name, name, study.cells[name]) for name in order]
    places = {"code": ("common", "flows", "studies"), "packages": study.code.PACKAGES}
    reported = time.monotonic()
    with tqdm(total=len(tasks), desc=study.name, unit="cell", disable=None) as bar:
        results = workers.completed(score, tasks, **places)
        for done, (i, outcome, notes) in enumerate(results, 1):
            for line in notes.splitlines():
                tqdm.write(f"{order[i]}: {line}", file=sys.stderr)
            yield order[i], outcome
            bar.update()
            if bar.disable and time.monotonic() - reported > 60:  # not on a terminal
                reported = time.monotonic()
                print(f"{study.name}: {done} of {len(tasks)} cells", file=sys.stderr)


def score(
    study: str, cell: str, settings: Mapping[str, Any]
) -> tuple[Rows, Mapping[str, Any], float] | str:
    """Return the rows, the arrays and the seconds of a cell, or one line if it fails.

    This runs on a worker.
    """
    family = import_module(f"studies.{study}.cells").FAMILIES[_family(cell)]
    begin = time.perf_counter()
    try:
        scores = family.score(**settings)
        scores, arrays = scores if isinstance(scores, tuple) else (scores, {})
        return as_rows(scores), arrays, time.perf_counter() - begin
    except Exception as error:
        return f"{type(error).__name__}: {one_line(error)}"


def as_rows(scores: Scores) -> Rows:
    """Return columns of numbers as rows of ``results.csv``, with six digits."""
    count = max(np.size(values) for values in scores.values())
    columns = {name: np.broadcast_to(values, count) for name, values in scores.items()}
    return [
        {"replicate": str(r), **{name: f"{values[r]:.6g}" for name, values in columns.items()}}
        for r in range(count)
    ]


def check_names(names: Iterable[str], known: Collection[str], key: str) -> None:
    """Raise ``ValueError`` for an unknown name; ``key`` is the place of the names in the file."""
    if wrong := [name for name in names if name not in known]:
        raise ValueError(f"{key}: {wrong[0]!r} is not known; known are: {', '.join(known)}")


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the notices of the library on a table."""
    with redirect_stderr(io.StringIO()):
        yield


def _family(cell: str) -> str:
    return cell.partition("/")[0]


def _file(name: str) -> str:
    return f"{name.replace('/', '_')}.npz"


def _read(path: Path) -> Rows:
    if not path.exists():
        return []
    with storage.reading(path), path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for line, row in enumerate(rows, 2):
        if not (row.get("cell") and row.get("digest")) or None in row or None in row.values():
            wrong = "it has no cell, no digest, or not one value per column"
            raise UserError(f"{path}: line {line}: {wrong}")
    return rows


def _write(path: Path, columns: Sequence[str], rows: Rows) -> None:
    text = pd.DataFrame(rows, columns=[*columns]).to_csv(index=False, lineterminator="\n")
    storage.write_bytes(path, text.encode())


def _commit() -> str:
    """Return the commit of the running code, with a + if the code has uncommitted changes.

    Without a commit, the text is empty.
    """
    code = (":/*.py", ":/*.[ch]", ":/*.yaml")
    try:
        commit = command.git("rev-parse", "--short", "HEAD", cwd=HERE).strip()
        changed = command.git("diff", "--name-only", "HEAD", "--", *code, cwd=HERE)
    except UserError:
        return ""
    return commit + "+" * bool(changed)
