"""One flow carrying noise to data, layer by layer."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from flows.plotting.scene import Scene, figure
from flows.plotting.style import Array, explain, panels

PANELS, FRAMES, POINTS = 7, 60, 1_000  # panels of the strip; frames and points of the film
UNITS = "first coordinate (standardised units)", "second coordinate"


@figure("layers.png", needs=("plane", "trajectory"))
def layers(scene: Scene) -> Figure:
    """Its samples after evenly chosen layers."""
    label, states, angle, reach = _flow(scene)
    chosen = np.unique(np.linspace(0, len(states) - 1, PANELS).round().astype(int))
    sheet, axes = panels(len(chosen), PANELS, 1.9, sharex=True, sharey=True)
    for axis, layer in zip(axes, chosen, strict=True):
        axis.scatter(states[layer, :, 0], states[layer, :, 1], s=2, c=angle, cmap="twilight", linewidths=0)
        axis.set_title("noise" if layer == 0 else f"layer {layer}" if layer < len(states) - 1 else "data", fontsize=10)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    outside = (np.abs(states[chosen]) > reach).any(axis=2).mean(axis=1).max()
    explain(sheet, f"{label}, one member; colour: angle of the point in the noise; outside a panel: at most {outside:.1%} of the points", *UNITS)
    return sheet


@figure("layers.gif", needs=("plane", "trajectory"))
def film(scene: Scene) -> list[Image.Image]:
    """The same as a film: points glide from one layer's state to the next, then rest at the data."""
    label, states, angle, reach = _flow(scene)
    last = len(states) - 1
    sheet, axis = plt.subplots(figsize=(3.6, 3.8), dpi=80)
    cloud = axis.scatter(states[0, :POINTS, 0], states[0, :POINTS, 1], s=3, c=angle[:POINTS], cmap="twilight", linewidths=0)
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel=UNITS[0], ylabel=UNITS[1])
    # All but the points and the title is drawn once: that takes longer than they do.
    title = axis.set_title(f"{label}: layer {last} of {last}")
    for artist in (cloud, title):
        artist.set_animated(True)
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()
    background = canvas.copy_from_bbox(sheet.bbox)
    frames: list[Image.Image] = []
    for position in np.linspace(0, last, FRAMES):
        layer = min(int(position), last - 1)
        cloud.set_offsets((states[layer] + (position - layer) * (states[layer + 1] - states[layer]))[:POINTS])
        title.set_text(f"{label}: layer {round(position)} of {last}")
        canvas.restore_region(background)
        for artist in (cloud, title):
            axis.draw_artist(artist)
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba()).copy()).convert("RGB"))
    return frames


def _flow(scene: Scene) -> tuple[str, Array, Array, float]:
    """What the first flow is called, its states ``(L + 1, n, 2)``, the angle at which each point starts, and half the side of the frame.

    The frame holds nearly all of noise and data; what a layer flings further out in between is cut off.
    """
    row = next(row for row in scene.rows if "trajectory" in row.arrays)
    states = row.arrays["trajectory"]
    reach = float(np.ceil(2 * np.quantile(np.abs(states[[0, -1]]), 0.999)) / 2)
    return row.label, states, np.arctan2(states[0, :, 1], states[0, :, 0]), reach
