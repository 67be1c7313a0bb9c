"""Run a stage from the command line, and print errors without a traceback."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from flows.core.errors import UserError, errors_in_one_line
from flows.core.plurals import counted, listed
from flows.tables.columns.notices import (
    CheckFit,
    DropColumn,
    DropIncompleteRows,
    Inspect,
    ReadAsMissing,
    Remedy,
    Replace,
    SetFormat,
    SetKind,
    TableError,
)
from stages.pipeline.files import PARAMS


def run(stage: Callable[..., None], words: Sequence[str] = sys.argv) -> None:
    """Run a stage with ``words``: its file, then its arguments.

    An error that the user can fix is printed without a traceback, and the exit status is 1.
    """
    name, arguments = Path(words[0]).stem, words[1:]
    keys = [f" <{key}>" for key in inspect.signature(stage).parameters]
    if len(arguments) != len(keys):
        usage = f"python -m stages.{name}{''.join(keys)}"
        sys.exit(f"{name}: got {counted(len(arguments), 'argument')}; usage: {usage}")
    with errors_in_one_line(name):
        try:
            stage(*arguments)
        except BaseException as error:  # also KeyboardInterrupt
            restore()
            if isinstance(error, TableError):
                raise UserError(error.text(pipeline_words)) from None
            raise


def pipeline_words(remedy: Remedy) -> str:
    """Tell a user of the pipeline how to apply a remedy."""
    match remedy:
        case SetKind(column, kind):
            return f"set data.columns.{column}: {kind} in {PARAMS}"
        case DropColumn(column):
            return f"remove the column {column} from the file"
        case DropIncompleteRows():
            return f"set data.missing: drop in {PARAMS}"
        case ReadAsMissing(mark):
            return f"leave the fields that hold {mark} empty"
        case SetFormat():
            return "save it as UTF-8 text with commas between fields and points before decimals"
        case Replace(_, old, new):
            return f"write {new!r} in place of {listed([*map(repr, old)])} in the file"
        case Inspect():
            return "run flows inspect"
        case CheckFit():
            return "run flows check"


def restore() -> None:
    """Restore the files of ``metrics`` and ``figures`` that DVC removed before the stage.

    Only missing files that Git tracks are restored; a file that exists is never changed. Without
    Git, and outside of a Git repository, nothing happens.
    """
    with suppress(FileNotFoundError):  # Git is not installed
        deleted = git("ls-files", "-z", "--deleted", "metrics", "figures")
        if deleted:
            git("checkout-index", "-z", "--stdin", given=deleted)  # no --force: overwrites nothing


def git(*arguments: str, given: bytes = b"") -> bytes:
    """Return the output of a Git command that reads ``given``; no output if it fails."""
    done = subprocess.run(
        ["git", *arguments],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return b"" if done.returncode else done.stdout
