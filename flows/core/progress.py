"""Progress of long work: a bar on a terminal or in a notebook, otherwise a line per minute."""

import io
import math
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm

SHORT = 10  # seconds of work that is silent, if there is no bar


def progress(name: str | None, total: int | None, unit: str) -> tqdm:
    """Return a progress bar that writes to standard error.

    In a notebook, the bar is a widget if ``ipywidgets`` is installed, or else a line of text that
    is updated in place. In a log file, a line appears after ten seconds, and then at most one line
    appears per minute. In a buffer in memory, which a worker has, no line appears.

    Args:
        name: the text before the bar, or ``None``.
        total: the number of steps; ``None`` if unknown.
        unit: the name of a step.
    """
    how: Any = {"unit_scale": True}
    is_buffer = isinstance(sys.stderr, io.StringIO)
    if _is_notebook() and not is_buffer:
        if find_spec("ipywidgets"):
            from tqdm.notebook import tqdm as widget

            return widget(desc=name, total=total, unit=unit, **how)
    elif not sys.stderr.isatty():
        count = "{n_fmt}" if total is None else "{n_fmt} of {total_fmt}"
        line = f"{{desc}}: {count} {{unit}}s after {{elapsed}}{{postfix}}\n"
        how = {
            "delay": math.inf if is_buffer else SHORT,
            "mininterval": 60,
            "miniters": 1,  # otherwise tqdm's monitor of slow steps writes a second line
            "leave": False,
            "bar_format": line,
        }
    bar = tqdm(desc=name, total=total, unit=unit, **how)
    if math.isfinite(how.get("delay", math.inf)):
        # Otherwise tqdm would write the first line after ``mininterval``
        bar.last_print_t += how["delay"] - how["mininterval"]
    return bar


def _is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, of Jupyter or based on it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return any(each.__name__ == "ZMQInteractiveShell" for each in type(shell).__mro__)


def announce(bar: tqdm, line: str) -> None:
    """Print ``line`` immediately, above the bar."""
    if bar.delay:
        print(line, file=sys.stderr)
    else:
        bar.write(line, file=sys.stderr)


def timed(bar: tqdm) -> Callable[[int], None]:
    """Return a function that moves the bar by a number of steps and announces the expected time.

    The time is announced once, after the second call and if it is above ``SHORT``. The steps of the
    second call are timed, because the first ones may include preparations.
    """
    times = [time.monotonic()]

    def update(count: int) -> None:
        bar.update(count)
        times.append(time.monotonic())
        if len(times) == 3 and bar.total is not None:
            left = (bar.total - bar.n) * (times[2] - times[1]) / max(count, 1)
            if (expected := times[2] - times[0] + left) > SHORT:
                line = f"{bar.desc}: {bar.total:,} {bar.unit}s will take about {expected:.0f} s"
                announce(bar, line)

    return update


def show_state(bar: tqdm, text: str) -> None:
    """Show ``text`` after the bar; if there is no terminal, in the next line."""
    bar.set_postfix_str(text, refresh=bar.delay == 0)


def peak_memory() -> float:
    """Return the peak memory of this process in GB; ``NaN`` on Windows."""
    if sys.platform == "win32":
        return math.nan
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
