"""Test the claims on the scores of all cells: ``claims.json``, ``claims.md``, ``control.json`` and the figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from flows.evaluation import statistics
from flows.targets import ring
from stages.shared import files
from studies.claims import figures, settings
from studies.claims.figures import label
from studies.claims.settings import Settings

Tables = dict[tuple[str, ...], pd.DataFrame]  # of every cell, by its words
CLAIMS = {
    1: "RealNVP converges in fewer epochs than Glow",
    2: "RealNVP needs fewer couplings than Glow to reach a given KL",
    3: "Glow costs more training time than RealNVP",
    4: "Glow's samples are more diverse than RealNVP's",
    5: "Glow's samples are of better quality than RealNVP's, and its density is closer to the truth",
    6: "the flows beat a VAE and a GAN of equal size",
}


@dataclass(frozen=True)
class Metric:
    """How a metric is spoken of: in words, its unit, digits; and which of ``claims.margins`` is practically nil (a ``share`` is of the mean)."""

    words: str
    unit: str
    digits: int
    margin: str
    lower_is_better: bool = False


METRICS = {
    "epochs_to_converge": Metric("epochs until the test NLL has settled", "epochs", 0, "share", lower_is_better=True),
    "couplings_needed": Metric("couplings needed for a KL of {threshold} nat", "couplings", 2, "share", lower_is_better=True),
    "flops_per_epoch": Metric("operations of an epoch", "million", 2, "share", lower_is_better=True),
    "recall": Metric("recall (share of real points among the samples)", "", 3, "sample"),
    "coverage": Metric("coverage (share of real points with a sample near by)", "", 3, "sample"),
    "mode_tv": Metric("misplaced mass over the eight modes (0 is perfect)", "", 3, "sample", lower_is_better=True),
    "precision": Metric("precision (share of samples among the real points)", "", 3, "sample"),
    "density": Metric("density (real points around a sample; 1 is perfect)", "", 3, "sample"),
    "c2st_auc": Metric("AUC of a classifier of real against sampled (0.5 is perfect)", "", 3, "sample", lower_is_better=True),
    "kl": Metric("KL from the truth", "nat", 3, "nat", lower_is_better=True),
}
# Claim, metrics with the sign that the claim gives to the difference, and the two that are compared.
FAMILY: tuple[tuple[int, dict[str, int], tuple[str, str]], ...] = (
    (1, {"epochs_to_converge": 1}, ("glow", "realnvp")),
    (2, {"couplings_needed": 1}, ("glow", "realnvp")),
    (3, {"flops_per_epoch": 1}, ("glow", "realnvp")),
    (4, {"recall": 1, "coverage": 1, "mode_tv": -1}, ("glow", "realnvp")),
    (5, {"precision": 1, "density": 1, "c2st_auc": -1, "kl": -1}, ("glow", "realnvp")),
    (6, {"recall": 1, "precision": 1, "c2st_auc": -1, "mode_tv": -1, "kl": -1}, ("flows", "vae")),
    (6, {"recall": 1, "precision": 1, "c2st_auc": -1, "mode_tv": -1}, ("flows", "gan")),
)
SAMPLE_METRICS = ("precision", "recall", "density", "coverage", "c2st_auc", "mode_tv", "modes", "high_quality")


@dataclass(frozen=True)
class Entry:
    """One line of ``claims.json``. ``effect``: mean paired difference as ``comparison`` says, in the metric's unit."""

    claim: int
    metric: str
    comparison: str
    effect: float
    ci95: tuple[float, float]
    p_holm: float
    p_equivalence: float
    replicates: int
    failed: int
    verdict: statistics.Verdict
    sentence: str


@errors_in_one_line("analyse")
def main() -> None:
    params = settings.load()
    tables = read(params)
    entries, found = examine(params, tables)
    write("claims.json", to_json([asdict(entry) for entry in entries]))
    control = control_summary(params, tables)
    write("control.json", to_json(control))
    write("claims.md", document(params, tables, entries, control))
    draw(params, tables, entries, found)
    for entry in entries:
        print(f"claim {entry.claim}, {entry.metric}, {entry.comparison}: {entry.verdict}")


def read(params: Settings) -> Tables:
    """The table of every cell, by its words: ``("depth", "glow", "8")``."""
    tables = {}
    for cell in [(group, *cell) for group, words in params.words().items() for cell in product(*words)]:
        tables[cell] = files.read_table(settings.path(*cell))
        if len(tables[cell]) != params.replicates.count:
            raise UserError(f"{settings.path(*cell)}: holds {len(tables[cell])} replicates; params.yaml says {params.replicates.count}")
    return tables


