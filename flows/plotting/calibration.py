"""Whether a model is as sure as it should be."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from flows.plotting.scene import Scene, figure
from flows.plotting.style import TRUTH_COLOR, explain, panels

REGIONS = {"hdr": "highest-density regions", "radius": "flows: balls around the origin of the noise"}


@figure("calibration.png", needs=("truth", "density"))
def calibration(scene: Scene) -> Figure:
    """How much more of the truth than it should a region of each level holds: highest-density regions, and balls in the noise of the flows."""
    regions = [key for key in REGIONS if any(key in row.arrays for row in scene.rows)]
    sheet, axes = panels(len(regions), len(regions), 3.9, sharey=True)
    for axis, key in zip(axes, regions, strict=True):
        for row in scene.rows:
            if key in row.arrays:
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
    sheet.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    text = "above 0: too wide; below: too narrow, or off the mark"
    explain(sheet, f"{text}; line and band: mean \u00b1 2 sd over members; black: the same over draws of the truth")
    return sheet
