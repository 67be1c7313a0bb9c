"""The figures. Arrays in, a picture file out; no torch, and no knowledge of the pipeline's files.

Every model has one colour, the same in every figure, from the palette of Okabe and Ito (2008), which colour-blind readers tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from flows import atomic
from flows.targets import Array

COLORS = {
    "truth": "#000000",
    "gmm": "#E69F00",
    "kde": "#CC79A7",
    "realnvp": "#0072B2",
    "glow": "#D55E00",
    "vae": "#009E73",
    "gan": "#56B4E9",
}
LABELS = {"truth": "truth", "gmm": "mixture (GMM)", "kde": "kernel density", "realnvp": "RealNVP", "glow": "Glow", "vae": "VAE", "gan": "GAN"}
SPARE_COLORS = ("#009E73", "#56B4E9", "#F0E442", "#999999")  # for a model that somebody adds
DATA_COLOR = "#666666"
DPI = 120
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,  # inches: titles must not touch the edge
    "savefig.dpi": DPI,
}


@dataclass(frozen=True)
class Row:
    """What the figures need of one model or reference: its name, headline numbers, table of members and plot arrays."""

    name: str
    headline: Mapping[str, float | None]
    members: pd.DataFrame
    arrays: Mapping[str, Array]
    is_model: bool

    @property
    def label(self) -> str:
        return LABELS.get(self.name, self.name)

    @property
    def color(self) -> str:
        return COLORS.get(self.name) or SPARE_COLORS[sum(self.name.encode()) % len(SPARE_COLORS)]


def training_curves(histories: Mapping[str, pd.DataFrame], rows: Sequence[Row], entropy: float, path: Path) -> None:
    """What training kept, against the epoch, a panel a model: mean and one standard deviation over members.

    Of a density, train and test NLL and the true entropy, on one scale; of a GAN, both losses and what they are where nobody can tell.
    """
    named = {row.name: row for row in rows}
    blind = (("generator_loss", "generator", "-", np.log(2)), ("discriminator_loss", "discriminator", "--", 2 * np.log(2)))
    with plt.rc_context(STYLE):
        lines = -(-len(histories) // 2)
        figure, axes = plt.subplots(lines, 2, figsize=(9.2, 3.4 * lines), squeeze=False)
        for axis in axes.flat[len(histories) :]:
            axis.set_visible(False)
        for axis, (name, history) in zip(axes.flat, histories.items(), strict=False):
            row = named[name]
            members = f"mean of {len(row.members)} members"
            if "test_nll" in history:
                _band(axis, history, "train_nll", row.color, "--", f"train: {members}", "train: \u00b1 1 sd", 0.12)
                _band(axis, history, "test_nll", row.color, "-", f"test: {members}", "test: \u00b1 1 sd", 0.25)
                axis.axhline(entropy, color=COLORS["truth"], linewidth=1, linestyle=":", label=f"entropy of the truth, {entropy:.2f} nat")
                axis.set(ylim=(entropy - 0.15, entropy + 1.15), ylabel="negative log-likelihood\n(nat per point)")
            else:
                for key, who, line, value in blind:
                    _band(axis, history, key, row.color, line, f"{who}: {members}", f"{who}: \u00b1 1 sd", 0.2)
                    axis.axhline(value, color=COLORS["truth"], linewidth=1, linestyle=":")
                axis.plot([], [], color=COLORS["truth"], linewidth=1, linestyle=":", label="both, where nobody can tell real from made")
                axis.set(ylim=(0.4, 2.4), ylabel="loss (nat)")
            axis.set(title=row.label, xlabel="epoch", xlim=(0, None))
            axis.legend(fontsize=8, frameon=False)
        _save(figure, path)


def _band(axis: Axes, history: pd.DataFrame, key: str, color: str, line: str, label: str, band: str, shade: float) -> None:
    mean, sd = history[key], history[f"{key}_sd"]
    axis.plot(history["epoch"], mean, line, color=color, label=label)
    axis.fill_between(history["epoch"], mean - sd, mean + sd, color=color, alpha=shade, linewidth=0, label=band)


def sample_panels(data: Array, rows: Sequence[Row], path: Path) -> None:
    """The data, and as many samples of every row beside it."""
    low, high = data.min(axis=0) - 1, data.max(axis=0) + 1
    with plt.rc_context(STYLE):
        figure, axes = _panels(1 + len(rows))
        panels = [("data", data, DATA_COLOR), *((row.label, row.arrays["samples"], row.color) for row in rows)]
        for axis, (title, points, color) in zip(axes, panels, strict=False):
            axis.scatter(points[:, 0], points[:, 1], s=3, color=color, alpha=0.5, linewidths=0)
            axis.set(title=title, xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        figure.supxlabel(f"x    ({len(data):,} points a panel; of a model, one member's samples)", fontsize=10)
        figure.supylabel("y", fontsize=10)
        _save(figure, path)


def density_panels(rows: Sequence[Row], extent: tuple[float, float, float, float], path: Path) -> None:
    """Densities on one colour scale: a line of references, then of every model one member and the ensemble."""
    references = [(row.label, row.arrays["density"], row.headline["kl"]) for row in rows if not row.is_model]
    models: list[tuple[str, Array, float | None]] = []
    for row in rows:
        if row.is_model and "density" in row.arrays:
            models.append((f"{row.label}, one member", row.arrays["density"], float(row.members["kl"].iloc[0])))
            models.append((f"{row.label}, ensemble", row.arrays["density_ensemble"], row.headline["kl_ensemble"]))
    columns = 4
    lines = -(-len(references) // columns) * columns
    scale = Normalize(0, max(float(density.max()) for _, density, _ in references))
    with plt.rc_context(STYLE):
        figure, axes = _panels(lines + len(models), columns=columns)
        for axis in axes[len(references) : lines]:
            axis.set_visible(False)
        panels = zip([*axes[: len(references)], *axes[lines:]], [*references, *models], strict=True)
        for axis, (title, density, kl) in panels:
            picture = axis.imshow(density, origin="lower", extent=extent, norm=scale, cmap="magma", interpolation="bilinear")
            axis.set_title(title if not kl else f"{title}\nKL {kl:.3f} nat", fontsize=10)
        figure.colorbar(picture, ax=list(axes), label="density (per unit area)", shrink=0.8, extend="max")
        figure.supxlabel("x", fontsize=10)
        figure.supylabel("y", fontsize=10)
        _save(figure, path)


def layer_strip(row: Row, path: Path, *, frames: int = 7) -> None:
    """One flow carrying noise to data: its samples after evenly chosen layers. The colour is the angle at which a point started."""
    states = row.arrays["path"]
    chosen = np.linspace(0, len(states) - 1, frames).round().astype(int)
    colors = _angle(states[0])
    reach = _reach(states)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, frames, figsize=(1.75 * frames, 2.6), sharex=True, sharey=True)
        for axis, layer in zip(axes, chosen, strict=True):
            axis.scatter(states[layer][:, 0], states[layer][:, 1], s=2, c=colors, cmap="twilight", linewidths=0)
            title = "noise" if layer == 0 else f"layer {layer}" if layer < len(states) - 1 else f"layer {layer}: data"
            axis.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        figure.supxlabel(f"{row.label}, one member: first coordinate (standardised units)", fontsize=10)
        axes[0].set_ylabel("second coordinate")
        _save(figure, path)


def layer_animation(row: Row, path: Path, *, steps: int = 60, points: int = 1000) -> None:
    """The same as a film: points glide from one layer's state to the next, then rest at the data."""
    states = row.arrays["path"][:, :points]
    last = len(states) - 1
    reach = _reach(states)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(3.6, 3.8), dpi=80)
        cloud = axis.scatter(states[0][:, 0], states[0][:, 1], s=3, c=_angle(states[0]), cmap="twilight", linewidths=0)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axis.set(xlabel="first coordinate (standardised units)", ylabel="second coordinate")
        # All but the points and the title is drawn once: that takes longer than they do.
        title = axis.set_title(f"{row.label}: layer {last} of {last}")
        for artist in (cloud, title):
            artist.set_animated(True)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        background = canvas.copy_from_bbox(figure.bbox)
        frames: list[Image.Image] = []
        for position in np.linspace(0, last, steps):
            layer = min(int(position), last - 1)
            share = position - layer
            cloud.set_offsets((1 - share) * states[layer] + share * states[layer + 1])
            title.set_text(f"{row.label}: layer {round(position)} of {last}")
            canvas.restore_region(background)
            for artist in (cloud, title):
                axis.draw_artist(artist)
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba()).copy()).convert("RGB"))
        milliseconds = [70] * (steps - 1) + [900]
        first, *rest = frames
        with atomic.replacing(path) as unfinished:
            first.save(unfinished, format="GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)
        plt.close(figure)


def summary(rows: Sequence[Row], path: Path) -> None:
    """KL and sample metrics of every row with error bars (2 standard errors over members or draws), and the truth's floor as a band."""
    metrics = (("kl", "KL from the truth (nat)"), ("precision", "precision"), ("recall", "recall"), ("c2st_auc", "classifier AUC (0.5 is perfect)"))
    truth = next((row for row in rows if row.name == "truth"), None)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(metrics), figsize=(11, 0.42 * len(rows) + 1.5), sharey=True)
        places = np.arange(len(rows))[::-1]
        for axis, (metric, label) in zip(axes, metrics, strict=True):
            if truth is not None and metric != "kl":
                mean, sd = truth.members[metric].mean(), truth.members[metric].std()
                axis.axvspan(mean - 2 * sd, mean + 2 * sd, color="#000000", alpha=0.08, linewidth=0)
            for place, row in zip(places, rows, strict=True):
                values = row.members[metric]
                if metric == "kl" and row.name == "truth":
                    continue
                shown = values if row.is_model else values[:0]
                axis.scatter(shown, place + np.linspace(-0.22, 0.22, len(shown)), s=9, color=row.color, alpha=0.45, linewidths=0)
                error = 2 * values.std() / np.sqrt(len(values)) if len(values) > 1 else None
                axis.errorbar(values.mean(), place, xerr=error, fmt="o", markersize=5, color=row.color, capsize=3)
                if metric == "kl" and row.headline["kl_ensemble"] is not None:
                    axis.plot(row.headline["kl_ensemble"], place, "D", markersize=6, markerfacecolor="white", color=row.color)
            axis.set_xlabel(label)
            axis.grid(axis="x", alpha=0.25)
        axes[0].set_xlim(left=0)
        axes[0].set_yticks(places, [row.label for row in rows])
        axes[0].set_ylim(-0.6, len(rows) - 0.4)
        _explain(figure, "dot and bar: mean \u00b1 2 standard errors; small dots: members; diamond: ensemble; grey: truth against truth \u00b1 2 sd")
        _save(figure, path)


