"""What training kept, against the epoch."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from flows.core.arrays import Array
from flows.plotting.scene import Scene, figure
from flows.plotting.style import TRUTH_COLOR, explain, panels

BLIND = {"generator_loss": np.log(2), "discriminator_loss": 2 * np.log(2)}  # where nobody can tell real from made
LINES = {"test_nll": "-", "train_nll": "--", "held_out_nll": "-.", "generator_loss": "-", "discriminator_loss": "--"}


@figure("training.png")
def training(scene: Scene) -> Figure:
    """A panel a model. All that have an NLL share one scale: what is above it, at the start or in a spike, is marked."""
    sheet, axes = panels(len(scene.histories), 2, 3.1)
    nll = [history[key] for history in scene.histories.values() for key in ("train_nll", "test_nll", "held_out_nll") if key in history]
    ends = [np.nanquantile(curve, [0, 0.95]) for curve in nll if np.isfinite(curve).any()]
    entropy = [] if scene.entropy is None else [scene.entropy]
    scale = _with_room(np.append(ends, entropy))
    for axis, (name, history) in zip(axes, scene.histories.items(), strict=True):
        row = next(row for row in scene.rows if row.name == name)
        curves = [key for key in LINES if key in history]
        means, sds = history[curves], history[[f"{key}_sd" for key in curves]].set_axis(curves, axis=1)
        is_nll = "test_nll" in curves
        levels = entropy if is_nll else [BLIND[key] for key in curves]
        low, high = scale if is_nll else _with_room(np.concatenate([means - sds, means + sds, [levels]]))
        for key in curves:
            mean, sd = means[key], sds[key]
            axis.plot(history["epoch"], mean, LINES[key], color=row.color, label=key.replace("_nll", "").replace("_", " "))
            axis.fill_between(history["epoch"], mean - sd, mean + sd, where=mean <= high, color=row.color, alpha=0.2, linewidth=0)
        words = f"entropy of the truth, {entropy[0]:.2f}" if is_nll and entropy else "where nobody can tell real from made"
        for level in levels:
            axis.axhline(level, color=TRUTH_COLOR, linewidth=1, linestyle=":", label=words if level == levels[0] else None)
        above = (means > high).any(axis=1)
        if above.any():
            key, at = means.max().idxmax(), means.max(axis=1).idxmax()
            label = f"above: up to {means[key][at]:,.4g} ({key.removesuffix('_nll')}, epoch {history['epoch'][at]})"
            axis.plot(history["epoch"][above], np.full(above.sum(), high), "^", color=row.color, markersize=5, clip_on=False, label=label)
        axis.set(title=f"{row.label}, {len(row.members)} members", xlabel="epoch", xlim=(0, None))
        top, kind = (high, "negative log-likelihood\n(nat per point)") if is_nll else (high + 0.6 * (high - low), "loss (nat)")
        axis.set(ylim=(low, top), ylabel=kind)  # the legend has a place above curves that don't fall
        axis.legend(loc="upper right")
    text = "line and band: mean \u00b1 1 sd over members; triangle: the mean is above the scale"
    found = any("held_out_nll" in history for history in scene.histories.values())
    explain(sheet, f"{text}\nheld out: rows that a member does not learn from; it is kept as it was where they liked it best" if found else text)
    return sheet


def _with_room(values: Array) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0, 1)
    return low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1)
