"""The main numbers of every row: each by itself, and quality against diversity."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flows.plotting.scene import Scene, figure
from flows.plotting.style import TRUTH_COLOR, explain, panels

METRICS = {"kl": "KL from the truth (nat)", "gain": "gain on the best floor\n(nat per test row)"}
METRICS |= {"precision": "precision", "recall": "recall", "c2st_auc": "classifier AUC\n(0.5 is perfect)"}


@figure("summary.png")
def summary(scene: Scene) -> Figure:
    """KL and sample metrics with two standard errors; a metric that no row has is left out."""
    metrics = [key for key in METRICS if any(key in row.members and np.isfinite(row.members[key]).any() for row in scene.rows)]
    sheet, axes = panels(len(metrics), len(metrics), 0.42 * len(scene.rows) + 1.1, sharey=True)
    places = np.arange(len(scene.rows))[::-1]
    for axis, metric in zip(axes, metrics, strict=True):
        shown = [(place, row) for place, row in zip(places, scene.rows, strict=True) if metric in row.members]
        for place, row in shown:
            (mean,), (error,) = scene.mean(row, [metric])
            if row.name == "truth":
                for reach, shade in ((error * np.sqrt(scene.members), 0.08), (error, 0.14)):
                    axis.axvspan(mean - reach, mean + reach, color=TRUTH_COLOR, alpha=shade, linewidth=0)
            if row.is_model:
                dots = row.members[metric]
                axis.scatter(dots, place + np.linspace(-0.22, 0.22, len(dots)), s=9, color=row.color, alpha=0.45, linewidths=0)
            axis.errorbar(mean, place, xerr=error, fmt="o" if len(row.members) > 1 else "s", markersize=5, color=row.color, capsize=3)
            if (ensemble := row.headline.get(f"{metric}_ensemble")) is not None:
                axis.plot(ensemble, place, "D", markersize=6, markerfacecolor="white", color=row.color)
        axis.set_xlabel(METRICS[metric])
        if metric == "gain" and axis.get_xlim()[0] < -20:  # a poor floor, far below all others
            axis.set_xscale("symlog", linthresh=1)
        else:
            axis.locator_params(axis="x", nbins=4)
        if metric in ("precision", "recall"):
            axis.set_xlim(right=min(axis.get_xlim()[1], 1.005))
        axis.grid(axis="x", alpha=0.25)
    axes[0].set_yticks(places, [row.label for row in scene.rows])
    axes[0].set_ylim(-0.6, len(scene.rows) - 0.4)
    text = "small dots: members; dot and bar: their mean \u00b1 2 standard errors; square: a single fit; diamond: ensemble"
    truth = f"\ntruth: light, one draw \u00b1 2 sd (for small dots, squares); dark and bar, {_draws(scene)} \u00b1 2 sd (for dots)"
    explain(sheet, text if scene.row("truth") is None else text + truth)
    return sheet


@figure("quality.png")
def quality(scene: Scene) -> Figure:
    """Precision against recall, and density against coverage: the members, their mean with 2 standard errors, and where a draw of the truth falls."""
    sheet, axes = panels(2, 2, 4.1)
    for axis, across, up in zip(axes, ("recall", "coverage"), ("precision", "density"), strict=True):
        for row in scene.rows:
            (x, y), error = scene.mean(row, [across, up])
            if row.name == "truth":
                width, height = error * np.sqrt(scene.members)
                box = Rectangle((x - width, y - height), 2 * width, 2 * height, color=TRUTH_COLOR, alpha=0.1, linewidth=0)
                axis.add_patch(box).set_label("one draw of the truth \u00b1 2 sd")
            if row.is_model:
                axis.scatter(row.members[across], row.members[up], s=12, color=row.color, alpha=0.5, linewidths=0)
            mark = "o" if len(row.members) > 1 else "s"
            axis.errorbar(x, y, error[1], error[0], mark, markersize=6, color=row.color, capsize=3, label=row.label)
        axis.set(xlabel=f"{across} (diversity)", ylabel=f"{up} (quality)")
        axis.set_xlim(right=min(axis.get_xlim()[1], 1.005))
        axis.grid(alpha=0.25)
    axes[0].set_ylim(top=min(axes[0].get_ylim()[1], 1.005))
    sheet.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    text = "small dots: members; dot and bars: their mean \u00b1 2 standard errors; square: a single fit"
    explain(sheet, text if scene.row("truth") is None else f"{text}; black bars: {_draws(scene)} of the truth \u00b1 2 sd")
    return sheet


def _draws(scene: Scene) -> str:
    """Of the truth, what compares with a model's mean."""
    return "one draw" if scene.members == 1 else f"mean of {scene.members} draws"
