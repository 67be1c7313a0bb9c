"""The measurements as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stages.shared import markdown

Row = dict[str, Any]


def document(results: dict[str, Any]) -> str:
    """The whole of ``table.md``: a function below writes the paragraphs of a section."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items() if number)
    parts = [
        "# Speed and quality beside other libraries",
        "Made by `make bench`; what is measured and how is in `README.md`. One run on one machine, the libraries taking turns:\n"
        "compare numbers of one table, not of two runs.",
        f"{machine['processor']}, {machine['cores']} cores; Python {machine['python']}, {versions}.",
        *(part for write in (epoch, quality, depth, throughput, growth) for part in write(results, results["settings"])),
    ]
    return "\n\n".join(parts) + "\n"


def epoch(results: dict[str, Any], plan: Row) -> list[str]:
    """A table for every number of threads and networks."""
    rows = results["epoch"] + results.get("floor", [])
    parts = [
        "## Time per training epoch",
        "Milliseconds for all networks together: median (lowest to highest reading), and how many times ours. RealNVP with\n"
        f"{plan['epoch_couplings']} affine couplings, {plan['rows']} points, Adam. The floor is the conditioners' matrix products alone.",
    ]
    settings = {f"hidden {row['hidden']}, batch {row['batch']}": (row["hidden"], row["batch"]) for row in rows}
    for threads, networks in unique((row["threads"], row["networks"]) for row in rows):
        here = {(row["library"], (row["hidden"], row["batch"])): row for row in rows if (row["threads"], row["networks"]) == (threads, networks)}
        parts += [f"### {counted(networks, 'network')}, {counted(threads, 'thread')}", by_library(settings, here, timing)]
    counts = {(row["library"], row["hidden"]): row["parameters"] for row in rows}
    widths = {f"hidden {row['hidden']}": row["hidden"] for row in rows}
    return [*parts, "### Parameters of one network", by_library(widths, counts, lambda count, _: f"{count:,}")]


def timing(row: Row, ours: Row | None) -> str:
    ratio = f", {row['ms'] / ours['ms']:.2g}x" if ours else ""
    return f"{number(row['ms'])} ({number(row['ms_min'])} to {number(row['ms_max'])}){ratio}"


def quality(results: dict[str, Any], plan: Row) -> list[str]:
    networks, lengths, seeds = plan["networks"], joined(plan["quality_lengths"]), joined(plan["quality_seeds"])
    lines = []
    for row in results["quality"]:
        seconds, low, high = (or_never(row[key]) for key in ("seconds", "seconds_min", "seconds_max"))
        reached = seconds if row["seconds"] is None else f"{seconds} ({low} to {high})"
        epochs = joined(or_never(epochs) for epochs in row["epochs"])
        best = joined("not finite" if kl is None else f"{kl:.3f}" for kl in row["best_kl"])
        compiling = number(row["compile_seconds"]) if row["compile_seconds"] else ""
        trained = [f"{row['couplings']} x {row['hidden']}", str(row["networks_trained"])]
        lines.append([row["library"], row["recipe"], *trained, reached, epochs, best, compiling])
    head = ["library", "recipe", "couplings x hidden", "networks trained", f"seconds for {networks}", "epochs", "best KL (nat)", "compile (s)"]
    return [
        "## Time to quality",
        f"Seconds of training until the mean KL of {networks} networks on {plan['fresh']:,} fresh draws is {plan['quality_kl']} nat: median\n"
        f"over data seeds {seeds} (lowest to highest). Compiling, sharpening and scoring are not counted.\n"
        f"Recipe `ours`: sharpened noise, one cycle, clipping, batch 256; the first of {lengths} epochs that ends there.\n"
        f"Recipe `usual`: Adam 0.001, batch 128, at most {plan['own_epochs']:,} epochs, scored every {plan['own_every']}, given up\n"
        f"{plan['own_patience']} epochs after the best score. Where fewer than {networks} networks were trained, seconds are multiplied in\n"
        "proportion: those libraries train one network after another. A miss on the first data set ends the row.",
        markdown.table(head, lines, "lr"),
    ]


def depth(results: dict[str, Any], plan: Row) -> list[str]:
    rows = [[str(row["couplings"]), number(row["realnvp_ms"]), number(row["glow_ms"]), f"{row['ratio']:.2f}"] for row in results["depth"]]
    return [
        "## RealNVP and Glow by depth",
        f"Milliseconds per epoch of {plan['networks']} members, hidden 32, batch 256, {counted(plan['threads'][-1], 'thread')}.",
        markdown.table(["couplings", "RealNVP (ms)", "Glow (ms)", "Glow / RealNVP"], rows, "lr"),
    ]


def throughput(results: dict[str, Any], plan: Row) -> list[str]:
    couplings, hidden = plan["throughput_size"]
    parts = [
        "## Throughput",
        f"Million points per second, one network, {couplings} couplings x {hidden}, {counted(plan['threads'][-1], 'thread')};"
        f" a dash where a call would take over {plan['throughput_limit']:.0f} s.",
    ]
    sizes = {f"{row['points']:,} points": row["points"] for row in results["throughput"]}
    for what, title in (("log_prob_per_second", "Density"), ("sample_per_second", "Samples")):
        speeds = {(row["library"], row["points"]): row[what] for row in results["throughput"]}
        parts += [f"### {title}", by_library(sizes, speeds, lambda speed, _: "-" if speed is None else number(speed / 1e6))]
    return parts


def growth(results: dict[str, Any], plan: Row) -> list[str]:
    parts = [
        "## Growth",
        "Ours, every line a fresh process. The exponent b is that of seconds ~ size^b, by least squares over the upper half of the\n"
        "(logarithmic) range, with its standard error. Memory is the process's peak, and what of it was there after the imports.",
    ]
    for axis in results["growth"]:
        lines = []
        for row in axis["rows"]:
            floor = [number(row["floor_seconds"]), f"{row['ours_seconds'] / row['floor_seconds']:.2f}"] if "floor_seconds" in row else []
            lines.append([f"{row['size']:,}", number(row["ours_seconds"]), *floor, f"{row['peak_mib']:.0f}", f"{row['imports_mib']:.0f}"])
        floor = ["floor (s)", "ours / floor"] if axis["axis"] == "rows" else []
        table = markdown.table([axis["axis"], "seconds per epoch", *floor, "peak (MiB)", "after imports (MiB)"], lines, "lr")
        parts += [f"### {axis['axis'].capitalize()}: exponent {exponent(axis)}", table]
    return parts


def by_library(columns: dict[str, Any], values: dict[tuple[str, Any], Any], cell: Callable[[Any, Any], str]) -> str:
    """A line a library, a column of a title and a key. ``cell`` writes the value of both, and is given that of ours too."""
    lines = [
        [library, *(cell(values[library, key], values.get(("ours", key))) for key in columns.values())]
        for library in unique(name for name, _ in values)
    ]
    return markdown.table(["library", *columns], lines, "lr")


def exponent(axis: Row) -> str:
    return "unknown" if axis["exponent"] is None else f"{axis['exponent']:.2f} \u00b1 {axis['exponent_se']:.2f}"


def number(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    digits = f"{value:.3g}"
    return f"{float(digits):,.0f}" if "e+" in digits or abs(value) >= 1000 else f"{float(digits):.6f}".rstrip("0") if "e-" in digits else digits


def or_never(value: float | None) -> str:
    return "never" if value is None else number(value)


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def joined(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def unique(values: Iterable[Any]) -> list[Any]:
    """Each once, in the order of its first appearance."""
    return list(dict.fromkeys(values))
