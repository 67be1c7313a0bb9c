"""The style of all figures.

They are at most 9.2 inches wide, with letters of at least 9 points: legible at the width of a
README, some 800 pixels.
"""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from flows.core import atomic

DATA_COLOR = "#666666"
TRUTH_COLOR = "#000000"
WIDTH = 9.2  # inches
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "legend.edgecolor": "none",
    "legend.fontsize": 9,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,  # inches: titles must not touch the edge
    "savefig.dpi": 120,
}
Picture = Figure | list[Image]  # a film is a list


def panels(count: int, columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a grid of ``count`` panels, each ``height`` inches high, and its axes line by line.

    The lowest panel of each column has tick labels.
    """
    columns = min(columns, count)
    lines = -(-count // columns)
    size = (WIDTH, height * lines + 0.6)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, **options)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    for axis in axes.flat[count - columns : count]:
        axis.xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes.flat[:count])


def explain(figure: Figure, text: str, across: str = "", up: str = "") -> None:
    """Write a line or two above the panels that explain the marks, and the names of the axes."""
    figure.suptitle(text, fontsize=9, color="#444444")
    figure.supxlabel(across, fontsize=10)
    figure.supylabel(up, fontsize=10)


def add_legend(figure: Figure, axis: Axes, columns: int) -> None:
    """Write the legend of one panel, which is that of all, below the panels."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def shade(axis: Axes, x: Any, middle: Any, reach: Any, **style: Any) -> None:
    """Shade what is at most ``reach`` above or below ``middle``, over ``x``."""
    axis.fill_between(x, middle - reach, middle + reach, linewidth=0, **style)


def save(picture: Picture, path: Path) -> None:
    """Write a figure as PNG, a film as GIF that rests at its end; whole or not at all."""
    with atomic.replacing(path) as unfinished:
        if isinstance(picture, Figure):
            picture.savefig(unfinished, format="png")
        else:
            times = [70] * (len(picture) - 1) + [900]  # milliseconds
            options = {"append_images": picture[1:], "duration": times, "loop": 0}
            picture[0].save(unfinished, "GIF", save_all=True, **options)
    plt.close("all")
