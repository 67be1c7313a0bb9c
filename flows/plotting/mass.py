"""Where a model puts its mass, and whether the truth has as much of its own there."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from flows.plotting.scene import Scene, figure
from flows.plotting.style import TRUTH_COLOR, explain, panels

REGIONS = {"hdr": "highest-density regions", "radius": "flows: balls around the origin of the noise"}


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
            axis.fill_between(levels, mean - spread, mean + spread, color=row.color, alpha=0.18, linewidth=0)
        if key == "radius":  # the truth is no flow, but the noise of its draws is known: the share of a binomial
            chance = 2 * np.sqrt(levels * (1 - levels) / scene.fresh)
            axis.fill_between(levels, -chance, chance, color=TRUTH_COLOR, alpha=0.18, linewidth=0)
        axis.axhline(0, color=TRUTH_COLOR, linewidth=0.8, linestyle=":")
        axis.set(title=REGIONS[key], xlabel="level: share that the model puts in the region", xlim=(0, 1))
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("share of the truth in the region \u2212 level")
    sheet.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    text = "above 0: too wide; below: too narrow, or off the mark"
    explain(sheet, f"{text}; line and band: mean \u00b1 2 sd over members; black: the same over draws of the truth")
    return sheet


@figure("modes.png", needs=("truth", "components"))
def modes(scene: Scene) -> Figure:
    """Share of the samples per component of the truth, and of those beyond them all, beside the true weights.

    No model can know the weights better than the counts of the training rows tell.
    """
    others = [row for row in scene.rows if row.name != "truth"]
    (drawn,) = (row.arrays["mode_mass"] for row in scene.rows if row.name == "truth")
    true = np.append(scene.truth.weights, drawn[:, -1].mean())  # what lies beyond the components has no weight: what the truth's samples have there
    learnt, chance = 2 * np.sqrt(true * (1 - true) / scene.training_rows), 2 * drawn.std(axis=0, ddof=1)
    count = len(scene.truth.weights)
    places = np.append(np.arange(1, count + 1), 1.08 * count + 1)  # a gap before those beyond
    ticks = places[:-1] if count <= 10 else np.arange(5, count - 1, 5)
    sheet, axes = panels(len(others), 2 if len(others) <= 4 else 3, 2.2, sharex=True, sharey=True)
    for axis, row in zip(axes, others, strict=True):
        mass = row.arrays["mode_mass"]
        axis.bar(places, mass.mean(axis=0), width=0.7, color=row.color, alpha=0.6, linewidth=0)
        for reach, shade in ((learnt, 0.13), (chance, 0.25)):
            axis.bar(places, 2 * reach, bottom=true - reach, width=0.96, color=TRUTH_COLOR, alpha=shade, linewidth=0)
        axis.hlines(true, places - 0.48, places + 0.48, color=TRUTH_COLOR, linewidth=1)
        if len(mass) > 1:
            error = 2 * mass.std(axis=0, ddof=1)
            axis.errorbar(places, mass.mean(axis=0), yerr=error, fmt="none", color=row.color, elinewidth=1.6, capsize=2 if count <= 10 else 0)
        axis.set_title(f"{row.label}: TV {row.members['mode_tv'].mean():.3f}", fontsize=10)
        axis.set_xticks([*ticks, places[-1]], [*(f"{tick:.0f}" for tick in ticks), "none"])
    axes[0].set_ylim(bottom=0)
    text = "bar: mean over members, with \u00b1 2 sd where there are several; TV: total variation from the true weights, mean over members\n"
    text += f"black: true weight; dark grey: \u00b1 2 sd of as many samples of the truth; light: of the {scene.training_rows:,} that all learn from"
    explain(sheet, text, "component of the truth (none: far from all of them)", "share of the samples")
    return sheet
