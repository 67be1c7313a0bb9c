"""The style of all figures.

Figures are at most 9.2 inches wide, and most letters have at least 9 points. So they are legible
at the width of a README, about 800 pixels. They are made without pyplot, so they need no backend,
do not change the user's backend, and need not be closed.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL.Image import Image

from flows.core import atomic

DATA_COLOR = "#666666"
TRUTH_COLOR = "#000000"
DENSITY_COLOR = "#0072B2"  # of the density of a table
WIDTH = 9.2  # inches
NARROW, SMALL = 4.6, 2.6  # inches: of a picture for telephones, and of one of several columns
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


class Sheet(Figure):
    """A figure that a notebook displays, even if the notebook does not import pyplot."""

    def _repr_png_(self) -> bytes:
        png = BytesIO()
        with rc_context(STYLE):
            self.savefig(png, format="png")
        return png.getvalue()


def panels(
    count: int, columns: int, height: float, *, width: float = WIDTH, **options: Any
) -> tuple[Sheet, list[Axes]]:
    """Return a grid of ``count`` panels, each ``height`` inches high, and its axes line by line.

    The lowest panel of each column has tick labels.
    """
    columns = min(columns, count)
    lines = -(-count // columns)
    figure = Sheet(figsize=(width, height * lines + 0.6))
    axes = figure.subplots(lines, columns, squeeze=False, **options)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    for axis in axes.flat[count - columns : count]:
        axis.xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes.flat[:count])


def explain(figure: Figure, text: str = "", across: str = "", up: str = "") -> None:
    """Write one or two lines of explanation above the panels, and the labels of the axes."""
    if text:
        figure.suptitle(text, fontsize=9, color="#444444")
    figure.supxlabel(across, fontsize=10)
    figure.supylabel(up, fontsize=10)


def line_key(label: str, style: str = "-", **options: Any) -> Line2D:
    """Return an entry of a legend with a line or a mark, grey unless a colour is given."""
    return Line2D([], [], **{"color": DATA_COLOR, "linestyle": style, "label": label, **options})


def mark_key(label: str, marker: str, **options: Any) -> Line2D:
    """Return an entry of a legend with a mark and no line."""
    return line_key(label, "none", marker=marker, **options)


def area_key(label: str, color: str = DATA_COLOR, alpha: float = 0.3) -> Patch:
    """Return an entry of a legend with a shaded area."""
    return Patch(color=color, alpha=alpha, linewidth=0, label=label)


def add_legend(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """Write a legend into the free places of the last line of panels, or else below the panels.

    Below the panels, the legend has ``columns`` columns.
    """
    grid = figure.axes[0].get_gridspec()
    free = sum(not axis.get_visible() for axis in figure.axes)
    if grid and free:
        place = (1 - 0.5 * free / grid.ncols, 0.5 / grid.nrows)
        figure.legend(handles=handles, loc="center", bbox_to_anchor=place)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def handles_of(axis: Axes) -> list[Any]:
    """Return the legend entries of the labelled curves and areas of a panel."""
    return axis.get_legend_handles_labels()[0]


def shade(axis: Axes, x: Any, middle: Any, reach: Any, **style: Any) -> None:
    """Shade the band of half-width ``reach`` around ``middle``, over ``x``."""
    axis.fill_between(x, middle - reach, middle + reach, linewidth=0, **style)


def save(picture: Picture, path: Path) -> None:
    """Write a figure as PNG, or a film as GIF with a long last frame; whole or not at all.

    Raises ``OSError``.
    """
    with atomic.replacing(path) as unfinished, rc_context(STYLE):
        if isinstance(picture, Figure):
            picture.savefig(unfinished, format="png")
        else:
            times = [70] * (len(picture) - 1) + [900]  # milliseconds
            options = {"append_images": picture[1:], "duration": times, "loop": 0}
            picture[0].save(unfinished, "GIF", save_all=True, **options)
