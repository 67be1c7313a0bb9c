"""The report on the scores of tables: ``tables.md``, ``given_others.md`` and ``ranks.png``."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from flows.evaluation import statistics
from flows.plotting.style import WIDTH, line_key, save
from studies import engine, figures, markdown
from studies.engine import Study
from studies.markdown import bold, frame, grid, plus_minus
from studies.tables import given_others_report, realistic_report
from studies.tables.census import USES
from studies.tables.questions import CLOSED, METHODS, UNKNOWN
from studies.tables.treatment import LEVELS
from studies.tables.wording import LABELS, answers, label, losses, number, verdict, words
from studies.verdicts import paired_interval, sign_of, signed_rank_p

KNOWN = {"kernel": "kde", "mixture": "gmm"}  # peers that are also references of the pipeline
FLOW = "nsf"  # the default model of the command line, compared with all others
TREATED = ("mixture", "kernel", "noise")  # compared with it after the same treatment
SHIPPED = ("shipped", "treated")  # levels of the rows of our models: with mixtures, and without


def report(study: Study) -> None:
    """Write all files of the report."""
    scores = read(study)
    study.write("tables.md", document(study, scores))
    study.write("given_others.md", given_others_report.document(study))
    draw_figures(study, scores)


def read(study: Study) -> pd.DataFrame:
    """Return the scores of our models and the first peers, one row per cell.

    Of a cell with several densities, the row has the scores of the first.
    """
    scores = engine.scores_of(study, ["ours", "peer"], ["model", "table", "part", "split"])
    return scores[~scores["model"].isin(study.params["new_peers"])]


def means(
    study: Study, scores: pd.DataFrame, part: str = "ranking", column: str = "log_likelihood"
) -> pd.DataFrame:
    """Return the mean over splits, with one row per model and one column per table.

    If a table has no more rows than the ranking uses, ``full`` has splits of the ranking.
    """
    chosen = scores["part"] == part
    if part == "full":
        ranking, first = scores["part"] == "ranking", study.params["full"]["splits"]
        smaller = ~scores["table"].isin(study.params["full"]["tables"])
        chosen |= ranking & smaller & (scores["split"] < first)
    grouped = scores[chosen].groupby(["model", "table"])[column]
    mean = grouped.agg(lambda each: each.mean(skipna=False)).unstack()
    settings = {**study.params, **study.params[part]}
    models = [*settings.get("models", settings["members"]), *settings["peers"]]
    tables = settings["tables"] if part == "set_aside" else study.params["tables"]
    return mean.loc[models, tables]


def gains(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the gains of our flow over every other model on the splits of the ranking.

    There is one row per table and model, with its ``interval`` and verdict.
    """
    lines = []
    for table, rows in scores[scores["part"] == "ranking"].groupby("table"):
        wide = rows.pivot(index="split", columns="model", values="log_likelihood")
        for model in wide.columns.drop(FLOW):
            gain, low, high = paired_interval((wide[FLOW] - wide[model]).to_numpy())
            lines.append((table, model, gain, low, high, verdict(low, high)))
    names = ["table", "model", "gain", "low", "high", "verdict"]
    return pd.DataFrame(lines, columns=names).set_index(names[:2])


