"""What was found, as tables and pictures: of a search (``python -m studies.tuning.tables realnvp``), of the cases of images (``images``), or with no
name of all lists, the recipe.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from flows.core.arrays import Array
from flows.core.errors import errors_in_one_line
from flows.plotting.style import STYLE, save
from stages.shared import files, markdown
from stages.shared.settings import Train, label_and_color
from studies.tuning import settings
from studies.tuning.settings import HERE, METRICS, ImageSettings, ListSettings, SearchSettings, changes_text, value_text

IMAGES = "images"  # not a search
BEST = 10  # trials in the table
Lists = dict[str, tuple[ListSettings, pd.DataFrame]]  # with the results, a row a case
COLUMNS = {  # of the recipe: head and digits
    **{"kl": ("KL of a member", 3), "kl_sd": ("sd over members", 3), "kl_ensemble": ("KL of the ensemble", 3), "kl_kde": ("kernel density", 3)},
    **{"modes": ("modes", 1), "high_quality": ("high quality", 3), "mode_tv": ("mode TV", 3), "coverage": ("coverage", 3)},
    "c2st_auc": ("classifier AUC", 3),
}


def main(name: str = "") -> None:
    with plt.rc_context(STYLE):
        if name == IMAGES:
            files.write_bytes(HERE / "images.md", images_text(settings.load().images).encode())
        elif name:
            content, path = settings.find("searches", name), HERE / f"results/searches/{name}.csv"
            rows = pd.read_csv(path).fillna({"case": ""})
            files.write_bytes(path.with_suffix(".md"), search_text(name, content, rows).encode())
            draw_search(content, rows, path.with_suffix(".png"))
        else:
            lists = read_lists()
            files.write_bytes(HERE / "recipe.md", recipe_text(lists).encode())
            draw_recipe({key: each for key, each in lists.items() if not (each[0].only_reported or each[0].samples)})


def search_text(name: str, content: SearchSettings, rows: pd.DataFrame) -> str:
    """The settings as they are, and the best trials, each with what it gains on the same folds."""
    metric = next(key for key in METRICS if key in rows)
    folds = rows.filter(regex=f"^{metric}_fold_").to_numpy(float)
    best = rows[1:].sort_values(metric, kind="stable").head(BEST)  # the first row has the settings as they are
    ensemble = [key for key in (f"{metric}_ensemble",) if key in rows]
    cells = []
    for number, row in [(0, rows.iloc[0]), *best.iterrows()]:
        what = [f"trial {number}" if number else "**now**", *(value_text(row[key]) for key in content.space)]
        gives = [f"{row[metric]:.3f} ± {row[f'{metric}_sd']:.3f}", _gain(folds[number] - folds[0]) if number else ""]
        cells.append([*what, *gives, *(f"{row[key]:.3f}" for key in ensemble), f"{row['parameters']:,.0f}"])
    heads = ["", *(f"`{key}`" for key in content.space), METRICS[metric], "against now", *("of the ensemble" for _ in ensemble), "weights"]
    words = " ".join(f"-S {shlex.quote(f'{_plus(key)}{key}={value_text(best.iloc[0][key])}')}" for key in content.space)
    return f"""\
# {content.model}: {len(rows) - 1} trials of {len(content.space)} settings

Made by `python -m studies.tuning.search --search {name}`.

A trial trains {content.members} networks for each of {folds.shape[1]} folds of the training rows.
*±*: the standard deviation over networks, each with its mean over the folds.
*Against now*: the mean difference from the settings as they are, on the same folds, with its 95% interval (paired t over folds).
The best of many trials looks better than it is, and its interval does not know that.

{markdown.table(heads, cells, "lr")}

To train the best of them in the pipeline (settings under `train` are for all its models):

```console
$ dvc exp run {words}
```

