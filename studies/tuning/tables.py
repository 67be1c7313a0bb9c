"""What a search found, as a table in Markdown and a picture."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution, IntDistribution
from scipy.stats import ttest_1samp

from flows import plotting
from flows.targets import Array
from stages import files
from studies.tuning.score import METRICS
from studies.tuning.space import value_text

if TYPE_CHECKING:
    from studies.tuning.search import Search

BEST = 10  # trials in the table
NOW_COLOR = "#000000"


def write(path: Path, rows: pd.DataFrame, search: Search, command: str) -> None:
    """``path`` with ``.md`` and ``.png``. ``command`` is what follows the name of the program."""
    files.write_bytes(path.with_suffix(".md"), table(rows, search, command).encode())
    with files.writing(path.with_suffix(".png")):
        picture(rows, search, path.with_suffix(".png"))


def table(rows: pd.DataFrame, search: Search, command: str) -> str:
    """The settings as they are, and the best trials, each with what it gains on the same folds."""
    metric = search.score.metric(search.model)
    parts = search.score.parts(metric)
    now, trials = _now(rows), _trials(rows)
    best = trials.sort_values(metric, kind="stable").head(BEST)
    names = list(search.space)
    ensemble = [f"{metric}_ensemble"] if f"{metric}_ensemble" in rows else []
    heads = ["", *(f"`{name}`" for name in names), METRICS[metric], "against now", *("of the ensemble" for _ in ensemble), "weights"]
    lines = [
        f"# {search.model}: {len(trials)} trials of {len(names)} settings",
        "",
        f"Made by `python -m studies.tuning.search {command}`.",
        "",
        f"A trial trains {search.score.members} networks for each of {len(parts)} folds of the training rows.",
        "*\u00b1*: the standard deviation over networks, each with its mean over the folds.",
        "*Against now*: the mean difference from the settings as they are, on the same folds, with its 95% interval (paired t over folds).",
        "The best of many trials looks better than it is, and its interval does not know that.",
        "",
        "| " + " | ".join(heads) + " |",
        "|---|" + "---:|" * (len(heads) - 1),
    ]
    for label, row in [("**now**", now), *((f"trial {number + 1}", row) for number, row in best.iterrows())]:
        cells = [value_text(row[name]) for name in names] + [f"{row[metric]:.3f} \u00b1 {row[f'{metric}_sd']:.3f}"]
        cells.append("" if row is now else _gain(row[parts].to_numpy(float) - now[parts].to_numpy(float)))
        cells += [f"{row[name]:.3f}" for name in ensemble] + [f"{row['parameters']:,.0f}"]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    if len(best):
        chosen = {**search.fixed, **{name: best.iloc[0][name] for name in names}}
        words = " ".join(f"-S {shlex.quote(f'{_plus(search, name)}{name}={value_text(value)}')}" for name, value in chosen.items())
        lines += ["", "To train the best of them in the pipeline (settings under `train` are for all its models):", ""]
        lines += ["```console", f"$ dvc exp run {words}", "```"]
    return "\n".join([*lines, "", f"![Every trial in order, and against each setting]({search.name}.png)", ""])


def _plus(search: Search, name: str) -> str:
    """DVC wants a plus before a key that is not in ``params.yaml``: one that would override a setting of ``train``."""
    _, model, key = name.split(".") if name.startswith("models.") else ("", "", "")
    return "+" if model and key not in search.params["models"][model] else ""


def picture(rows: pd.DataFrame, search: Search, path: Path) -> None:
    """Every trial in order with the best so far, and against each setting; the settings as they are as a line and a diamond."""
    metric = search.score.metric(search.model)
    now, trials = _now(rows), _trials(rows)
    values = trials[metric].to_numpy(float)
    color = plotting.COLORS.get(search.model, plotting.SPARE_COLORS[0])
    panels = 1 + len(search.space)
    columns = min(panels, 3)
    lines = -(-panels // columns)
    with plt.rc_context(plotting.STYLE):
        figure, axes = plt.subplots(lines, columns, figsize=(3.2 * columns + 0.4, 2.7 * lines + 0.3), sharey=True, squeeze=False)
        for axis in axes.flat[panels:]:
            axis.set_visible(False)
        first, *others = axes.flat[:panels]
        reach = _reach(values, now[metric])
        _dots(first, np.arange(1.0, len(values) + 1), values, reach[1], color)
        first.step(np.arange(1, len(values) + 1), np.fmin.accumulate(values), where="post", color=color)
        first.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        first.set_xlabel("trial (line: best so far)")
        for axis, (name, distribution) in zip(others, search.space.items(), strict=True):
            _dots(axis, _places(axis, trials[name], distribution), values, reach[1], color)
            _mark(axis, now[name], now[metric], distribution)
            axis.set_xlabel(name)
        for axis in axes.flat[:panels]:
            axis.axhline(now[metric], color=NOW_COLOR, linewidth=1, linestyle=":")
            axis.set_ylim(*reach)
        for axis in axes[:, 0]:
            axis.set_ylabel(METRICS[metric])
        label = plotting.LABELS.get(search.model, search.model)
        figure.suptitle(f"{label}: a dot is a trial (triangle: beyond the scale); dotted, diamond: the settings as they are", fontsize=10)
        figure.savefig(path)
        plt.close(figure)


def _dots(axis: Axes, places: Array, values: Array, top: float, color: str) -> None:
    """A dot a trial, and at the upper edge a triangle for one that is beyond it."""
    beyond = ~(values <= top)
    axis.plot(places[~beyond], values[~beyond], "o", markersize=4, color=color, alpha=0.5)
    if beyond.any():  # an artist without a point, and not clipped, would upset the layout
        axis.plot(places[beyond], np.full(beyond.sum(), top), "^", markersize=5, color=color, alpha=0.5, clip_on=False)


def _places(axis: Axes, column: pd.Series, distribution: Any) -> Array:
    """Where the values of a setting are on the axis, which gets their scale."""
    if isinstance(distribution, CategoricalDistribution):
        choices = [value_text(choice) for choice in distribution.choices]
        axis.set_xticks(range(len(choices)), choices)
        axis.set_xlim(-0.5, len(choices) - 0.5)
        # In the order of the trials: equal ones side by side.
        return np.array([choices.index(value_text(value)) for value in column]) + np.linspace(-0.15, 0.15, len(column))
    axis.set_xlim(_wider(distribution.low, distribution.high, log=distribution.log))
    if distribution.log:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    elif isinstance(distribution, IntDistribution):
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return column.to_numpy(float)


def _mark(axis: Axes, setting: Any, value: float, distribution: Any) -> None:
    """The settings as they are, where they are in the space."""
    place: float | None
    if isinstance(distribution, CategoricalDistribution):
        choices = [value_text(choice) for choice in distribution.choices]
        place = choices.index(value_text(setting)) if value_text(setting) in choices else None
    else:
        place = setting if isinstance(setting, int | float) and distribution.low <= setting <= distribution.high else None
    if place is not None:
        axis.plot(place, value, "D", markersize=6, markerfacecolor="white", color=NOW_COLOR)


def _wider(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """By a twentieth on both sides."""
    if log:
        share = (high / low) ** 0.05
        return low / share, high * share
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _reach(values: Array, now: float) -> tuple[float, float]:
    """From the best to just beyond the worse half: a trial that went wrong must not flatten all others."""
    finite = np.append(values[np.isfinite(values)], now)
    low, high = finite.min(), max(np.quantile(finite, 0.8), now)
    margin = 0.08 * (high - low) or 0.01
    return low - margin, high + margin


def _now(rows: pd.DataFrame) -> pd.Series:
    return rows[rows["case"] != ""].iloc[0]


def _trials(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["case"] == ""].reset_index(drop=True)


def _gain(differences: Array) -> str:
    if not np.isfinite(differences).all():
        return "not finite"
    if np.ptp(differences) == 0:
        return f"{differences[0]:+.3f}".replace("-", "\u2212")
    interval = ttest_1samp(differences, 0).confidence_interval(0.95)
    return f"{differences.mean():+.3f} ({interval.low:+.3f} to {interval.high:+.3f})".replace("-", "\u2212")
