"""The report on conditional densities: ``tables.md`` and ``gaps.png``."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from flows.plotting.style import WIDTH, add_legend, explain, mark_key, save
from studies import figures, markdown
from studies.engine import Study, scores_of
from studies.markdown import bold, frame, number, numbers
from studies.tables import sources
from studies.target import truths
from studies.verdicts import paired_interval, sign_of

OURS = ("ours", "joint")  # our densities; the first that is scored is compared with all others
PUBLISHED = ("TabPFN-2.5", "TabICL")  # rows of published.csv in the figure
RATIO = truths.TEST / (1 - truths.TEST)  # test rows per training row of a set
EXCESS = {  # scores that are given as differences from the truth on the same splits
    "grid_log_likelihood": "log-likelihood",
    "cde_loss": "CDE loss",
    "width": "width",
}
SCORES = {"pit_ks": "PIT distance", "coverage": "cover of 90%"}
# Colour and mark by method; a published row has a mark without a filling.
STYLES = {
    "ours": ("#882255", "o"),
    "joint": ("#DDAA33", "s"),
    "linear": ("#000000", "|"),
    "forest": ("#117733", "^"),
    "boosting": ("#0077BB", "D"),
    "process": ("#999999", "v"),
    "flexcode": ("#EE7733", "X"),
    "TabPFN-2.5": ("#332288", "o"),
    "TabICL": ("#33BBEE", "s"),
}


def report(study: Study) -> None:
    """Write all files of the report."""
    scores = read(study)
    study.write("tables.md", document(study, scores))
    draw_figures(study, scores)


def read(study: Study) -> dict[str, pd.DataFrame]:
    """Return the scores of each family, one row per cell.

    Rows are indexed by the place (rows and set, or table), the method and the split.
    """
    places = {"synthetic": ["dataset", "size"], "real": ["table"], "labels": ["table"]}
    return {
        family: scores_of(study, [family], ["method", *parts, "split"]).set_index(
            [*parts[::-1], "method", "split"]
        )
        for family, parts in places.items()
    }


def published() -> pd.DataFrame:
    """Return the published scores with their standard errors, by set and method.

    ``splits`` is the number of splits that their means are over: the first 20 or 4.
    """
    path = Path(__file__).with_name("published.csv")
    return pd.read_csv(path, index_col=["set", "method"])


def common_splits(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores on the splits that every method of a place has been scored on.

    Means of two methods can be compared only if they are over the same splits.
    """
    places = [name for name in scores.index.names if name not in ("method", "split")]
    counts = scores.groupby([*places, "method"]).transform("size")
    fewest = counts.groupby(level=places).transform("min")
    return scores[scores.index.get_level_values("split") < fewest]


