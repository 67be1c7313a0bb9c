"""Functions for the commands of this folder: errors without traceback, locks, and subprocesses."""

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

    An error that the user can fix is printed without a traceback, and the exit status is 1.
    ``stopped`` is printed after an interrupt from the keyboard.
    """
    with errors_in_one_line(name, stopped):
        status = main()
    sys.exit(status)


@contextmanager
def alone(lock: Path, busy: str, *, sign: bool = False) -> Iterator[None]:
    """Hold a lock on a file. The operating system releases the lock when the process ends.

    Args:
        lock: the file, which is created if it is missing.
        busy: the text of the error if another process holds the lock.
        sign: whether to write the id of this process into the file. ``{process}`` in ``busy`` then
            stands for the id of the process that holds the lock.

    Raises ``UserError`` with the text ``busy`` if another process holds the lock.
    """
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(busy.format(process=file.read()) if sign else busy) from None
        if sign:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield


def environment() -> dict[str, str]:
    """Return the environment with the folder of this Python and of `dvc` first on the PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return {**os.environ, "PATH": os.pathsep.join(folders)}


def output(*arguments: str, cwd: Path | None = None, **variables: str) -> str:
    """Return the output of a command that runs with these environment ``variables``.

    Raises ``UserError`` with the last line of its errors if it fails.
    """
    # Without optional locks of Git, because a lock file left by a full disk blocks later commands
    own = {**environment(), "GIT_OPTIONAL_LOCKS": "0", **variables}
    done = subprocess.run(
        arguments, cwd=cwd, env=own, capture_output=True, check=False, text=True, errors="replace"
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        last = lines[-1].removeprefix("fatal: ") if lines else f"exit status {done.returncode}"
        raise UserError(f"{arguments[0]} {arguments[1]}: {last}")
    return done.stdout


def git(*arguments: str, cwd: Path | None = None) -> str:
    return output("git", *arguments, cwd=cwd)