# The claims


def examine(params: Settings, tables: Tables) -> tuple[list[Entry], list[dict[str, Any]]]:
    """All entries, adjusted as one family, and what ``compare`` found of each."""
    found = []
    for claim, metrics, (first, second) in FAMILY:
        for metric, sign in metrics.items():
            values = {name: values_of(params, tables, claim, metric, name) for name in (first, second)}
            found.append((claim, metric, sign, first, second, values, compare(params, metric, values[first], values[second])))
    adjusted = statistics.holm(np.array([result["p"] for *_, result in found]))
    entries = []
    for (claim, metric, sign, first, second, values, result), p in zip(found, adjusted, strict=True):
        low, high = result["ci95"]
        toward = (low, high) if sign > 0 else (-high, -low)  # the interval as the claim sees it
        verdict = statistics.verdict(toward, float(p), result["p_equivalence"])
        sentence = say(params, claim, metric, (first, second), values, result, verdict)
        entry = Entry(
            claim=claim,
            metric=metric,
            comparison=f"{first} - {second}",
            effect=result["effect"],
            ci95=(low, high),
            p_holm=rounded(p),
            p_equivalence=rounded(result["p_equivalence"]),
            replicates=params.replicates.count,
            failed=result["failed"],
            verdict=verdict,
            sentence=sentence,
        )
        entries.append(entry)
    return entries, [result for *_, result in found]


def values_of(params: Settings, tables: Tables, claim: int, metric: str, name: str) -> Array:
    """The metric of every replicate, ``(R,)``, in the unit of ``METRICS``; ``flows`` is the mean of all flows."""
    if claim == 6:
        models = params.flows if name == "flows" else [name]
        return np.mean([tables["equal", model][metric] for model in models], axis=0)
    if metric == "couplings_needed":
        return couplings_needed(params.depth.couplings, sweep(params, tables, name), params.claims.threshold)
    values = tables["depth", name, str(params.claims.couplings)][metric].to_numpy(dtype=np.float64)
    return values / 1e6 if metric == "flops_per_epoch" else values


def sweep(params: Settings, tables: Tables, model: str, group: str = "depth") -> Array:
    """KL ``(R, K)`` over the depths."""
    return np.stack([tables[group, model, str(k)]["kl"] for k in params.depth.couplings], axis=1)


def couplings_needed(depths: Sequence[int], kl: Array, threshold: float) -> Array:
    """Per replicate, ``(R,)``, where its ``kl`` ``(R, K)`` first is at the ``threshold``: linear in log KL over log couplings.

    The smallest depth where it is there at once, the largest where it never is. A KL that is not finite is not there.
    """
    needed = np.full(len(kl), float(depths[-1]))
    for r, values in enumerate(kl):
        there = np.flatnonzero(values <= threshold)
        if not len(there):
            continue
        k = there[0]
        needed[r] = depths[k]
        if k and np.isfinite(values[k - 1]):
            # A KL of 0 or less, which Monte Carlo noise could give, has no logarithm.
            before, at = np.log(values[k - 1]), np.log(max(values[k], 1e-9))
            share = (before - np.log(threshold)) / (before - at)
            needed[r] = np.exp(np.log(depths[k - 1]) + share * np.log(depths[k] / depths[k - 1]))
    return needed


def compare(params: Settings, metric: str, first: Array, second: Array) -> dict[str, Any]:
    """Effect ``first - second`` with its intervals over the finite pairs (95% by bootstrap, 90% by t), the two p-values over all, and the margin."""
    failed = ~(np.isfinite(first) & np.isfinite(second))
    differences = (first - second)[~failed]
    kind, worst = METRICS[metric], np.inf if METRICS[metric].lower_is_better else -np.inf
    with np.errstate(invalid="ignore"):
        ranked = np.where(np.isfinite(first), first, worst) - np.where(np.isfinite(second), second, worst)
    ranked = np.nan_to_num(ranked, nan=0.0, posinf=np.inf, neginf=-np.inf)  # nil where both failed
    margin = getattr(params.claims.margins, kind.margin)
    if kind.margin == "share":
        margin *= float(np.concatenate([first[~failed], second[~failed]]).mean()) if len(differences) else np.nan
    effect, low, high = (rounded(value) for value in mean_and_interval(differences))
    with np.errstate(divide="ignore", invalid="ignore"):
        half = stats.t.ppf(0.95, len(differences) - 1) * stats.sem(differences) if len(differences) > 1 else np.nan
    return {
        "effect": effect,
        "ci95": (low, high),
        "ci90": (effect - half, effect + half),
        "p": statistics.signed_rank_p(ranked),
        "p_equivalence": 1.0 if failed.any() else statistics.equivalence_p(differences, margin),
        "failed": int(failed.sum()),
        "margin": margin,
    }