![Every trial in order, and against each setting]({name}.png)
"""


def draw_search(content: SearchSettings, rows: pd.DataFrame, path: Path) -> None:
    """Every trial in order with the best so far, and against each setting; the settings as they are as a line and a diamond."""
    metric = next(key for key in METRICS if key in rows)
    now, *values = rows[metric]
    label, color = label_and_color(content.model)
    top = max(rows[metric].replace(np.inf, np.nan).quantile(0.8), now)  # a trial that went wrong must not flatten all others
    figure, axes = plt.subplots(1, 1 + len(content.space), figsize=(2.2 * (1 + len(content.space)), 2.9), sharey=True)
    for axis, name in zip(axes, ["", *content.space], strict=True):
        words = bool(name) and content.space[name].choices is not None
        places = rows[name].map(value_text) if words else rows[name] if name else rows.index
        axis.plot(places[1:], np.fmin(values, top), "o", markersize=4, color=color, alpha=0.5, clip_on=False)
        axis.plot(places[:1], [now], "D", markersize=6, markerfacecolor="white", color="black")
        axis.axhline(now, color="black", linewidth=1, linestyle=":")
        axis.set_xlabel("\n".join(name.rsplit(".", 1)) or "trial\n(line: best so far)", fontsize=9)
        axis.margins(x=0.12)
        if name and content.space[name].log:
            axis.set_xscale("log")
            axis.set_xticks([], minor=True)
    axes[0].step(rows.index[1:], np.fmin.accumulate(values), where="post", color=color)
    axes[0].set_ylabel(METRICS[metric])
    figure.suptitle(f"{label}: a dot is a trial (on the upper edge: what is beyond); dotted, diamond: the settings as they are", fontsize=9)
    save(figure, path)


def read_lists() -> Lists:
    return {name: (content, pd.read_csv(HERE / f"results/lists/{name}.csv", index_col="case")) for name, content in settings.load().lists.items()}


def recipe_text(lists: Lists) -> str:
    parts = ["# The recipe: what was tried, and what the choice gives"]
    parts.append("Made by `make tuning`; the cases are in `params.yaml`, the protocol is in `README.md`. KL from the truth in nats.")
    for content, rows in lists.values():
        label, _ = label_and_color(content.model)
        what = f"What was chosen, {label}" if content.only_reported else f"Search, {label}"
        parts.append(f"## {what}: data {seeds_text(content)}, {content.members} members each")
        if content.samples:
            parts.append("Modes, high quality and total variation of the mode masses on 10,000 samples a member; coverage and AUC of 1,000 points.")
        left_out = ("kl_sd", "kl_kde") if content.samples else ()
        columns = {key: value for key, value in COLUMNS.items() if key in rows and key not in left_out}
        cells = []
        for case, changes in content.cases.items():
            row = rows.loc[case]
            numbers = [f"{row[key]:.{digits}f}" for key, (_, digits) in columns.items()]
            cells.append([case, changes_text(changes, content.model), *numbers, f"{row['parameters']:,.0f}"])
        parts.append(markdown.table(["case", "what it changes", *(head for head, _ in columns.values()), "weights"], cells, "llr"))
    return "\n\n".join(parts) + "\n"


def images_text(content: ImageSettings) -> str:
    """A line a case, in the order of the held-out bits; what it gains is paired over the images."""
    place = HERE / "results/images"
    bits = {name: pd.read_csv(place / name / "bits.csv") for name in content.cases}
    means = {name: rows.filter(like="member_").mean(axis=1).to_numpy() for name, rows in bits.items()}
    cells = []
    for name in sorted(bits, key=lambda name: means[name].mean()):
        curve, networks = pd.read_csv(place / name / "curves.csv"), bits[name].filter(like="member_").mean()
        best, case = curve["test_nll"].idxmin(), content.cases[name]
        changes = {**case.settings, **{key: value for key, value in case.model_dump(exclude={"settings"}).items() if value}}
        held_out = f"{networks.mean():.3f} \u00b1 {networks.std():.3f}"
        lowest = f"{curve['test_nll'].min() - curve['test_nll'].iloc[-1]:.3f} at {curve['epoch'][best]:.0f}".replace("-", "\u2212")
        mixed, now = bits[name]["ensemble"], bits["base"]["ensemble"]
        gains = ["", ""] if name == "base" else [_gain(means[name] - means["base"]), _gain((mixed - now).to_numpy())]
        train = f"{curve['train_nll'].iloc[-1]:.3f}"
        cells.append([name, changes_text(changes), train, held_out, gains[0], lowest, f"{mixed.mean():.3f}", gains[1]])
    heads = [
        "case",
        "what it changes",
        "training",
        "held out",
        "against base",
        "lowest on the curve, against its end",
        "the ensemble",
        "against base",
    ]
    return f"""\
