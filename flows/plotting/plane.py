"""Data of two columns: samples, densities, conditionals, and how a flow carries noise to data."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from flows.core.arrays import Array
from flows.plotting.scene import Row, Scene, figure
from flows.plotting.style import DATA_COLOR, TRUTH_COLOR, add_legend, explain, panels

COLUMNS = 5
PANELS, FRAMES, POINTS = 7, 60, 1_000  # panels of the strip; frames and points of the film
UNITS = "first coordinate (standardised units)", "second coordinate"


@figure("samples.png", needs=("plane",))
def samples(scene: Scene) -> Figure:
    """Draw the data, as many samples of each reference and, from a new line on, of each model.

    The frame is a tenth wider than the data on every side.
    """
    low, high = scene.data.min(axis=0), scene.data.max(axis=0)
    margin = 0.1 * (high - low)
    shown = [("data", scene.data, DATA_COLOR)]
    shown += [(row.label, row.arrays["samples"], row.color) for row in scene.rows]
    count = 1 + sum(not row.is_model for row in scene.rows)  # the models come last
    sheet, axes = _lines([shown[:count], shown[count:]], COLUMNS, 2)
    for axis, (title, points, color) in zip(axes, shown, strict=True):
        axis.scatter(points[:, 0], points[:, 1], s=3, color=color, alpha=0.5, linewidths=0)
        axis.set_title(title)
        _frame(axis, low - margin, high + margin)
    text = f"{len(scene.data):,} points a panel; of a model, one member's samples"
    explain(sheet, text, *scene.names)
    return sheet


@figure("density.png", needs=("plane", "density"))
def density(scene: Scene) -> Figure:
    """Draw the densities on one colour scale: a line of references, of members and of ensembles."""
    known = [row for row in scene.rows if "density" in row.arrays]
    references = [panel for row in known if not row.is_model for panel in _densities(row)]
    models = [_densities(row) for row in known if row.is_model]
    lines = [references, *map(list, zip(*models, strict=True))]
    shown = [panel for line in lines for panel in line]
    sheet, axes = _lines(lines, COLUMNS, 2.4)
    scale = Normalize(0, max(grid.max() for _, grid in references or shown))
    low, high = known[0].arrays["box"]  # corners of the grid
    for axis, (title, grid) in zip(axes, shown, strict=True):
        axis.set_title(title, fontsize=9)
        extent = (low[0], high[0], low[1], high[1])
        picture = axis.imshow(
            grid, "magma", scale, origin="lower", extent=extent, interpolation="bilinear"
        )
        _frame(axis, low, high)
    label = "density (per unit area)"
    sheet.colorbar(picture, ax=sheet.axes, label=label, shrink=0.7, aspect=30, extend="max")
    said = ["KL: from the truth"] * (scene.truth is not None) + _without_density(scene)
    explain(sheet, "; ".join(said), *scene.names)
    return sheet


@figure("conditional.png", needs=("plane", "density"))
def conditional(scene: Scene) -> Figure:
    """Draw the density of the second column given the first, ``p(y | x = c)``, for three ``c``.

    The data, with the lines ``x = c``, come first. The ``c`` are the lines of the grid nearest to
    the lower quartile of ``x``, its median and the middle of both; equal ones are drawn once. The
    curves are the truth's and those of the models' ensembles; the references' where none of these
    has a density.
    """
    points, known = scene.data, [row for row in scene.rows if "box" in row.arrays]
    shown = [row for row in known if row.is_model or row.name == "truth"] or known
    low, high = known[0].arrays["box"]
    x, y = np.linspace(low, high, len(known[0].arrays["density_ensemble"])).T
    quartile, median = np.quantile(points[:, 0], [0.25, 0.5])
    rule = {"lower quartile": quartile, "halfway": (quartile + median) / 2, "median": median}
    lines = {int(np.abs(x - c).argmin()): name for name, c in rule.items()}
    sheet, axes = panels(len(lines) + 1, len(lines) + 1, 3.7, sharey=True)
    axes[0].scatter(points[:, 0], points[:, 1], s=3, color=DATA_COLOR, alpha=0.5, linewidths=0)
    axes[0].set(title="data, and\nthe lines at c", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    for axis, (line, name) in zip(axes[1:], lines.items(), strict=True):
        axes[0].axvline(x[line], color=TRUTH_COLOR, linewidth=1, linestyle="--")
        for row in shown:
            share = _conditional(row.arrays["density_ensemble"][:, line], y)
            if row.name == "truth":
                axis.fill_betweenx(y, share, color=row.color, alpha=0.15, linewidth=0)
            axis.plot(share, y, color=row.color, linewidth=1.3, label=row.label)
        axis.set_title(f"c = {x[line]:.3g}\n{name}".replace("-", "\u2212"))
        axis.grid(alpha=0.25)
        axis.sharex(axes[1])
    axes[1].set_xlim(left=0)
    across, up = scene.names
    axes[0].set(xlabel=across, ylabel=up)
    axes[len(axes) // 2].set_xlabel(f"p({up} | {across} = c)\n(per unit of {up})")
    add_legend(sheet, axes[1], 7)
    text = f"curve: the joint density along a line, divided by its area, at {len(y)} points, too "
    text += "few for narrow ridges; a model's is its ensemble's\nc: lower quartile of "
    text += f"{across}, median, and halfway between, as near as the grid has them"
    explain(sheet, "; ".join([text, *_without_density(scene)]))
    return sheet


def _conditional(joint: Array, y: Array) -> Array:
    """Return ``p(y | x = c)`` from ``p(c, y)`` over ``y``: divided by its area, a trapezoid rule.

    It is ``NaN`` where the area is 0 or not finite.
    """
    area = np.trapezoid(joint, y)
    return joint / (area if 0 < area < np.inf else np.nan)


def _frame(axis: Axes, low: Array, high: Array) -> None:
    """Set the limits of a plane, and one scale for both directions.

    Where one range is half as long again as the other, their units may differ, and so do the
    scales.
    """
    width, height = high - low
    aspect = "equal" if 2 / 3 <= width / height <= 3 / 2 else "auto"
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect=aspect)
    axis.locator_params(nbins=4, steps=[1, 2, 5, 10])


def _lines(
    groups: Sequence[Sequence[Any]], columns: int, height: float
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel an item, and their axes; every group begins a line.

    A line has at most ``columns`` panels.
    """
    columns = min(columns, max(map(len, groups)))
    lines = [-(-len(group) // columns) for group in groups]
    sheet, axes = panels(columns * sum(lines), columns, height, sharex=True, sharey=True)
    used, start = list[Axes](), 0
    for group, count in zip(groups, lines, strict=True):
        used += axes[start : start + len(group)]
        start += columns * count
    for axis in axes:
        axis.set_visible(axis in used)
    for place in range(columns):  # tick labels where a column ends
        lowest = [axis for axis in axes[place::columns] if axis in used][-1]
        lowest.xaxis.set_tick_params(labelbottom=True)
    return sheet, used


def _without_density(scene: Scene) -> list[str]:
    """Return a note on every model that has no density."""
    silent = [row.label for row in scene.rows if row.is_model and "box" not in row.arrays]
    return [f"{label}: no density" for label in silent]


def _densities(row: Row) -> list[tuple[str, Array]]:
    """Return titles and pictures: one of a reference, two of a model."""
    if not row.is_model:
        return [(_title(row.label, row.headline.get("kl")), row.arrays["density"])]
    member = row.members["kl"].iloc[0] if "kl" in row.members else None
    ensemble = row.headline.get("kl_ensemble")
    return [
        (_title(f"{row.label}, one member", member), row.arrays["density"]),
        (_title(f"{row.label}, ensemble", ensemble), row.arrays["density_ensemble"]),
    ]


def _title(words: str, kl: float | None) -> str:
    return f"{words}\nKL {kl:.3f} nat" if kl else words


@figure("layers.png", needs=("plane", "trajectory"))
def layers(scene: Scene) -> Figure:
    """Draw a flow's samples after evenly chosen layers."""
    label, states, colors, square = _flow(scene)
    names = ["noise", *(f"layer {k}" for k in range(1, len(states) - 1)), "data"]
    chosen = np.unique(np.linspace(0, len(states) - 1, PANELS).round().astype(int))
    sheet, axes = panels(len(chosen), PANELS, 1.9, sharex=True, sharey=True)
    for axis, layer in zip(axes, chosen, strict=True):
        axis.scatter(states[layer, :, 0], states[layer, :, 1], s=2, **colors)
        axis.set_title(names[layer], fontsize=10)
        axis.set(**square)
    outside = (np.abs(states[chosen]) > square["xlim"][1]).any(axis=2).mean(axis=1).max()
    text = f"{label}, one member; colour: angle of the point in the noise; outside a panel: "
    text += f"at most {outside:.1%} of the points"
    explain(sheet, text, *UNITS)
    return sheet


@figure("layers.gif", needs=("plane", "trajectory"))
def film(scene: Scene) -> list[Image.Image]:
    """Draw the layers as a film.

    Points glide from one layer's state to the next, then rest at the data.
    """
    label, states, colors, square = _flow(scene, POINTS)
    last = len(states) - 1
    sheet, axis = plt.subplots(figsize=(3.6, 3.8), dpi=80)
    axis.set(**square, xlabel=UNITS[0], ylabel=UNITS[1])
    cloud = axis.scatter(states[0, :, 0], states[0, :, 1], s=3, zorder=3, **colors)
    axis.set_title(label)
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()
    sheet.set_layout_engine("none")  # the axes stay where they are
    frames = []
    for position in np.linspace(0, last, FRAMES):
        layer = min(int(position), last - 1)
        cloud.set_offsets(states[layer] + (position - layer) * (states[layer + 1] - states[layer]))
        axis.set_title(f"{label}: layer {round(position)} of {last}")
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    return frames


def _flow(
    scene: Scene, points: int | None = None
) -> tuple[str, Array, dict[str, Any], dict[str, Any]]:
    """Return the label of the flow, its states, the points' colours, and the frame.

    The states are ``(L + 1, points, 2)``; the colours are by the angle at which each starts.
    """
    row = next(row for row in scene.rows if "trajectory" in row.arrays)
    states = row.arrays["trajectory"]
    # The frame holds nearly all of noise and data; what a layer moves further out in between is
    # cut off.
    reach = float(np.ceil(2 * np.quantile(np.abs(states[[0, -1]]), 0.999)) / 2)
    square = {"xlim": (-reach, reach), "ylim": (-reach, reach), "aspect": "equal"}
    states = states[:, :points]
    angles = np.arctan2(states[0, :, 1], states[0, :, 0])
    return row.label, states, {"c": angles, "cmap": "twilight", "linewidths": 0}, square
