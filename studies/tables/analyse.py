"""What the scores say: ``results.json``, ``tables.md`` and ``ranks.png``."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from flows.core.arrays import Array
from flows.core.errors import errors_in_one_line
from flows.evaluation import statistics
from flows.plotting.style import STYLE, WIDTH, save
from scipy import stats
from stages.shared import files, markdown
from stages.shared.settings import label_and_color

from studies.tables import settings, sources
from studies.tables.settings import HERE, RESULTS, Settings

PEERS = {
    **{
        "independent": "independent Gaussians",
        "gaussian": "one Gaussian",
        "kernel": "kernel density",
        "mixture": "mixture",
    },
    **{
        "margins": "mixture on margins",
        "vine": "vine copula",
        "zuko_nsf": "zuko NSF",
        "zuko_maf": "zuko MAF",
    },
}
FLOW = "nsf"  # what the command line fits, and what all others are held against
KEYS = [
    "table",
    "split",
    "model",
    "log_likelihood",
    "se",
    "seconds",
    "part",
    "train",
    "median",
    "worst",
    "weakest",
    "lost",
    "kl",
]


@errors_in_one_line("analyse")
def main() -> None:
    params = settings.load()
    scores, seconds = read(params, "scores"), read(params, "seconds")
    both = scores.merge(seconds, on=["table", "part", "split", "model"], how="left").reindex(
        columns=KEYS
    )
    files.write_bytes(
        RESULTS, (both.to_json(orient="records", indent=1) + "\n").encode()
    )  # what is not finite is null
    files.write_bytes(HERE / "tables.md", text(params, scores).encode())
    with plt.rc_context(STYLE):
        draw(params, scores)
    print(
        "; ".join(
            f"{table} {number(gain)} over {PEERS[peer]}"
            for (table, peer), gain in over_best_peers(params, scores)["gain"].items()
        )
    )


def read(params: Settings, kind: str) -> pd.DataFrame:
    tables = [
        pd.read_csv(settings.path(table, row, kind)).assign(table=table)
        for table in params.tables
        for row in params.rows
    ]
    return pd.concat(tables, ignore_index=True)


def label(model: str) -> str:
    return PEERS.get(model) or label_and_color(model)[0]


def means(
    params: Settings, scores: pd.DataFrame, part: str = "ranking", column: str = "log_likelihood"
) -> pd.DataFrame:
    """The mean over splits, a line a model and a column a table. The splits of ``full`` are those of the ranking where a table has no more rows."""
    if part == "full":
        larger = scores[scores["part"] == "full"]["table"].unique()
        scores = scores[
            (scores["part"] == "full")
            | (~scores["table"].isin(larger) & (scores["split"] < params.full.splits))
        ]
    else:
        scores = scores[scores["part"] == "ranking"]
    mean = (
        scores.groupby(["model", "table"])[column]
        .agg(lambda values: values.mean(skipna=False))
        .unstack()
    )
    return mean.reindex([*params.members, *PEERS])[params.tables]


def interval(differences: Array) -> tuple[float, float, float]:
    """The mean of paired differences over splits, and its 95% interval. As splits share rows, the variance counts for more (Nadeau and Bengio 2003)::

    mean +- t_(J-1) sqrt((1 / J + test / train) var)
    """
    count, mean = len(differences), float(differences.mean())
    if not np.isfinite(mean):
        return mean, mean, mean
    variance = (1 / count + sources.TEST / sources.TRAIN) * np.var(differences, ddof=1)
    half = float(stats.t.ppf(0.975, count - 1) * np.sqrt(variance))
    return mean, mean - half, mean + half


def gains(scores: pd.DataFrame) -> pd.DataFrame:
    """Of our flow over every other model, on the splits of the ranking: a line a table and model, the ``interval`` and what it comes to."""
    lines = []
    for table, rows in scores[scores["part"] == "ranking"].groupby("table"):
        wide = rows.pivot(index="split", columns="model", values="log_likelihood")
        lines += [
            (table, model, *interval((wide[FLOW] - wide[model]).to_numpy()))
            for model in wide.columns.drop(FLOW)
        ]
    found = pd.DataFrame(lines, columns=["table", "model", "gain", "low", "high"]).set_index(
        ["table", "model"]
    )
    return found.assign(
        verdict=np.select([found["low"] > 0, found["high"] < 0], ["win", "loss"], "tie")
    )


def over_best_peers(params: Settings, scores: pd.DataFrame) -> pd.DataFrame:
    """The lines of ``gains`` over the best peer of each table."""
    return gains(scores).loc[[*means(params, scores).loc[list(PEERS)].idxmax().items()]]


def ranks(table: pd.DataFrame) -> pd.Series:
    """The mean rank of every model, 1 is the best; what is not finite comes last."""
    return table.fillna(-np.inf).rank(ascending=False).mean(axis=1)


def critical_difference(models: int, tables: int) -> float:
    """Of two mean ranks: ``q sqrt(k (k + 1) / (6 N))`` (Nemenyi 1963, as in Demsar 2006)."""
    return float(
        stats.studentized_range.ppf(0.95, models, np.inf)
        * np.sqrt(models * (models + 1) / (12 * tables))
    )


def against(table: pd.DataFrame) -> dict[str, float]:
    """p of Wilcoxon's signed-rank test over tables of our flow against every other model, adjusted for all of them (Holm)."""
    others = table.drop(index=FLOW).fillna(-np.inf)
    p = [
        statistics.signed_rank_p((table.loc[FLOW] - each).to_numpy())
        for _, each in others.iterrows()
    ]
    return dict(zip(others.index, statistics.holm(np.array(p)), strict=True))


