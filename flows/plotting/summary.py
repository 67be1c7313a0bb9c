"""Figures that compare all rows: scores, quality and diversity, mode masses, and training."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from flows.core.arrays import Array
from flows.plotting.scene import Row, Scene, figure
from flows.plotting.style import (
    DATA_COLOR,
    TRUTH_COLOR,
    add_legend,
    area_key,
    explain,
    handles_of,
    line_key,
    mark_key,
    panels,
    shade,
)

METRICS = {
    "kl": "KL from the truth (nat)",
    "gain": "gain on the best reference\n(nat per test row)",
    "precision": "precision",
    "recall": "recall",
    "c2st_auc": "classifier AUC\n(0.5 is perfect)",
}
COLUMNS = 3  # of the training curves
QUALITIES = (("recall", "precision"), ("coverage", "density"))  # across and up
# The losses of a discriminator that can only guess
CHANCE = {"generator_loss": np.log(2), "discriminator_loss": 2 * np.log(2)}
LINES: dict[str, Any] = {
    "test_nll": "-",
    "train_nll": "--",
    "held_out_nll": "-.",
    "test_loss": "-",
    "train_loss": "--",
    "generator_loss": "-",
    "discriminator_loss": "--",
}
REGIONS = {
    "hdr": "highest-density regions",
    "radius": "flows: balls around the origin of the noise",
}


@figure("summary.png")
def summary(scene: Scene) -> Figure:
    """Draw the KL and the sample metrics with two standard errors.

    Metrics that no row has are left out.
    """
    tables = [row.members.reindex(columns=list(METRICS)) for row in scene.rows]
    metrics = [key for key in METRICS if any(np.isfinite(table[key]).any() for table in tables)]
    sheet, axes = panels(len(metrics), len(metrics), 0.42 * len(scene.rows) + 1.1, sharey=True)
    places = np.arange(len(scene.rows))[::-1]
    for axis, metric in zip(axes, metrics, strict=True):
        for place, row in zip(places, scene.rows, strict=True):
            if metric in row.members:
                _draw_metric(axis, scene, row, metric, place)
        axis.set_xlabel(METRICS[metric])
        if metric == "gain" and axis.get_xlim()[0] < -20:  # a reference far below all others
            axis.set_xscale("symlog", linthresh=1)
        else:
            axis.locator_params(axis="x", nbins=4)
        if metric in ("precision", "recall"):
            axis.set_xlim(right=min(axis.get_xlim()[1], 1.005))
        axis.grid(axis="x", alpha=0.25)
    axes[0].set_yticks(places, [row.label for row in scene.rows])
    axes[0].set_ylim(-0.6, len(scene.rows) - 0.4)
    handles: list[Any] = [*_mark_keys(), mark_key("ensemble", "D", markerfacecolor="white")]
    if "truth" in scene.by_name:
        handles += [
            area_key("truth: one draw \u00b1 2 sd", TRUTH_COLOR, 0.08),
            area_key(f"truth: {_draws(scene)} \u00b1 2 sd", TRUTH_COLOR, 0.22),
        ]
    add_legend(sheet, handles, 3)
    return sheet


def _mark_keys() -> list[Line2D]:
    """Return the legend entries for the marks of members, means and single fits."""
    return [
        mark_key("a member", "o", markersize=3, alpha=0.6),
        line_key("mean \u00b1 2 standard errors", marker="o"),
        mark_key("a single fit", "s"),
    ]


def _draw_metric(axis: Axes, scene: Scene, row: Row, metric: str, place: float) -> None:
    """Draw one metric of one row at the height ``place``."""
    (mean,), (error,) = scene.mean(row, [metric])
    members, ensemble = row.members[metric], row.headline.get(f"{metric}_ensemble")
    if row.name == "truth":
        for reach, alpha in ((error * np.sqrt(scene.members), 0.08), (error, 0.14)):
            axis.axvspan(mean - reach, mean + reach, color=TRUTH_COLOR, alpha=alpha, linewidth=0)
    if row.is_model:
        heights = place + np.linspace(-0.22, 0.22, len(members))
        axis.scatter(members, heights, s=9, color=row.color, alpha=0.45, linewidths=0)
    axis.errorbar(mean, place, xerr=error, fmt=row.mark, markersize=5, color=row.color, capsize=3)
    if ensemble is not None:
        axis.plot(ensemble, place, "D", markerfacecolor="white", color=row.color)


@figure("quality.png")
def quality(scene: Scene) -> Figure:
    """Draw precision against recall, and density against coverage.

    The figure shows the members, their mean with two standard errors, and the range of one draw of
    the truth.
    """
    sheet, axes = panels(2, 2, 4.1)
    for axis, (across, up) in zip(axes, QUALITIES, strict=True):
        for row in scene.rows:
            (x, y), error = scene.mean(row, [across, up])
            if row.name == "truth":
                width, height = error * np.sqrt(scene.members)
                corner = (x - width, y - height)
                box = Rectangle(corner, 2 * width, 2 * height, color=TRUTH_COLOR, alpha=0.1)
                box.set(linewidth=0, label="one draw of the truth \u00b1 2 sd")
                axis.add_patch(box)
            if row.is_model:
                members = row.members[across], row.members[up]
                axis.scatter(*members, s=12, color=row.color, alpha=0.5, linewidths=0)
            axis.errorbar(
                x, y, error[1], error[0], fmt=row.mark, color=row.color, capsize=3, label=row.label
            )
        axis.set(xlabel=f"{across} (diversity)", ylabel=f"{up} (quality)")
        axis.set_xlim(right=min(axis.get_xlim()[1], 1.005))
        axis.grid(alpha=0.25)
    axes[0].set_ylim(top=min(axes[0].get_ylim()[1], 1.005))
    add_legend(sheet, [*handles_of(axes[0]), *_mark_keys()], 4)
    return sheet


def _draws(scene: Scene) -> str:
    """Return the legend's words for as many draws of the truth as a model has members."""
    return "one draw" if scene.members == 1 else f"mean of {scene.members} draws"


