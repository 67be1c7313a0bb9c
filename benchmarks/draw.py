"""Draw: ``python -m benchmarks.draw`` turns ``results.json`` into ``table.md`` and ``speed.png``.

No torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks import RESULTS
from flows.plotting.style import STYLE, save
from stages.pipeline import files
from stages.pipeline.settings import label_and_color
from tools import markdown

Row = dict[str, Any]
OURS, PEER = label_and_color("realnvp")[1], "#666666"


def main(results: Path = RESULTS) -> None:
    measured = json.loads(results.read_text(encoding="utf-8"))
    files.write_bytes(results.with_name("table.md"), document(measured).encode())
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.8))
        for axis, draw in zip(axes, (epoch, quality), strict=True):
            draw(axis, measured)
        save(figure, results.with_name("speed.png"))


def document(results: Row) -> str:
    """The whole of ``table.md``."""
    machine, plan = results["machine"], results["settings"]
    versions = ", ".join(
        f"{name} {version}" for name, version in results["versions"].items() if version
    )
    ms = pd.DataFrame(results["epoch"]).pivot_table(
        "ms", ["library", "hidden", "parameters"], ["networks", "threads", "batch"], sort=False
    )
    settings = [
        f"networks {networks}, threads {threads}, batch {batch}"
        for networks, threads, batch in ms.columns
    ]
    epochs = [
        [*map(str, names), *map(number, row)]
        for names, row in zip(ms.index, ms.to_numpy(), strict=True)
    ]
    qualities = [
        [row["library"], row["recipe"], str(row["networks_trained"]), *reached(row)]
        for row in results["quality"]
    ]
    parts = [
        "# Speed and quality beside other libraries",
        (
            "Made by `make bench`; what is measured and how is in `README.md`. "
            "One run on one machine: compare numbers of one table, not of two runs."
        ),
        (
            f"{machine['processor']}, {machine['cores']} cores; "
            f"Python {machine['python']}, {versions}."
        ),
        "## Milliseconds of an epoch, for all networks together",
        markdown.table(["library", "hidden", "parameters", *settings], epochs, "lr"),
        (
            f"## Seconds of training until the mean KL of {plan['networks']} networks "
            f"is {plan['quality_kl']} nat"
        ),
        (
            "Median over data seeds (lowest to highest). For the libraries that train one network "
            "after another it is in proportion to those trained."
        ),
        markdown.table(
            ["library", "recipe", "networks trained", "seconds", "best KL (nat)"], qualities, "lr"
        ),
    ]
    return "\n\n".join(parts) + "\n"


def reached(row: Row) -> tuple[str, str]:
    """The seconds to the target, or that it was never reached; and the best KL on the way."""
    seconds = [
        "never" if row[key] is None else number(row[key])
        for key in ("seconds", "seconds_min", "seconds_max")
    ]
    best = min((kl for kl in row["best_kl"] if kl is not None), default=np.nan)
    return "never" if row["seconds"] is None else "{} ({} to {})".format(*seconds), f"{best:.3f}"


def number(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    digits = f"{value:.3g}"
    return (
        f"{float(digits):,.0f}"
        if "e+" in digits or abs(value) >= 1000
        else f"{float(digits):.6f}".rstrip("0")
        if "e-" in digits
        else digits
    )


# The picture


def epoch(axis: Axes, results: Row) -> None:
    """Milliseconds per epoch and network.

    At the most networks, threads and units and the smallest batch.
    """
    rows = results["epoch"]
    shown = {key: max(row[key] for row in rows) for key in ("networks", "threads", "hidden")} | {
        "batch": min(row["batch"] for row in rows)
    }
    ms = {
        row["library"]: row["ms"] / row["networks"] for row in rows if shown.items() <= row.items()
    }
    bars(axis, ms, [number(value) for value in ms.values()])
    axis.set(
        xlabel="ms per epoch and network\n"
        f"{', '.join(f'{key} {value}' for key, value in shown.items())}",
        title="Training epoch",
    )


def quality(axis: Axes, results: Row) -> None:
    """Seconds to the target KL by our recipe.

    Who never gets there has no bar, but the best KL it reached.
    """
    rows = {row["library"]: row for row in results["quality"] if row["recipe"] == "ours"}
    words = [
        f"never, best {reached(row)[1]}"
        if row["seconds"] is None
        else f"{number(row['seconds'])} s"
        for row in rows.values()
    ]
    bars(axis, {library: row["seconds"] or np.nan for library, row in rows.items()}, words)
    plan = results["settings"]
    axis.set(
        xlabel=f"seconds of training, {plan['networks']} networks, our recipe",
        title=f"Time to a KL of {plan['quality_kl']} nat",
    )


def bars(axis: Axes, values: dict[str, float], words: list[str]) -> None:
    """A bar a name on a logarithmic axis, with its words at the end.

    Where its value is not finite, the words alone.
    """
    low, high = np.nanmin([1e6, *values.values()]), np.nanmax([1e-6, *values.values()])
    axis.set(xscale="log", xlim=(low / 1.5, 4 * high))
    axis.barh(
        list(values),
        list(values.values()),
        color=[OURS if name.startswith("ours") else PEER for name in values],
    )
    for (name, value), said in zip(values.items(), words, strict=True):
        axis.annotate(
            said,
            (np.nan_to_num(value, nan=low / 1.5), name),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axis.invert_yaxis()


if __name__ == "__main__":
    main()
