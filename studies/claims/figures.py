"""The figures of the study: each function takes numbers and saves an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from common.labels import label_and_color
from flows.core.arrays import Array
from flows.plotting.style import area_key, handles_of, line_key, mark_key, save
from studies.figures import GREY, error_bars, set_ticks
from studies.verdicts import heading, mean_and_interval

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
REMEDIES = {"recipe_mixture_base": "recipe, mixture base"}
KL = "KL from the truth (nat)"
# Not the colours of the models; of Tol's muted palette, which colour-blind readers can tell apart,
# its sand darkened so that letters in it can be read. The shape of the mark and the text beside it
# name the verdict too.
VERDICTS = {
    "supported": ("#332288", "o"),
    "refuted": ("#882255", "X"),
    "equivalent": ("#666666", "s"),
    "inconclusive": ("#8A7A1F", "D"),
}


def forest(effects: Sequence[Mapping[str, Any]], claims: Sequence[str], path: Path) -> None:
    """Draw all effects on one axis, grouped under a heading per claim.

    Effects are in units of their margins, and positive if they agree with the claim. ``ci95`` is
    the interval of the report; ``ci90`` is within the margins exactly if the test of equivalence
    holds. ``elsewhere`` are the same effects at other depths. ``label`` names the metric
    and the pair.
    """
    spans = [[each["effect"], *each["ci95"], *each["ci90"], *each["elsewhere"]] for each in effects]
    ends = np.abs([value for span in spans for value in span])
    reach = max(2.0, 1.25 * ends[np.isfinite(ends)].max(initial=1.0))
    figure = Figure()
    axis = figure.subplots()
    axis.axvspan(-1, 1, color="#000000", alpha=0.07, linewidth=0)
    for line, style in ((0, "-"), (-1, ":"), (1, ":")):
        axis.axvline(line, color="#000000", linewidth=0.8, linestyle=style)
    middle = np.sqrt(reach)
    for centre, scale in ((-middle, "logarithmic"), (0, "linear"), (middle, "logarithmic")):
        axis.text(centre, 0.62, scale, ha="center", va="bottom", fontsize=9, color="#444444")
    beside = axis.get_yaxis_transform()  # x in shares of the axis, y in data
    text: dict[str, Any] = {"va": "center", "fontsize": 9, "transform": beside}
    bar: dict[str, Any] = {"linewidth": 8, "alpha": 0.35, "solid_capstyle": "butt"}
    tick: dict[str, Any] = {"markersize": 7, "markeredgewidth": 1.3, "alpha": 0.7, "zorder": 1}
    names, headings, height = dict[float, str](), dict[float, str](), 0.0
    for claim, group in groupby(effects, key=itemgetter("claim")):
        headings[height] = heading(claim, claims[claim - 1])
        height -= 0.95
        for each in group:
            color, marker = VERDICTS[each["verdict"]]
            others = each["elsewhere"]
            axis.plot(others, [height] * len(others), "|", color=GREY, **tick)
            axis.plot(each["ci90"], [height, height], color=color, **bar)
            axis.plot(each["ci95"], [height, height], color=color, linewidth=2)
            axis.plot(each["effect"], height, marker, markersize=6.5, color=color)
            axis.text(1.01, height, each["verdict"], color=color, **text)
            names[height] = each["label"]
            height -= 0.85
        height -= 0.35
    lowest = height + 0.35
    figure.set_size_inches(8.6, 0.27 * -lowest + 1.6)
    axis.set_yticks(list(names), list(names.values()), fontsize=9)
    axis.set_xscale("symlog", linthresh=1, linscale=1)
    across = "\u2190 against the claim     effect, in units of its margin     as claimed \u2192"
    axis.set(xlim=(-reach, reach), ylim=(lowest + 0.2, 0.6), xlabel=across)
    set_ticks(axis.xaxis, [-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100])
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    handles: list[Artist] = [
        mark_key("mean paired difference", "o", markersize=6.5),
        line_key("its 95% interval (bootstrap)", linewidth=2),
        line_key("its 90% interval (t)", **bar),
        area_key("margin: equivalent where the\n90% interval lies in it (TOST)", "#000000", 0.07),
    ]
    if any(each["elsewhere"] for each in effects):
        handles.append(mark_key("difference at another depth", "|", **tick | {"color": GREY}))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    _add_headings(axis, headings)
    save(figure, path)


def _add_headings(axis: Axes, headings: Mapping[float, str]) -> None:
    """Write a heading at each height, beginning where the longest label of the axis does."""
    axis.figure.draw_without_rendering()  # type: ignore[union-attr]
    longest = max(axis.get_yticklabels(), key=lambda label: label.get_window_extent().width)
    for height, text in headings.items():
        heading = axis.annotate(text, (0, height), xycoords=(longest, axis.transData), va="center")
        heading.set(fontsize=9, fontweight="bold", in_layout=False)
        heading.set_path_effects([withStroke(linewidth=3, foreground="white")])  # over lines


def kl_curves(
    counts: Sequence[int],
    across: str,
    curves: Sequence[tuple[Array, dict[str, Any]]],
    path: Path,
    *,
    threshold: float | None = None,
    parameters: int | None = None,
) -> None:
    """Draw KL against couplings or rows, both on logarithmic scales.

    Args:
        counts: the K numbers of couplings or rows.
        across: label of the horizontal axis.
        curves: means with the ends of their intervals ``(K, 3)``, and the style of each curve.
        path: where the figure is saved.
        threshold: KL of claim 2, drawn as a line.
        parameters: number p of parameters of a maximum-likelihood fit, whose expected KL p / (2n)
            is drawn.
    """
    n = np.array(counts)
    figure = Figure(figsize=(6.8, 4.2))
    axis = figure.subplots()
    shifts = np.linspace(0.985, 1.015, len(curves))  # so that the bars don't overlap
    for shift, (values, style) in zip(shifts, curves, strict=True):
        error_bars(axis, shift * n, values, markersize=5, capsize=3, linewidth=1.4, **style)
    if parameters:
        color, note = label_and_color("truth")[1], f"floor p / (2n), p = {parameters}"
        axis.plot(n, parameters / (2 * n), ":", color=color, label=note)
    if threshold:
        axis.axhline(threshold, color=GREY, linewidth=0.9, linestyle=":")
        text = axis.text(n[-1] * 1.06, threshold, f" claim 2: {threshold} nat", va="bottom")
        text.set(fontsize=9, color="#666666", ha="right")
    axis.set(xscale="log", yscale="log", xlabel=across, ylabel=KL)
    set_ticks(axis.xaxis, counts)
    set_ticks(axis.yaxis, TICKS)
    axis.grid(alpha=0.25)
    title = "mean over replicates, 95% interval"
    axis.legend(frameon=False, fontsize=9, title=title, title_fontsize=9, alignment="left")
    save(figure, path)


def ablation(remedies: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draw a line per remedy: replicates as faint dots, their mean and its interval.

    ``remedies`` has the KL of every replicate, with one column per flow.
    """
    figure = Figure(figsize=(7.2, 0.44 * len(remedies) + 1.4))
    axis = figure.subplots()
    for line, by_model in enumerate(remedies.values()):
        for height, (model, kl) in zip((0.17 - line, -0.17 - line), by_model.items(), strict=False):
            name, color = label_and_color(model)
            heights = np.full(len(kl), height)
            faint: dict[str, Any] = {"markersize": 3, "alpha": 0.3, "markeredgewidth": 0}
            axis.plot(kl, heights, "o", color=color, **faint)
            style = {"markersize": 5, "capsize": 3, "label": name if line == 0 else None}
            found = mean_and_interval(kl)
            error_bars(axis, [height], found, across=True, fmt="o", color=color, **style)
    axis.set_yticks(
        -np.arange(len(remedies)), [REMEDIES.get(key, key.replace("_", " ")) for key in remedies]
    )
    axis.set(xscale="log", xlabel=KL)
    set_ticks(axis.xaxis, TICKS)
    axis.grid(axis="x", alpha=0.25)
    marks = [
        mark_key("a replicate", "o", **faint | {"alpha": 0.6}),
        line_key("their mean, 95% interval", marker="o", markersize=5),
    ]
    axis.legend(handles=[*handles_of(axis), *marks], frameon=False, fontsize=9)
    save(figure, path)
