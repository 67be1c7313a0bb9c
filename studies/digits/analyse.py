"""What the fits say: ``results.json``, ``tables.md`` and the figures."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from flows.core import seeds
from flows.core.errors import errors_in_one_line
from flows.evaluation import statistics
from flows.plotting.style import STYLE, explain, panels, save
from matplotlib.pyplot import rc_context
from stages.shared import files, markdown
from stages.shared.settings import label_and_color

from studies.digits import settings
from studies.digits.settings import SPLITS, Settings

SAMPLES = ("precision", "recall", "density", "coverage", "c2st_auc", "class_tv", "nearest", "close")
SIDE, INK = 8, 16  # of an image: pixels along a side, and the darkest level
VIEW = 0.9  # bits above the lowest curve that are shown
BITS = ("bits", "bits_iw", "ensemble_bits", "ensemble_bits_iw")

NAMES = {  # of what is no model of the library, or one at other settings
    **{
        "independent": "independent pixels",
        "gaussian": "one Gaussian",
        "mixture": "Gaussian mixture",
        "vine": "vine copula",
    },
    **{
        "normflows": "normflows' Glow",
        "vector": "vector flow",
        "glow_published": "Glow, as published",
        "held_out": "held-out digits",
    },
}
COLORS = {
    "vector": "#0072B2",
    "glow_published": "#D55E00",
}  # colour-blind readers tell them from the library's


@errors_in_one_line("analyse")
def main() -> None:
    params = settings.load()
    names = ["held_out", *params.rows]
    lines = [line(params, name, split) for split, name in product(SPLITS, names)]
    files.write_bytes(settings.HERE / "tables.md", text(params, lines).encode())
    timed = [
        each
        | {"seconds": pd.read_csv(settings.seconds(each["model"], each["split"]))["seconds"][0]}
        for each in lines
    ]  # of no two runs alike
    files.write_bytes(
        settings.HERE / "results.json",
        (pd.DataFrame(timed).to_json(orient="records", indent=1) + "\n").encode(),
    )
    with rc_context(STYLE):
        draw(names, {each["model"]: each["nearest"] for each in lines if each["split"] == "random"})
    print(
        "; ".join(
            f"{each['model']} {each['split']} {each['bits']:.3f}" for each in lines if each["bits"]
        )
    )


def line(params: Settings, name: str, split: str) -> dict[str, Any]:
    """A line of the results. ``bits``: the bound by so many ``draws`` of u; ``bits_iw``: importance weighted; both of one network (the mean, and
    ``bits_sd`` over networks) and of the ensemble, with a 95% interval over test images; ``null`` where there is no such number.
    """
    folder = settings.folder(name, split)
    members = pd.read_csv(folder / "members.csv")
    images = (
        pd.read_csv(folder / "images.csv") if (folder / "images.csv").exists() else pd.DataFrame()
    )
    found: dict[str, Any] = {
        "model": name,
        "split": split,
        "networks": len(members),
        "draws": params.draws,
        "accuracy": members["accuracy"][0],
    }
    for key in BITS:
        bits = images[key].to_numpy() if key in images else np.array([])
        ends = (
            statistics.mean_interval(bits, seeds.numpy_generator(0, "metric")) if len(bits) else ()
        )
        found |= {
            key: rounded(bits.mean()) if len(bits) else None,
            f"{key}_ci95": [*map(rounded, ends)] or None,
        }
    found["bits_sd"] = (
        rounded(members["bits"].std(ddof=1)) if "bits" in members and len(members) > 1 else None
    )
    return found | {
        key: rounded(members[key].mean()) if key in members else None for key in SAMPLES
    }


def rounded(value: float) -> float:
    return float(f"{value:.5g}")


def text(params: Settings, lines: list[dict[str, Any]]) -> str:
    """The tables of the documents."""
    parts = []
    for split in SPLITS:
        own = [each for each in lines if each["split"] == split]
        dense = sorted(
            (each for each in own if each["bits"] is not None), key=lambda each: each["bits"]
        )
        rows = [
            [label(each["model"]), str(each["networks"]), *(words(each, key) for key in BITS)]
            for each in dense
        ]
        head = [
            "",
            "networks",
            "one: bound",
            "one: importance weighted",
            "ensemble: bound",
            "ensemble: importance weighted",
        ]
        samples = [
            [label(each["model"]), *(finite(each[key], 3) for key in SAMPLES)]
            for each in own
            if each["recall"] is not None
        ]
        parts += [
            f"{split.capitalize()} split, {params.train:,} training and {params.test} test images. Bits per dimension, lower is better: in brackets "
            f"the 95% interval over test images; {params.draws} draws of u.",
            markdown.table(head, rows, "lr"),
            f"Samples, {split} split, means over networks. The classifier is right on {own[0]['accuracy']:.1%} of the test images.",
            markdown.table(["", *SAMPLES], samples, "lr"),
        ]
    return "\n\n".join(parts) + "\n"


def label(name: str) -> str:
    return NAMES.get(name) or label_and_color(name)[0]


def words(line: dict[str, Any], key: str) -> str:
    return (
        ""
        if line[key] is None
        else "{:.3f} ({:.3f} to {:.3f})".format(line[key], *line[f"{key}_ci95"])
    )


def finite(value: float, digits: int) -> str:
    return "not finite" if np.isnan(value) else f"{value:.{digits}f}"


def draw(names: list[str], away: dict[str, float]) -> None:
    """The figures, of the random split."""
    shown = {name: files.read_npz(settings.folder(name, "random") / "shown.npz") for name in names}
    titles = {name: label(name) for name in names}
    flows = [name for name in names if "between" in shown[name]]
    training([*flows, "vector"])
    text = "above: the first images drawn; below each: the training image nearest to it (in brackets the mean distance, in levels)"
    drawn = {
        name: [each["samples"], each["nearest"]]
        for name, each in shown.items()
        if "samples" in each
    }
    strips(
        "samples",
        {f"{titles[name]} ({finite(away[name], 1)})": images for name, images in drawn.items()},
        text,
    )
    text = (
        "from test image to test image through latent space, along a great circle of normal noise"
    )
    strips(
        "interpolations",
        {titles[name]: shown[name]["between"] for name in flows},
        text,
        {0: "test image", 10: "test image"},
    )
    text = "test images; three times each with the latents of the fine scale drawn anew, all others kept; of the coarse scale; of both"
    strips(
        "scales",
        {titles[name]: shown[name]["anew"] for name in flows},
        text,
        {0: "as it is", 2: "fine", 5: "coarse", 8: "all"},
    )


def training(names: list[str]) -> None:
    """Bits per dimension against the epoch: a panel a flow."""
    curves = {name: pd.read_csv(settings.folder(name, "random") / "curves.csv") for name in names}
    sheet, axes = panels(len(curves), 2, 2.6, sharey=True)
    lowest = min(table["train_nll"].min() for table in curves.values())
    for axis, (name, table) in zip(axes, curves.items(), strict=True):
        color = COLORS.get(name) or label_and_color(name)[1]
        for key, style in (("train", "--"), ("test", "-")):
            mean, sd, epoch = table[f"{key}_nll"], table[f"{key}_nll_sd"], table["epoch"]
            axis.plot(
                epoch, mean, style, color=color, label=f"{key}, {mean.iloc[-1]:.2f} at the end"
            )
            axis.fill_between(epoch, mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0)
        axis.set(
            title=label(name),
            xlabel="epoch",
            ylabel="bits per dimension",
            ylim=(lowest - 0.05, lowest + VIEW),
        )
        axis.legend()
    explain(
        sheet,
        "random split, one draw of u; line and band: mean \u00b1 1 sd over networks; nothing is chosen by the test images",
    )
    save(sheet, settings.HERE / "training.png")


def strips(
    name: str, shown: dict[str, Any], text: str, ticks: Mapping[int, str] = MappingProxyType({})
) -> None:
    """A panel a title, of lines of images ``(n, 64)``, one below the other; dark is ink. ``ticks``: what to write below which column."""
    sheet, axes = panels(len(shown), 2, 0.4 + 0.38 * len(next(iter(shown.values()))))
    for axis, (title, images) in zip(axes, shown.items(), strict=True):
        rows = [
            np.pad(line.reshape(-1, SIDE, SIDE), ((0, 0), (0, 1), (0, 1)))
            .transpose(1, 0, 2)
            .reshape(SIDE + 1, -1)
            for line in images
        ]
        axis.imshow(np.concatenate(rows), cmap="gray_r", vmin=0, vmax=INK, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set_xticks([(SIDE + 1) * column + SIDE / 2 for column in ticks], ticks.values())
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    explain(sheet, text)
    save(sheet, settings.HERE / f"{name}.png")


if __name__ == "__main__":
    main()