def mode_bars(rows: Sequence[Row], weights: Array, points: int, path: Path) -> None:
    """Share of the samples per component of the truth, and of those beyond them all: a panel a row, each beside the true ``weights`` ``(K,)``.

    ``points`` is how many the models had to learn from: no model can know the weights better than their counts tell.
    """
    truth = _truth(rows)
    others = [row for row in rows if row is not truth]
    floor, chance = truth.arrays["mode_mass"].mean(axis=0), 2 * truth.arrays["mode_mass"].std(axis=0, ddof=1)
    true = np.append(weights, floor[-1])  # what lies beyond the components has no weight: what the truth's samples have there
    learnt = 2 * np.sqrt(true * (1 - true) / points)
    count = len(weights)
    places = np.append(np.arange(1, count + 1), 1.08 * count + 1)  # a gap before those beyond
    ticks = places[:-1] if count <= 10 else np.arange(5, count - 1, 5)
    columns = 2 if len(others) <= 4 else 3
    lines = -(-len(others) // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(lines, columns, figsize=(8.4, 2.1 * lines + 0.9), sharex=True, sharey=True, squeeze=False)
        for axis in axes.flat[len(others) :]:
            axis.set_visible(False)
        for axis, row in zip(axes.flat, others, strict=False):
            mass = row.arrays["mode_mass"]
            axis.bar(places, mass.mean(axis=0), width=0.7, color=row.color, alpha=0.6, linewidth=0)
            for reach, shade in ((learnt, 0.13), (chance, 0.25)):
                axis.bar(places, 2 * reach, bottom=true - reach, width=0.96, color=COLORS["truth"], alpha=shade, linewidth=0)
            axis.hlines(true, places - 0.48, places + 0.48, color=COLORS["truth"], linewidth=1)
            if len(mass) > 1:
                error = 2 * mass.std(axis=0, ddof=1)
                axis.errorbar(places, mass.mean(axis=0), yerr=error, fmt="none", color=row.color, elinewidth=1.6, capsize=2 if count <= 10 else 0)
            axis.set_title(f"{row.label}: TV {row.members['mode_tv'].mean():.3f}", fontsize=10)
            axis.set_xticks([*ticks, places[-1]], [*(f"{tick:.0f}" for tick in ticks), "none"])
        axes.flat[0].set_ylim(bottom=0)
        figure.supxlabel("component of the truth (none: farther than three standard deviations from all)", fontsize=10)
        figure.supylabel("share of the samples", fontsize=10)
        _explain(
            figure,
            "bar: mean over members, with \u00b1 2 sd where there are several; TV: total variation from the true weights, mean over members\n"
            f"black: true weight; dark grey: \u00b1 2 sd of as many samples from the truth; light grey: of only {points:,}, as all learn from",
        )
        _save(figure, path)


def quality_against_diversity(rows: Sequence[Row], path: Path) -> None:
    """Precision against recall, and density against coverage: the members, their mean with 2 standard errors, and where the truth is found."""
    truth = _truth(rows)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.5))
        for axis, across, up in zip(axes, ("recall", "coverage"), ("precision", "density"), strict=True):
            (x, y), (width, height) = truth.members[[across, up]].mean(), 2 * truth.members[[across, up]].std()
            region = Rectangle((x - width, y - height), 2 * width, 2 * height, color=COLORS["truth"], alpha=0.1, linewidth=0)
            region.set_label("truth against truth, \u00b1 2 sd")
            axis.add_patch(region)
            for row in rows:
                values = row.members[[across, up]]
                (x, y), bars = values.mean(), {}
                if row.is_model:
                    axis.scatter(values[across], values[up], s=12, color=row.color, alpha=0.5, linewidths=0)
                    bars = dict(zip(("xerr", "yerr"), 2 * values.std() / np.sqrt(len(values)), strict=True)) if len(values) > 1 else {}
                axis.errorbar(x, y, **bars, fmt="o" if row.is_model else "D", markersize=6, color=row.color, capsize=3, label=row.label)
            axis.set(xlabel=f"{across} (diversity)", ylabel=f"{up} (quality)")
            axis.set_xlim(right=min(axis.get_xlim()[1], 1.005))
            axis.grid(alpha=0.25)
        axes[0].set_ylim(top=min(axes[0].get_ylim()[1], 1.005))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
        _explain(
            figure, "small dots: members; dot and bars: their mean \u00b1 2 standard errors; diamond: a single fit, or the mean of the truth's draws"
        )
        _save(figure, path)


