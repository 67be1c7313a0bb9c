"""What the commands in here share.

The environment of what they start, Git, dotted names, and errors of one line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flows.core.errors import UserError, errors_in_one_line


def run(name: str, main: Callable[[], int | None], stopped: str = "stopped") -> None:
    """Run a command and exit with its status.

    An error that the user can put right is one line and exit status 1. ``stopped`` is what to say
    after an interrupt from the keyboard.
    """
    with errors_in_one_line(name, stopped):
        try:
            status = main()
            sys.stdout.flush()  # here, where a full disk or a closed pipe can still be told
        except OSError as error:
            try:
                sys.stdout.flush()
            except OSError:  # it would fail again at the exit of Python, with a traceback
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):  # the reader had enough, as with `| head`
                sys.exit(1)
            raise
    sys.exit(status)


def environment() -> dict[str, str]:
    """With the folder of this Python first on the PATH.

    `dvc` and the `python` of the stages are there.
    """
    return {
        **os.environ,
        "PATH": os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        ),
    }


def git(*words: str, cwd: Path | None = None) -> str:
    """What a Git command says. Raises ``UserError`` with its last line where it fails."""
    # To look is to write nothing: a lock that a full disk leaves behind stops every later command.
    alone = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(
        ["git", *words], cwd=cwd, env=alone, capture_output=True, text=True, check=False
    )
    if done.returncode:
        ended = (
            signal.strsignal(-done.returncode)
            if done.returncode < 0
            else f"exit status {done.returncode}"
        )
        said = done.stderr.strip().splitlines() or [str(ended)]
        raise UserError(f"git {words[0]}: {said[-1].removeprefix('fatal: ')}")
    return done.stdout


def flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """``{"a.b": 1, "a.c.0": 2}`` of ``{"a": {"b": 1, "c": [2]}}``."""
    if not isinstance(content, dict | list):
        return {prefix: content}
    pairs: Iterable[tuple[Any, Any]] = (
        content.items() if isinstance(content, dict) else enumerate(content)
    )
    return {
        name: value
        for key, part in pairs
        for name, value in flat(part, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def listed(folder: Path | None = None) -> list[str]:
    """The files that are tracked or could be, those that are ignored left out."""
    names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=folder).split(
        "\0"
    )
    return [name for name in dict.fromkeys(names) if name and ((folder or Path()) / name).is_file()]
