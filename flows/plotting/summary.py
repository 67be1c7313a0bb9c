"""Every row beside the others.

Its main numbers, quality against diversity, where it puts its mass, and how it was trained.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flows.core.arrays import Array
from flows.plotting.scene import Scene, figure
from flows.plotting.style import TRUTH_COLOR, explain, panels

METRICS = {"kl": "KL from the truth (nat)", "gain": "gain on the best floor\n(nat per test row)"}
METRICS |= {
    "precision": "precision",
    "recall": "recall",
    "c2st_auc": "classifier AUC\n(0.5 is perfect)",
}

# Where nobody can tell real from made
BLIND = {"generator_loss": np.log(2), "discriminator_loss": 2 * np.log(2)}
LINES = {
    "test_nll": "-",
    "train_nll": "--",
    "held_out_nll": "-.",
    "generator_loss": "-",
    "discriminator_loss": "--",
}
REGIONS = {
    "hdr": "highest-density regions",
    "radius": "flows: balls around the origin of the noise",
}


@figure("summary.png")
def summary(scene: Scene) -> Figure:
    """KL and sample metrics with two standard errors; a metric that no row has is left out."""
    metrics = [
        key
        for key in METRICS
        if any(key in row.members and np.isfinite(row.members[key]).any() for row in scene.rows)
    ]
    sheet, axes = panels(len(metrics), len(metrics), 0.42 * len(scene.rows) + 1.1, sharey=True)
    places = np.arange(len(scene.rows))[::-1]
    for axis, metric in zip(axes, metrics, strict=True):
        shown = [
            (place, row)
            for place, row in zip(places, scene.rows, strict=True)
            if metric in row.members
        ]
        for place, row in shown:
            (mean,), (error,) = scene.mean(row, [metric])
            if row.name == "truth":
                for reach, shade in ((error * np.sqrt(scene.members), 0.08), (error, 0.14)):
                    axis.axvspan(
                        mean - reach, mean + reach, color=TRUTH_COLOR, alpha=shade, linewidth=0
                    )
            if row.is_model:
                dots = row.members[metric]
                axis.scatter(
                    dots,
                    place + np.linspace(-0.22, 0.22, len(dots)),
                    s=9,
                    color=row.color,
                    alpha=0.45,
                    linewidths=0,
                )
            axis.errorbar(
                mean, place, xerr=error, fmt=row.mark, markersize=5, color=row.color, capsize=3
            )
            if (ensemble := row.headline.get(f"{metric}_ensemble")) is not None:
                axis.plot(
                    ensemble, place, "D", markersize=6, markerfacecolor="white", color=row.color
                )
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
    text = (
        "small dots: members; dot and bar: their mean \u00b1 2 standard errors; square: "
        "a single fit; diamond: ensemble"
    )
    truth = (
        "\ntruth: light, one draw \u00b1 2 sd (for small dots, squares); dark and bar, "
        f"{_draws(scene)} \u00b1 2 sd (for dots)"
    )
    explain(sheet, text if scene.row("truth") is None else text + truth)
    return sheet


@figure("quality.png")
def quality(scene: Scene) -> Figure:
    """Precision against recall, and density against coverage.

    The members, their mean with 2 standard errors, and where a draw of the truth falls.
    """
    sheet, axes = panels(2, 2, 4.1)
    for axis, across, up in zip(
        axes, ("recall", "coverage"), ("precision", "density"), strict=True
    ):
        for row in scene.rows:
            (x, y), error = scene.mean(row, [across, up])
            if row.name == "truth":
                width, height = error * np.sqrt(scene.members)
                box = Rectangle(
                    (x - width, y - height),
                    2 * width,
                    2 * height,
                    color=TRUTH_COLOR,
                    alpha=0.1,
                    linewidth=0,
                )
                axis.add_patch(box).set_label("one draw of the truth \u00b1 2 sd")
            if row.is_model:
                axis.scatter(
                    row.members[across],
                    row.members[up],
                    s=12,
                    color=row.color,
                    alpha=0.5,
                    linewidths=0,
                )
            axis.errorbar(
                x,
                y,
                error[1],
                error[0],
                row.mark,
                markersize=6,
                color=row.color,
                capsize=3,
                label=row.label,
            )
        axis.set(xlabel=f"{across} (diversity)", ylabel=f"{up} (quality)")
        axis.set_xlim(right=min(axis.get_xlim()[1], 1.005))
        axis.grid(alpha=0.25)
    axes[0].set_ylim(top=min(axes[0].get_ylim()[1], 1.005))
    sheet.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    text = (
        "small dots: members; dot and bars: their mean \u00b1 2 standard errors; square: "
        "a single fit"
    )
    explain(
        sheet,
        text
        if scene.row("truth") is None
        else f"{text}; black bars: {_draws(scene)} of the truth \u00b1 2 sd",
    )
    return sheet


def _draws(scene: Scene) -> str:
    """Of the truth, what compares with a model's mean."""
    return "one draw" if scene.members == 1 else f"mean of {scene.members} draws"


