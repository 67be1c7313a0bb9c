"""The figures of the study: numbers in, a picture out, in the style that is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from flows.core.arrays import Array
from flows.plotting.style import save
from stages.shared.settings import label_and_color

from studies.forest import set_ticks

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
KL = "KL from the truth (nat)"


def label(name: str) -> str:
    return label_and_color(name)[0]


def depth(
    depths: Sequence[int], curves: Mapping[tuple[str, str], Array], threshold: float, path: Path
) -> None:
    """KL against couplings, ``curves`` ``(K, 3)``: mean and the ends of its interval."""
    figure, axis = plt.subplots(figsize=(6.8, 4.2))
    for shift, ((model, group), values) in zip(
        np.linspace(0.985, 1.015, len(curves)), curves.items(), strict=True
    ):
        name, color = label_and_color(model)
        line, words, face = (
            ("o-", "800 points", color)
            if group == "depth"
            else ("D--", "new points every epoch", "white")
        )
        _bars(
            axis,
            shift * np.array(depths),
            values,
            fmt=line,
            color=color,
            label=f"{name}, {words}",
            markerfacecolor=face,
        )
    axis.axhline(threshold, color="#999999", linewidth=0.9, linestyle=":")
    axis.text(
        depths[-1] * 1.06,
        threshold,
        f" claim 2: {threshold} nat",
        fontsize=8,
        color="#666666",
        va="bottom",
        ha="right",
    )
    _kl_against(axis, depths, "couplings")
    save(figure, path)


def curve(
    rows: Sequence[int], curves: Mapping[str, Array], parameters: int, couplings: int, path: Path
) -> None:
    """KL against the number of training rows, and the floor of a parametric fit; the flows have so many ``couplings`` at every size."""
    n = np.array(rows, dtype=np.float64)
    figure, axis = plt.subplots(figsize=(6.8, 4.2))
    for shift, (model, values) in zip(
        np.linspace(0.985, 1.015, len(curves)), curves.items(), strict=True
    ):
        name, color = label_and_color(model)
        words = {"gmm": "mixture of 8 (EM)", "kde": name}.get(
            model, f"{name}, {couplings} couplings at every n"
        )
        _bars(axis, shift * n, values, fmt="o-", color=color, label=words)
    axis.plot(
        n,
        parameters / (2 * n),
        ":",
        color=label_and_color("truth")[1],
        label=f"floor p / (2n), p = {parameters}",
    )
    _kl_against(axis, rows, "training points n")
    save(figure, path)


def ablation(
    remedies: Mapping[str, Mapping[str, Array]],
    means: Mapping[str, Mapping[str, tuple[float, float, float]]],
    path: Path,
) -> None:
    """A line a remedy: replicates as faint dots, mean and its interval."""
    figure, axis = plt.subplots(figsize=(7.2, 0.44 * len(remedies) + 1.4))
    for line, (variant, by_model) in enumerate(remedies.items()):
        for height, (model, kl) in zip((0.17 - line, -0.17 - line), by_model.items(), strict=False):
            name, color = label_and_color(model)
            mean, low, high = means[variant][model]
            axis.plot(
                kl,
                np.full(len(kl), height),
                "o",
                markersize=3,
                color=color,
                alpha=0.3,
                markeredgewidth=0,
            )
            words = name if line == 0 else None
            axis.errorbar(
                mean,
                height,
                xerr=[[mean - low], [high - mean]],
                fmt="o",
                markersize=5,
                color=color,
                capsize=3,
                label=words,
            )
    axis.set_yticks(-np.arange(len(remedies)), [variant.replace("_", " ") for variant in remedies])
    axis.set(xscale="log", xlabel=KL)
    set_ticks(axis.xaxis, TICKS)
    axis.grid(axis="x", alpha=0.25)
    axis.legend(frameon=False, fontsize=9)
    axis.set_title(
        "small dots: replicates; large dot and bar: their mean and its 95% interval", fontsize=9
    )
    save(figure, path)


def _bars(axis: Any, x: Array, values: Array, **options: Any) -> None:
    mean, low, high = values.T
    axis.errorbar(
        x, mean, yerr=[mean - low, high - mean], markersize=5, capsize=3, linewidth=1.4, **options
    )


def _kl_against(axis: Any, counts: Sequence[int], words: str) -> None:
    """Both on logarithmic scales."""
    axis.set(xscale="log", yscale="log", xlabel=words, ylabel=KL)
    set_ticks(axis.xaxis, counts)
    set_ticks(axis.yaxis, TICKS)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=9)
    axis.set_title("mean over replicates and its 95% interval", fontsize=9)