def means(scores: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the mean over splits: one row per place, one column per method, in their order."""
    methods = scores.index.unique("method")
    places = [name for name in scores.index.names if name not in ("method", "split")]
    mean = scores.groupby([*places, "method"], sort=False)[column].mean().unstack("method")
    order = scores.index.droplevel(["method", "split"]).unique()
    return mean.loc[order, methods]


def behind(scores: pd.DataFrame, column: str, first: str) -> pd.DataFrame:
    """Return the differences between ``first`` and every other method, over their common splits.

    There is one row per other method and table, with the mean and the ends of its 95% interval,
    which are ``NaN`` for one split.
    """
    wide = scores[column].unstack("method")
    found = {}
    for place, rows in wide.groupby(level=0, sort=False):
        for other in wide.columns.drop(first):
            pairs = (rows[first] - rows[other]).dropna().to_numpy()
            if len(pairs):
                found[other, place] = paired_interval(pairs)
    return pd.DataFrame(found, index=["mean", "low", "high"]).T


def document(study: Study, scores: dict[str, pd.DataFrame]) -> str:
    """Return the text of ``tables.md``."""
    first = compared_method(scores["synthetic"])
    real, labels = scores["real"], scores["labels"]
    same = {family: common_splits(found) for family, found in scores.items()}
    gaps = {
        f"gaps_{size}": gaps_table(study, same["synthetic"].loc[size])
        for size in study.params["synthetic"]
    }
    return study.template().format(
        **gaps,
        ours=study.params["names"][first],
        margin=study.params["margin"],
        metrics=metrics_table(study, scores["synthetic"].loc[max(study.params["synthetic"])]),
        against=against_published(study, scores["synthetic"], first),
        real=means_table(study, same["real"], "log_likelihood", best="max"),
        real_losses=certain_losses(study, behind(real, "log_likelihood", compared_method(real))),
        real_cover=means_table(study, same["real"], "coverage"),
        labels=means_table(study, same["labels"], "log_loss", best="min"),
        labels_losses=certain_losses(study, -behind(labels, "log_loss", compared_method(labels))),
    )


def compared_method(scores: pd.DataFrame) -> str:
    """Return the method of ours that is compared with all others."""
    return next(name for name in OURS if name in scores.index.unique("method"))


def name_of(place: str) -> str:
    """Return the name of a set or a table in text."""
    aside = " (set aside)" if place in sources.SET_ASIDE else ""
    return place.split("/")[-1].replace("_", " ") + aside


def gaps_table(study: Study, scores: pd.DataFrame) -> str:
    """Return the gaps to the truth, one line per set, with intervals if there are many splits."""
    truth = means(scores, "log_likelihood")["truth"]
    mean = means(scores, "gap").drop(columns="truth")
    gaps = intervals(scores)
    half = ((gaps["high"] - gaps["low"]) / 2).unstack().reindex_like(mean)
    # With the last digits of the means of the intervals
    texts = markdown.grid(gaps["mean"].unstack().reindex_like(mean), "min", half, digits=3)
    texts.insert(0, "truth", truth.map(two_digits))
    for text, places in (
        ("*mean*", mean.index),
        ("*mean, published*", published().index.unique(0)),
    ):
        over = mean.loc[places].mean().map(number)
        texts.loc[text] = [two_digits(truth[places].mean()), *over]
    return frame(texts.rename(index=name_of, columns=study.params["names"]), "set")


def two_digits(value: float) -> str:
    return number(value, 2)


def intervals(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean gaps over splits with their intervals, by set and method."""
    groups = scores["gap"].groupby(level=["dataset", "method"])
    found = {key: paired_interval(gaps.to_numpy(), RATIO) for key, gaps in groups}
    return pd.DataFrame(found, index=["mean", "low", "high"]).T


def metrics_table(study: Study, scores: pd.DataFrame) -> str:
    """Return the published scores, means over the published sets, one line per method."""
    found = published().rename(columns={"log_likelihood": "grid_log_likelihood"})
    known = found.index.unique("set")
    lines: dict[str, list[pd.Series]] = {}
    for name in known:
        own_rows = scores.xs(name, level="dataset")
        truth = own_rows.xs("truth", level="method")
        for method in scores.index.unique("method"):
            rows = own_rows.xs(method, level="method")
            label = study.params["names"][method]
            lines.setdefault(label, []).append(excess(rows.mean(), truth.loc[rows.index]))
        for method, line in found.loc[name].iterrows():
            same = truth.loc[: int(line["splits"]) - 1]
            lines.setdefault(f"{method} (published)", []).append(excess(line, same))
    table = pd.DataFrame({label: pd.DataFrame(each).mean() for label, each in lines.items()}).T
    return frame(numbers(table).rename(columns=EXCESS | SCORES))


def excess(mean: pd.Series, truth: pd.DataFrame) -> pd.Series:
    """Return mean scores, with the scores ``EXCESS`` as differences from the truth.

    Args:
        mean: the means over splits of a set.
        truth: the scores of the truth on these splits.
    """
    differences = mean[[*EXCESS]] - truth[[*EXCESS]].mean()
    return pd.concat([differences, mean[[*SCORES]]])


def published_gap(scores: pd.DataFrame, place: str, method: str) -> float:
    """Return the gap of a published log-likelihood to the truth on the same splits."""
    line = published().loc[(place, method)]
    truth = scores.xs((place, "truth"), level=("dataset", "method"))["grid_log_likelihood"]
    return float(truth.loc[: int(line["splits"]) - 1].mean() - line["log_likelihood"])


def against_published(study: Study, scores: pd.DataFrame, first: str) -> str:
    """Return the comparison of ours with the published numbers of TabPFN-2.5, one line per set.

    The difference is between the gaps to the truth. Each is over the first splits of the set: as
    many as were published, or as are scored.
    """
    largest = scores.loc[max(study.params["synthetic"])]
    rows, differences, halves = [], [], []
    for place in published().index.unique("set"):
        splits = int(published().loc[(place, PUBLISHED[0]), "splits"])
        known = largest.loc[place]["grid_log_likelihood"].unstack("method").loc[: splits - 1]
        gaps = (known["truth"] - known[first]).dropna().to_numpy()
        gap = published_gap(largest, place, PUBLISHED[0])
        difference, half = gaps.mean() - gap, np.nan
        if len(gaps) > 1:
            # The gaps of TabPFN-2.5 are not published by split. If they vary between splits as ours
            # do, the deviation of the difference is at most twice the deviation of ours.
            error = 2 * gaps.std(ddof=1) / np.sqrt(len(gaps))
            half = stats.t.ppf(0.975, len(gaps) - 1) * error
        differences.append(difference)
        halves.append(half)
        cells = [number(gap), number(gaps.mean()), *difference_cells(study, difference, half)]
        rows.append([name_of(place), f"{len(gaps)} of {splits}", *cells])
    mean, half = np.mean(differences), np.sqrt(np.square(halves).sum()) / len(halves)
    rows.append(["*mean*", "", "", "", *difference_cells(study, float(mean), float(half))])
    head = ["set", "splits", f"{PUBLISHED[0]} (published)", study.params["names"][first]]
    return markdown.table([*head, "difference", ""], rows, "lr")


def difference_cells(study: Study, difference: float, half: float) -> list[str]:
    """Return a difference of gaps with its interval, and the verdict on our density."""
    text = number(difference, sign="+")
    if np.isnan(half):
        return [text, "one split"]
    margin = study.params["margin"]
    low, high = difference - half, difference + half
    words = {1: "loss", -1: "win", 0: "open"}
    verdict = "level" if -margin < low and high < margin else words[sign_of(low, high)]
    return [f"{text} \u00b1 {number(half)}", bold(verdict)]


def means_table(study: Study, scores: pd.DataFrame, column: str, best: str = "") -> str:
    """Return the means over splits, one line per table, the ``best`` of each line in bold."""
    texts = markdown.grid(means(scores, column), best, digits=3)
    rows = [f"{scores.xs(place, level=0)['train'].iloc[0]:.0f}" for place in texts.index]
    texts.insert(0, "training rows", rows)
    return frame(texts.rename(index=name_of, columns=study.params["names"]), "table")


def certain_losses(study: Study, gains: pd.DataFrame) -> str:
    """Return where the interval of a gain is below 0, the largest loss first."""
    if gains["low"].isna().all():
        return "unknown, as one split has no interval"
    lost = gains.loc[gains[["low", "high"]].max(axis=1) < 0, "mean"]
    lost = lost.rename(index=study.params["names"], level=0).rename(index=name_of, level=1)
    return markdown.losses(lost)


def draw_figures(study: Study, scores: dict[str, pd.DataFrame]) -> None:
    """Draw the gaps to the truth of each method, one line per set and one panel per size."""
    sizes = study.params["synthetic"]
    figure = Figure(figsize=(WIDTH, 6.6))
    axes = figure.subplots(1, len(sizes), sharey=True)
    same = common_splits(scores["synthetic"])
    for axis, size in zip(axes, sizes, strict=True):
        draw_gaps(axis, same.loc[size])
        if size == max(sizes):
            draw_published(axis, scores["synthetic"].loc[size])
        rows = size - round(truths.TEST * size)
        axis.set(title=f"{rows} training rows", xlabel="gap to the truth (nat)", xscale="log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(axis="x", color="#EEEEEE")
        axis.set_xlim(left=0.004)
    figures.name_lines(axes[0], map(name_of, truths.NAMES))
    names = study.params["names"]
    methods = scores["synthetic"].index.unique("method").drop("truth")
    keys = [key(names[method], method) for method in methods]
    keys += [key(f"{method} (published)", method, hollow=True) for method in PUBLISHED]
    add_legend(figure, keys, 5)
    explain(figure, "means over splits with 95% intervals; one split has no interval")
    save(figure, study.folder / "gaps.png")


def key(label: str, method: str, hollow: bool = False) -> Any:
    color, marker = STYLES[method]
    filling = {"markerfacecolor": "none"} if hollow else {}
    return mark_key(label, marker, color=color, **filling)


def draw_gaps(axis: Axes, scores: pd.DataFrame) -> None:
    """Draw the mean gaps with their intervals; the methods of a set are one below the other."""
    methods, found = scores.index.unique("method").drop("truth"), intervals(scores)
    for (line, place), (order, method) in product(enumerate(truths.NAMES), enumerate(methods)):
        mean, low, high = found.loc[(place, method)]
        color, marker = STYLES[method]
        height = line + 0.6 * (order / max(len(methods) - 1, 1) - 0.5)
        axis.plot(mean, height, marker, color=color, markersize=6, zorder=3)
        if np.isfinite(low):
            axis.plot(
                [max(low, 1e-3), high], [height, height], color=color, linewidth=0.9, alpha=0.6
            )
    for line in range(1, len(truths.NAMES)):
        axis.axhline(line - 0.5, color="#DDDDDD", linewidth=0.8)


def draw_published(axis: Axes, scores: pd.DataFrame) -> None:
    """Draw the published gaps of the methods ``PUBLISHED``, in the middle of each line."""
    for place, method in product(published().index.unique("set"), PUBLISHED):
        color, marker = STYLES[method]
        style: dict[str, Any] = {"markerfacecolor": "none", "markersize": 8, "zorder": 4}
        gap = published_gap(scores, place, method)
        axis.plot(gap, truths.NAMES.index(place), marker, color=color, **style)
