"""Figures of single rows of a table: surprising values, and conditional densities.

The surprise of a value is in nats. It is above 0 if the other values of the row make the value less
likely.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from flows.core.arrays import Array
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
    panels,
)

LINES, COLUMNS = 40, 24  # most rows and columns of the picture of surprises
LINE, LEFT = 0.27, 2.2  # inches: height of a row, and width of the text beside the cells
LEAST, MOST = 3.0, 10.0  # nats: limits of the end of the colour scale
OWN_COLOR = "#D55E00"  # of the value in the row


def draw_odd_cells(
    names: Sequence[str], frame: pd.DataFrame, log_density: Array, surprise: Array
) -> Figure:
    """Draw the values of rows in cells, each coloured by the surprise of the value.

    Args:
        names: the columns of ``frame`` with the values.
        frame: the rows; the index has their numbers or labels.
        log_density: their log-densities, ``(n,)``.
        surprise: the surprise of each value, ``(n, D)``; ``NaN`` for a missing value.
    """
    surprise, frame = surprise[:LINES], frame[:LINES]
    most = np.nan_to_num(surprise, nan=-np.inf, posinf=np.inf).max(axis=0)
    shown = np.sort(np.argsort(-most, kind="stable")[:COLUMNS])
    surprise = surprise[:, shown]
    finite = surprise[np.isfinite(surprise)]
    top = float(np.clip(finite.max(initial=LEAST), LEAST, MOST))
    with rc_context(STYLE):
        sheet, (axis,) = panels(1, 1, LINE * len(frame) + 1.2)
        axis.set_facecolor("#dddddd")  # of missing values
        image = axis.imshow(
            np.minimum(surprise, top), cmap="magma_r", vmin=0, vmax=top, aspect="auto"
        )
        room = (WIDTH - LEFT) / len(shown) / by_column.LETTER - 1  # letters
        for column, d in enumerate(shown):
            for line, value in enumerate(frame[names[d]]):
                is_gap = np.isnan(surprise[line, column])
                text = "gap" if is_gap else _cell(value)
                color = "white" if surprise[line, column] > top / 2 else "black"
                if len(text) <= room:
                    axis.text(column, line, text, ha="center", va="center", fontsize=8, color=color)
        heads = [by_column.short(names[d]) for d in shown]
        turned = max(map(len, heads)) > room
        axis.set_xticks(range(len(shown)), heads, rotation=90 if turned else 0)
        scores = zip(frame.index, log_density[: len(frame)], strict=True)
        lines = [f"{by_column.short(str(k))}:  {_signed(x)}" for k, x in scores]
        axis.set_yticks(range(len(frame)), lines, fontsize=9)
        axis.set_ylabel("row:  its log-density (nat)", labelpad=8)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        extend = "max" if (surprise > top).any() else "neither"
        bar = sheet.colorbar(image, ax=axis, extend=extend, pad=0.02, aspect=40)
        bar.set_label("surprise (nat)")
        bar.outline.set_visible(False)
        rest = f"\nshown are the {len(shown)} oddest columns" if len(shown) < len(names) else ""
        dark = "dark: the rest of its row speaks against a value"
        explain(sheet, f"the {len(frame)} least likely rows; {dark}{rest}")
    return sheet


def draw_conditionals(
    columns: Sequence[Column],
    rows: Array,
    k: int,
    label: str,
    surprise: Array,
    curves: Sequence[tuple[Array, Array]],
) -> Figure:
    """Draw the density of each column given the other values of a row, over a histogram of rows.

    A band is the interval that few rows leave in the density.

    Args:
        columns: the columns of the table.
        rows: the rows of the table, ``(n, D)``; ``NaN`` for a missing value.
        k: the position of the row, from 0.
        label: the number or the label of the row.
        surprise: the surprise of each value of the row, ``(D,)``.
        curves: values of each column ``(G,)``, and their densities in the units of the column with
            the lower and the upper ends of their intervals, ``(3, G)``; ``NaN`` without a value or
            an interval.
    """
    plain = Scene(columns=columns, data=rows, test=rows)
    is_wide, scene = by_column.is_wide(plain), by_column.as_shown(plain)
    most = np.nan_to_num(surprise, nan=-np.inf, posinf=np.inf)
    shown = sorted(np.argsort(-most, kind="stable")[: by_column.SINGLE].tolist())
    label = by_column.short(label)
    with rc_context(STYLE):
        sheet, axes = panels(len(shown), 3, 2.0)
        has_band = False
        for axis, d in zip(axes, shown, strict=True):
            x, density = curves[d]
            own, labels = rows[k, d], columns[d].labels
            value = "unknown" if np.isnan(own) else columns[d].text(own)
            if is_wide[d]:  # the axis is of logarithms
                x, density = x[x > 0], density[:, x > 0]  # a count may be 0
                x, density = np.log10(x), density * x * np.log(10)
                own = np.log10(own)
            by_column.draw_column(axis, scene, d)
            density, low, high = density
            has_band = has_band or bool(np.isfinite(low).any())
            if labels:
                ends = np.nan_to_num(np.abs(np.stack([low, high]) - density))
                bars = {"ecolor": "black", "elinewidth": 1.0, "capsize": 2.0}
                axis.bar(x, density, 0.5, yerr=ends, color=DENSITY_COLOR, alpha=0.7, error_kw=bars)
            elif columns[d].is_discrete:
                between, reach = (x[1:] + x[:-1]) / 2, np.gradient(x) / 2
                edges = [x[0] - reach[0], *between, x[-1] + reach[-1]]
                axis.stairs(high, edges, baseline=low, fill=True, color=DENSITY_COLOR, alpha=0.25)
                axis.stairs(density, edges, color=DENSITY_COLOR)
            else:
                axis.fill_between(x, low, high, color=DENSITY_COLOR, alpha=0.25, linewidth=0)
                axis.plot(x, density, color=DENSITY_COLOR)
            low, high = axis.get_xlim()
            if not np.isnan(own):
                axis.axvline(own, color=OWN_COLOR, linestyle="--", linewidth=1.5)
                reach = 0.05 * (high - low)
                low, high = min(low, own - reach), max(high, own + reach)
            axis.set_xlim(low, high)
            how = "" if np.isnan(surprise[d]) else f"; surprise {_signed(surprise[d])} nat"
            axis.set_title(f"{by_column.short(str(value), by_column.LABEL)}{how}", fontsize=9)
        handles = [
            line_key(f"density given the rest\nof row {label}", color=DENSITY_COLOR),
            line_key(f"value in row {label}", "--", color=OWN_COLOR),
            area_key(f"{len(rows):,} rows of data", DATA_COLOR, 0.35),
        ]
        if has_band:
            handles.insert(1, area_key("its 95% interval\nof few rows", DENSITY_COLOR, 0.25))
        add_legend(sheet, handles, len(handles))
        text = f"what the rest of row {label} says of each column"
        explain(
            sheet, text + by_column.rest_of(scene, shown), up="density, or probability of a label"
        )
    return sheet


def _signed(x: float) -> str:
    return f"{x:.1f}".replace("-", "\u2212")


def _cell(value: object) -> str:
    """Return the text of a cell: the value, rounded or cut if its text is long."""
    text = f"{value:%Y-%m-%d}" if isinstance(value, datetime) else str(value)
    with suppress(ValueError):
        text = text if len(text) <= by_column.LABEL else f"{float(text):.5g}"
    return by_column.short(text, by_column.LABEL)
