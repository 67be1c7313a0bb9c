"""Errors that the user can fix, reported in one line with a non-zero exit status."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # the exit status of a shell after an interrupt


class UserError(ValueError):
    """An error that the user can fix: a ``ValueError``, as scikit-learn and notebooks expect.

    Its message has one line per fault. A line names the key, or the file, the column and the row.
    """


@contextmanager
def errors_in_one_line(name: str, stopped: str = "stopped") -> Iterator[None]:
    """End the program ``name`` with exit status 1 on an error that the user can fix.

    Print the message, with one line per fault.

    An interrupt from the keyboard prints ``stopped`` and has exit status 130.
    """
    try:
        yield
        sys.stdout.flush()  # here a full disk or a closed pipe can still be reported
    except UserError as error:
        sys.exit(f"{name}: {error}")
    except OSError as error:  # names the missing file, or the missing command
        try:
            sys.stdout.flush()
        except OSError:  # Python would flush again at its exit, and print a traceback
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader closed the pipe, as `| head` does
            sys.exit(1)
        sys.exit(f"{name}: {reason(error)}")
    except MemoryError as error:
        sys.exit(f"{name}: {one_line(error) or 'out of memory'}")
    except KeyboardInterrupt:
        print(f"{name}: {stopped}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def reason(error: OSError) -> str:
    """Return one line with the cause of ``error`` and, if the error names it, the file."""
    text = error.strerror or one_line(error) or type(error).__name__
    return f"{error.filename}: {text}" if error.filename else text


def one_line(error: Exception) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(error).split())
