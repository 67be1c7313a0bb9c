"""Tables of any number of columns, as samples show them.

Every column by itself, and pairs of columns.

A frame holds the middle 99% of the data and a little more; a positive column that spans more than
two powers of ten there is shown by its logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flows.core.arrays import Array
from flows.plotting.scene import Scene, figure
from flows.plotting.style import DATA_COLOR, TRUTH_COLOR, explain, panels

SINGLE, PAIRED = 12, 6  # columns of a figure, at most
DOTS = 1_000  # of the data and of the samples, in a panel
CELLS = 30  # of a density along each axis
LETTERS = 18  # of a column's name


@figure("margins.png", needs=("table",))
def margins(scene: Scene) -> Figure:
    """Every column's data as a histogram, and the outline of that of every model's samples."""
    scene = _as_shown(scene)
    sheet, axes = panels(min(len(scene.columns), SINGLE), 3, 2.0)
    for k, axis in enumerate(axes):
        _histogram(axis, scene, k)
        axis.set(xlabel=scene.columns[k], yticks=[])
    sheet.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    explain(
        sheet,
        (
            f"grey: {len(scene.data):,} rows of data; line: samples of a "
            f"model{_rest(scene, range(len(axes)))}"
        ),
        up="density",
    )
    return sheet


@figure("probability.png", needs=("table",))
def probability(scene: Scene) -> Figure:
    """A probability plot (P-P) of every column, the test rows against samples.

    Without its diagonal, so that what is off it can be seen.
    """
    from scipy.stats import percentileofscore  # here: most scenes need none of it

    scene = _as_shown(scene)
    sheet, axes = panels(min(len(scene.columns), SINGLE), 3, 2.0, sharex=True, sharey=True)
    level = np.linspace(0, 1, 101)
    chance = 2 * np.sqrt(level * (1 - level) / len(scene.test))
    for k, axis in enumerate(axes):
        axis.fill_between(level, -chance, chance, color=TRUTH_COLOR, alpha=0.12, linewidth=0)
        for row in scene.rows:
            values, rows = (
                np.unique(scene.test[:, k]),
                (scene.test[:, k], row.arrays["samples"][:, k]),
            )
            # Half of those at a value
            below, expected = (
                percentileofscore(each, values, "mean", nan_policy="omit") / 100 for each in rows
            )
            axis.plot(
                [0, *expected, 1],
                [0, *(below - expected), 0],
                color=row.color,
                linewidth=1.3,
                label=row.label,
            )
        axis.set_title(scene.columns[k], fontsize=10)
        axis.set(xlim=(0, 1), xlabel="share of the samples below" if k >= len(axes) - 3 else "")
        axis.grid(alpha=0.25)
    sheet.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    text = (
        f"{len(scene.test):,} test rows; 0 is perfect, grey \u00b1 2 sd by "
        f"chance{_rest(scene, range(len(axes)))}"
    )
    explain(sheet, text, up="share of the test rows below \u2212 that of the samples")
    return sheet


@figure("pairs.png", needs=("third column",))
def pairs(scene: Scene) -> Figure:
    """A corner plot of the best model.

    Below the diagonal its samples over the data, above it where more of them fall.
    """
    scene = _as_shown(scene)
    row = min(scene.rows, key=lambda row: row.headline.get("test_nll") or np.inf)
    strength = (
        (pd.DataFrame(scene.data).corr("spearman").abs() - np.eye(len(scene.columns)))
        .max()
        .to_numpy()
    )
    shown = sorted(np.argsort(-strength, kind="stable")[:PAIRED].tolist())
    data, samples = np.random.default_rng(0).permutation(scene.data)[:DOTS], row.arrays["samples"]
    sheet, axes = panels(len(shown) ** 2, len(shown), 8.2 / len(shown))
    for place, axis in enumerate(axes):
        line, column = divmod(place, len(shown))
        y, x = shown[line], shown[column]
        box = np.array([_frame(scene.data[:, each]) for each in (x, y)])
        if x == y:
            _histogram(axis, replace(scene, rows=[row]), x)
        elif line > column:
            for points, size, color in (
                (data, 8, DATA_COLOR),
                (samples[: len(data)], 3, row.color),
            ):
                inside = ((points[:, [x, y]] >= box[:, 0]) & (points[:, [x, y]] <= box[:, 1])).all(
                    axis=1
                )
                axis.scatter(
                    points[inside, x],
                    points[inside, y],
                    s=size,
                    color=color,
                    alpha=0.5,
                    linewidths=0,
                )
        else:
            axis.hist2d(samples[:, x], samples[:, y], bins=CELLS, range=box.tolist(), cmap="magma")
        axis.set(xlim=box[0], **({} if x == y else {"ylim": box[1]}))
        axis.locator_params(nbins=3)
        axis.tick_params(
            labelsize=8,
            left=x != y,
            labelleft=column == 0 < line,
            labelbottom=line == len(shown) - 1,
        )
        axis.set_xlabel(scene.columns[x] if line == len(shown) - 1 else "", fontsize=9)
        axis.set_ylabel(scene.columns[y] if column == 0 < line else "", fontsize=9)
    text = (
        f"{row.label}: as many samples over {len(data):,} rows of data (grey); above the diagonal, "
        f"{len(samples):,} samples counted in cells"
    )
    explain(sheet, f"{text}{_rest(scene, shown)}")
    return sheet


def _histogram(axis: Axes, scene: Scene, k: int) -> None:
    """Column k of the data, and in outline that of samples.

    Where the column has few values, each has a class of its own.
    """
    values, count = np.unique(scene.data[:, k]), int(np.clip(np.sqrt(len(scene.data)), 8, 40))
    low, high = _frame(scene.data[:, k])
    middle = (values[1:] + values[:-1]) / 2
    own = (
        [2 * values[0] - middle[0], *middle, 2 * values[-1] - middle[-1]]
        if len(values) <= count
        else []
    )
    edges = own or np.linspace(low, high, count + 1).tolist()
    axis.hist(scene.data[:, k], edges, density=True, color=DATA_COLOR, alpha=0.35, label="data")
    for row in scene.rows:
        axis.hist(
            row.arrays["samples"][:, k],
            edges,
            density=True,
            histtype="step",
            linewidth=1.3,
            color=row.color,
            label=row.label,
        )
    axis.set_xlim(low, high)


def _frame(column: Array) -> tuple[float, float]:
    low, high = np.quantile(column, [0.005, 0.995])
    low, high = (low, high) if high > low else (column.min(), column.max())
    return low - 0.15 * (high - low), high + 0.15 * (high - low)


def _as_shown(scene: Scene) -> Scene:
    """With the models alone, short names of columns, and logarithms of wide ones."""
    low, high = np.quantile(scene.data, [0.005, 0.995], axis=0)
    wide = (scene.data.min(axis=0) > 0) & (high > 100 * low)

    def seen(rows: Array) -> Array:
        with np.errstate(all="ignore"):  # samples that are not positive are in no frame
            return np.where(wide, np.where(rows > 0, np.log10(rows), -np.inf), rows)

    short = [
        name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}\u2026" for name in scene.columns
    ]
    columns = [
        f"log\u2081\u2080 {name}" if is_wide else name
        for name, is_wide in zip(short, wide, strict=True)
    ]
    rows = [
        replace(row, arrays={**row.arrays, "samples": seen(row.arrays["samples"])})
        for row in scene.rows
        if row.is_model
    ]
    return replace(scene, rows=rows, columns=columns, data=seen(scene.data), test=seen(scene.test))


def _rest(scene: Scene, shown: Sequence[int]) -> str:
    """Which columns there is no room for."""
    rest = [name for k, name in enumerate(scene.columns) if k not in shown]
    return (
        f"\nnot shown: {', '.join(rest[:4])}{f' and {len(rest) - 4} more' if len(rest) > 4 else ''}"
        if rest
        else ""
    )
