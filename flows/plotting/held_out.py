"""Predictions of held-out rows beside their targets: residuals, and the reliability of shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from flows.core.arrays import Array
from flows.plotting import by_column
from flows.plotting.scene import Column
from flows.plotting.style import (
    DATA_COLOR,
    DENSITY_COLOR,
    NARROW,
    STYLE,
    TRUTH_COLOR,
    add_legend,
    area_key,
    explain,
    line_key,
    mark_key,
    panels,
)


def draw_residuals(target: Column, y: Array, quantiles: Array, of: str) -> Figure:
    """Draw targets minus their predicted medians along the medians.

    Args:
        target: the column.
        y: the targets of rows, ``(n,)``.
        quantiles: the quantiles 0.05, 0.25, 0.5, 0.75 and 0.95 of their predictions, ``(n, 5)``.
        of: what the rows are, such as ``"held-out"``.
    """
    order = np.argsort(quantiles[:, 2], kind="stable")
    y, (low, lower, middle, upper, high) = y[order], quantiles[order].T
    within = float(((y >= low) & (y <= high)).mean())
    name = by_column.short(target.name)
    with rc_context(STYLE):
        sheet, (axis,) = panels(1, 1, 3.2, width=NARROW)
        for bottom, top, alpha in ((low, high, 0.15), (lower, upper, 0.25)):
            how: Any = {"color": DENSITY_COLOR, "alpha": alpha, "linewidth": 1.5}
            axis.vlines(middle, bottom - middle, top - middle, **how)
        axis.plot(middle, y - middle, "o", color=DATA_COLOR, ms=3, mew=0, alpha=0.7)
        axis.axhline(0, color=TRUTH_COLOR, linestyle="--", linewidth=0.8)
        axis.set(xlabel=f"predicted median of {name}", ylabel=f"{name} \u2212 median")
        axis.locator_params(nbins=6)
        handles = [
            mark_key(f"{of} row", "o", color=DATA_COLOR, alpha=0.7),
            area_key("middle 50%", DENSITY_COLOR, 0.4),
            area_key("middle 90%", DENSITY_COLOR, 0.15),
        ]
        add_legend(sheet, handles, 3)
        explain(sheet, f"{len(y):,} {of} rows; {within:.0%} lie in their interval of 90%")
    return sheet


def draw_reliability(target: Column, bins: pd.DataFrame, rows: int, of: str) -> Figure:
    """Draw the share of rows that have a label along the probability that was predicted.

    Args:
        target: the column.
        bins: a line per bin of probabilities: the mean of the ``predicted`` probabilities, the
            ``share`` of rows that have the label, and its interval from ``low`` to ``high``.
        rows: the number of rows.
        of: what the rows are, such as ``"held-out"``.
    """
    x, share = bins["predicted"], bins["share"]
    reach = np.array([share - bins["low"], bins["high"] - share]).clip(min=0)
    with rc_context(STYLE):
        sheet, (axis,) = panels(1, 1, 3.2, width=NARROW)
        axis.plot([0, 1], [0, 1], "--", color=TRUTH_COLOR, linewidth=0.8)
        axis.errorbar(x, share, yerr=reach, fmt="o", color=DENSITY_COLOR, markersize=5, linewidth=1)
        name = by_column.short(target.name)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share of rows with the label")
        axis.set_xlabel(f"predicted probability of a label of {name}")
        handles = [
            mark_key("rows, with a 95% interval", "o", color=DENSITY_COLOR),
            line_key("calibrated", "--", color=TRUTH_COLOR),
        ]
        add_legend(sheet, handles, 2)
        explain(sheet, f"{rows:,} {of} rows, all labels together")
    return sheet
