"""The figure of a check: ranks of rows, cover by column, and traces of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flows.plotting import by_column
from flows.plotting.style import (
    DATA_COLOR,
    DENSITY_COLOR,
    STYLE,
    TRUTH_COLOR,
    WIDTH,
    add_legend,
    area_key,
    line_key,
    mark_key,
    panels,
)

TRACE_COLOR = "#D55E00"
MARKS = ("o", "s")  # of levels


def draw_check(check: Any, parts: Sequence[str] = (), width: float = WIDTH) -> Figure:
    """Draw the result of a check.

    Args:
        check: the result, ``flows.tables.checking.result.Check``.
        parts: the panels: ``"ranks"``, ``"cover"`` and ``"traces"``; by default the first two, and
            the third if there are traces of networks.
        width: the width in inches.
    """
    traces = check.traces
    if len(traces):
        traces = traces[traces["members"] == "networks"]
    parts = parts or ("ranks", "cover", *(["traces"] if len(traces) else []))
    regions = _shown(check.cover)
    keys = dict[str, list[Any]]()
    keys["ranks"] = [
        line_key("rows", color=DENSITY_COLOR),
        line_key("a right density", "--", color=TRUTH_COLOR),
        *([area_key("refits, 5% to 95%", DATA_COLOR)] if len(check.band) else []),
    ]
    marks = dict(zip(sorted(check.cover["level"].unique()), MARKS, strict=True))
    keys["cover"] = [
        mark_key(f"region of {level:.0%}", mark, color=DENSITY_COLOR)
        for level, mark in marks.items()
    ]
    with rc_context(STYLE):
        height = max(3.2, 0.25 * len(regions) + 1.4) if "cover" in parts else 2.6
        sheet, axes = panels(len(parts), 3, height, width=width)
        for axis, part in zip(axes, parts, strict=True):
            if part == "ranks":
                _ranks(axis, check)
            elif part == "cover":
                _cover(axis, check, regions, marks)
            else:
                _traces(axis, traces, check.auc)
        handles = [key for part in parts for key in keys.get(part, ())]
        if handles:
            add_legend(sheet, handles, len(handles))
    return sheet


def _shown(cover: pd.DataFrame) -> list[str]:
    """Return the regions that are drawn: of whole rows, and of the columns with most deviation."""
    away = (cover["cover"] - cover["level"]).abs().groupby(cover["region"], sort=False).max()
    columns = [*away.index[1:]]
    largest = sorted(columns, key=lambda name: -away[name])[: by_column.LISTED]
    return [*away.index[:1], *(name for name in columns if name in largest)]


def _ranks(axis: Axes, check: Any) -> None:
    """Draw the distribution of the ranks, minus the ranks."""
    if len(check.band):
        low, high = np.array(check.band)
        grid = np.linspace(0, 1, len(low))
        axis.fill_between(grid, low - grid, high - grid, color=DATA_COLOR, alpha=0.3, linewidth=0)
    known = np.sort(np.asarray(check.ranks, float))
    known = known[~np.isnan(known)]
    if len(known):
        ends = np.concatenate([[0], known, [1]])
        share = np.concatenate([[0], np.arange(1, len(known) + 1) / len(known), [1]])
        axis.step(ends, share - ends, where="post", color=DENSITY_COLOR)
    axis.axhline(0, color=TRUTH_COLOR, linestyle="--", linewidth=0.8)
    axis.set(xlim=(0, 1), xlabel="rank of a row's density", ylabel="share of rows \u2212 rank")
    axis.set_title("ranks of rows among draws", fontsize=10)


def _cover(axis: Axes, check: Any, regions: list[str], marks: dict[float, str]) -> None:
    """Draw the cover of regions with intervals."""
    places = {region: -k for k, region in enumerate(regions)}
    for level, mark in marks.items():
        own = check.cover[(check.cover["level"] == level) & check.cover["region"].isin(regions)]
        y = [places[region] for region in own["region"]]
        x = own["cover"].to_numpy()
        reach = np.array([x - own["low"], own["high"] - x]).clip(min=0)
        axis.errorbar(x, y, xerr=reach, fmt=mark, color=DENSITY_COLOR, markersize=5, linewidth=1)
        axis.axvline(level, color=TRUTH_COLOR, linestyle="--", linewidth=0.8)
    names = ["all columns" if each == check.WHOLE else by_column.short(each) for each in regions]
    axis.set_yticks([*places.values()], names)
    axis.set(xlim=(0, 1.02), xlabel="share of rows in the region")
    rest = check.cover["region"].nunique() - len(regions)
    axis.set_title("cover" + (f" (without {rest} columns)" if rest else ""), fontsize=10)


def _traces(axis: Axes, traces: pd.DataFrame, auc: float) -> None:
    """Draw the largest memorisation scores of networks."""
    places = -np.arange(len(traces))
    axis.barh(places, traces["score"], color=TRACE_COLOR, alpha=0.7)
    axis.set_yticks(places, [f"row {by_column.short(str(row))}" for row in traces["row"]])
    axis.set_xlabel("memorisation score (nat)")
    axis.set_title(f"traces; AUC of a network {auc:.2f}", fontsize=10)