def calibration_curves(rows: Sequence[Row], fresh: int, path: Path) -> None:
    """How much more of the truth than it should a region of each level holds: highest-density regions, and balls in the noise of the flows.

    ``fresh`` draws from the truth were counted.
    """
    truth = _truth(rows)
    levels = truth.arrays["levels"]
    panels = (("hdr", "highest-density regions"), ("radius", "flows: balls around the origin of the noise"))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(panels), figsize=(8.4, 4.3), sharey=True)
        for axis, (key, title) in zip(axes, panels, strict=True):
            for row in rows:
                if key not in row.arrays:
                    continue
                off = row.arrays[key] - levels
                mean, spread = off.mean(axis=0), 2 * off.std(axis=0, ddof=min(1, len(off) - 1))
                axis.plot(levels, mean, color=row.color, linewidth=1.6, label=row.label)
                axis.fill_between(levels, mean - spread, mean + spread, color=row.color, alpha=0.18, linewidth=0)
            if key == "radius":  # the truth is no flow, but the noise of its draws is known: the share of a binomial
                chance = 2 * np.sqrt(levels * (1 - levels) / fresh)
                axis.fill_between(levels, -chance, chance, color=COLORS["truth"], alpha=0.18, linewidth=0)
            axis.axhline(0, color=COLORS["truth"], linewidth=0.8, linestyle=":")
            axis.set(title=title, xlabel="level: share that the model puts in the region", xlim=(0, 1))
            axis.grid(alpha=0.25)
        axes[0].set_ylabel("share of the truth in the region \u2212 level")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=9, frameon=False)
        _explain(
            figure, "above 0: too wide; below: too narrow, or off the mark; line and band: mean \u00b1 2 sd over members; black: the truth itself"
        )
        _save(figure, path)


def _truth(rows: Sequence[Row]) -> Row:
    return next(row for row in rows if row.name == "truth")


def _explain(figure: Figure, text: str) -> None:
    """One or two lines above the panels that say what the marks mean."""
    figure.suptitle(text, fontsize=9, color="#444444")


def _panels(count: int, columns: int = 3) -> tuple[Figure, np.ndarray]:
    """A grid of square panels with common axes, and its axes as a flat array; unused ones are hidden."""
    columns = min(columns, count)
    lines = -(-count // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(2.75 * columns, 2.8 * lines), sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, axes.flatten()[:count]


def _angle(points: Array) -> Array:
    return np.arctan2(points[:, 1], points[:, 0])


def _reach(states: Array) -> float:
    """Half the side of a square that holds nearly all of noise and data; what a layer flings further out in between is cut off."""
    return float(np.ceil(2 * np.quantile(np.abs(states[[0, -1]]), 0.999)) / 2)


def _save(figure: Figure, path: Path) -> None:
    with atomic.replacing(path) as unfinished:
        figure.savefig(unfinished, format="png")
    plt.close(figure)
