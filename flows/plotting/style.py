"""How all figures look.

At most 9.2 inches wide and letters of at least 9 points: legible at the width of a README, some 800
pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from flows.core import atomic

# For a model that nobody knows any more: of Tol's muted palette, and no other model's
SPARE_COLOR = "#332288"
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


def panels(
    count: int, columns: int, height: float, hidden: tuple[int, ...] = (), **options: Any
) -> tuple[Figure, list[Axes]]:
    """A grid of ``count`` panels, each ``height`` inches high, and its axes line by line.

    The lowest one in a column has its ticks' labels.
    """
    columns = min(columns, count)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(WIDTH, height * lines + 0.6), squeeze=False, **options
    )
    for place in (*hidden, *range(count, lines * columns)):
        axes.flat[place].set_visible(False)
    for column in axes.T:
        [axis for axis in column if axis.get_visible()][-1].xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes.flat[:count])


def explain(figure: Figure, text: str, across: str = "", up: str = "") -> None:
    """One or two lines above the panels that say what the marks mean.

    And common names of the axes.
    """
    figure.suptitle(text, fontsize=9, color="#444444")
    figure.supxlabel(across, fontsize=10)
    figure.supylabel(up, fontsize=10)


def save(picture: Picture, path: Path) -> None:
    """A figure as PNG, a film as GIF that rests at its end; written whole or not at all."""
    with atomic.replacing(path) as unfinished:
        if isinstance(picture, Figure):
            picture.savefig(unfinished, format="png")
        else:
            milliseconds = [70] * (len(picture) - 1) + [900]
            picture[0].save(
                unfinished,
                format="GIF",
                save_all=True,
                append_images=picture[1:],
                duration=milliseconds,
                loop=0,
            )
    plt.close("all")