@figure("calibration.png", needs=("truth", "density"))
def calibration(scene: Scene) -> Figure:
    """How much more of the truth than it should a region of each level holds."""
    regions = [key for key in REGIONS if any(key in row.arrays for row in scene.rows)]
    sheet, axes = panels(len(regions), len(regions), 3.9, sharey=True)
    for axis, key in zip(axes, regions, strict=True):
        for row in [row for row in scene.rows if key in row.arrays]:
            levels = row.arrays["levels"]
            off = row.arrays[key] - levels
            mean, spread = off.mean(axis=0), 2 * off.std(axis=0, ddof=min(1, len(off) - 1))
            axis.plot(levels, mean, color=row.color, linewidth=1.6, label=row.label)
            axis.fill_between(
                levels, mean - spread, mean + spread, color=row.color, alpha=0.18, linewidth=0
            )
        # The truth is no flow, but the noise of its draws is known: the share of a binomial
        if key == "radius":
            chance = 2 * np.sqrt(levels * (1 - levels) / scene.fresh)
            axis.fill_between(levels, -chance, chance, color=TRUTH_COLOR, alpha=0.18, linewidth=0)
        axis.axhline(0, color=TRUTH_COLOR, linewidth=0.8, linestyle=":")
        axis.set(
            title=REGIONS[key], xlabel="level: share that the model puts in the region", xlim=(0, 1)
        )
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("share of the truth in the region \u2212 level")
    sheet.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    text = "above 0: too wide; below: too narrow, or off the mark"
    explain(
        sheet,
        (
            f"{text}; line and band: mean \u00b1 2 sd over members; black: "
            "the same over draws of the truth"
        ),
    )
    return sheet


@figure("modes.png", needs=("truth", "components"))
def modes(scene: Scene) -> Figure:
    """Share of the samples per component of the truth, and of those beyond them all.

    Beside the true weights.

    No model can know the weights better than the counts of the training rows tell.
    """
    mass = {row.name: row.arrays["mode_mass"] for row in scene.rows}
    drawn, others = mass["truth"], [row for row in scene.rows if row.name != "truth"]
    # What lies beyond the components has no weight: what the truth's samples have there
    true = np.append(scene.truth.weights, drawn[:, -1].mean())
    learners = len(scene.data) - len(scene.test)
    learnt, chance = 2 * np.sqrt(true * (1 - true) / learners), 2 * drawn.std(axis=0, ddof=1)
    count = len(true) - 1
    places = np.append(np.arange(1, count + 1), 1.08 * count + 1)  # a gap before those beyond
    ticks = places[:-1] if count <= 10 else np.arange(5, count - 1, 5)
    sheet, axes = panels(len(others), 2 if len(others) <= 4 else 3, 2.2, sharex=True, sharey=True)
    for axis, row in zip(axes, others, strict=True):
        shares = mass[row.name]
        axis.bar(places, shares.mean(axis=0), width=0.7, color=row.color, alpha=0.6, linewidth=0)
        for reach, shade in ((learnt, 0.13), (chance, 0.25)):
            axis.bar(
                places,
                2 * reach,
                bottom=true - reach,
                width=0.96,
                color=TRUTH_COLOR,
                alpha=shade,
                linewidth=0,
            )
        axis.hlines(true, places - 0.48, places + 0.48, color=TRUTH_COLOR, linewidth=1)
        if len(shares) > 1:
            error = 2 * shares.std(axis=0, ddof=1)
            axis.errorbar(
                places,
                shares.mean(axis=0),
                yerr=error,
                fmt="none",
                color=row.color,
                elinewidth=1.6,
                capsize=2 if count <= 10 else 0,
            )
        axis.set_title(f"{row.label}: TV {row.members['mode_tv'].mean():.3f}", fontsize=10)
        axis.set_xticks([*ticks, places[-1]], [*(f"{tick:.0f}" for tick in ticks), "none"])
    axes[0].set_ylim(bottom=0)
    text = (
        "bar: mean over members, with \u00b1 2 sd where there are several; TV: "
        "total variation from the true weights, mean over members\n"
    )
    text += (
        "black: true weight; dark grey: \u00b1 2 sd of as many samples of the truth; light: "
        f"of the {learners:,} that all learn from"
    )
    explain(
        sheet, text, "component of the truth (none: far from all of them)", "share of the samples"
    )
    return sheet


