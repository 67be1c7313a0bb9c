"""The figures of the study: numbers in, a picture out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from flows.core.arrays import Array
from flows.plotting.style import STYLE, save
from stages.shared.settings import label_and_color

# Apart from the colours of the models (Tol's muted palette, which colour-blind readers tell apart); shape and text say it too.
VERDICTS = {
    "supported": ("#332288", "o"),
    "refuted": ("#882255", "X"),
    "equivalent": ("#666666", "s"),
    "inconclusive": ("#BBAA44", "D"),
}


def label(name: str) -> str:
    return label_and_color(name)[0]


def color_of(name: str) -> str:
    return label_and_color(name)[1]


@dataclass(frozen=True)
class Row:
    """A line of the forest, in units of the margin and positive as the claim has it: the effect, and the ends of two of its intervals.

    ``ci95`` is that of the report; ``ci90`` is within the margins exactly where the test of equivalence holds. ``elsewhere``: at other depths.
    """

    label: str
    effect: float
    ci95: Sequence[float]
    ci90: Sequence[float]
    verdict: str
    elsewhere: Sequence[float]


def forest(rows: Sequence[Row], claims: Mapping[int, str], path: Path) -> None:
    """All effects on one axis, under a heading a claim."""
    lines: list[tuple[float, Row]] = []
    headings: list[tuple[float, str]] = []
    place, before = 0.0, ""
    for row in rows:
        claim = row.label[0]
        if claim != before:
            place -= 0.35 if before else 0.0
            headings.append((place, f"{claim}. {claims[int(claim)][0].upper()}{claims[int(claim)][1:]}"))
            place, before = place - 0.95, claim
        lines.append((place, row))
        place -= 0.85
    ends = [abs(value) for row in rows for value in (row.effect, *row.ci95, *row.ci90, *row.elsewhere) if np.isfinite(value)]
    reach = max(2.0, 1.25 * max(ends, default=1.0))
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(8.6, 0.27 * -place + 1.3))
        axis.axvspan(-1, 1, color="#000000", alpha=0.07, linewidth=0)
        axis.axvline(0, color="#000000", linewidth=0.8)
        for end in (-1, 1):
            axis.axvline(end, color="#000000", linewidth=0.8, linestyle=":")
        for centre, scale in ((-np.sqrt(reach), "logarithmic"), (0, "linear"), (np.sqrt(reach), "logarithmic")):
            axis.text(centre, 0.62, scale, ha="center", va="bottom", fontsize=9, color="#444444")
        for height, row in lines:
            color, marker = VERDICTS[row.verdict]
            if row.elsewhere:
                axis.plot(row.elsewhere, [height] * len(row.elsewhere), "|", markersize=7, markeredgewidth=1.3, color="#999999", alpha=0.7, zorder=1)
            axis.plot(row.ci90, [height, height], color=color, linewidth=8, alpha=0.35, solid_capstyle="butt")
            axis.plot(row.ci95, [height, height], color=color, linewidth=2)
            axis.plot(row.effect, height, marker, markersize=6.5, color=color)
            axis.text(1.01, height, row.verdict, color=color, va="center", fontsize=9, transform=axis.get_yaxis_transform())
        for height, heading in headings:
            axis.text(-0.44, height, heading, va="center", fontsize=9, fontweight="bold", transform=axis.get_yaxis_transform())
        axis.set_yticks([height for height, _ in lines], [row.label[3:] for _, row in lines], fontsize=9)
        axis.set_ylim(place + 0.2, 0.6)
        axis.set_xscale("symlog", linthresh=1, linscale=1)
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= reach]
        every = [-tick for tick in reversed(ticks)] + [0] + ticks
        axis.set_xticks(every, [f"{tick:g}".replace("-", "\u2212") for tick in every])
        axis.set_xticks([], minor=True)
        axis.set_xlim(-reach, reach)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.set_xlabel("\u2190 against the claim     effect, in units of its margin     as claimed \u2192")
        words = "mark: mean paired difference; line: its 95% interval (bootstrap); grey ticks: the same difference at other depths\n"
        words += "pale bar: 90% interval (t); the test of equivalence (TOST) holds exactly where it lies within the margin, the grey band"
        figure.suptitle(words, fontsize=9)
        figure.get_layout_engine().set(w_pad=0.15)  # type: ignore[union-attr, call-arg]  # the headings reach further left than constrained layout thinks
        save(figure, path)


def depth(depths: Sequence[int], curves: Mapping[tuple[str, str], Array], threshold: float, path: Path) -> None:
    """KL against couplings, ``curves`` ``(K, 3)``: mean and the ends of its interval."""
    styles = {"depth": ("o-", "800 points"), "control": ("D--", "new points every epoch")}
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.8, 4.2))
        for shift, ((model, group), values) in zip(np.linspace(0.985, 1.015, len(curves)), curves.items(), strict=True):
            line, words = styles[group]
            face = color_of(model) if group == "depth" else "white"
            _bars(axis, shift * np.array(depths), values, line, color_of(model), f"{label(model)}, {words}", markerfacecolor=face)
        axis.axhline(threshold, color="#999999", linewidth=0.9, linestyle=":")
        axis.text(depths[-1] * 1.06, threshold, f" claim 2: {threshold} nat", fontsize=8, color="#666666", va="bottom", ha="right")
        _kl_axes(axis, depths, "couplings")
        save(figure, path)


def curve(rows: Sequence[int], curves: Mapping[str, Array], parameters: int, couplings: int, path: Path) -> None:
    """KL against the number of training rows, and the floor of a parametric fit; the flows have so many ``couplings`` at every size."""
    n = np.array(rows, dtype=np.float64)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.8, 4.2))
        for shift, (model, values) in zip(np.linspace(0.985, 1.015, len(curves)), curves.items(), strict=True):
            words = {"gmm": "mixture of 8 (EM)", "kde": label("kde")}.get(model, f"{label(model)}, {couplings} couplings at every n")
            _bars(axis, shift * n, values, "o-", color_of(model), words)
        axis.plot(n, parameters / (2 * n), ":", color=color_of("truth"), label=f"floor p / (2n), p = {parameters}")
        _kl_axes(axis, rows, "training points n")
        save(figure, path)


def _kl_axes(axis: Any, ticks: Sequence[int], label: str) -> None:
    """KL against a count, both on logarithmic scales."""
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.set_xticks([], minor=True)
    _plain_decimals(axis)
    axis.set(xlabel=label, ylabel="KL from the truth (nat)")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=9)
    axis.set_title("mean over replicates and its 95% interval", fontsize=9)


def ablation(remedies: Mapping[str, Mapping[str, Array]], means: Mapping[str, Mapping[str, tuple[float, float, float]]], path: Path) -> None:
    """A line a remedy: replicates as faint dots, mean and its interval."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.2, 0.44 * len(remedies) + 1.4))
        for line, (variant, by_model) in enumerate(remedies.items()):
            for shift, (model, kl) in zip((0.17, -0.17), by_model.items(), strict=False):
                height = -line + shift
                mean, low, high = means[variant][model]
                axis.plot(kl, np.full(len(kl), height), "o", markersize=3, color=color_of(model), alpha=0.3, markeredgewidth=0)
                words = label(model) if line == 0 else None
                axis.errorbar(mean, height, xerr=[[mean - low], [high - mean]], fmt="o", markersize=5, color=color_of(model), capsize=3, label=words)
        axis.set_yticks(-np.arange(len(remedies)), [variant.replace("_", " ") for variant in remedies])
        axis.set_xscale("log")
        ticks = [tick for tick in _TICKS if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.set_xlabel("KL from the truth (nat)")
        axis.grid(axis="x", alpha=0.25)
        axis.legend(frameon=False, fontsize=9)
        axis.set_title("small dots: replicates; large dot and bar: their mean and its 95% interval", fontsize=9)
        save(figure, path)


_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def _bars(axis: Any, x: Array, values: Array, line: str, color: str, label: str, **options: Any) -> None:
    mean, low, high = values.T
    axis.errorbar(x, mean, yerr=[mean - low, high - mean], fmt=line, color=color, label=label, markersize=5, capsize=3, linewidth=1.4, **options)


def _plain_decimals(axis: Any) -> None:
    ticks = [tick for tick in _TICKS if axis.get_ylim()[0] <= tick <= axis.get_ylim()[1]]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_yticks([], minor=True)
