"""Data of two columns: samples, densities, conditionals, and how a flow carries noise to data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

from flows.core.arrays import Array
from flows.plotting.scene import Row, Scene, figure
from flows.plotting.style import DATA_COLOR, TRUTH_COLOR, add_legend, explain, handles_of, panels

SAMPLES, DENSITIES = 6, 5  # most panels per line
PANELS, LINE = 8, 4  # of the layers: most panels in all, and per line
FRAMES, FRAMES_PER_STEP = 60, 5  # of a film, at most
POINTS, TRAILS = 1_000, 150  # of a film; ``TRAILS`` points leave a line behind
# A cyclic colour map for angles, dark enough for a white ground, and safe for colour-blind readers
ANGLES = LinearSegmentedColormap.from_list(
    "angles", ["#332288", "#0072B2", "#44AA99", "#DDAA33", "#CC3311", "#882255", "#332288"]
)
UNITS = "first coordinate (standardised units)", "second coordinate"


@figure("samples.png", needs=("plane",))
def samples(scene: Scene) -> Figure:
    """Draw the data and as many samples of each reference and model. Models begin a new line.

    The axes extend beyond the data by a tenth of its range on every side. If the truth has
    components, each title has the share of the samples that belong to none.
    """
    low, high = scene.data.min(axis=0), scene.data.max(axis=0)
    margin = 0.1 * (high - low)
    shown = [("data", scene.data, DATA_COLOR)]
    between = {row.name: _share_between_modes(row) for row in scene.rows}
    for row in scene.rows:
        share = between[row.name]
        title = row.label if share is None else f"{row.label}\n{share:.1%} between modes"
        shown.append((title, row.arrays["samples"], row.color))
    count = 1 + sum(not row.is_model for row in scene.rows)  # the models come last
    sheet, axes = _panels_by_group([shown[:count], shown[count:]], SAMPLES, 2.2)
    for axis, (title, points, color) in zip(axes, shown, strict=True):
        axis.scatter(points[:, 0], points[:, 1], s=3, color=color, alpha=0.5, linewidths=0)
        axis.set_title(title, fontsize=9)
        _frame(axis, low - margin, high + margin)
    text = f"{len(scene.data):,} points per panel; those of a model are from one member"
    if any(share is not None for share in between.values()):
        text += (
            "\nbetween modes: samples at a Mahalanobis distance above 3 from every mode, mean over "
        )
        text += "members"
    explain(sheet, text, *scene.names)
    return sheet


def _share_between_modes(row: Row) -> float | None:
    """Return the mean share of samples that belong to no component, or ``None`` if unknown."""
    share = 1 - row.members.get("high_quality", pd.Series(dtype=float)).mean(skipna=False)
    return share if np.isfinite(share) else None


@figure("density.png", needs=("plane", "density"))
def density(scene: Scene) -> Figure:
    """Draw the densities on one colour scale: lines of references, members and ensembles.

    The first panel of the line of references shows the data.
    """
    known = [row for row in scene.rows if "density" in row.arrays]
    references = [panel for row in known if not row.is_model for panel in _densities(row)]
    models = [_densities(row) for row in known if row.is_model]
    members, ensembles = map(list, zip(*models, strict=True)) if models else ([], [])
    lines = [[("data", None), *references], members, ensembles]
    sheet, axes = _panels_by_group([line for line in lines if line], DENSITIES, 2.1)
    grids = [*references, *members, *ensembles]
    scale = Normalize(0, max(grid.max() for _, grid in references or grids))
    low, high = known[0].arrays["box"]  # corners of the grid
    x, y = scene.data.T
    axes[0].scatter(x, y, s=3, color=DATA_COLOR, alpha=0.5, linewidths=0)
    axes[0].set_title("data", fontsize=9)
    _frame(axes[0], low, high)
    for axis, (title, grid) in zip(axes[1:], grids, strict=True):
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

    The first panel shows the data and the lines ``x = c``. The ``c`` are the grid lines nearest to
    the lower quartile of ``x``, its median and the middle of both; equal lines are drawn once. For
    a model, the density is the density of its ensemble. Curves of references are dashed, except
    the curve of the truth.
    """
    points, known = scene.data, [row for row in scene.rows if "box" in row.arrays]
    low, high = known[0].arrays["box"]
    x, y = np.linspace(low, high, len(known[0].arrays["density_ensemble"])).T
    quartile, median = np.quantile(points[:, 0], [0.25, 0.5])
    rule = {
        "lower quartile": quartile,
        "halfway between": (quartile + median) / 2,
        "median": median,
    }
    lines = {int(np.abs(x - c).argmin()): name for name, c in rule.items()}
    sheet, axes = panels(len(lines) + 1, len(lines) + 1, 3.7, sharey=True)
    axes[0].scatter(points[:, 0], points[:, 1], s=3, color=DATA_COLOR, alpha=0.5, linewidths=0)
    axes[0].set(title="data, and\nthe lines at c", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    for axis, (line, name) in zip(axes[1:], lines.items(), strict=True):
        axes[0].axvline(x[line], color=TRUTH_COLOR, linewidth=1, linestyle="--")
        for row in known:
            share = _conditional(row.arrays["density_ensemble"][:, line], y)
            if row.name == "truth":
                axis.fill_betweenx(y, share, color=row.color, alpha=0.15, linewidth=0)
            style = "-" if row.is_model or row.name == "truth" else "--"
            axis.plot(share, y, style, color=row.color, linewidth=1.3, label=row.label)
        axis.set_title(f"c = {x[line]:.3g}\n{name}".replace("-", "\u2212"))
        axis.grid(alpha=0.25)
        axis.sharex(axes[1])
    axes[1].set_xlim(left=0)
    across, up = scene.names
    axes[0].set(xlabel=across, ylabel=up)
    axes[len(axes) // 2].set_xlabel(f"p({up} | {across} = c)\n(per unit of {up})")
    add_legend(sheet, handles_of(axes[1]), 7)
    text = f"joint density along a line, divided by its area ({len(y)} points, too few for narrow "
    text += "ridges); of a model, its ensemble's"
    explain(sheet, "; ".join([text, *_without_density(scene)]))
    return sheet


def _conditional(joint: Array, y: Array) -> Array:
    """Return ``p(y | x = c)``: ``p(c, y)`` divided by its area over ``y``, a trapezoidal sum.

    All values are ``NaN`` if the area is 0 or not finite.
    """
    area = np.trapezoid(joint, y)
    return joint / (area if 0 < area < np.inf else np.nan)


def _frame(axis: Axes, low: Array, high: Array) -> None:
    """Set the limits of both axes, and equal scales.

    If one range is more than 1.5 times as long as the other, the units may differ. Then the
    scales differ, too.
    """
    width, height = high - low
    aspect = "equal" if 2 / 3 <= width / height <= 3 / 2 else "auto"
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect=aspect)
    axis.locator_params(nbins=4, steps=[1, 2, 5, 10])


def _panels_by_group(
    groups: Sequence[Sequence[Any]], columns: int, height: float
) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel per item, and the axes of the panels.

    Every group begins a new line. A line has at most ``columns`` panels.
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
    for place in range(columns):  # tick labels at the lowest panel of each column
        lowest = [axis for axis in axes[place::columns] if axis in used][-1]
        lowest.xaxis.set_tick_params(labelbottom=True)
    return sheet, used


def _without_density(scene: Scene) -> list[str]:
    """Return a note for every model that has no density."""
    without = [row.label for row in scene.rows if row.is_model and "box" not in row.arrays]
    return [f"{label}: no density" for label in without]


def _densities(row: Row) -> list[tuple[str, Array]]:
    """Return titles and grids: one for a reference, two (member, ensemble) for a model."""
    if not row.is_model:
        return [(_title(row.label, row.headline.get("kl")), row.arrays["density"])]
    member = row.members["kl"].iloc[0] if "kl" in row.members else None
    ensemble = row.headline.get("kl_ensemble")
    return [
        (_title(f"{row.label}, member", member), row.arrays["density"]),
        (_title(f"{row.label}, ensemble", ensemble), row.arrays["density_ensemble"]),
    ]


def _title(words: str, kl: float | None) -> str:
    return f"{words}\nKL {kl:.3f} nat" if kl else words


@figure("layers.png", needs=("plane", "trajectory"))
def layers(scene: Scene) -> Figure:
    """Draw the samples of a flow after evenly spaced layers, each panel on its own scale.

    The colour of a point shows the angle of the point in the noise.
    """
    label, states, angles, reaches = _flow(scene)
    names = ["noise", *(f"layer {k}" for k in range(1, len(states) - 1)), "data"]
    chosen = np.unique(np.linspace(0, len(states) - 1, PANELS).round().astype(int))
    sheet, axes = panels(len(chosen), LINE, 2.4)
    for axis, layer in zip(axes, chosen, strict=True):
        _draw_points(axis, states[layer], angles, size=2)
        _draw_square(axis, reaches[layer])
        axis.set_title(names[layer], fontsize=10)
    text = f"{label}, one member; colour: angle of the point in the noise; each panel has its own "
    text += "scale"
    explain(sheet, text, *UNITS)
    return sheet


@figure("layers.gif", needs=("plane", "trajectory"))
def film(scene: Scene) -> list[Image.Image]:
    """Draw a film of the layers.

    Points move along straight lines from one layer to the next. The last frame shows the data for
    longer. The scale changes with the range of the points.
    """
    return _film(*_flow(scene, POINTS), word="layer")


@figure("paths.gif", needs=("plane", "paths"))
def paths(scene: Scene) -> list[Image.Image]:
    """Draw a film of the paths of a continuous flow, such as flow matching.

    Lines show the paths of some points up to the frame. The scale does not change.
    """
    label, states, angles, reaches = _flow(scene, POINTS, "paths")
    widest = np.full_like(reaches, reaches.max())
    return _film(label, states, angles, widest, word="step", trails=TRAILS)


def _film(
    label: str, states: Array, angles: Array, reaches: Array, word: str, trails: int = 0
) -> list[Image.Image]:
    """Return the frames of a film; the first four arguments are the result of ``_flow``.

    ``word`` names a step from one state to the next, and ``trails`` is the number of points that
    leave a line behind.
    """
    last = len(states) - 1
    sheet = Figure(figsize=(4.8, 5.0), dpi=100)
    axis = sheet.subplots()
    axis.set(xlabel=UNITS[0], ylabel=UNITS[1])
    cloud = _draw_points(axis, states[0], angles, size=6)
    lines = LineCollection([], colors=DATA_COLOR, linewidths=0.4, alpha=0.6, zorder=0)
    axis.add_collection(lines)
    _draw_square(axis, reaches.max())  # the widest tick labels
    axis.set_title(label)
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()
    sheet.set_layout_engine("none")  # the axes stay where they are
    frames = []
    for position in np.linspace(0, last, min(FRAMES, FRAMES_PER_STEP * last)):
        below = min(int(position), last - 1)
        now = states[below] + (position - below) * (states[below + 1] - states[below])
        cloud.set_offsets(now)
        passed = np.concatenate([states[: below + 1, :trails], now[None, :trails]])
        lines.set_segments(list(passed.swapaxes(0, 1)))
        _draw_square(axis, float(np.interp(position, np.arange(last + 1), reaches)))
        axis.set_title(f"{label}: {word} {round(position)} of {last}")
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    return frames


def _flow(
    scene: Scene, points: int | None = None, key: str = "trajectory"
) -> tuple[str, Array, Array, Array]:
    """Return the label, states, angles and reaches of the first flow that has the array ``key``.

    The states are ``(L + 1, points, 2)``. The angles of the points in the noise are ``(points,)``.
    The reach of a state is 1.05 times the largest absolute coordinate of its points, ``(L + 1,)``.
    """
    row = next(row for row in scene.rows if key in row.arrays)
    states = row.arrays[key][:, :points]
    angles = np.arctan2(states[0, :, 1], states[0, :, 0])
    return row.label, states, angles, 1.05 * np.abs(states).max(axis=(1, 2))


def _draw_points(axis: Axes, points: Array, angles: Array, size: float) -> PathCollection:
    x, y = points.T
    return axis.scatter(x, y, size, angles, cmap=ANGLES, vmin=-np.pi, vmax=np.pi, linewidths=0)


def _draw_square(axis: Axes, reach: float) -> None:
    """Set the limits to a square around 0, with whole numbers as ticks."""
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axis.locator_params(nbins=6, integer=True)
