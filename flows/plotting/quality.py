"""Quality against diversity."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flows.plotting.scene import Scene, figure
from flows.plotting.style import TRUTH_COLOR, explain, panels


@figure("quality.png")
def quality(scene: Scene) -> Figure:
    """Precision against recall, and density against coverage: the members, their mean with 2 standard errors, and where a draw of the truth falls."""
    sheet, axes = panels(2, 2, 4.1)
    for axis, across, up in zip(axes, ("recall", "coverage"), ("precision", "density"), strict=True):
        for row in scene.rows:
            (x, y), error = scene.mean(row, [across, up])
            if row.name == "truth":
                width, height = error * np.sqrt(scene.members)
                label = "one draw of the truth \u00b1 2 sd"
                axis.add_patch(Rectangle((x - width, y - height), 2 * width, 2 * height, color=TRUTH_COLOR, alpha=0.1, linewidth=0, label=label))
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
    explain(sheet, text if scene.row("truth") is None else f"{text}; black bars: {scene.draws} of the truth \u00b1 2 sd")
    return sheet
