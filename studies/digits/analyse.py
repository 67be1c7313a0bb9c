"""What the fits say: ``results.json``, ``tables.md`` and the figures."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.pyplot import rc_context

from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import errors_in_one_line
from flows.evaluation import statistics
from flows.plotting.style import STYLE
from stages.shared import files, markdown
from studies.digits import figures, settings
from studies.digits.settings import SPLITS, Settings

SAMPLES = ("precision", "recall", "density", "coverage", "c2st_auc", "class_tv", "nearest", "close")
BITS = ("bits", "bits_iw", "ensemble_bits", "ensemble_bits_iw")


@errors_in_one_line("analyse")
def main() -> None:
    params = settings.load()
    names = ["held_out", *params.rows]
    lines = [line(params, name, split) for split, name in product(SPLITS, names)]
    files.write_bytes(settings.HERE / "tables.md", text(params, lines).encode())
    timed = [each | {"seconds": seconds(each["model"], each["split"])} for each in lines]
    files.write_bytes(settings.HERE / "results.json", (pd.DataFrame(timed).to_json(orient="records", indent=1) + "\n").encode())
    with rc_context(STYLE):
        draw(names, {each["model"]: each["nearest"] for each in lines if each["split"] == "random"})
    print("; ".join(f"{each['model']} {each['split']} {each['bits']:.3f}" for each in lines if each["bits"]))


def line(params: Settings, name: str, split: str) -> dict[str, Any]:
    """A line of the results. ``bits``: the bound by so many ``draws`` of u; ``bits_iw``: importance weighted; both of one network (the mean, and
    ``bits_sd`` over networks) and of the ensemble, with a 95% interval over test images; ``null`` where there is no such number.
    """
    folder = settings.folder(name, split)
    members = pd.read_csv(folder / "members.csv")
    images = pd.read_csv(folder / "images.csv") if (folder / "images.csv").exists() else pd.DataFrame()
    found: dict[str, Any] = {"model": name, "split": split, "networks": len(members), "draws": params.draws, "accuracy": members["accuracy"][0]}
    for key in BITS:
        found |= interval(key, images[key].to_numpy()) if key in images else {key: None, f"{key}_ci95": None}
    found["bits_sd"] = rounded(members["bits"].std(ddof=1)) if "bits" in members and len(members) > 1 else None
    return found | {key: rounded(members[key].mean()) if key in members else None for key in SAMPLES}


def interval(key: str, bits: Array) -> dict[str, Any]:
    """The mean over test images ``(n,)`` and its 95% interval by bootstrap."""
    return {key: rounded(bits.mean()), f"{key}_ci95": [*map(rounded, statistics.mean_interval(bits, seeds.numpy_generator(0, "metric")))]}


def rounded(value: float) -> float:
    return float(f"{value:.5g}")


def seconds(name: str, split: str) -> float | None:
    """Of the processor, a network."""
    path = settings.seconds(name, split)
    return float(pd.read_csv(path)["seconds"][0]) if path.exists() else None


def text(params: Settings, lines: list[dict[str, Any]]) -> str:
    """The tables of the documents."""
    parts = []
    for split in SPLITS:
        own = [each for each in lines if each["split"] == split]
        dense = sorted((each for each in own if each["bits"] is not None), key=lambda each: each["bits"])
        rows = [[settings.label(each["model"])[0], str(each["networks"]), *(words(each, key) for key in BITS)] for each in dense]
        head = ["", "networks", "one: bound", "one: importance weighted", "ensemble: bound", "ensemble: importance weighted"]
        samples = [[settings.label(each["model"])[0], *(score(each[key]) for key in SAMPLES)] for each in own if each["recall"] is not None]
        parts += [
            f"{split.capitalize()} split, {params.train:,} training and {params.test} test images. Bits per dimension, lower is better: in brackets "
            f"the 95% interval over test images; {params.draws} draws of u.",
            markdown.table(head, rows, "lr"),
            f"Samples, {split} split, means over networks. The classifier is right on {own[0]['accuracy']:.1%} of the test images.",
            markdown.table(["", *SAMPLES], samples, "lr"),
        ]
    return "\n\n".join(parts) + "\n"


def score(value: float) -> str:
    return "not finite" if np.isnan(value) else f"{value:.3f}"


def words(line: dict[str, Any], key: str) -> str:
    return "" if line[key] is None else "{:.3f} ({:.3f} to {:.3f})".format(line[key], *line[f"{key}_ci95"])


def draw(names: list[str], away: dict[str, float]) -> None:
    """The figures, of the random split."""
    folders, titles = {name: settings.folder(name, "random") for name in names}, {name: settings.label(name)[0] for name in names}
    curves = {name: pd.read_csv(folder / "curves.csv") for name, folder in folders.items() if (folder / "curves.csv").exists()}
    shown = {name: files.read_npz(folder / "shown.npz") for name, folder in folders.items()}
    figures.training({name: each for name, each in curves.items() if "test_nll" in each}, settings.HERE / "training.png")
    drawn = {name: [each["samples"], each["nearest"]] for name, each in shown.items() if "samples" in each}
    text = "above: the first images drawn; below each: the training image nearest to it (in brackets the mean distance, in levels)"
    figures.strips(
        drawn,
        {name: f"{titles[name]} ({'not finite' if np.isnan(away[name]) else f'{away[name]:.1f}'})" for name in drawn},
        text,
        settings.HERE / "samples.png",
    )
    paths, anew = ({name: [*each[key]] for name, each in shown.items() if key in each} for key in ("between", "anew"))
    text = "from test image to test image through latent space, along a great circle of normal noise"
    figures.strips(paths, titles, text, settings.HERE / "interpolations.png", {0: "test image", len(next(iter(paths.values()))[0]) - 1: "test image"})
    text = "test images; three times each with the latents of the fine scale drawn anew, all others kept; of the coarse scale; of both"
    figures.strips(anew, titles, text, settings.HERE / "scales.png", {0: "as it is", 2: "fine", 5: "coarse", 8: "all"})


if __name__ == "__main__":
    main()