def text(params: Settings, scores: pd.DataFrame) -> str:
    """The tables of the documents."""
    ranking, full = means(params, scores), means(params, scores, "full")
    p, verdicts = against(ranking), gains(scores)["verdict"].unstack("table").reindex(ranking.index)
    more = {"mean rank": [f"{rank:.1f}" for rank in ranks(ranking)]}
    for word in ("win", "tie", "loss"):
        more[f"NSF: {word}"] = [
            "" if model == FLOW else str(count)
            for model, count in (verdicts == word).sum(axis=1).items()
        ]
    more["p (Holm)"] = [f"{p[model]:.2g}" if model in p else "" for model in ranking.index]
    best = over_best_peers(params, scores).itertuples()
    lines = [
        [table, PEERS[peer], number(gain), f"{number(low)} to {number(high)}", f"**{word}**"]
        for (table, peer), gain, low, high, word in best
    ]
    known = scores[scores["kl"].notna()]["table"].unique()
    kl = pd.concat(
        [
            means(params, scores, part, "kl")[known].add_suffix(end)
            for part, end in (("ranking", ""), ("full", ", full size"))
        ],
        axis=1,
    )
    kls = ["KL from the truth (nat), where it is known:", grid(kl, kl.min())] if len(known) else []
    parts = (
        f"Ranking: at most {params.ranking.train:,} training rows, means of {params.ranking.splits} splits.",
        grid(ranking, ranking.max(), **more),
        "NSF against the best peer of each table, on the same splits:",
        markdown.table(["table", "best peer", "gain (nat)", "95% interval", ""], lines, "llr"),
        f"Full size: at most {params.full.train:,} training rows, means of {params.full.splits} splits \u00b1 mean standard error over test rows.",
        grid(full, full.max(), means(params, scores, "full", "se")),
        *kls,
        f"Networks that were lost: {scores['lost'].sum():.0f}.",
    )
    return "\n\n".join(parts) + "\n"


def seconds() -> str:
    """Mean seconds of a fit in the ranking: not part of ``tables.md``, as no two runs take the same."""
    rows = pd.DataFrame(json.loads(RESULTS.read_text(encoding="utf-8")))
    mean = (
        rows[rows["part"] == "ranking"]
        .groupby(["model", "table"], sort=False)["seconds"]
        .mean()
        .unstack(sort=False)
    )
    return grid(mean, np.nan * mean.max())


def grid(
    values: pd.DataFrame, best: pd.Series, spread: pd.DataFrame | None = None, **more: list[str]
) -> str:
    """A line a model and a column a table; the ``best`` of each is in bold."""
    rows = []
    for k, (model, line) in enumerate(values.iterrows()):
        cells = [
            f"**{number(value)}**" if value == best[name] else number(value)
            for name, value in line.items()
        ]
        if spread is not None:
            errors = spread.loc[model]
            cells = [
                cell if np.isnan(error) else f"{cell} \u00b1 {number(error)}"
                for cell, error in zip(cells, errors, strict=True)
            ]
        rows.append([label(str(model)), *cells, *(column[k] for column in more.values())])
    return markdown.table(
        ["", *(str(name).replace("_", " ") for name in values), *more], rows, "lr"
    )


def number(value: float) -> str:
    """Two decimals; a power of ten where a row or two decided."""
    words = f"{value:,.2f}" if abs(value) < 10_000 else f"{value:.0e}"
    return words.replace("-", "\u2212").replace("inf", "\u221e").replace("nan", "\u2013")


def draw(params: Settings, scores: pd.DataFrame) -> None:
    """Mean ranks with their critical difference, and what our flow gains over the best peer of each table."""
    order = ranks(means(params, scores)).sort_values()
    difference = critical_difference(len(order), len(params.tables))
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 0.3 * len(order) + 1.2))
    for place, (model, rank) in enumerate(order.items()):
        left.plot([rank, rank + difference], [place, place], color="#999999", linewidth=1)
        left.plot(
            rank, place, "o", color="#999999" if model in PEERS else label_and_color(str(model))[1]
        )
    left.set_yticks(range(len(order)), [label(str(model)) for model in order.index])
    left.set(
        xlabel=f"mean rank; bar: critical difference {difference:.1f}",
        ylim=(len(order) - 0.5, -0.5),
    )
    best = over_best_peers(params, scores)
    errors = [best["gain"] - best["low"], best["high"] - best["gain"]]
    right.errorbar(
        best["gain"],
        range(len(best)),
        xerr=errors,
        fmt="o",
        color=label_and_color(FLOW)[1],
        capsize=3,
    )
    right.set_yticks(range(len(best)), [f"{table}: {PEERS[peer]}" for table, peer in best.index])
    right.axvline(0, color="#000000", linewidth=0.8)
    right.set(xlabel="NSF over the best peer (nat)", ylim=(len(best) - 0.5, -0.5))
    save(figure, HERE / "ranks.png")


if __name__ == "__main__":
    main()
