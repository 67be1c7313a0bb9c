"""Draw: ``python -m benchmarks.draw`` turns ``results.json`` into ``table.md`` and ``speed.png``. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks import RESULTS, tables
from flows.plotting.style import STYLE, save
from stages.shared import files
from stages.shared.settings import label_and_color

OURS, PEER, FLOOR = label_and_color("realnvp")[1], "#666666", "#000000"
# Tol's muted palette: no colour of a model.
AXES = {"rows": ("#332288", "o"), "dimensions": ("#882255", "s"), "couplings": ("#999933", "^"), "members": ("#117733", "D")}


def main(results: Path = RESULTS) -> None:
    measured = json.loads(results.read_text(encoding="utf-8"))
    files.write_bytes(results.with_name("table.md"), tables.document(measured).encode())
    picture(measured, results.with_name("speed.png"))


def picture(results: dict[str, Any], path: Path) -> None:
    """A panel a section; throughput has none."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(9.5, 8), height_ratios=(1.1, 1))
        for axis, draw in zip(axes.flat, (epoch, quality, growth, depth), strict=True):
            draw(axis, results)
        save(figure, path)


def epoch(axis: Axes, results: dict[str, Any]) -> None:
    """Milliseconds per epoch and network, at the most networks and threads and the smallest batch."""
    rows = results["epoch"] + results.get("floor", [])
    threads, networks, batch = max(row["threads"] for row in rows), max(row["networks"] for row in rows), min(row["batch"] for row in rows)
    rows = [row for row in rows if (row["threads"], row["networks"], row["batch"]) == (threads, networks, batch)]
    names = tables.unique(row["library"] for row in rows)
    narrow, wide = min(row["hidden"] for row in rows), max(row["hidden"] for row in rows)
    logarithmic(axis, names, [row[key] / networks for row in rows for key in ("ms_min", "ms_max")])
    for row in rows:
        place, marker = (0.14, "o") if row["hidden"] == narrow else (-0.14, "s")
        low, middle, high = (row[key] / networks for key in ("ms_min", "ms", "ms_max"))
        mark(axis, row["library"], place - names.index(row["library"]), (low, middle, high), marker, tables.number(middle))
    axis.set_xlabel(
        f"ms per epoch and network; bar: lowest to highest\ncircle: hidden {narrow}; white square: hidden {wide}\n"
        "floor: torch's matrix products alone;\nonly other products can be faster"
    )
    axis.set_title(f"Training epoch, {tables.counted(networks, 'network')},\nbatch {batch}, {tables.counted(threads, 'thread')}")


def quality(axis: Axes, results: dict[str, Any]) -> None:
    """Seconds to the target KL; who never gets there stands at the right edge with the best KL it reached."""
    rows, settings = results["quality"], results["settings"]
    names = tables.unique(row["library"] for row in rows)
    ends = [row[key] for row in rows for key in ("seconds_min", "seconds_max") if row[key] is not None] or [1.0]
    logarithmic(axis, names, ends)
    edge = 8 * max(ends)
    axis.axvline(edge / 1.6, color="#999999", linewidth=1, linestyle=":")  # what stands right of it has no time
    for row in rows:
        place, marker = (-0.16, "s") if row["recipe"] == "usual" else (0.16, "o")
        low, middle, high = (edge if row[key] is None else row[key] for key in ("seconds_min", "seconds", "seconds_max"))
        text = f"{tables.number(middle)} s"
        if row["seconds"] is None:
            best = min((kl for kl in row["best_kl"] if kl is not None), default=None)
            low, marker, text = edge, "x", "not finite" if best is None else f"never, best {best:.2f}"
        mark(axis, row["library"], place - names.index(row["library"]), (low, middle, high), marker, text)
    axis.set_xlim(min(ends) / 1.6, edge * (max(ends) / min(ends)) ** 0.35 * 4)
    axis.set_xlabel(f"seconds of training, {settings['networks']} networks\ncircle: our recipe; white square: usual")
    axis.set_title(f"Time to a KL of {settings['quality_kl']} nat,\n{tables.counted(settings['threads'][-1], 'thread')}")


def growth(axis: Axes, results: dict[str, Any]) -> None:
    """Seconds against size, both as multiples of the smallest, on logarithmic axes; the exponent of each in the legend."""
    reach = 1.0
    for part in results["growth"]:
        sizes = np.array([row["size"] for row in part["rows"]]) / part["rows"][0]["size"]
        seconds = np.array([row["ours_seconds"] for row in part["rows"]]) / part["rows"][0]["ours_seconds"]
        shade, marker = AXES[part["axis"]]
        label = f"{part['axis']} {part['rows'][0]['size']:,} to {part['rows'][-1]['size']:,}: {tables.exponent(part)}"
        axis.plot(sizes, seconds, marker=marker, markersize=5, color=shade, label=label)
        reach = max(reach, sizes[-1])
    axis.plot([1, reach], [1, reach], ":", color="#999999", linewidth=1, zorder=0, label="in proportion: 1")
    axis.set(xscale="log", yscale="log", xlabel="size / smallest size", ylabel="time of an epoch / that of the smallest")
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8.5, frameon=False)
    axis.set_title("Growth of ours, and its exponents")


def depth(axis: Axes, results: dict[str, Any]) -> None:
    """Milliseconds per epoch of RealNVP and Glow against the number of couplings, from zero."""
    rows = results["depth"]
    couplings = [row["couplings"] for row in rows]
    for model, marker in (("realnvp", "o"), ("glow", "s")):
        label, shade = label_and_color(model)
        axis.plot(couplings, [row[f"{model}_ms"] for row in rows], marker=marker, markersize=5, color=shade, label=label)
    for row in rows:
        top = max(row["realnvp_ms"], row["glow_ms"])
        axis.annotate(f"{row['ratio']:.2f}x", (row["couplings"], top), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8.5)
    axis.set(xticks=couplings, xlabel="couplings", ylabel=f"ms per epoch, {results['settings']['networks']} members")
    axis.set_ylim(0, 1.15 * max(max(row["realnvp_ms"], row["glow_ms"]) for row in rows))
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8.5, frameon=False, loc="lower right")
    axis.set_title("RealNVP and Glow by depth")


def mark(axis: Axes, library: str, place: float, reach: tuple[float, float, float], marker: str, text: str) -> None:
    """A bar from the lowest to the highest of ``reach``, a mark in its middle (squares are white), and a text at its right end."""
    low, middle, high = reach
    color = FLOOR if library == "floor" else OURS if library.startswith("ours") else PEER
    if low < high:
        axis.plot([low, high], [place, place], color=color, linewidth=2.5, alpha=0.4)
    fill, edge = "white" if marker == "s" else color, 1.8 if marker == "x" else 1.0
    axis.plot(middle, place, marker, color=color, markerfacecolor=fill, markersize=6, markeredgewidth=edge)
    axis.annotate(text, (high, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5)


def logarithmic(axis: Axes, names: Sequence[str], values: Sequence[float]) -> None:
    """A line a name; across a logarithmic axis with plain numbers, and room at its right end for what is written beside the last mark."""
    low, high = min(values), max(values)
    axis.set(xscale="log", xlim=(low / 1.4, high * (high / low) ** 0.2 * 1.4), ylim=(-len(names) + 0.4, 0.6))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(lambda value, _: "")
    axis.set_yticks([-place for place in range(len(names))], list(names))
    axis.grid(axis="x", alpha=0.25)


if __name__ == "__main__":
    main()
