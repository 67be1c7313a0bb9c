"""Effects, intervals, tests and verdicts of claims, from paired replicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from flows.core import seeds
from flows.core.arrays import Array, rounded
from flows.evaluation import statistics
from studies import markdown
from studies.markdown import number

Verdict = Literal["equivalent", "supported", "refuted", "inconclusive"]

DIGITS = 4  # significant digits of the numbers that are written
RATIO = 0.3 / 0.7  # test rows per training row of a split of the study of tables


@dataclass(frozen=True)
class Metric:
    """A metric: its description, and the margin below which a difference does not matter.

    ``margin`` is a key of the margins in ``params.yaml``; the margin ``share`` is relative to the
    mean.
    """

    words: str
    unit: str = ""
    digits: int = 3
    margin: str = "sample"
    lower_is_better: bool = False


def compare(kind: Metric, margin: float, first: Array, second: Array) -> dict[str, Any]:
    """Compare paired replicates ``(R,)``: return the effect ``first - second`` and its tests.

    The effect and its intervals are over the finite pairs (95% by bootstrap, 90% by t), and p
    over all pairs. ``p_equivalence`` is 1 if a replicate failed. The margin is returned in the
    metric's unit.
    """
    one, two = np.isfinite(first), np.isfinite(second)
    failed = ~(one & two)
    worst = np.inf if kind.lower_is_better else -np.inf
    # A failed replicate is worse than all others; of two failed ones neither is worse
    worse = [worst, -worst, 0.0]
    ranked = np.select([two & ~one, one & ~two, failed], worse, first - second)
    differences = ranked[~failed]
    if kind.margin == "share":
        both = np.concatenate([first[~failed], second[~failed]])
        margin *= float(both.mean()) if len(both) else np.nan
    effect, low, high = rounded(mean_and_interval(differences), DIGITS).tolist()
    count = len(differences)
    half = stats.t.ppf(0.95, count - 1) * stats.sem(differences) if count > 1 else np.nan
    return {
        "effect": effect,
        "ci95": (low, high),
        "ci90": (effect - half, effect + half),
        "p": signed_rank_p(ranked),
        "p_equivalence": 1.0 if failed.any() else equivalence_p(differences, margin),
        "failed": int(failed.sum()),
        "margin": margin,
    }


def signed_rank_p(differences: Array) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test (1945).

    The null hypothesis is that ``differences`` ``(n,)`` are symmetric about 0; p is 1 if all are 0.
    Infinite differences count as larger than all others: only ranks matter. Zeros are left out.
    """
    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def equivalence_p(differences: Array, margin: float) -> float:
    """Return the p of the two one-sided paired t-tests (Schuirmann 1987).

    The null hypothesis is that the mean difference is outside ``(-margin, margin)``. p is below
    0.05 exactly if the 90% t-interval lies within the margins, and 1 if a difference is not finite.
    """
    if not np.isfinite(differences).all():
        return 1.0
    if np.ptp(differences) == 0:  # without scatter the answer is certain
        return float(abs(differences[0]) >= margin)
    above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    return float(max(above, below))


