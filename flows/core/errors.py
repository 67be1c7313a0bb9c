"""Errors that the user can put right: one line, and an exit status that is not 0."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something that the user can put right.

    Its message is one line that names the key or the file.
    """


@contextmanager
def errors_in_one_line(name: str, stopped: str = "stopped") -> Iterator[None]:
    """Inside, an error that the user can put right ends the program ``name``.

    It does so with one line and exit status 1.

    ``stopped`` is what to say after an interrupt from the keyboard, of exit status 130.
    """
    try:
        yield
    except UserError as error:
        sys.exit(f"{name}: {error}")
    except OSError as error:  # of a command that is not there, as of a file, the error has the name
        sys.exit(f"{name}: {reason(error)}")
    except KeyboardInterrupt:
        print(f"{name}: {stopped}", file=sys.stderr)
        sys.exit(130)


def reason(error: OSError) -> str:
    """One line of the file, where the error knows it, and of what is wrong."""
    text = error.strerror or one_line(error) or type(error).__name__
    return f"{error.filename}: {text}" if error.filename else text


def one_line(error: Exception) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split())
