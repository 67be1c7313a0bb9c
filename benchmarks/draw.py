"""Draw: ``python -m benchmarks.draw`` turns ``results.json`` into ``table.md`` and ``speed.png``. No torch."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks import RESULTS, tables
from flows.plotting.style import STYLE, save
from stages.shared.settings import label_and_color

OURS, PEER, FLOOR = label_and_color("realnvp")[1], "#666666", "#000000"
# Tol's muted palette: no colour of a model.
AXES = {"rows": ("#332288", "o"), "dimensions": ("#882255", "s"), "couplings": ("#999933", "^"), "members": ("#117733", "D")}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draw", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to read; table.md and speed.png are written beside it")
    path = parser.parse_args(arguments).results
    results = json.loads(path.read_text(encoding="utf-8"))
    path.with_name("table.md").write_text(tables.document(results), encoding="utf-8")
    picture(results, path.with_name("speed.png"))


def picture(results: dict[str, Any], path: Path) -> None:
    """A panel a section; a section that was not measured leaves its panel out."""
    panels: dict[str, Callable[[Axes, dict[str, Any]], None]] = {"epoch": epoch, "quality": quality, "growth": growth, "depth": depth}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(9.5, 8), height_ratios=(1.1, 1))
        for axis, (section, draw) in zip(axes.flat, panels.items(), strict=True):
            if results.get(section):
                draw(axis, results)
            else:
                axis.set_visible(False)
        save(figure, path)


def epoch(axis: Axes, results: dict[str, Any]) -> None:
    """Milliseconds per epoch and network, at the most networks and threads and the smallest batch; a bar from lowest to highest reading."""
    rows = results["epoch"] + results.get("floor", [])
    threads, networks, batch = max(row["threads"] for row in rows), max(row["networks"] for row in rows), min(row["batch"] for row in rows)
    rows = [row for row in rows if (row["threads"], row["networks"], row["batch"]) == (threads, networks, batch)]
    names = tables.unique(row["library"] for row in rows)
    widths = tables.unique(row["hidden"] for row in rows)
    for row in rows:
        low, middle, high = (row[key] / networks for key in ("ms_min", "ms", "ms_max"))
        place = -names.index(row["library"]) - 0.14 * (2 * widths.index(row["hidden"]) - len(widths) + 1)
        marker, fill = (("o", color(row["library"])), ("s", "white"))[widths.index(row["hidden"]) % 2]
        axis.plot([low, high], [place, place], color=color(row["library"]), linewidth=2.5, alpha=0.4)
        axis.plot(middle, place, marker, color=color(row["library"]), markerfacecolor=fill, markersize=6)
        axis.annotate(tables.number(middle), (high, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5)
    logarithmic(axis, [row["ms_min"] / networks for row in rows], [row["ms_max"] / networks for row in rows])
    named(axis, names)
    marks = "; ".join(f"{'white square' if k % 2 else 'circle'}: hidden {width}" for k, width in enumerate(widths))
    floor = "\nfloor: torch's matrix products alone;\nonly other products can be faster" if "floor" in names else ""
    axis.set_xlabel(f"ms per epoch and network; bar: lowest to highest\n{marks}{floor}")
    axis.set_title(f"Training epoch, {tables.counted(networks, 'network')},\nbatch {batch}, {tables.counted(threads, 'thread')}")


def quality(axis: Axes, results: dict[str, Any]) -> None:
    """Seconds to the target KL; who never gets there stands at the right edge with the best KL it reached."""
    rows = results["quality"]
    names = tables.unique(row["library"] for row in rows)
    ends = [row[key] for row in rows for key in ("seconds_min", "seconds_max") if row[key] is not None] or [1.0]
    logarithmic(axis, ends, ends)
    edge = 8 * max(ends)
    axis.axvline(edge / 1.6, color="#999999", linewidth=1, linestyle=":")  # what stands right of it has no time
    for row in rows:
        usual = row["recipe"] == "usual"
        place = -names.index(row["library"]) - (0.16 if usual else -0.16)
        shade = color(row["library"])
        if row["seconds"] is None:
            axis.plot(edge, place, "x", color=shade, markersize=6, markeredgewidth=1.8)
            best = min((kl for kl in row["best_kl"] if kl is not None), default=None)
            text, at = "not finite" if best is None else f"never, best {best:.2f}", edge
        else:
            high = edge if row["seconds_max"] is None else row["seconds_max"]
            axis.plot([row["seconds_min"], high], [place, place], color=shade, linewidth=2.5, alpha=0.4)
            axis.plot(row["seconds"], place, "s" if usual else "o", color=shade, markerfacecolor="white" if usual else shade, markersize=6)
            text, at = f"{tables.number(row['seconds'])} s", high
        axis.annotate(text, (at, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5)
    axis.set_xlim(min(ends) / 1.6, edge * (max(ends) / min(ends)) ** 0.35 * 4)
    named(axis, names)
    settings = results["settings"]
    axis.set_xlabel(f"seconds of training, {settings['networks']} networks\ncircle: our recipe; white square: usual")
    axis.set_title(f"Time to a KL of {settings['quality_kl']} nat,\n{tables.counted(settings['threads'][-1], 'thread')}")


def growth(axis: Axes, results: dict[str, Any]) -> None:
    """Seconds against size, both as multiples of the smallest, on logarithmic axes; the exponent of each in the legend."""
    reach = 1.0
    for part in results["growth"]:
        sizes = np.array([row["size"] for row in part["rows"]]) / part["rows"][0]["size"]
        seconds = np.array([row["ours_seconds"] for row in part["rows"]]) / part["rows"][0]["ours_seconds"]
        shade, marker = AXES[part["axis"]]
        exponent = "" if part["exponent"] is None else f": {part['exponent']:.2f}"
        error = "" if part["exponent_se"] is None else f" \u00b1 {part['exponent_se']:.2f}"
        first, last = part["rows"][0]["size"], part["rows"][-1]["size"]
        axis.plot(sizes, seconds, marker=marker, markersize=5, color=shade, label=f"{part['axis']} {first:,} to {last:,}{exponent}{error}")
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


def color(library: str) -> str:
    return FLOOR if library == "floor" else OURS if library.startswith("ours") else PEER


def named(axis: Axes, names: Sequence[str]) -> None:
    axis.set_yticks([-place for place in range(len(names))], list(names))
    axis.set_ylim(-len(names) + 0.4, 0.6)
    axis.grid(axis="x", alpha=0.25)


def logarithmic(axis: Axes, low: Sequence[float], high: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers, and room at its right end for what is written beside the last mark."""
    axis.set_xscale("log")
    axis.set_xlim(min(low) / 1.4, max(high) * (max(high) / min(low)) ** 0.2 * 1.4)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(lambda value, _: "")


if __name__ == "__main__":
    main()
