"""The figures of the study: numbers in, a picture out, in the style that is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from flows.core.arrays import Array
from flows.plotting.style import explain, panels, save
from studies.digits.settings import label

SIDE, INK, ANEW = 8, 16, 3
VIEW = 0.9  # bits above the lowest curve


def training(curves: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Bits per dimension against the epoch: a panel a flow."""
    sheet, axes = panels(len(curves), 2, 2.6, sharey=True)
    lowest = min(table["train_nll"].min() for table in curves.values())
    for axis, (name, table) in zip(axes, curves.items(), strict=True):
        words, color = label(name)
        for key, style in (("train", "--"), ("test", "-")):
            mean, sd, epoch = table[f"{key}_nll"], table[f"{key}_nll_sd"], table["epoch"]
            axis.plot(epoch, mean, style, color=color, label=f"{key}, {mean.iloc[-1]:.2f} at the end")
            axis.fill_between(epoch, mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0)
        axis.set(title=words, xlabel="epoch", ylabel="bits per dimension", ylim=(lowest - 0.05, lowest + VIEW))
        axis.legend()
    explain(sheet, "random split, one draw of u; line and band: mean \u00b1 1 sd over networks; nothing is chosen by the test images")
    save(sheet, path)


def samples(shown: Mapping[str, Mapping[str, Array]], away: Mapping[str, float], path: Path) -> None:
    sheet, axes = panels(len(shown), 2, 1.15)
    for axis, (name, images) in zip(axes, shown.items(), strict=True):
        show(axis, [images["samples"], images["nearest"]], f"{label(name)[0]} ({away[name]:.1f})")
    explain(sheet, "above: the first images drawn; below each: the training image nearest to it (in brackets the mean distance, in levels)")
    save(sheet, path)


def interpolations(shown: Mapping[str, Mapping[str, Array]], path: Path) -> None:
    sheet, axes = panels(len(shown), 2, 2.0)
    for axis, (name, images) in zip(axes, shown.items(), strict=True):
        show(axis, images["between"], label(name)[0])
        axis.set_xticks([4, (SIDE + 1) * images["between"].shape[1] - 5], ["test image", "test image"])
    explain(sheet, "from test image to test image through latent space, along a great circle of normal noise")
    save(sheet, path)


def scales(shown: Mapping[str, Mapping[str, Array]], path: Path) -> None:
    sheet, axes = panels(len(shown), 2, 2.0)
    for axis, (name, images) in zip(axes, shown.items(), strict=True):
        show(axis, images["anew"], label(name)[0])
        count = (images["anew"].shape[1] - 1) // ANEW - 1
        names = ["as it is", "fine", *["middle"] * (count - 2), "coarse", "all"]
        axis.set_xticks([4, *((SIDE + 1) * (ANEW * k + 2) + 4 for k in range(count + 1))], names)
    explain(sheet, "test images, then three times each with the latents of one scale drawn anew, all others kept; at last with all anew")
    save(sheet, path)


def show(axis: Axes, lines: Sequence[Array] | Array, title: str) -> None:
    """Lines of images ``(n, 64)``, one below the other; dark is ink."""
    rows = [np.pad(line.reshape(-1, SIDE, SIDE), ((0, 0), (0, 1), (0, 1))).transpose(1, 0, 2).reshape(SIDE + 1, -1) for line in lines]
    axis.imshow(np.concatenate(rows), cmap="gray_r", vmin=0, vmax=INK, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_title(title, fontsize=10)