def over_best_peers(study: Study, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of ``gains`` over the best peer of each table."""
    best = means(study, scores).loc[study.params["peers"]].idxmax()
    return gains(scores).loc[[*best.items()]]


def ranks(table: pd.DataFrame) -> pd.Series:
    """Return the mean rank of every model; 1 is the best; scores that are not finite come last."""
    return table.fillna(-np.inf).rank(ascending=False).mean(axis=1)


def critical_difference(models: int, tables: int) -> float:
    """Return the critical difference of two mean ranks: ``q sqrt(k (k + 1) / (6 N))``.

    Source: Nemenyi 1963, as in Demsar 2006.
    """
    q = stats.studentized_range.ppf(0.95, models, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(models * (models + 1) / (6 * tables)))


def against(table: pd.DataFrame) -> pd.Series:
    """Return the p-values of our flow against every other model in Wilcoxon's signed-rank test.

    The tests are over tables, and the p-values are adjusted by Holm.
    """
    others = table.drop(index=FLOW).fillna(-np.inf)
    p = [signed_rank_p((table.loc[FLOW] - each).to_numpy()) for _, each in others.iterrows()]
    return pd.Series(statistics.holm(np.array(p)), others.index)


def document(study: Study, scores: pd.DataFrame) -> str:
    """Return the text of ``tables.md``."""
    ranking, full = means(study, scores), means(study, scores, "full")
    aside = means(study, scores, "set_aside")
    found = gains(scores)["verdict"].unstack("table")
    more = {"mean rank": ranks(ranking).map("{:.1f}".format)}
    for word in ("win", "tie", "loss"):
        more[f"NSF: {word}"] = (found == word).sum(axis=1).astype(str)
    more["p (Holm)"] = against(ranking).map("{:.2g}".format)
    rows = [
        [table, LABELS[peer], number(gain), f"{number(low)} to {number(high)}", bold(word)]
        for (table, peer), gain, low, high, word in over_best_peers(study, scores).itertuples()
    ]
    return study.template().format(
        **study.params,
        means=by_model(grid(ranking, ranking.max()).assign(**more).fillna("")),
        best=markdown.table(["table", "best peer", "gain (nat)", "95% interval", ""], rows, "llr"),
        full_size=by_model(grid(full, full.max(), means(study, scores, "full", "se"))),
        divergences=divergences(study, scores),
        aside=by_model(grid(aside, aside.max())),
        **same_treatment(study),
        lost=scores["lost"].sum(),
        answers=questions(study, "tables"),
        answers_aside=questions(study, "set_aside"),
        drawn=len(study.params["census"]["tables"]),
        counts=census(study),
        new=realistic_report.document(study),
    )


def by_model(texts: pd.DataFrame) -> str:
    """Return a table with one row per model and one column per table."""
    return frame(texts.set_axis([*map(label, texts.index)]).rename(columns=words))


def same_treatment(study: Study) -> dict[str, str]:
    """Return the tables of densities without the treatment and with it, and the losses of NSF.

    They use the splits on which all of these densities are scored.
    """
    scores = treated(study).dropna()
    tables, new = study.params["tables"], study.params["new_peers"]
    models = [*product(study.params["treated"], LEVELS), *((name, "shipped") for name in new)]
    mean = scores.groupby(level="table").mean()[models].T[tables]
    leads = leads_of_nsf(scores).groupby(level="table").agg(with_interval).T[tables]
    nsf = scores[FLOW, "treated"]
    gains = pd.DataFrame({method: nsf - scores[method, "treated"] for method in TREATED})
    return {
        "levels": by_model(grid(mean, mean.max())),
        "leads": frame(leads.rename(columns=words)),
        "losses_treated": losses(gains.groupby(level="table").mean().T),
    }


def treated(study: Study) -> pd.DataFrame:
    """Return the log-likelihoods without and with the treatment, on the splits of the ranking.

    There is one row per table and split, and one column per method and level. Our networks with
    mixtures, as shipped, have the level ``shipped``.
    """
    found: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for name in engine.select(study, ["treated", f"ours/{FLOW}", "peer"]):
        family, method, table, part, split = name.split("/")
        if part != "ranking" or (family == "peer" and method not in study.params["new_peers"]):
            continue
        values = study.table(name)["log_likelihood"].to_list()
        # Without mixtures, as before version 3, and for a peer, both are the same row
        own = (LEVELS, values) if family == "treated" else (SHIPPED, [values[0], values[-1]])
        for level, value in zip(*own, strict=False):
            found.setdefault((method, level), {})[table, int(split)] = value
    frame = pd.DataFrame(found)
    return frame.rename_axis(index=["table", "split"])


def leads_of_nsf(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the leads of NSF on each table and split, and the parts of the first lead."""
    nsf, mixture = scores[FLOW], scores["mixture"]
    return pd.DataFrame(
        {
            "NSF, treated, over mixture, plain": nsf["treated"] - mixture["plain"],
            "due to margins": mixture["margins"] - mixture["plain"],
            "due to folds, ensemble and stacking": mixture["treated"] - mixture["margins"],
            "due to the flow": nsf["treated"] - mixture["treated"],
            **{
                f"NSF, treated, over {label((method, 'treated'))}": nsf["treated"]
                - scores[method, "treated"]
                for method in TREATED[1:]
            },
            "NSF as shipped over mixture, treated": nsf["shipped"] - mixture["treated"],
        }
    )


def with_interval(differences: pd.Series) -> str:
    """Return the mean of paired differences with its interval, in bold if it excludes 0."""
    mean, low, high = paired_interval(differences.to_numpy())
    text = plus_minus(mean, (high - low) / 2 if np.isfinite(mean) else np.nan, 2)
    return bold(text) if np.isfinite(mean) and sign_of(low, high) else text


def census(study: Study) -> str:
    """Return what became of the tables of the census, as a list."""
    drawn = study.params["census"]
    if not drawn["tables"]:
        return "No table was drawn."
    counted = pd.concat([study.table("census", k) for k in range(len(drawn["tables"]))])
    total = counted.loc[counted["accepted"] == 1, "columns"].sum()
    shares = ", ".join(f"{counted[use].sum() / total:.1%} are {use}" for use in USES)
    lines = [
        f"- {counted['accepted'].sum():.0f} of {len(counted)} tables are accepted; of their "
        f"{total:,.0f} columns, {shares}."
    ]
    if drawn["fits"]:
        fitted = pd.concat([study.table("census_fit", k) for k in range(drawn["fits"])])
        near, learned = fitted["near"].sum(), fitted["learned"].sum()
        lines.append(
            f"- {len(fitted)} tables were fitted. For {fitted['same_columns'].sum():.0f} of them, "
            "samples have the columns, their order and their types. "
            f"{fitted['finite'].mean():.1%} of the scores are finite. For {near:.0f} of "
            f"{learned:.0f} learned columns, the Kolmogorov-Smirnov distance between samples and "
            "rows is at most 0.05 + 1.4/√n."
        )
    return "\n".join(lines)


def divergences(study: Study, scores: pd.DataFrame) -> str:
    """Return the table of the KL from known truths."""
    if "kl" not in scores:
        return "Nowhere."
    known = scores[scores["kl"].notna()]["table"].unique()
    ranking, full = (means(study, scores, part, "kl")[known] for part in ("ranking", "full"))
    both = pd.concat([ranking, full.add_suffix(", full size")], axis=1)
    return by_model(grid(both, both.min()))


def questions(study: Study, part: str) -> str:
    """Return the tables on questions to one part of the tables, with the losses of NSF."""
    asked = study.params["questions"]
    mean = answers(study, "questions", asked[part], asked["splits"], METHODS).swaplevel()
    crps, hits, own = mean["crps"].unstack(), mean["hit"].unstack(), mean.loc[FLOW]
    log_q = mean.loc[[*CLOSED], [*UNKNOWN]].dropna()
    gains = own[[*UNKNOWN]].reindex(log_q.index, level="table") - log_q
    more = {"absolute": "absolute error", "crps": "CRPS", "cover": "90% cover"}
    return (
        study.template("questions_template.md")
        .format(
            noise=own.filter(like="_noise").max(axis=None),
            rough=own.filter(like="_rough").max(axis=None),
            conditionals=conditionals(mean, gains),
            losses=losses(gains),
            filled=answered(mean, "rmse", "min", **more),
            losses_filled=losses(crps - crps.loc[FLOW]),
            guessed=answered(mean, "hit", "max", far="far"),
            losses_guessed=losses(hits.loc[FLOW] - hits),
        )
        .rstrip()
    )


def conditionals(mean: pd.DataFrame, gains: pd.DataFrame) -> str:
    """Return the table of the gains of NSF over closed forms, one line per peer and table.

    The standard errors are over the test rows of one split, paired.
    """
    errors = mean.loc[gains.index, [f"{name}_se" for name in UNKNOWN]].set_axis(UNKNOWN, axis=1)
    texts = grid(gains, errors=errors).rename(index=label, level=0)
    return frame(texts, "gain over", "table", align="llr")


def answered(mean: pd.DataFrame, column: str, best: str, **more: str) -> str:
    """Return a table with one row per method and one column per table, and means of ``more``."""
    wide = mean[column].unstack().dropna(how="all")
    means = {
        text: mean[name].unstack().mean(axis=1, skipna=False).map(number)
        for name, text in more.items()
    }
    return by_model(grid(wide, wide.agg(best)).assign(**means))


def seconds(study: Study) -> str:
    """Return the table of the least seconds of a fit and its scores, over splits of the ranking.

    Other programs may slow some of the fits. The table is not part of ``tables.md``, because the
    seconds differ between runs.
    """
    scores = read(study).query("part == 'ranking'")
    least = scores.groupby(["model", "table"])["seconds"].transform("min")
    return by_model(grid(means(study, scores.assign(seconds=least), column="seconds")))


def draw_figures(study: Study, scores: pd.DataFrame) -> None:
    """Draw mean ranks with their critical difference, and our flow's gains over the best peers."""
    order = ranks(means(study, scores)).sort_values()
    difference = critical_difference(len(order), len(study.params["tables"]))
    figure = Figure(figsize=(WIDTH, 0.3 * len(order) + 1.2))
    left, right = figure.subplots(1, 2)
    bar: dict[str, Any] = {"color": figures.GREY, "linewidth": 1}
    for place, (model, rank) in enumerate(order.items()):
        left.plot([rank, rank + difference], [place, place], **bar)
        left.plot(rank, place, "o", color=figures.color_of(KNOWN.get(str(model), str(model))))
    figures.name_lines(left, map(label, order.index))
    left.set_xlabel("mean rank (1 is best)")
    best = over_best_peers(study, scores)
    gains, color = best[["gain", "low", "high"]], figures.color_of(FLOW)
    figures.error_bars(right, range(len(best)), gains, across=True, fmt="o", color=color, capsize=3)
    figures.name_lines(right, [f"{words(table)} ({LABELS[peer]})" for table, peer in best.index])
    right.axvline(0, color="#000000", linewidth=0.8)
    right.set_xlabel("gain of NSF on the best peer,\nwhich is in brackets (nat)")
    keys = [
        line_key(f"critical difference {difference:.1f}", **bar),
        line_key("mean, 95% interval", color=color, marker="o"),
    ]
    for axis, key in zip((left, right), keys, strict=True):
        axis.legend(handles=[key], loc="lower center", bbox_to_anchor=(0.5, 1))
    save(figure, study.folder / "ranks.png")