def say(
    params: Settings,
    claim: int,
    metric: str,
    names: tuple[str, str],
    values: dict[str, Array],
    result: dict[str, Any],
    verdict: statistics.Verdict,
) -> str:
    """The result in one plain sentence or two."""
    kind, (first, second), (low, high) = METRICS[metric], names, result["ci95"]
    unit = f" {kind.unit}" if kind.unit else ""

    def number(value: float) -> str:
        return f"{value:.{kind.digits}f}"

    words = kind.words.format(threshold=params.claims.threshold)
    where = f" at {params.claims.couplings} couplings" if claim in (1, 3, 4, 5) else ""
    means = [f"{number(finite_mean(values[name]))}{unit} for {_spoken(name)}" for name in (second, first)]
    if result["effect"] == 0 == low == high:
        difference = "no difference"
    else:
        more = "more" if result["effect"] > 0 else "less"
        interval = f"95% interval of the difference {number(low)} to {number(high)}"
        if low == high:
            interval = "the same in every replicate"
        difference = f"{number(abs(result['effect']))}{unit} {more} for {_spoken(first)} ({interval})"
    text = f"{words[0].upper()}{words[1:]}{where}: on average {means[0]} and {means[1]}, so {difference}."
    if metric == "couplings_needed":
        depths = params.depth.couplings
        ends = [
            f"{int((values[name] == depth).sum())} of {_spoken(name)} {words} {depth}"
            for depth, words in ((depths[0], "there at"), (depths[-1], "not before"))
            for name in (second, first)
        ]
        text += f" Replicates counted at the ends of the sweep: {', '.join(ends)}."
    if result["failed"]:
        text += f" {result['failed']} of {params.replicates.count} replicates failed and are not in the averages."
    margin = f"{number(result['margin'])}{unit}"
    claim_words = claim_text(claim, metric, second)
    ends_with = {
        "supported": f"This supports the claim that {claim_words}.",
        "refuted": f"This is the opposite of the claim that {claim_words}.",
        "equivalent": f"A difference below {margin} is practically none, and this one is (p = {result['p_equivalence']:.1g} that it is not).",
        "inconclusive": f"This is not enough to say whether {claim_words}.",
    }
    return f"{text} {ends_with[verdict]}"


def claim_text(claim: int, metric: str, second: str) -> str:
    """The part of the claim that an entry is about."""
    if claim == 5:
        return "Glow's density is closer to the truth than RealNVP's" if metric == "kl" else "Glow's samples are of better quality than RealNVP's"
    return f"the flows beat {_spoken(second)}" if claim == 6 else CLAIMS[claim]


def _spoken(name: str) -> str:
    return "the flows" if name == "flows" else label(name) if name in ("realnvp", "glow") else f"the {label(name)}"


# Means