# Regularisation of flows over images

Made by `make tuning`; the cases are in `params.yaml`. `{content.model}` on {content.learn:,} of the training images of the digits, scored on
the rest: bits per dimension, by {content.draws} draws of u. {content.members} networks a case, {content.training.epochs} epochs.
*\u00b1*: the standard deviation over networks. *Against base*: the mean difference on the same images with its 95% interval (paired t over
images). *Lowest on the curve*: what stopping at the best epoch would gain.

{markdown.table(heads, cells, "llr")}
"""


def seeds_text(content: ListSettings) -> str:
    first, last = min(content.seeds), max(content.seeds)
    return f"seed {first}" if first == last else f"seeds {first} to {last}"


def draw_recipe(lists: Lists) -> None:
    """A line a case: one dot per data seed, a bar at the mean, a diamond for the ensembles."""
    cases = [(content.model, name, row) for content, rows in lists.values() for name, row in rows.iterrows()]
    figure, axis = plt.subplots(figsize=(7.5, 0.24 * len(cases) + 1.2))
    for place, (model, _, row) in enumerate(cases):
        (_, color), kls = label_and_color(model), row.filter(like="kl_seed_")
        axis.plot(kls, [place] * len(kls), "o", markersize=4, color=color, alpha=0.5)
        axis.plot(row["kl"], place, "|", markersize=13, markeredgewidth=2, color=color)
        axis.plot(row["kl_ensemble"], place, "D", markersize=5, markerfacecolor="white", color=color)
        axis.plot(row["kl_kde"], place, "x", markersize=5, color=label_and_color("kde")[1])
    axis.axvline(cases[0][2]["kl"], color="#999999", linewidth=0.8, linestyle=":")
    axis.set(xscale="log", xlabel="KL from the truth (nat)", ylim=(len(cases) - 0.5, -0.5))
    ticks = [0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.8]
    axis.set_xticks(ticks, list(map(str, ticks)))
    axis.set_xticks([], minor=True)
    axis.set_yticks(range(len(cases)), [f"{label_and_color(model)[0]}: {name}" for model, name, _ in cases], fontsize=8)
    axis.grid(axis="x", alpha=0.25)
    axis.set_title("dot: data seed; bar: mean; diamond: ensemble; cross: kernel density\ndotted: the settings as they are", fontsize=9)
    save(figure, HERE / "recipe.png")


def _plus(name: str) -> str:
    """What makes DVC take a setting that the section of the model may not have: one that overrides ``train``."""
    return "++" if name.startswith("models.") and name.split(".")[-1] in Train.model_fields else ""


def _gain(differences: Array) -> str:
    if not np.isfinite(differences).all():
        return "not finite"
    text = f"{differences.mean():+.3f}"
    if np.ptp(differences) > 0:
        interval = ttest_1samp(differences, 0).confidence_interval(0.95)
        text += f" ({interval.low:+.3f} to {interval.high:+.3f})"
    return text.replace("-", "\u2212")


if __name__ == "__main__":
    with errors_in_one_line("tables"):
        main(*sys.argv[1:])
