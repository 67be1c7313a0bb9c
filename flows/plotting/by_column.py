"""Figures of tables with any number of columns: every column by itself, and pairs of columns.

An axis spans the middle 99% of the data and a little more; a positive column that spans more than
two powers of ten there is shown by its logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flows.core.arrays import Array
from flows.plotting.scene import Scene, figure
from flows.plotting.style import DATA_COLOR, TRUTH_COLOR, add_legend, explain, panels, shade

SINGLE, PAIRED = 12, 6  # columns of a figure, at most
DOTS = 1_000  # of the data and of the samples, in a panel
CELLS = 30  # of a density along each axis
LETTERS = 18  # of a column's name


@figure("margins.png", needs=("table",))
def margins(scene: Scene) -> Figure:
    """Draw every column's data as a histogram, and that of every model's samples as an outline."""
    scene = _as_shown(scene)
    sheet, axes = panels(min(len(scene.columns), SINGLE), 3, 2.0)
    for k, axis in enumerate(axes):
        _histogram(axis, scene, k)
        axis.set(xlabel=scene.columns[k], yticks=[])
    add_legend(sheet, axes[0], 7)
    text = f"grey: {len(scene.data):,} rows of data; line: samples of a model"
    explain(sheet, text + _rest(scene, range(len(axes))), up="density")
    return sheet


@figure("probability.png", needs=("table",))
def probability(scene: Scene) -> Figure:
    """Draw a probability plot (P-P) of every column, the test rows against samples.

    The diagonal is subtracted, so that deviations from it can be seen.
    """
    scene = _as_shown(scene)
    sheet, axes = panels(min(len(scene.columns), SINGLE), 3, 2.0, sharex=True, sharey=True)
    level = np.linspace(0, 1, 101)
    chance = 2 * np.sqrt(level * (1 - level) / len(scene.test))
    for k, axis in enumerate(axes):
        shade(axis, level, 0, chance, color=TRUTH_COLOR, alpha=0.12)
        values = np.unique(scene.test[:, k])
        below = _share_below(scene.test[:, k], values)
        for row in scene.rows:
            expected = _share_below(row.arrays["samples"][:, k], values)
            x, y = [0, *expected, 1], [0, *(below - expected), 0]
            axis.plot(x, y, color=row.color, linewidth=1.3, label=row.label)
        axis.set_title(scene.columns[k], fontsize=10)
        axis.set(xlim=(0, 1), xlabel="share of the samples below" if k >= len(axes) - 3 else "")
        axis.grid(alpha=0.25)
    add_legend(sheet, axes[0], 7)
    text = f"{len(scene.test):,} test rows; 0 is perfect, grey \u00b1 2 sd by chance"
    up = "share of the test rows below \u2212 that of the samples"
    explain(sheet, text + _rest(scene, range(len(axes))), up=up)
    return sheet


def _share_below(column: Array, values: Array) -> Array:
    """Return the share of a column below each of the ``values``, half of those at it with them."""
    from scipy.stats import percentileofscore  # here: most scenes need none of it

    return percentileofscore(column, values, "mean", nan_policy="omit") / 100


@figure("pairs.png", needs=("third column",))
def pairs(scene: Scene) -> Figure:
    """Draw a corner plot of the best model.

    Its samples are over the data below the diagonal, and counted in cells above it.
    """
    scene = _as_shown(scene)
    row = min(scene.rows, key=lambda row: row.headline.get("test_nll") or np.inf)
    scene = replace(scene, rows=[row])
    correlation = pd.DataFrame(scene.data).corr("spearman").abs()
    strength = (correlation - np.eye(len(correlation))).max().fillna(0)
    shown = sorted(strength.nlargest(PAIRED).index)
    boxes = np.array([_frame(column) for column in scene.data.T])
    data = np.random.default_rng(0).permutation(scene.data)[:DOTS]
    samples = row.arrays["samples"]
    sheet, axes = panels(len(shown) ** 2, len(shown), 8.2 / len(shown))
    for place, axis in enumerate(axes):
        line, column = divmod(place, len(shown))
        y, x = shown[line], shown[column]
        if x == y:
            _histogram(axis, scene, x)
        elif line > column:
            _dots(axis, data[:, [x, y]], boxes[[x, y]], size=8, color=DATA_COLOR)
            _dots(axis, samples[: len(data), [x, y]], boxes[[x, y]], size=3, color=row.color)
        else:
            box = boxes[[x, y]].tolist()
            axis.hist2d(samples[:, x], samples[:, y], bins=CELLS, range=box, cmap="magma")
        axis.set_xlim(boxes[x])
        if x != y:
            axis.set_ylim(boxes[y])
        left, bottom = column == 0 < line, line == len(shown) - 1
        axis.locator_params(nbins=3)
        axis.tick_params(labelsize=8, left=x != y, labelleft=left, labelbottom=bottom)
        axis.set_xlabel(scene.columns[x] if bottom else "", fontsize=9)
        axis.set_ylabel(scene.columns[y] if left else "", fontsize=9)
    text = (
        f"{row.label}: as many samples over {len(data):,} rows of data (grey); above the diagonal, "
        f"{len(samples):,} samples counted in cells{_rest(scene, shown)}"
    )
    explain(sheet, text)
    return sheet


def _dots(axis: Axes, points: Array, box: Array, *, size: float, color: str) -> None:
    """Draw those of the ``points`` ``(n, 2)`` that are in the box; others may be infinite."""
    x, y = points[((points >= box[:, 0]) & (points <= box[:, 1])).all(axis=1)].T
    axis.scatter(x, y, s=size, color=color, alpha=0.5, linewidths=0)


def _histogram(axis: Axes, scene: Scene, k: int) -> None:
    """Draw a histogram of column k of the data, and one of the samples in outline.

    Where the column has few values, each has a class of its own.
    """
    values = np.unique(scene.data[:, k])
    count = int(np.clip(np.sqrt(len(scene.data)), 8, 40))
    low, high = _frame(scene.data[:, k])
    edges = np.linspace(low, high, count + 1).tolist()
    if 1 < len(values) <= count:
        middle = (values[1:] + values[:-1]) / 2
        edges = [2 * values[0] - middle[0], *middle, 2 * values[-1] - middle[-1]]
    form: Any = {"bins": edges, "density": True}
    axis.hist(scene.data[:, k], color=DATA_COLOR, alpha=0.35, label="data", **form)
    for row in scene.rows:
        drawn = row.arrays["samples"][:, k]
        axis.hist(drawn, histtype="step", linewidth=1.3, color=row.color, label=row.label, **form)
    axis.set_xlim(low, high)


def _frame(column: Array) -> tuple[float, float]:
    """Return the ends of the axis of a column."""
    low, high = np.quantile(column, [0.005, 0.995])
    if low == high:
        low, high = column.min(), column.max()
    margin = 0.15 * (high - low) or 0.5  # 0.5 for a column of a single value
    return low - margin, high + margin


def _as_shown(scene: Scene) -> Scene:
    """Return the scene with only models, short names of columns, and logarithms of wide ones."""
    low, high = np.quantile(scene.data, [0.005, 0.995], axis=0)
    wide = (scene.data.min(axis=0) > 0) & (high > 100 * low)

    def shown(rows: Array) -> Array:
        with np.errstate(all="ignore"):  # samples that are not positive are in no frame
            return np.where(wide, np.log10(np.fmax(rows, 0)), rows)

    columns = [
        name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}\u2026" for name in scene.columns
    ]
    for k in np.flatnonzero(wide):
        columns[k] = f"log\u2081\u2080 {columns[k]}"
    rows = [
        replace(row, arrays={**row.arrays, "samples": shown(row.arrays["samples"])})
        for row in scene.rows
        if row.is_model
    ]
    data, test = shown(scene.data), shown(scene.test)
    return replace(scene, rows=rows, columns=columns, data=data, test=test)


def _rest(scene: Scene, shown: Sequence[int]) -> str:
    """Return the line that names the columns that are not shown."""
    rest = [name for k, name in enumerate(scene.columns) if k not in shown]
    more = f" and {len(rest) - 4} more" if len(rest) > 4 else ""
    return f"\nnot shown: {', '.join(rest[:4])}{more}" if rest else ""