def mean_and_interval(values: Array) -> tuple[float, float, float]:
    """Mean of the finite ``values`` and the ends of its 95% interval; ``NaN`` where there are fewer than two."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if len(finite) < 2:
        return float("nan"), float("nan"), float("nan")
    low, high = statistics.mean_interval(finite, seeds.numpy_generator(0, "metric", 1))
    return float(finite.mean()), low, high


def finite_mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def control_summary(params: Settings, tables: Tables) -> list[dict[str, Any]]:
    """Per flow and depth: KL of training, the part that new points in every epoch leave, and the paired rest; mean and 95% interval in nats."""
    rows = []
    for model in params.flows:
        trained, control = (sweep(params, tables, model, group) for group in ("depth", "control"))
        for k, couplings in enumerate(params.depth.couplings):
            parts = {"kl": trained[:, k], "approximation": control[:, k], "estimation": trained[:, k] - control[:, k]}
            row: dict[str, Any] = {"model": model, "couplings": couplings}
            for name, values in parts.items():
                mean, low, high = mean_and_interval(values)
                row |= {name: rounded(mean), f"{name}_ci95": [rounded(low), rounded(high)]}
            rows.append(row | {"failed": int((~np.isfinite(parts["estimation"])).sum())})
    return rows


# The document


def document(params: Settings, tables: Tables, entries: list[Entry], control: list[dict[str, Any]]) -> str:
    count, couplings = params.replicates.count, params.claims.couplings
    last = params.replicates.first + count - 1
    parts = [
        "# The claims: what was found",
        "",
        "Made by `make claims`; the settings are in `params.yaml`, the protocol is in `README.md`. "
        f"{count} replicates, data seeds {params.replicates.first} to {last}.",
        "",
        "![Every effect in units of its margin](forest.png)",
        "",
        "## Verdicts",
        "",
        *verdicts(entries),
        "",
        "In words:",
        "",
        *(f"- Claim {entry.claim}: {entry.sentence}" for entry in entries),
        "",
        "## Depth",
        "",
        "Means over replicates. *Approximation*: the KL that is left when every epoch brings new points (95% interval); *estimation*: the rest.",
        "",
        *depth_table(tables, control),
        "",
        "![KL against the number of couplings](depth.png)",
        "",
        "## Models of equal size, at the pipeline's settings",
        "",
        "Mean \u00b1 standard deviation over replicates. The row *truth* is what a perfect model scores.",
        "",
        *equal_table(params, tables),
        "",
        "## More data",
        "",
        f"KL in nats (95% interval), {params.curve.couplings} couplings. The floor is p / (2n): what a fit of eight full Gaussians "
        f"by maximum likelihood loses, with p = {mixture_parameters()} free numbers.",
        "",
        *curve_table(params, tables),
        "",
        "![KL against the number of training points](curve.png)",
        "",
        "## Remedies against overfitting",
        "",
        f"KL in nats (95% interval) at {couplings} couplings.",
        "",
        *ablation_table(params, tables),
        "",
        "![KL of every remedy](ablation.png)",
        "",
    ]
    return "\n".join(parts)


def verdicts(entries: list[Entry]) -> list[str]:
    lines = markdown_head("claim", "metric", "comparison", "effect", "95% interval", "p (Holm)", "p of equivalence", "failed", "verdict")
    for entry in entries:
        kind = METRICS[entry.metric]
        effect, low, high = (f"{value:.{kind.digits}f}" for value in (entry.effect, *entry.ci95))
        name = entry.metric + (f" ({kind.unit})" if kind.unit else "")
        p = [f"{value:.2g}" for value in (entry.p_holm, entry.p_equivalence)]
        cells = [str(entry.claim), name, entry.comparison, effect, f"{low} to {high}", *p, str(entry.failed), f"**{entry.verdict}**"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def depth_table(tables: dict[tuple[str, ...], pd.DataFrame], control: list[dict[str, Any]]) -> list[str]:
    heads = ("flow", "couplings", "weights", "KL (nat)", "approximation", "estimation", "epochs to converge", "precision", "recall", "classifier AUC")
    lines = markdown_head(*heads, "failed")
    for row in control:
        table = tables["depth", row["model"], str(row["couplings"])]
        cells = [label(row["model"]), str(row["couplings"]), f"{table['parameters'].iloc[0]:,.0f}"]
        cells += [interval_text(row[key], *row[f"{key}_ci95"]) for key in ("kl", "approximation", "estimation")]
        cells += [f"{finite_mean(table['epochs_to_converge'].to_numpy()):.0f}"]
        cells += [f"{finite_mean(table[key].to_numpy()):.3f}" for key in ("precision", "recall", "c2st_auc")]
        lines.append(f"| {' | '.join([*cells, str(row['failed'])])} |")
    return lines


def equal_table(params: Settings, tables: Tables) -> list[str]:
    lines = markdown_head("model", "weights", "KL (nat)", *SAMPLE_METRICS, "failed")
    for model in (*params.equal, "truth"):
        table = tables["equal", model]
        failed = int((~np.isfinite(table["kl"])).sum())
        cells = [label(model), f"{table['parameters'].iloc[0]:,.0f}" if "parameters" in table else "\u2013"]
        cells.append("\u2013" if model == "gan" else "0" if model == "truth" else spread_text(table["kl"]))
        cells += [spread_text(table[key], digits=1 if key == "modes" else 3) for key in SAMPLE_METRICS]
        lines.append(f"| {' | '.join([*cells, str(failed)])} |")
    return lines


def curve_table(params: Settings, tables: Tables) -> list[str]:
    lines = markdown_head("rows", *(label(model) for model in params.curve.models), "floor")
    for n in params.curve.rows:
        cells = [interval_text(*mean_and_interval(tables["curve", model, str(n)]["kl"].to_numpy())) for model in params.curve.models]
        lines.append(f"| {' | '.join([f'{n:,}', *cells, f'{mixture_parameters() / (2 * n):.3f}'])} |")
    return lines


def ablation_table(params: Settings, tables: Tables) -> list[str]:
    lines = markdown_head("remedy", "settings", *(label(model) for model in params.flows), "failed")
    for variant, remedy in params.ablation.variants.items():
        values = [tables["ablation", model, variant]["kl"].to_numpy() for model in params.flows]
        words = ", ".join(f"{key} {value}" for key, value in remedy.changes().items())
        failed = sum(int((~np.isfinite(kl)).sum()) for kl in values)
        lines.append(f"| {' | '.join([variant, words, *(interval_text(*mean_and_interval(kl)) for kl in values), str(failed)])} |")
    return lines


def mixture_parameters() -> int:
    """Free numbers of the truth's form: weights that sum to 1, means, and symmetric covariances."""
    components, dim = ring.make().means.shape
    return components - 1 + components * dim + components * dim * (dim + 1) // 2


