"""Figures of tables with any number of columns: single columns, and pairs of columns.

An axis spans the middle 99% of the data, and a margin. If this range of a positive column spans
more than two powers of ten, the logarithm of the column is shown. A missing value is ``NaN``, and
is not shown. If the values of a column have steps, as whole numbers do, all cells of a histogram
contain the same number of steps. Otherwise cells with one step more would look like structure.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
import scipy
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flows.core.arrays import Array, Mask
from flows.core.associations import associations
from flows.plotting.scene import Column, Scene, figure
from flows.plotting.style import (
    DATA_COLOR,
    SMALL,
    STYLE,
    TRUTH_COLOR,
    add_legend,
    explain,
    handles_of,
    mark_key,
    panels,
    shade,
)

SINGLE, PAIRED = 12, 6  # most columns in a figure of single columns, and in a figure of pairs
LISTED = 20  # most columns in a figure with a line per column
MIDDLE = (0.005, 0.995)  # shares of the values below the ends of an axis
DOTS = 1_000  # most rows, and most samples, that a panel shows as dots
CELLS = 30  # of a two-dimensional histogram, along each axis
LETTERS, LABEL = 18, 10  # most letters of a column's name, and of a label
TICK, LETTER = 0.15, 0.075  # inches: height of a line of tick labels, and width of a letter in it


@figure("margins.png", needs=("table",))
def margins(scene: Scene) -> Figure:
    """Draw histograms of every column: filled for the data, outlined for samples of each model."""
    scene = as_shown(scene)
    sheet, axes = panels(min(len(scene.columns), SINGLE), 3, 2.0)
    for k, axis in enumerate(axes):
        draw_column(axis, scene, k)
    add_legend(sheet, handles_of(axes[0]), 7)
    text = f"{len(scene.data):,} rows of data, and samples of the models"
    explain(sheet, text + rest_of(scene, range(len(axes))), up="density")
    return sheet


@figure("probability.png", needs=("table",))
def probability(scene: Scene) -> Figure:
    """Draw a probability plot (P-P) of every column, test rows against samples of each model.

    The diagonal is subtracted, so that deviations from it can be seen.
    """
    scene = as_shown(scene)
    sheet, axes = panels(min(len(scene.columns), SINGLE), 3, 2.0, sharex=True, sharey=True)
    level = np.linspace(0, 1, 101)
    chance = 2 * np.sqrt(level * (1 - level) / len(scene.test))
    for k, axis in enumerate(axes):
        shade(axis, level, 0, chance, color=TRUTH_COLOR, alpha=0.12, label="\u00b1 2 sd by chance")
        values = np.unique(scene.test[:, k])
        below = _share_below(scene.test[:, k], values)
        for row in scene.rows:
            expected = _share_below(row.arrays["samples"][:, k], values)
            x, y = [0, *expected, 1], [0, *(below - expected), 0]
            axis.plot(x, y, color=row.color, linewidth=1.3, label=row.label)
        axis.set_title(scene.names[k], fontsize=10)
        axis.set(xlim=(0, 1), xlabel="share of the samples below" if k >= len(axes) - 3 else "")
        axis.grid(alpha=0.25)
    add_legend(sheet, handles_of(axes[0]), 7)
    text = f"{len(scene.test):,} test rows; 0 is perfect"
    up = "share of the test rows below \u2212 that of the samples"
    explain(sheet, text + rest_of(scene, range(len(axes))), up=up)
    return sheet


def _share_below(column: Array, values: Array) -> Array:
    """Return the share of a column below each of the ``values``. Equal values count half."""

    return scipy.stats.percentileofscore(column, values, "mean", nan_policy="omit") / 100


@figure("pairs.png", needs=("third column",))
def pairs(scene: Scene) -> Figure:
    """Draw a corner plot of the best model.

    Below the diagonal, its samples are drawn over the data. Above it, they are counted in cells.
    """
    scene = as_shown(scene)
    row = min(scene.rows, key=lambda row: row.headline.get("test_nll") or np.inf)
    scene = replace(scene, rows=[row])
    shown = _most_associated(scene, PAIRED)
    boxes = np.array([ends(scene, k) for k in range(len(scene.columns))])
    steps, samples, side = _steps(scene), row.arrays["samples"], 8.2 / len(shown)
    data = _spread(np.random.default_rng(0).permutation(scene.data)[:DOTS], 0.8 * steps)
    dots = _spread(samples[: len(data)], 0.8 * steps)
    sheet, axes = panels(len(shown) ** 2, len(shown), side)
    for place, axis in enumerate(axes):
        line, column = divmod(place, len(shown))
        y, x = shown[line], shown[column]
        if x == y:
            histogram(axis, scene, x)
        elif line > column:
            _dots(axis, data[:, [x, y]], boxes[[x, y]], size=8, color=DATA_COLOR)
            _dots(axis, dots[:, [x, y]], boxes[[x, y]], size=3, color=row.color)
        else:
            cells = [edges(scene, x, CELLS), edges(scene, y, CELLS)]
            # An empty cell has no logarithm and stays white. A cell with one sample is coloured.
            own = samples[:, x], samples[:, y]
            counts, _, _, mesh = axis.hist2d(*own, cells, cmap="viridis_r")
            mesh.set_norm(LogNorm(1, max(2, counts.max())))
        axis.set_xlim(boxes[x])
        if x != y:
            axis.set_ylim(boxes[y])
        left, bottom = column == 0, line == len(shown) - 1
        axis.locator_params(nbins=3)
        set_ticks(axis, "x", scene, x, side)
        if x != y:
            set_ticks(axis, "y", scene, y, side)
        axis.tick_params(labelsize=8, left=x != y, labelleft=left and x != y, labelbottom=bottom)
        if line == 0 < column == len(shown) - 1:  # the first row has its tick labels on the right
            axis.tick_params(right=True, labelright=True)
        axis.set_xlabel(scene.names[x] if bottom else "", fontsize=9)
        axis.set_ylabel(scene.names[y] if left else "", fontsize=9)
    handles = [mark_key(f"{len(data):,} rows of data", "o", color=DATA_COLOR, alpha=0.7)]
    handles += [mark_key(f"{len(dots):,} samples of {row.label}", "o", color=row.color, alpha=0.7)]
    add_legend(sheet, handles, 2)
    text = f"above the diagonal: {len(samples):,} samples of {row.label} counted in cells, "
    text += "dark where there are many, white where there are none"
    if steps[shown].any():
        text += "\ndots of labels, whole and rounded numbers are spread over their steps"
    explain(sheet, text + rest_of(scene, shown))
    sheet.align_ylabels()
    return sheet


def _dots(axis: Axes, points: Array, box: Array, *, size: float, color: str) -> None:
    """Draw the ``points`` ``(n, 2)`` that are in the box. Other points may be infinite."""
    x, y = points[((points >= box[:, 0]) & (points <= box[:, 1])).all(axis=1)].T
    axis.scatter(x, y, s=size, color=color, alpha=0.5, linewidths=0)


def _most_associated(scene: Scene, count: int) -> list[int]:
    """Return the columns with the largest association with another one, at most ``count``."""
    sizes = [len(column.labels) for column in scene.columns]
    links = [*combinations(range(len(sizes)), 2)]
    largest = np.zeros(len(sizes))
    for each, link in zip(associations(scene.data, sizes, links), links, strict=True):
        largest[[*link]] = np.maximum(largest[[*link]], abs(each))
    return sorted(np.argsort(-largest, kind="stable")[:count].tolist())


def draw_column(axis: Axes, scene: Scene, k: int) -> None:
    """Draw the histograms of column k into the panel ``axis``."""
    histogram(axis, scene, k)
    axis.set(xlabel=scene.names[k], yticks=[])
    axis.locator_params("x", nbins=5)
    set_ticks(axis, "x", scene, k, 2.6)


def single(scene: Scene, k: int) -> Figure:
    """Draw the histograms of column k as a small figure, of a scene that ``as_shown`` returned."""
    with rc_context(STYLE):
        sheet, (axis,) = panels(1, 1, 1.2, width=SMALL)
        draw_column(axis, scene, k)
    return sheet


def histogram(axis: Axes, scene: Scene, k: int) -> None:
    """Draw a filled histogram of column k of the data, and an outlined one of the samples."""
    count = int(np.clip(np.sqrt(len(scene.data)), 8, 40))
    form: Any = {"bins": edges(scene, k, count), "density": True}
    lines: list[tuple[Array, Any]] = [
        (scene.data, {"color": DATA_COLOR, "alpha": 0.35, "label": "data"})
    ]
    for row in scene.rows:
        how = {"histtype": "step", "linewidth": 1.3, "color": row.color, "label": row.label}
        lines.append((row.arrays["samples"], how))
    for values, how in lines:
        if not np.isnan(values[:, k]).all():
            axis.hist(values[:, k], **how, **form)
    axis.set_xlim(ends(scene, k))


def edges(scene: Scene, k: int, count: int) -> list[float]:
    """Return the edges of about ``count`` cells of equal width along the axis of column k.

    If the values have steps, each edge is half-way between two values. Each label has its own cell.
    """
    (low, high), step = ends(scene, k), _steps(scene)[k]
    if not step:
        return np.linspace(low, high, count + 1).tolist()
    width = step if scene.columns[k].labels else step * np.ceil((high - low) / step / count)
    half = _known(scene, k).min() - step / 2
    return np.arange(half + step * np.floor((low - half) / step), high + width, width).tolist()


def ends(scene: Scene, k: int) -> tuple[float, float]:
    """Return the ends of the axis of column k: all labels, or the middle 99% and a margin."""
    if labels := scene.columns[k].labels:
        return -0.6, len(labels) - 0.4
    low, high = middle(_known(scene, k))
    margin = 0.15 * (high - low) or 0.5  # 0.5 for a column of a single value
    margin = max(margin, 0.6 * _steps(scene)[k])
    return low - margin, high + margin


def middle(x: Array) -> tuple[float, float]:
    """Return the ends of the middle 99% of values ``(n,)``, or of all if these ends are equal."""
    low, high = np.quantile(x, MIDDLE).tolist()
    return (low, high) if low < high else (float(x.min()), float(x.max()))


def _known(scene: Scene, k: int) -> Array:
    """Return the values of column k, ``(n,)``; of a column without a value, 0."""
    values = scene.data[:, k]
    known = values[~np.isnan(values)]
    return known if len(known) else np.zeros(1)


def _steps(scene: Scene) -> Array:
    """Return the step of the values of each column, ``(D,)``: 1 for labels, 0 for real numbers."""
    return np.array([column.step for column in scene.columns])


def _spread(rows: Array, steps: Array) -> Array:
    """Return ``rows`` with each value moved within its step, so that equal values are apart."""
    return rows + np.random.default_rng(0).uniform(-0.5, 0.5, rows.shape) * steps


def set_ticks(axis: Axes, way: Literal["x", "y"], scene: Scene, k: int, inches: float) -> None:
    """Set the ticks of column k on an axis that is ``inches`` long.

    Each label has a tick if there is room. Ticks of whole numbers are at whole numbers.
    """
    labels = [short(str(label), LABEL) for label in scene.columns[k].labels]
    if ticks := scene.columns[k].ticks:
        line = axis.xaxis if way == "x" else axis.yaxis
        line.set_major_locator(MaxNLocator(3, integer=True))
        low, high = scene.columns[k].bounds
        line.set_major_formatter(lambda x, _: ticks(x) if low < x < high else "")
        return
    if not labels:
        axis.locator_params(way, integer=_steps(scene)[k] >= 1)
        return
    every = int(np.ceil(TICK * len(labels) / inches))
    turned = way == "x" and LETTER * (max(map(len, labels)) + 1) * len(labels) > inches
    line = axis.xaxis if way == "x" else axis.yaxis
    line.set_ticks(range(0, len(labels), every), labels[::every], rotation=90 if turned else 0)


def short(name: str, letters: int = LETTERS) -> str:
    """Return a name, or its beginning and an ellipsis if it has more than ``letters`` letters.

    Dollar signs are escaped, because matplotlib reads text between two of them as mathematics.
    """
    cut = name if len(name) <= letters else f"{name[: letters - 1]}\u2026"
    return cut.replace("$", r"\$")


def is_wide(scene: Scene) -> Mask:
    """Return whether each column is shown on a logarithmic scale, ``(D,)``."""
    known = [_known(scene, k) for k in range(len(scene.columns))]
    ends = [np.quantile(each, MIDDLE) for each in known]
    return np.array(
        [x.min() > 0 and high > 100 * low for x, (low, high) in zip(known, ends, strict=True)]
    )


def as_shown(scene: Scene) -> Scene:
    """Return the scene without references, with short column names and logs of wide columns."""
    wide = is_wide(scene)
    columns = [replace(column, name=short(column.name)) for column in scene.columns]
    steps = wide * _steps(scene)
    for k in np.flatnonzero(wide):  # logarithms have no equal steps
        columns[k] = Column(f"log\u2081\u2080 {columns[k].name}")

    def shown(rows: Array) -> Array:
        with np.errstate(all="ignore"):  # samples that are not positive are outside of every axis
            apart = _spread(rows, np.minimum(steps, rows))  # no value moves as far as 0
            return np.where(wide, np.log10(np.maximum(apart, 0)), rows)

    rows = [
        replace(row, arrays={**row.arrays, "samples": shown(row.arrays["samples"])})
        for row in scene.rows
        if row.is_model
    ]
    data, test = shown(scene.data), shown(scene.test)
    return replace(scene, rows=rows, columns=columns, data=data, test=test)


def rest_of(scene: Scene, shown: Sequence[int]) -> str:
    """Return the line that names the columns that are not shown."""
    rest = [name for k, name in enumerate(scene.names) if k not in shown]
    more = f" and {len(rest) - 4} more" if len(rest) > 4 else ""
    return f"\nnot shown: {', '.join(rest[:4])}{more}" if rest else ""
