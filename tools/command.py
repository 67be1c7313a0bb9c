"""What the commands of this folder share: errors of one line, and running other commands."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.core.errors import UserError, errors_in_one_line


def run(name: str, main: Callable[[], int | None], stopped: str = "stopped") -> None:
    """Run a command and exit with its status.

    An error that the user can fix is one line and exit status 1. ``stopped`` is printed after an
    interrupt from the keyboard.
    """
    with errors_in_one_line(name, stopped):
        status = main()
    sys.exit(status)


@contextmanager
def alone(lock: Path, busy: str) -> Iterator[None]:
    """Hold a file's lock, which the system releases however the process ends.

    Raises ``UserError`` with the text ``busy`` where another process holds it.
    """
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(busy) from None
        yield


def environment() -> dict[str, str]:
    """Return the environment with this Python's folder, where `dvc` is, first on the PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return {**os.environ, "PATH": os.pathsep.join(folders)}


def output(*arguments: str, cwd: Path | None = None) -> str:
    """Return the output of a command. Raises ``UserError`` with its last line where it fails."""
    # Git must take no lock here: one that a full disk leaves behind stops every later command.
    looking = {**environment(), "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(
        arguments, cwd=cwd, env=looking, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(f"{arguments[0]} {arguments[1]}: {lines[-1].removeprefix('fatal: ')}")
    return done.stdout


def git(*arguments: str, cwd: Path | None = None) -> str:
    return output("git", *arguments, cwd=cwd)