@figure("calibration.png", needs=("truth", "density"))
def calibration(scene: Scene) -> Figure:
    """Draw the share of draws of the truth in the region of each level, minus the level.

    The level is the share of its mass that the model puts in the region.
    """
    regions = [key for key in REGIONS if any(key in row.arrays for row in scene.rows)]
    sheet, axes = panels(len(regions), len(regions), 3.9, sharey=True)
    for axis, key in zip(axes, regions, strict=True):
        for row in [row for row in scene.rows if key in row.arrays]:
            levels = row.arrays["levels"]
            off = row.arrays[key] - levels
            mean, spread = off.mean(axis=0), 2 * off.std(axis=0, ddof=min(1, len(off) - 1))
            axis.plot(levels, mean, color=row.color, linewidth=1.6, label=row.label)
            shade(axis, levels, mean, spread, color=row.color, alpha=0.18)
        # The truth is not a flow, but the error of a share of its draws is known: it is binomial
        if key == "radius":
            chance = 2 * np.sqrt(levels * (1 - levels) / scene.fresh)
            shade(axis, levels, 0, chance, color=TRUTH_COLOR, alpha=0.18)
        axis.axhline(0, color=TRUTH_COLOR, linewidth=0.8, linestyle=":")
        axis.set(title=REGIONS[key], xlim=(0, 1))
        axis.set_xlabel("level: share that the model puts in the region")
        axis.grid(alpha=0.25)
        beside: Any = {"transform": axis.transAxes, "fontsize": 9, "color": DATA_COLOR}
        axis.text(0.02, 0.97, "\u2191 too wide", va="top", **beside)
        axis.text(0.02, 0.03, "\u2193 too narrow, or off the mark", va="bottom", **beside)
    axes[0].margins(y=0.12)  # room for the words at both ends
    axes[0].set_ylabel("share of the truth in the region \u2212 level")
    band = area_key("\u00b1 2 sd over members\n(truth: over draws)")
    add_legend(sheet, [*handles_of(axes[0]), band], 5)
    return sheet


@figure("modes.png", needs=("truth", "components"))
def modes(scene: Scene) -> Figure:
    """Draw the share of samples in each component of the truth, and in none, and the true weights.

    Bands around the true weights show two standard deviations of the shares among the training
    rows, which limit the accuracy of every model, and among as many samples of the truth.
    """
    drawn = scene.by_name["truth"].arrays["mode_mass"]
    others = [row for row in scene.rows if row.name != "truth"]
    # Outside of all components, the mean share of samples of the truth replaces the weight
    true = np.append(scene.truth.weights, drawn[:, -1].mean())
    learners = len(scene.data) - len(scene.test)
    learnt = 2 * np.sqrt(true * (1 - true) / learners)
    chance = 2 * drawn.std(axis=0, ddof=1)
    count = len(true) - 1
    places = np.append(np.arange(1, count + 1), 1.08 * count + 1)  # a gap before "none"
    ticks, cap = (places[:-1], 2) if count <= 10 else (np.arange(5, count - 1, 5), 0)
    sheet, axes = panels(len(others), 2 if len(others) <= 4 else 4, 2.2, sharex=True, sharey=True)
    for axis, row in zip(axes, others, strict=True):
        shares = row.arrays["mode_mass"]
        mean = shares.mean(axis=0)
        axis.bar(places, mean, width=0.7, color=row.color, alpha=0.6, linewidth=0)
        for reach, alpha in ((learnt, 0.13), (chance, 0.25)):
            axis.bar(
                places, 2 * reach, 0.96, true - reach, color=TRUTH_COLOR, alpha=alpha, linewidth=0
            )
        axis.hlines(true, places - 0.48, places + 0.48, color=TRUTH_COLOR, linewidth=1)
        if len(shares) > 1:
            error = 2 * shares.std(axis=0, ddof=1)
            axis.errorbar(
                places, mean, error, fmt="none", color=row.color, elinewidth=1.6, capsize=cap
            )
        axis.set_title(f"{row.label}: TV {row.members['mode_tv'].mean():.3f}", fontsize=10)
        axis.set_xticks([*ticks, places[-1]], [*(f"{tick:.0f}" for tick in ticks), "none"])
    axes[0].set_ylim(bottom=0)
    handles = [
        area_key("bar: mean over members", alpha=0.6),
        line_key("\u00b1 2 sd over members", linewidth=1.6),
        line_key("true weight", color=TRUTH_COLOR, linewidth=1),
        area_key("\u00b1 2 sd, as many samples\nof the truth", TRUTH_COLOR, 0.35),
        area_key(f"\u00b1 2 sd, the {learners:,} rows that\nall learn from", TRUTH_COLOR, 0.13),
        mark_key("TV: total variation from\nthe true weights", ""),
    ]
    add_legend(sheet, handles, 3)
    across = "mode of the truth (none: between the modes)"
    explain(sheet, across=across, up="share of the samples")
    return sheet


