"""What paired replicates say of a claim: effects, intervals, tests and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from flows.core import seeds
from flows.core.arrays import Array
from flows.evaluation import statistics
from stages.shared import markdown

REPORTED = (
    "claim",
    "metric",
    "comparison",
    "effect",
    "ci95",
    "p_holm",
    "p_equivalence",
    "replicates",
    "failed",
    "verdict",
)


@dataclass(frozen=True)
class Metric:
    """A metric in words, and the margin below which a difference is practically nil: its key in
    ``params.yaml``, of which ``share`` is a share of the mean.
    """

    words: str
    unit: str
    digits: int
    margin: str
    lower_is_better: bool = False


def reported(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry as ``claims.json`` has it."""
    return {key: entry[key] for key in REPORTED}


def compare(kind: Metric, margin: float, first: Array, second: Array) -> dict[str, Any]:
    """Compare paired replicates ``(R,)``: the effect ``first - second`` with its intervals over the
    finite pairs (95% by bootstrap, 90% by t), the two p-values over all pairs, and the margin.
    """
    failed = ~(np.isfinite(first) & np.isfinite(second))
    differences = (first - second)[~failed]
    worst = np.inf if kind.lower_is_better else -np.inf
    with np.errstate(invalid="ignore"):
        ranked = np.where(np.isfinite(first), first, worst) - np.where(
            np.isfinite(second), second, worst
        )
    ranked = np.nan_to_num(ranked, nan=0.0, posinf=np.inf, neginf=-np.inf)  # nil where both failed
    if kind.margin == "share":
        margin *= (
            float(np.concatenate([first[~failed], second[~failed]]).mean())
            if len(differences)
            else np.nan
        )
    effect, low, high = (rounded(value) for value in mean_and_interval(differences))
    with np.errstate(divide="ignore", invalid="ignore"):
        half = (
            stats.t.ppf(0.95, len(differences) - 1) * stats.sem(differences)
            if len(differences) > 1
            else np.nan
        )
    return {
        "effect": effect,
        "ci95": (low, high),
        "ci90": (effect - half, effect + half),
        "p": statistics.signed_rank_p(ranked),
        "p_equivalence": 1.0 if failed.any() else statistics.equivalence_p(differences, margin),
        "failed": int(failed.sum()),
        "margin": margin,
    }


def judge(entries: Sequence[dict[str, Any]]) -> None:
    """Add ``verdict`` and ``p_holm`` to what ``compare`` found, all ``entries`` as one family;
    ``sign``: that of the difference which is claimed.
    """
    for entry, p in zip(
        entries, statistics.holm(np.array([entry["p"] for entry in entries])), strict=True
    ):
        low, high = sorted(
            entry["sign"] * end for end in entry["ci95"]
        )  # the interval as the claim sees it
        entry["verdict"] = statistics.verdict((low, high), float(p), entry["p_equivalence"])
        entry |= {"p_holm": rounded(p), "p_equivalence": rounded(entry["p_equivalence"])}


def in_margins(entry: Mapping[str, Any], elsewhere: Sequence[float] = ()) -> dict[str, Any]:
    """The entry for a figure: effect and intervals in units of the margin, positive as claimed."""
    scaled = {
        key: entry["sign"] * np.array(entry[key]) / entry["margin"]
        for key in ("effect", "ci95", "ci90")
    }
    return {**entry, **scaled, "elsewhere": elsewhere}


def table(
    entries: Sequence[Mapping[str, Any]], claims: Mapping[int, str], metrics: Mapping[str, Metric]
) -> str:
    """How many verdicts of each kind; a line an entry; and what its metric is."""
    verdicts = [entry["verdict"] for entry in entries]
    counts = [
        f"{verdicts.count(kind)} {kind}"
        for kind in ("supported", "equivalent", "refuted", "inconclusive")
    ]
    rows, said = [], 0
    for entry in entries:
        claim, metric = entry["claim"], metrics[entry["metric"]]
        words = "" if claim == said else f"{claim}. {claims[claim][0].upper()}{claims[claim][1:]}"
        said = claim
        effect, low, high = (
            f"{value:+.{metric.digits}f}".replace("-", "\u2212")
            for value in (entry["effect"], *entry["ci95"])
        )
        found = f"{effect}{f' {metric.unit}' if metric.unit else ''} ({low} to {high})" + (
            f"; {entry['failed']} failed" if entry["failed"] else ""
        )
        p = [f"{entry[key]:.2g}" for key in ("p_holm", "p_equivalence")]
        compared = entry["comparison"].replace(" - ", " \u2212 ")
        rows.append(
            [words, f"`{entry['metric']}`: {compared}", found, *p, f"**{entry['verdict']}**"]
        )
    head = [
        "what is claimed",
        "measured by",
        "what we found (95% interval)",
        "p (Holm)",
        "p of equivalence",
        "verdict",
    ]
    meaning = "; ".join(f"`{name}`: {metric.words}" for name, metric in metrics.items())
    lines = markdown.table(head, rows, "lllrrl")
    return f"Of {len(entries)} comparisons: {', '.join(counts)}.\n\n{lines}\n\n{meaning}."


def mean_and_interval(values: Array) -> tuple[float, float, float]:
    """Mean of the finite ``values`` and the ends of its 95% interval; ``NaN`` of fewer than two."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return float("nan"), float("nan"), float("nan")
    return float(finite.mean()), *statistics.mean_interval(
        finite, seeds.numpy_generator(0, "metric", 1)
    )


def rounded(value: float) -> float:
    return float(f"{value:.4g}")
