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

SIDE, INK = 8, 16
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


def strips(shown: Mapping[str, Sequence[Array]], titles: Mapping[str, str], text: str, path: Path, ticks: Mapping[float, str] | None = None) -> None:
    """A panel a model, of lines of images; ``ticks``: what to write below which column."""
    lines = len(next(iter(shown.values())))
    sheet, axes = panels(len(shown), 2, 0.4 + 0.38 * lines)
    for axis, (name, images) in zip(axes, shown.items(), strict=True):
        show(axis, images)
        axis.set_title(titles[name], fontsize=10)
        axis.set_xticks([(SIDE + 1) * column + SIDE / 2 for column in ticks or ()], (ticks or {}).values())
    explain(sheet, text)
    save(sheet, path)


def show(axis: Axes, lines: Sequence[Array]) -> None:
    """Lines of images ``(n, 64)``, one below the other; dark is ink."""
    rows = [np.pad(line.reshape(-1, SIDE, SIDE), ((0, 0), (0, 1), (0, 1))).transpose(1, 0, 2).reshape(SIDE + 1, -1) for line in lines]
    axis.imshow(np.concatenate(rows), cmap="gray_r", vmin=0, vmax=INK, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
