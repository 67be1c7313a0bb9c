"""The predictive distribution of a target along a column of its context."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flows.core.arrays import Array, Mask
from flows.plotting import by_column
from flows.plotting.scene import Column, Scene
from flows.plotting.style import (
    DATA_COLOR,
    DENSITY_COLOR,
    STYLE,
    WIDTH,
    add_legend,
    area_key,
    explain,
    line_key,
    mark_key,
    panels,
)

NEAR: Any = {"color": "black", "alpha": 0.8}  # dots of rows near the values of the other columns
FAR: Any = {"color": DATA_COLOR, "alpha": 0.3}  # dots of other rows
# Of labels, from Okabe and Ito's and Tol's palettes, for colour-blind readers
LABEL_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255")


def draw_along(
    columns: Sequence[Column],
    rows: Array,
    d: int,
    x: Array,
    found: Sequence[Array],
    is_near: Mask,
    width: float = WIDTH,
) -> Figure:
    """Draw the distribution of each target for values of one column; the other columns are fixed.

    Args:
        columns: the columns of the table, the targets last.
        rows: the rows of the table that are drawn, ``(n, D)``.
        d: the column of the context along which the targets are drawn.
        x: values of the column, ``(G,)``.
        found: for each target, its quantiles 0.05, 0.25, 0.5, 0.75 and 0.95, ``(G, 5)``, or the
            probabilities of its labels, ``(G, K)``.
        is_near: which rows are near the values of the other columns, ``(n,)``; they are darker.
        width: the width in inches.
    """
    scene = Scene(columns=columns, data=rows, test=rows)
    is_wide = by_column.is_wide(scene)
    targets = range(len(columns) - len(found), len(columns))
    with rc_context(STYLE):
        sheet, axes = panels(len(found), 2 if width == WIDTH else 1, 3.4, width=width)
        for axis, t, values in zip(axes, targets, found, strict=True):
            if columns[t].labels:
                _probabilities(axis, columns[t], columns[d], x, values)
            else:
                _bands(axis, x, values, bool(columns[d].labels))
                for own, how in ((~is_near, FAR), (is_near, NEAR)):
                    axis.plot(rows[own, d], rows[own, t], "o", ms=3, mew=0, **how)
                if is_wide[t]:
                    axis.set_yscale("log")
                else:
                    by_column.set_ticks(axis, "y", scene, t, 3.0)
                axis.set_ylabel(by_column.short(columns[t].name))
            axis.set_xlabel(by_column.short(columns[d].name))
            if is_wide[d]:
                axis.set_xscale("log")
            else:
                by_column.set_ticks(axis, "x", scene, d, 4.0)
            margin = 0.5 if columns[d].labels else 0.0
            axis.set_xlim(x[0] - margin, x[-1] + margin)
        if any(not columns[t].labels for t in targets):
            rest = [mark_key(f"{(~is_near).sum():,} other rows", "o", **FAR)]
            handles = [
                line_key("median", color=DENSITY_COLOR),
                area_key("middle 50%", DENSITY_COLOR, 0.45),
                area_key("middle 90%", DENSITY_COLOR, 0.2),
                mark_key(f"{is_near.sum():,} rows near these values", "o", **NEAR),
                *(rest if not is_near.all() else []),
            ]
            add_legend(sheet, handles, 3 if width == WIDTH else 2)
        others = [c.name for k, c in enumerate(columns) if k not in (d, *targets)]
        fixed = "with the other columns at their medians or most frequent labels"
        names = " and ".join(by_column.short(columns[t].name) for t in targets)
        title = f"{names} along {by_column.short(columns[d].name)}"
        explain(sheet, f"{title},\n{fixed}" if others else title)
    return sheet


def _bands(axis: Axes, x: Array, quantiles: Array, is_category: bool) -> None:
    """Draw bands between quantiles ``(G, 5)``, as boxes over labels."""
    if is_category:
        for place, (low, lower, middle, upper, high) in zip(x, quantiles, strict=True):
            axis.bar(place, high - low, 0.5, low, color=DENSITY_COLOR, alpha=0.2)
            axis.bar(place, upper - lower, 0.5, lower, color=DENSITY_COLOR, alpha=0.3)
            axis.hlines(middle, place - 0.25, place + 0.25, color=DENSITY_COLOR)
        return
    low, lower, middle, upper, high = quantiles.T
    axis.fill_between(x, low, high, color=DENSITY_COLOR, alpha=0.2, linewidth=0)
    axis.fill_between(x, lower, upper, color=DENSITY_COLOR, alpha=0.3, linewidth=0)
    axis.plot(x, middle, color=DENSITY_COLOR)


def _probabilities(axis: Axes, target: Column, along: Column, x: Array, shares: Array) -> None:
    """Draw the probabilities of labels, ``(G, K)``, one line or group of bars per label.

    Of more than seven labels, those with the largest mean probabilities are drawn, and the sum of
    the others.
    """
    most, labels = len(LABEL_COLORS), target.labels
    own = [*range(len(labels))]
    if len(labels) > most:
        own = sorted(np.argsort(-shares.mean(axis=0), kind="stable")[:most].tolist())
    # matplotlib leaves a name that begins with _ out of a legend
    texts = [f" {labels[k]}" if str(labels[k]).startswith("_") else str(labels[k]) for k in own]
    names = [by_column.short(text, by_column.LABEL) for text in texts]
    lines = [*zip(names, LABEL_COLORS, shares.T[[*own]], strict=False)]
    if len(labels) > most:
        rest = 1 - shares[:, own].sum(axis=1)
        lines.append((f"{len(labels) - most} others", DATA_COLOR, rest))
    for k, (name, color, share) in enumerate(lines):
        if along.labels:
            width = 0.8 / len(lines)
            place = x + width * (k - (len(lines) - 1) / 2)
            axis.bar(place, share, width, color=color, label=name)
        else:
            axis.plot(x, share, color=color, label=name)
    axis.set(ylim=(0, 1), ylabel=f"probability of {by_column.short(target.name)}")
    axis.legend(ncols=2, fontsize=8)