def markdown_head(*heads: str) -> list[str]:
    return [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]


def interval_text(mean: float, low: float, high: float) -> str:
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def spread_text(values: pd.Series, digits: int = 3) -> str:
    finite = values[np.isfinite(values)]
    return f"{finite.mean():.{digits}f} \u00b1 {finite.std():.{digits}f}"


# The figures


def draw(params: Settings, tables: Tables, entries: list[Entry], found: list[dict[str, Any]]) -> None:
    rows = []
    for entry, result in zip(entries, found, strict=True):
        sign = next(
            metrics[entry.metric] for claim, metrics, names in FAMILY if (claim, f"{names[0]} - {names[1]}") == (entry.claim, entry.comparison)
        )
        effect, *ends = (sign * value / result["margin"] for value in (entry.effect, *entry.ci95, *result["ci90"]))
        label = f"{entry.claim}  {entry.metric}, {entry.comparison}"
        rows.append(figures.Row(label, effect, ends[:2], ends[2:], entry.verdict, elsewhere(params, tables, entry, sign)))
    figures.forest(rows, CLAIMS, settings.HERE / "forest.png")
    depths = params.depth.couplings
    curves = {
        (model, group): np.array([mean_and_interval(kl) for kl in sweep(params, tables, model, group).T])
        for model in params.flows
        for group in ("depth", "control")
    }
    figures.depth(depths, curves, params.claims.threshold, settings.HERE / "depth.png")
    n = params.curve.rows
    by_rows = {
        model: np.array([mean_and_interval(tables["curve", model, str(rows)]["kl"].to_numpy()) for rows in n]) for model in params.curve.models
    }
    figures.curve(n, by_rows, mixture_parameters(), params.curve.couplings, settings.HERE / "curve.png")
    remedies = {
        variant: {model: tables["ablation", model, variant]["kl"].to_numpy() for model in params.flows} for variant in params.ablation.variants
    }
    means = {variant: {model: mean_and_interval(kl) for model, kl in by_model.items()} for variant, by_model in remedies.items()}
    figures.ablation(remedies, means, settings.HERE / "ablation.png")


def elsewhere(params: Settings, tables: Tables, entry: Entry, sign: int) -> list[float]:
    """The same effect, in units of its margin there, at the other depths of the sweep; for the claims that are about one depth."""
    if entry.claim not in (1, 3, 4, 5):
        return []
    effects = []
    for couplings in params.depth.couplings:
        if couplings != params.claims.couplings:
            first, second = (tables["depth", model, str(couplings)][entry.metric].to_numpy(dtype=np.float64) for model in ("glow", "realnvp"))
            result = compare(params, entry.metric, first, second)
            effects.append(sign * result["effect"] / result["margin"])
    return effects


def to_json(content: list[dict[str, Any]]) -> str:
    return json.dumps(content, indent=2) + "\n"


def write(name: str, text: str) -> None:
    files.write_bytes(settings.HERE / name, text.encode())


if __name__ == "__main__":
    main()
