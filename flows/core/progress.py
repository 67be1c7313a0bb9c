"""Progress of long work: a bar on a terminal and, off it, a line a minute at most."""

import io
import math
import sys
from typing import Any

from tqdm import tqdm


def progress(name: str | None, total: int | None, unit: str) -> tqdm:
    """Return a bar for ``total`` steps of work; ``None`` where their number is not known.

    It writes to standard error. Work that takes less than a minute leaves nothing in a log, and
    nothing is written where lines are kept for later, as a worker keeps them.
    """
    how: Any = {"unit_scale": True}
    if not sys.stderr.isatty():
        line = "{desc}: {n_fmt} of {total_fmt} {unit}s after {elapsed}{postfix}\n"
        how = {
            "delay": math.inf if isinstance(sys.stderr, io.StringIO) else 60,
            "mininterval": 60,
            "miniters": 1,  # otherwise tqdm watches over slow steps, and writes a second line
            "leave": False,
            "bar_format": line,
        }
    return tqdm(desc=name, total=total, unit=unit, **how)


def announce(bar: tqdm, line: str) -> None:
    """Print a line at once, above the bar."""
    if bar.delay:
        print(line, file=sys.stderr)
    else:
        bar.write(line, file=sys.stderr)


def show_state(bar: tqdm, text: str) -> None:
    """Show ``text`` beside the bar; off a terminal, in its next line."""
    bar.set_postfix_str(text, refresh=bar.delay == 0)


def peak_memory() -> float:
    """Return the most memory that this process has held, in GB; ``NaN`` on Windows."""
    if sys.platform == "win32":
        return math.nan
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
