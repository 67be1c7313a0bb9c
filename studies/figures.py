"""The figures of reports: error bars, named lines, ticks, and the colours of models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from numpy.typing import ArrayLike

from common.labels import label_and_color
from studies.markdown import minus

GREY = "#999999"


def color_of(name: str, others: Mapping[str, str] | None = None) -> str:
    """Return the colour of a model in all figures; ``others`` has those of a study.

    An unknown model is grey.
    """
    try:
        return (others or {}).get(name) or label_and_color(name)[1]
    except LookupError:
        return GREY


def error_bars(
    axis: Axes, places: ArrayLike, values: ArrayLike, *, across: bool = False, **style: Any
) -> None:
    """Draw K means with their intervals ``(K, 3)`` at ``places`` ``(K,)``.

    The columns are the mean and the ends of the interval. The bars are vertical, or horizontal if
    ``across``.
    """
    mean, low, high = np.reshape(values, (-1, 3)).T
    sides = [mean - low, high - mean]
    if across:
        axis.errorbar(mean, places, xerr=sides, **style)
    else:
        axis.errorbar(places, mean, yerr=sides, **style)


def name_lines(axis: Axes, names: Iterable[str]) -> None:
    """Name the lines 0, 1, ... of a panel, with line 0 at the top."""
    lines = list(names)
    axis.set_yticks(range(len(lines)), lines)
    axis.set_ylim(len(lines) - 0.5, -0.5)


def set_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """Show only the ``ticks`` that are in view, in plain decimals."""
    low, high = axis.get_view_interval()
    shown = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(shown, [minus(f"{tick:,g}") for tick in shown])
    axis.set_ticks([], minor=True)