def standard_error(values: Array) -> float:
    """Return the standard error of the mean of ``values`` ``(n,)``."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def paired_interval(differences: Array, ratio: float = RATIO) -> tuple[float, float, float]:
    """Return the mean of paired differences over J splits, and its 95% interval::

        mean +- t_(J-1) sqrt((1 / J + ratio) var)

    The second term of the variance accounts for rows that splits share (Nadeau and Bengio 2003);
    ``ratio`` is the number of test rows per training row. For one split, the limits are ``NaN``.
    """
    count, mean = len(differences), float(differences.mean())
    if not np.isfinite(mean):
        return mean, mean, mean
    if count == 1:
        return mean, np.nan, np.nan
    variance = (1 / count + ratio) * np.var(differences, ddof=1)
    half = float(stats.t.ppf(0.975, count - 1) * np.sqrt(variance))
    return mean, mean - half, mean + half


def sign_of(low: float, high: float) -> int:
    """Return the sign of all numbers of an interval; 0 if they have no common sign."""
    return int(low > 0) - int(high < 0)


def verdict(interval: tuple[float, float], p_adjusted: float, p_equivalence: float) -> Verdict:
    """Return the first verdict on a claimed *positive* difference whose condition holds.

    ``equivalent``: the difference is too small to matter, even if the difference is significant.
    ``supported`` or ``refuted``: the difference is significant, and the whole ``interval`` is above
    0 or below 0, so that ranks and mean agree. ``inconclusive``: all other differences.
    """
    low, high = interval
    if p_equivalence < statistics.LEVEL:
        return "equivalent"
    if p_adjusted < statistics.LEVEL and low > 0:
        return "supported"
    if p_adjusted < statistics.LEVEL and high < 0:
        return "refuted"
    return "inconclusive"


def judge(entries: Sequence[dict[str, Any]]) -> None:
    """Add ``verdict`` and ``p_holm`` to results of ``compare``, with all ``entries`` as one family.

    ``sign`` of an entry is the sign of the claimed difference.
    """
    adjusted = statistics.holm(np.array([entry["p"] for entry in entries]))
    for entry, p in zip(entries, adjusted, strict=True):
        low, high = sorted(entry["sign"] * end for end in entry["ci95"])  # positive as claimed
        entry["verdict"] = verdict((low, high), float(p), entry["p_equivalence"])
        numbers = {"p_holm": p, "p_equivalence": entry["p_equivalence"]}
        entry |= {key: float(rounded(value, DIGITS)) for key, value in numbers.items()}


def in_margins(entry: Mapping[str, Any], elsewhere: Sequence[float] = ()) -> dict[str, Any]:
    """Return the entry with effect and intervals in units of the margin, positive as claimed."""
    scaled = {
        key: entry["sign"] * np.array(entry[key]) / entry["margin"]
        for key in ("effect", "ci95", "ci90")
    }
    return {**entry, **scaled, "elsewhere": elsewhere}


def table(entries: Sequence[Mapping[str, Any]], section: Mapping[str, Any]) -> str:
    """Return the counts of verdicts, a table with a line per entry, and the metrics explained."""
    verdicts = [entry["verdict"] for entry in entries]
    kinds = ("supported", "equivalent", "refuted", "inconclusive")
    counts = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in kinds)
    metrics = {name: Metric(**words) for name, words in section["metrics"].items()}
    rows, before = [], 0
    for entry in entries:
        ordinal, metric = entry["claim"], metrics[entry["metric"]]
        says = section["claims"][ordinal - 1]["says"]
        claim = "" if ordinal == before else heading(ordinal, says)
        before = ordinal
        effect, *ends = (
            number(each, metric.digits, "+") for each in (entry["effect"], *entry["ci95"])
        )
        found = f"{effect} {metric.unit}".strip() + " ({} to {})".format(*ends)
        found += f"; {entry['failed']} failed" if entry["failed"] else ""
        measured = f"`{entry['metric']}`: {entry['comparison']}".replace(" - ", " \u2212 ")
        p = [f"{entry[key]:.2g}" for key in ("p_holm", "p_equivalence")]
        rows.append([claim, measured, found, *p, markdown.bold(entry["verdict"])])
    meaning = "; ".join(f"`{name}`: {metric.words}" for name, metric in metrics.items())
    head = ["claim", "metric and difference", "effect (95% interval)", "p (Holm)"]
    lines = markdown.table([*head, "p of equivalence", "verdict"], rows, "lllrrl")
    return f"Of {len(entries)} comparisons: {counts}.\n\n{lines}\n\n{meaning}."


def heading(number: int, claim: str) -> str:
    return f"{number}. {claim[0].upper()}{claim[1:]}"


def mean_and_interval(values: Array | pd.Series) -> tuple[float, float, float]:
    """Return the mean of the finite ``values`` and the ends of its 95% interval.

    All are ``NaN`` for fewer than two values.
    """
    finite = np.asarray(values)[np.isfinite(values)]
    if len(finite) < 2:
        return float("nan"), float("nan"), float("nan")
    generator = seeds.numpy_generator(0, "metric", 1)
    return float(finite.mean()), *statistics.mean_interval(finite, generator)
