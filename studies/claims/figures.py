"""The figures of the study: each function takes numbers and saves a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from flows.core.arrays import Array
from flows.plotting.style import save
from stages.pipeline.settings import label_and_color
from studies.forest_plot import set_ticks
from studies.verdicts import mean_and_interval

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
KL = "KL from the truth (nat)"


def label(name: str) -> str:
    return label_and_color(name)[0]


def depth(
    depths: Sequence[int], curves: Mapping[tuple[str, str], Array], threshold: float, path: Path
) -> None:
    """Draw KL against couplings; ``curves`` ``(K, 3)`` are means and ends of their intervals."""
    figure, axis = plt.subplots(figsize=(6.8, 4.2))
    shifts = np.linspace(0.985, 1.015, len(curves))  # so that the bars don't overlap
    for shift, ((model, group), values) in zip(shifts, curves.items(), strict=True):
        name, color = label_and_color(model)
        if group == "depth":
            line, note, face = "o-", "800 points", color
        else:
            line, note, face = "D--", "new points every epoch", "white"
        style = {"fmt": line, "color": color, "markerfacecolor": face}
        _bars(axis, shift * np.array(depths), values, label=f"{name}, {note}", **style)
    axis.axhline(threshold, color="#999999", linewidth=0.9, linestyle=":")
    text = axis.text(depths[-1] * 1.06, threshold, f" claim 2: {threshold} nat", va="bottom")
    text.set(fontsize=8, color="#666666", ha="right")
    _kl_against(axis, depths, "couplings")
    save(figure, path)


def curve(
    rows: Sequence[int], curves: Mapping[str, Array], parameters: int, couplings: int, path: Path
) -> None:
    """Draw KL against the number of training rows.

    A line shows p / (2n), the expected KL of a maximum-likelihood fit of p ``parameters``. The
    flows have the same number of ``couplings`` at every size.
    """
    n = np.array(rows, dtype=np.float64)
    figure, axis = plt.subplots(figsize=(6.8, 4.2))
    shifts = np.linspace(0.985, 1.015, len(curves))  # so that the bars don't overlap
    for shift, (model, values) in zip(shifts, curves.items(), strict=True):
        name, color = label_and_color(model)
        references = {"gmm": "mixture of 8 (EM)", "kde": name}
        note = references.get(model, f"{name}, {couplings} couplings at every n")
        _bars(axis, shift * n, values, fmt="o-", color=color, label=note)
    color, note = label_and_color("truth")[1], f"floor p / (2n), p = {parameters}"
    axis.plot(n, parameters / (2 * n), ":", color=color, label=note)
    _kl_against(axis, rows, "training points n")
    save(figure, path)


def ablation(remedies: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draw a line per remedy: replicates as faint dots, their mean and its interval.

    A remedy has the KL of every replicate, a column a flow.
    """
    figure, axis = plt.subplots(figsize=(7.2, 0.44 * len(remedies) + 1.4))
    for line, by_model in enumerate(remedies.values()):
        for height, (model, kl) in zip((0.17 - line, -0.17 - line), by_model.items(), strict=False):
            name, color = label_and_color(model)
            mean, low, high = mean_and_interval(kl)
            heights = np.full(len(kl), height)
            faint: dict[str, Any] = {"markersize": 3, "alpha": 0.3, "markeredgewidth": 0}
            axis.plot(kl, heights, "o", color=color, **faint)
            reach = [[mean - low], [high - mean]]
            note = name if line == 0 else None
            style: dict[str, Any] = {"fmt": "o", "markersize": 5, "color": color, "capsize": 3}
            axis.errorbar(mean, height, xerr=reach, label=note, **style)
    axis.set_yticks(-np.arange(len(remedies)), [variant.replace("_", " ") for variant in remedies])
    axis.set(xscale="log", xlabel=KL)
    set_ticks(axis.xaxis, TICKS)
    axis.grid(axis="x", alpha=0.25)
    axis.legend(frameon=False, fontsize=9)
    note = "small dots: replicates; large dot and bar: their mean and its 95% interval"
    axis.set_title(note, fontsize=9)
    save(figure, path)


def _bars(axis: Any, x: Array, values: Array, **options: Any) -> None:
    mean, low, high = values.T
    reach = [mean - low, high - mean]
    axis.errorbar(x, mean, yerr=reach, markersize=5, capsize=3, linewidth=1.4, **options)


def _kl_against(axis: Any, counts: Sequence[int], across: str) -> None:
    """Label the axes, KL against ``counts``, both on logarithmic scales."""
    axis.set(xscale="log", yscale="log", xlabel=across, ylabel=KL)
    set_ticks(axis.xaxis, counts)
    set_ticks(axis.yaxis, TICKS)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=9)
    axis.set_title("mean over replicates and its 95% interval", fontsize=9)
