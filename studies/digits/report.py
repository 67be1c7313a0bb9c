"""The report on the fits to digits: ``tables.md`` and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.labels import label_and_color
from common.settings import read_yaml
from flows.core.arrays import Array
from flows.plotting.style import WIDTH, area_key, explain, handles_of, panels, save, shade
from studies.engine import Study
from studies.figures import color_of
from studies.markdown import frame, numbers, within

SAMPLES = ["precision", "recall", "density", "coverage", "c2st_auc", "class_tv", "nearest", "close"]
BITS = {
    "bits": "one network: bound",
    "bits_iw": "one network: importance weighted",
    "ensemble_bits": "ensemble: bound",
    "ensemble_bits_iw": "ensemble: importance weighted",
}
LEFT = 0.5  # inches beside a panel of images, for words
SIDE, INK = 8, 16  # pixels along a side of an image, and the darkest level
VIEW = 0.9  # bits above the lowest curve that are shown
TITLE = """# Results on 8x8 digits

`make digits` writes this page; the protocol is in [README.md](README.md).
"""
LABELS = read_yaml(Path(__file__).with_name("params.yaml"))["labels"]
# Colour-blind readers tell these from the library's.
COLORS = {"vector": "#999933", "glow_published": "#D55E00"}


def report(study: Study) -> None:
    """Write all files of the report."""
    study.write("tables.md", document(study))
    draw_figures(study)


def cells(study: Study, split: str) -> dict[str, str]:
    """Return the cells of a split by the names of their rows in the tables."""
    found = {"held_out": f"held_out/{split}"}
    found |= {name: f"network/{name}/{split}" for name in study.params["networks"]}
    return found | {name: f"peer/{name}/{split}" for name in study.params["peers"]}


def document(study: Study) -> str:
    """Return the tables, split by split."""
    parts = [TITLE]
    for split in study.params["splits"]:
        tables = {name: study.table(cell) for name, cell in cells(study, split).items()}
        text = study.template().format(
            split=split,
            title=split.capitalize(),
            protocol=study.params["protocol"],
            accuracy=tables["held_out"]["accuracy"][0],
            bits=bits_table(tables),
            samples=samples_table(tables),
        )
        parts.append(text)
    return "\n".join(parts)


def bits_table(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return a table with one line per density, the best first.

    The numbers are means over networks and images, with 95% intervals over images.
    """
    bits = {name: table["bits"].mean() for name, table in tables.items() if "bits" in table}
    rows = {}
    for name in sorted(bits, key=bits.__getitem__):
        mean = tables[name].mean()
        rows[label(name)] = {"networks": str(len(tables[name]))} | {
            title: within(mean[key], mean[f"{key}_low"], mean[f"{key}_high"])
            for key, title in BITS.items()
            if key in mean
        }
    return frame(pd.DataFrame(rows).T.fillna(""))


def samples_table(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return a table with one line per sampler."""
    rows = {
        label(name): table[SAMPLES].mean(skipna=False)
        for name, table in tables.items()
        if "recall" in table
    }
    return frame(numbers(pd.DataFrame(rows).T).replace("", "not finite"))


def label(name: str) -> str:
    return LABELS.get(name) or label_and_color(name)[0]


def draw_figures(study: Study) -> None:
    """Draw the figures of the random split."""
    own = cells(study, "random")
    arrays = {name: study.arrays(cell) for name, cell in own.items()}
    curves(study, {name: each for name, each in arrays.items() if "train_nll" in each})
    drawn = {}
    for name, each in arrays.items():
        if "samples" in each:
            away = study.table(own[name])["nearest"].mean(skipna=False)
            text = "not finite" if np.isnan(away) else f"{away:.1f}"
            drawn[f"{label(name)} ({text})"] = [each["samples"], each["nearest"]]
    note = "the first images drawn, and the training image nearest to each (in brackets the mean "
    note += "distance, in levels)"
    strips(study, "samples", drawn, note, {}, lines=["drawn", "nearest"])
    flows = {label(name): each for name, each in arrays.items() if "between" in each}
    ends = {0: "test", 10: "test"}
    note = "from test image to test image through latent space, along a great circle of noise"
    between = {name: each["between"] for name, each in flows.items()}
    strips(study, "interpolations", between, note, ends)
    note = (
        "test images, and three times each with the latents of a scale drawn anew, all others kept"
    )
    scales = {0: "test", 2: "fine", 5: "coarse", 8: "both"}
    strips(study, "scales", {name: each["anew"] for name, each in flows.items()}, note, scales)


def curves(study: Study, shown: Mapping[str, Mapping[str, Array]]) -> None:
    """Draw bits per dimension against the epoch, one panel per flow."""
    sheet, axes = panels(len(shown), 2, 2.6, sharey=True)
    lowest = min(each["train_nll"].min() for each in shown.values())
    for axis, (name, each) in zip(axes, shown.items(), strict=True):
        color = color_of(name, COLORS)
        for key, style in (("train", "--"), ("test", "-")):
            mean, sd, epoch = each[f"{key}_nll"], each[f"{key}_nll_sd"], each["epoch"]
            note = f"{key}, {mean[-1]:.2f} at the end"
            axis.plot(epoch, mean, style, color=color, label=note)
            shade(axis, epoch, mean, sd, color=color, alpha=0.2)
        axis.set(title=label(name), xlabel="epoch", ylabel="bits per dimension")
        axis.set_ylim(lowest - 0.05, lowest + VIEW)
        axis.legend(handles=[*handles_of(axis), area_key("\u00b1 1 sd over networks", color, 0.2)])
    explain(sheet, "random split, one draw of u; nothing is chosen by the test images")
    save(sheet, study.folder / "training.png")


def strips(
    study: Study,
    name: str,
    shown: Mapping[str, Any],
    note: str,
    ticks: Mapping[int, str],
    lines: Sequence[str] = (),
) -> None:
    """Draw images ``(lines, n, 64)`` a pixel apart, one panel per title; ink is dark.

    ``ticks`` has the labels below columns by column number, and ``lines`` the labels beside lines.
    """
    columns = 3 if len(shown) == 3 else 2
    height, width = np.shape(next(iter(shown.values())))[:2]
    image = (WIDTH / columns - (LEFT if lines else 0.2)) / width  # inches
    sheet, axes = panels(len(shown), columns, height * image + (0.15 if ticks else 0.35))
    for axis, (title, images) in zip(axes, shown.items(), strict=True):
        squares = np.reshape(images, (len(images), -1, SIDE, SIDE))
        framed = np.pad(squares, ((0, 0), (0, 0), (0, 1), (0, 1))).transpose(0, 2, 1, 3)
        ink = framed.reshape(len(images) * (SIDE + 1), -1)
        axis.imshow(ink, cmap="gray_r", vmin=0, vmax=INK, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        places = [(SIDE + 1) * column + SIDE / 2 for column in ticks]
        axis.set_xticks(places, list(ticks.values()))
        axis.set_yticks([(SIDE + 1) * line + SIDE / 2 for line in range(len(lines))], lines)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    explain(sheet, note)
    save(sheet, study.folder / f"{name}.png")
