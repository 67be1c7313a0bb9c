"""Where finished trials are kept, so that a search that was stopped goes on, and several processes or machines share one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.exceptions import OptunaError
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

import flows
from stages import settings
from stages.settings import UserError
from studies.tuning import score

# What a score depends on: these, and all of flows but the drawing.
CODE = [Path(settings.__file__), Path(score.__file__), Path(flows.__file__).parent]

JOURNAL = b'{"op_code":'  # what Optuna's files begin with


def fingerprint(content: Any) -> str:
    """Ten hexadecimal digits that change with ``content`` (what JSON can hold), with the code that scores, and with torch."""
    digest = hashlib.sha256(json.dumps([content, torch.__version__], sort_keys=True).encode())
    for place in CODE:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in (".py", ".c") and path.name != "plotting.py":
                digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


@contextmanager
def studies(storage: str, names: Sequence[str]) -> Iterator[tuple[list[optuna.Study], bool]]:
    """The studies ``names`` in ``storage``, a file or the URL of a database, made if not there; and whether this process came first.

    Everybody at work on a file holds a shared lock on it, which the system takes back from a process that is gone. Who finds nobody
    there puts right what was left behind: a line that was cut off, Optuna's own lock, and trials that nobody runs any more. Of a
    database nobody knows.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if "://" in storage:
        try:
            opened = [optuna.create_study(storage=storage, study_name=name, load_if_exists=True) for name in names]
        except (ImportError, ValueError, OptunaError, SQLAlchemyError) as error:  # no driver, no such address, no answer
            raise UserError(f"--storage {storage}: {' '.join(str(error).split())}") from None
        yield opened, not any(study.get_trials(deepcopy=False) for study in opened)
        return
    path = Path(storage).resolve()  # Optuna's lock is a link to it, which must lead there from where it lies
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not (path.read_bytes() or JOURNAL).startswith(JOURNAL):
        raise UserError(f"--storage {storage}: holds something else, not the trials of a search")
    with path.open("ab") as held:
        first = _lock(held.fileno())
        if first:
            _cut_unfinished_line(path)
            path.with_name(path.name + ".lock").unlink(missing_ok=True)
        try:
            kept = JournalStorage(JournalFileBackend(str(path)))
            opened = [optuna.create_study(storage=kept, study_name=name, load_if_exists=True) for name in names]
        except ValueError as error:
            raise UserError(f"--storage {storage}: is damaged ({' '.join(str(error).split())}); move it away to begin anew") from None
        if first:
            for study in opened:
                for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                    study.tell(trial.number, state=TrialState.FAIL)
            fcntl.flock(held.fileno(), fcntl.LOCK_SH)  # others may begin
        yield opened, first


def _lock(file: int) -> bool:
    """Lock ``file`` until it is closed, against all others if there are none; whether there were none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(file, fcntl.LOCK_SH)
        return False
    return True


def _cut_unfinished_line(path: Path) -> None:
    """What a process was writing when it was killed."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