@figure("training.png")
def training(scene: Scene) -> Figure:
    """A panel a model.

    All that have an NLL share one scale: what is above it, at the start or in a spike, is marked.
    """
    sheet, axes = panels(len(scene.histories), 2, 3.1)
    nll = [
        history[key]
        for history in scene.histories.values()
        for key in ("train_nll", "test_nll", "held_out_nll")
        if key in history
    ]
    ends = [np.nanquantile(curve, [0, 0.95]) for curve in nll if np.isfinite(curve).any()]
    entropy = [] if scene.entropy is None else [scene.entropy]
    scale = _with_room(np.append(ends, entropy))
    for axis, (name, history) in zip(axes, scene.histories.items(), strict=True):
        row = next(row for row in scene.rows if row.name == name)
        curves = [key for key in LINES if key in history]
        means, sds = (
            history[curves],
            history[[f"{key}_sd" for key in curves]].set_axis(curves, axis=1),
        )
        is_nll = "test_nll" in curves
        levels = entropy if is_nll else [BLIND[key] for key in curves]
        low, high = (
            scale if is_nll else _with_room(np.concatenate([means - sds, means + sds, [levels]]))
        )
        for key in curves:
            mean, sd = means[key], sds[key]
            axis.plot(
                history["epoch"],
                mean,
                LINES[key],
                color=row.color,
                label=key.replace("_nll", "").replace("_", " "),
            )
            axis.fill_between(
                history["epoch"],
                mean - sd,
                mean + sd,
                where=mean <= high,
                color=row.color,
                alpha=0.2,
                linewidth=0,
            )
        words = (
            f"entropy of the truth, {entropy[0]:.2f}"
            if is_nll and entropy
            else "where nobody can tell real from made"
        )
        for level in levels:
            axis.axhline(
                level,
                color=TRUTH_COLOR,
                linewidth=1,
                linestyle=":",
                label=words if level == levels[0] else None,
            )
        above = (means > high).any(axis=1)
        if above.any():
            key, at = means.max().idxmax(), means.max(axis=1).idxmax()
            label = (
                f"above: up to {means[key][at]:,.4g} ({key.removesuffix('_nll')}, "
                f"epoch {history['epoch'][at]})"
            )
            axis.plot(
                history["epoch"][above],
                np.full(above.sum(), high),
                "^",
                color=row.color,
                markersize=5,
                clip_on=False,
                label=label,
            )
        axis.set(title=f"{row.label}, {len(row.members)} members", xlabel="epoch", xlim=(0, None))
        top, kind = (
            (high, "negative log-likelihood\n(nat per point)")
            if is_nll
            else (high + 0.6 * (high - low), "loss (nat)")
        )
        # The legend has a place above curves that don't fall
        axis.set(ylim=(low, top), ylabel=kind)
        axis.legend(loc="upper right")
    text = "line and band: mean \u00b1 1 sd over members; triangle: the mean is above the scale"
    found = any("held_out_nll" in history for history in scene.histories.values())
    explain(
        sheet,
        (
            f"{text}\nheld out: rows that a member does not learn from; "
            "it is kept as it was where they liked it best"
        )
        if found
        else text,
    )
    return sheet


def _with_room(values: Array) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0, 1)
    return low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1)
