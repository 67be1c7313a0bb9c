"""``python -m benchmarks.draw`` makes ``table.md`` and ``speed.png`` from ``results.json``.

It imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import FOLDER, RESULTS
from benchmarks.peers import MODELS
from common import storage
from common.labels import label_and_color
from flows.plotting.style import STYLE, WIDTH, save
from tools import command, markdown

Row = dict[str, Any]
RECIPES = ("ours", "usual")
VARIANTS = {"": "", "-avx2": ", AVX2", "-plain": ", no kernels"}  # in words, the keys of BUILDS
OURS = {
    model + suffix: (f"our {label_and_color(name)[0]}{words}", label_and_color(name)[1])
    for model, name in MODELS.items()
    for suffix, words in VARIANTS.items()
}
PEER = "#666666"


def main(results: Path = RESULTS) -> None:
    measured = storage.read_json(results)
    storage.write_bytes(results.with_name("table.md"), document(measured).encode())
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.6))
        axes = figure.subplots(1, 2, sharey=True)
        epoch(axes[0], measured)
        quality(axes[1], measured)
        save(figure, results.with_name("speed.png"))


def document(results: Row) -> str:
    """Return the text of ``table.md``."""
    ms = pd.DataFrame(results["epoch"]).pivot_table(
        "ms", ["library", "hidden", "parameters"], ["networks", "threads", "batch"], sort=False
    )
    settings = ["networks {}, threads {}, batch {}".format(*setting) for setting in ms.columns]
    epochs = [[*map(str, names), *map(number, row)] for names, *row in ms.itertuples()]
    qualities = [
        [row["library"], row["recipe"], str(row["networks_trained"]), *reached(row)]
        for row in results["quality"]
    ]
    head = ["library", "recipe", "networks trained", "seconds", "best KL (nat)"]
    if any("sample_ms" in row for row in results["quality"]):
        head.append("a thousand samples of each network (ms)")
        for cells, row in zip(qualities, results["quality"], strict=True):
            cells.append(number(row["sample_ms"]) if "sample_ms" in row else markdown.NONE)
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    text = (FOLDER / "template.md").read_text(encoding="utf-8")
    return text.format(
        machine=results["machine"],
        settings=results["settings"],
        versions=versions,
        epochs=markdown.table([*ms.index.names, *settings], epochs, "lr"),
        qualities=markdown.table(head, qualities, "lr"),
    )


def summary(results: Row) -> str:
    """Return a table with one row per library, for the documents.

    It has the milliseconds per epoch of the largest and the smallest number of networks, with the
    fastest number of threads, and the seconds to quality with two recipes.
    """
    ms, _ = fastest(results)
    networks = ms.index.unique("networks")
    counts = [int(networks.max()), int(networks.min())]
    until = {(row["library"], row["recipe"]): row["seconds"] for row in results["quality"]}
    times = {key: "never" if value is None else number(value) for key, value in until.items()}
    rows = []
    for library in dict.fromkeys(library for library, _ in until):
        seconds = (times.get((library, recipe), markdown.NONE) for recipe in RECIPES)
        rows.append([library, *(f"{ms[library, count]:.1f}" for count in counts), *seconds])
    kl = results["settings"]["quality_kl"]
    head = [f"{count} network{'s' * (count > 1)} (ms per epoch)" for count in counts]
    head = ["", *head, f"seconds to KL {kl}, our recipe", "its usual recipe"]
    return markdown.table(head, rows, "lr")


def fastest(results: Row) -> tuple[pd.Series, Row]:
    """Return the milliseconds of an epoch, by library and networks, and the sizes they are for.

    They are at the most units and the smallest batch, with whichever number of threads is fastest.
    """
    epochs = pd.DataFrame(results["epoch"])
    sizes = {"hidden": epochs["hidden"].max(), "batch": epochs["batch"].min()}
    chosen = epochs[(epochs[[*sizes]] == pd.Series(sizes)).all(axis=1)]
    return chosen.groupby(["library", "networks"], sort=False)["ms"].min(), sizes


def reached(row: Row) -> tuple[str, str]:
    """Return the seconds to the target, or "never", and the best KL."""
    best = min((kl for kl in row["best_kl"] if kl is not None), default=np.nan)
    times = (row[key] for key in ("seconds", "seconds_min", "seconds_max"))
    seconds = ["never" if time is None else number(time) for time in times]
    return "never" if row["seconds"] is None else "{} ({} to {})".format(*seconds), f"{best:.3f}"


def number(value: float) -> str:
    """Return a number with three significant digits, without powers of ten from 0.0001 on."""
    return f"{float(f'{value:.3g}'):,.9g}"


# The picture


def epoch(axis: Axes, results: Row) -> None:
    """Draw the milliseconds per epoch of the largest number of networks, as in the table."""
    ms, sizes = fastest(results)
    networks = ms.index.get_level_values("networks").max()
    ms = ms.xs(networks, level="networks")
    bars(axis, ms, map(number, ms))
    threads = " or ".join(map(str, results["settings"]["threads"]))
    how = f"width {sizes['hidden']}, batch {sizes['batch']}; {threads} threads, the faster"
    axis.set(xlabel=f"ms per epoch of {networks} networks\n({how})", title="Training epoch")


def quality(axis: Axes, results: Row) -> None:
    """Draw seconds to the target KL with our recipe.

    A library that never reaches the target has no bar, but a text with its best KL.
    """
    rows = [row for row in results["quality"] if row["recipe"] == "ours"]
    seconds = pd.Series({row["library"]: row["seconds"] for row in rows}, dtype=float)
    ends = [
        f"{number(row['seconds'])} s" if row["seconds"] else f"never, best {reached(row)[1]}"
        for row in rows
    ]
    bars(axis, seconds, ends)
    plan = results["settings"]
    how = f"our recipe, {plan['threads'][-1]} threads"
    axis.set_xlabel(f"seconds of training of {plan['networks']} networks\n({how})")
    axis.set_title(f"Time to a KL of {plan['quality_kl']} nat")


def bars(axis: Axes, values: pd.Series, ends: Iterable[str]) -> None:
    """Draw one bar per name on a logarithmic axis, with a text of ``ends`` at its end.

    If the value is ``NaN``, there is only the text.
    """
    low, high = np.nanmin([1e6, *values]), np.nanmax([1e-6, *values])
    axis.set(xscale="log", xlim=(low / 1.5, 4 * high))
    axis.xaxis.set_major_formatter("{x:g}")
    names, colors = zip(*(OURS.get(name, (name, PEER)) for name in values.index), strict=True)
    style: Row = {"textcoords": "offset points", "va": "center", "fontsize": 9}
    axis.barh(names, values, color=colors)
    for name, value, end in zip(names, values.fillna(low / 1.5), ends, strict=True):
        axis.annotate(end, (value, name), xytext=(4, 0), **style)
    axis.set_ylim(len(names) - 0.4, -0.6)


if __name__ == "__main__":
    command.run("draw", main)