@figure("training.png")
def training(scene: Scene) -> Figure:
    """Draw the training curves, one panel per model.

    All NLLs share one scale. Values above the scale, at the start or in a spike, are marked.
    """
    sheet, axes = panels(len(scene.histories), COLUMNS, 2.6)
    entropy = [] if scene.entropy is None else [scene.entropy]
    histories = scene.histories.values()
    nlls = [history for history in histories if _is_nll(history)]
    ends = [nll.filter(regex="_nll$").quantile([0, 0.95]).to_numpy().ravel() for nll in nlls]
    scale = _padded(np.concatenate([*ends, entropy]))
    for axis, (name, history) in zip(axes, scene.histories.items(), strict=True):
        _draw_curves(axis, scene.by_name[name], history, entropy, scale)
    drawn = [key for key in LINES if key.endswith("_nll") and any(key in h for h in nlls)]
    handles: list[Any] = [line_key(key.removesuffix("_nll"), LINES[key]) for key in drawn]
    handles.append(area_key("\u00b1 1 sd over members"))
    for level in entropy:
        label = f"entropy of the truth, {level:.2f}"
        handles.append(line_key(label, ":", color=TRUTH_COLOR, linewidth=1))
    if any(line.get_marker() == "^" for axis in axes for line in axis.lines):
        handles.append(mark_key("mean above the scale", "^", markersize=5))
    add_legend(sheet, handles, len(handles))
    if any("held_out_nll" in history for history in histories):
        text = "held out: rows that a member does not learn from; it is kept as it was where their "
        text += "NLL was lowest"
        explain(sheet, text)
    return sheet


def _is_nll(history: pd.DataFrame) -> bool:
    """Return whether a history has a curve of the NLL, not only the NLL of the end, or none."""
    return "test_nll" in history and "test_loss" not in history


def _draw_curves(
    axis: Axes,
    row: Row,
    history: pd.DataFrame,
    entropy: list[float],
    scale: tuple[float, float],
) -> None:
    """Draw the curves of one model: NLLs on the common ``scale``, or other losses."""
    is_nll = _is_nll(history)
    curves = [key for key in LINES if key in history and key.endswith("_nll") == is_nll]
    epochs, means = history["epoch"], history[curves]
    sds = history[[f"{key}_sd" for key in curves]].set_axis(curves, axis=1)
    if is_nll:
        levels, (low, high) = entropy, scale
        axis.set(ylim=scale, ylabel="NLL (nat per point)")
    else:
        levels = [CHANCE[key] for key in curves if key in CHANCE]
        low, high = _padded(np.concatenate([(means - sds).min(), (means + sds).max(), levels]))
        # Room for the legend above curves that do not fall
        unit = "nat" if levels else "squared velocity"
        axis.set(ylim=(low, high + 0.6 * (high - low)), ylabel=f"loss ({unit})")
    for key in curves:
        axis.plot(epochs, means[key], LINES[key], color=row.color, label=key.replace("_", " "))
        inside = means[key] <= high
        shade(axis, epochs, means[key], sds[key], where=inside, color=row.color, alpha=0.2)
    for level in levels:
        axis.axhline(level, color=TRUTH_COLOR, linewidth=1, linestyle=":")
    above = (means > high).any(axis=1)
    title = f"{row.label}, {len(row.members)} members"
    if above.any():
        key, at = means.max().idxmax(), means.max(axis=1).idxmax()
        title += f"\nup to {means[key][at]:,.4g} ({key.removesuffix('_nll')}, epoch {epochs[at]})"
        edge = np.full(above.sum(), high)
        axis.plot(epochs[above], edge, "^", color=row.color, markersize=5, clip_on=False)
    axis.set(xlabel="epoch", xlim=(0, None))
    axis.set_title(title, fontsize=10)
    if not is_nll:
        if levels:
            axis.lines[len(curves)].set_label("where it can only guess")
        axis.legend(loc="upper right")


def _padded(values: Array) -> tuple[float, float]:
    """Return the ends of an axis for all finite ``values``; 0 and 1 are shown if none is finite."""
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0, 1)
    margin = 0.08 * (high - low or 1)
    return low - margin, high + margin
