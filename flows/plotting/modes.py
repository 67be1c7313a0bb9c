"""Where the mass is."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from flows.plotting.scene import Scene, figure
from flows.plotting.style import TRUTH_COLOR, explain, panels


@figure("modes.png", needs=("truth", "components"))
def modes(scene: Scene) -> Figure:
    """Share of the samples per component of the truth, and of those beyond them all: a panel a row, each beside the true weights.

    No model can know the weights better than the counts of the training rows tell.
    """
    others = [row for row in scene.rows if row.name != "truth"]
    (drawn,) = (row.arrays["mode_mass"] for row in scene.rows if row.name == "truth")
    chance = 2 * drawn.std(axis=0, ddof=1)
    true = np.append(scene.truth.weights, drawn[:, -1].mean())  # what lies beyond the components has no weight: what the truth's samples have there
    learnt = 2 * np.sqrt(true * (1 - true) / scene.training_rows)
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
    explain(sheet, text, "component of the truth (none: farther than three standard deviations from all)", "share of the samples")
    return sheet
