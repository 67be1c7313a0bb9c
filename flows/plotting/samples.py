"""Samples beside the data."""

from __future__ import annotations

from matplotlib.figure import Figure

from flows.plotting.scene import Scene, figure
from flows.plotting.style import DATA_COLOR, explain, frame, panels


@figure("samples.png", needs=("plane",))
def samples(scene: Scene) -> Figure:
    """The data, and as many samples of every row beside it; the frame is a tenth wider than the data on every side."""
    low, high = scene.data.min(axis=0), scene.data.max(axis=0)
    shown = [("data", scene.data, DATA_COLOR), *((row.label, row.arrays["samples"], row.color) for row in scene.rows)]
    sheet, axes = panels(len(shown), 4, 2.4, sharex=True, sharey=True)
    for axis, (title, points, color) in zip(axes, shown, strict=True):
        axis.scatter(points[:, 0], points[:, 1], s=3, color=color, alpha=0.5, linewidths=0)
        axis.set_title(title)
        frame(axis, low - 0.1 * (high - low), high + 0.1 * (high - low))
    explain(sheet, f"{len(scene.data):,} points a panel; of a model, one member's samples", *scene.columns)
    return sheet
