"""Test the claims on the scores of all cells: ``claims.json``, ``claims.md`` and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from flows.core.arrays import Array
from flows.core.errors import errors_in_one_line
from flows.plotting.style import STYLE
from flows.targets import ring
from matplotlib.pyplot import rc_context
from stages.shared import files, markdown

from studies import verdicts
from studies.claims import figures, settings
from studies.claims.figures import label
from studies.claims.settings import Settings
from studies.forest import forest
from studies.verdicts import Metric, mean_and_interval

Tables = dict[tuple[str, ...], pd.DataFrame]  # of every cell, by its words: ("depth", "glow", "8")
Row = dict[str, Any]  # a line of claims.json, and what it is made of
CLAIMS = {
    1: "RealNVP converges in fewer epochs than Glow",
    2: "RealNVP needs fewer couplings than Glow to reach a given KL",
    3: "Glow costs more training time than RealNVP",
    4: "Glow's samples are more diverse than RealNVP's",
    5: "Glow's samples are of better quality than RealNVP's, and its density is closer to the truth",
    6: "the flows beat a VAE and a GAN of equal size",
    7: "at equal size a spline flow is closer to the truth than affine RealNVP and Glow",
}
METRICS = {
    "epochs_to_converge": Metric(
        "epochs until the test NLL has settled", "epochs", 0, "share", lower_is_better=True
    ),
    "couplings_needed": Metric(
        "couplings needed for the KL of `claims.threshold`",
        "couplings",
        2,
        "share",
        lower_is_better=True,
    ),
    "flops_per_epoch": Metric(
        "operations of an epoch", "million", 2, "share", lower_is_better=True
    ),
    "recall": Metric("recall (share of real points among the samples)", "", 3, "sample"),
    "coverage": Metric("coverage (share of real points with a sample near by)", "", 3, "sample"),
    "mode_tv": Metric(
        "misplaced mass over the eight modes (0 is perfect)", "", 3, "sample", lower_is_better=True
    ),
    "precision": Metric("precision (share of samples among the real points)", "", 3, "sample"),
    "density": Metric("density (real points around a sample; 1 is perfect)", "", 3, "sample"),
    "c2st_auc": Metric(
        "AUC of a classifier of real against sampled (0.5 is perfect)",
        "",
        3,
        "sample",
        lower_is_better=True,
    ),
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
    (7, {"kl": -1}, ("nsf", "realnvp")),
    (7, {"kl": -1}, ("nsf", "glow")),
)
AT_ONE_DEPTH = (1, 3, 4, 5)  # claims about one of the depths
OF_EQUAL_SIZE = (6, 7)  # claims about the models at the pipeline's settings
SAMPLE_METRICS = (
    "precision",
    "recall",
    "density",
    "coverage",
    "c2st_auc",
    "mode_tv",
    "modes",
    "high_quality",
)


@errors_in_one_line("analyse")
def main() -> None:
    params = settings.load()
    tables = read(params)
    entries = examine(params, tables)
    for name, text in texts(params, tables, entries).items():
        files.write_bytes(settings.HERE / name, text.encode())
    draw(params, tables, entries)
    for entry in entries:
        print(
            f"claim {entry['claim']}, {entry['metric']}, {entry['comparison']}: {entry['verdict']}"
        )


def read(params: Settings) -> Tables:
    return {
        cell: verdicts.read(settings.path(*cell), params.replicates.count)
        for cell in params.cells()
    }


def column(tables: Tables, metric: str, *cell: object) -> Array:
    return tables[tuple(map(str, cell))][metric].to_numpy(dtype=np.float64)


def kl_interval(tables: Tables, *cell: object) -> tuple[float, float, float]:
    return mean_and_interval(column(tables, "kl", *cell))


# The claims


def examine(params: Settings, tables: Tables) -> list[Row]:
    """Every comparison, adjusted as one family: all that ``compare`` found, and what it is made of.

    ``values`` ``(R,)`` by name, of the first and the second; ``sign`` as in ``FAMILY``.
    """
    entries: list[Row] = []
    for claim, metrics, names in FAMILY:
        for metric, sign in metrics.items():
            values = {name: values_of(params, tables, claim, metric, name) for name in names}
            entry: Row = {
                "claim": claim,
                "metric": metric,
                "comparison": " - ".join(names),
                "replicates": params.replicates.count,
            }
            entries.append(
                {
                    **entry,
                    "sign": sign,
                    "values": values,
                    **compare(params, metric, *values.values()),
                }
            )
    verdicts.judge(entries)
    return entries


def values_of(params: Settings, tables: Tables, claim: int, metric: str, name: str) -> Array:
    """The metric of every replicate, ``(R,)``, in the unit of ``METRICS``; ``flows`` is the mean of all flows."""
    if claim in OF_EQUAL_SIZE:
        return np.mean(
            [
                column(tables, metric, "equal", model)
                for model in (params.flows if name == "flows" else [name])
            ],
            axis=0,
        )
    if metric == "couplings_needed":
        kl = np.stack(
            [column(tables, "kl", "depth", name, k) for k in params.depth.couplings], axis=1
        )
        return couplings_needed(params.depth.couplings, kl, params.claims.threshold)
    values = column(tables, metric, "depth", name, params.claims.couplings)
    return values / 1e6 if metric == "flops_per_epoch" else values


def couplings_needed(depths: Sequence[int], kl: Array, threshold: float) -> Array:
    """Per replicate, ``(R,)``, where its ``kl`` ``(R, K)`` first is at the ``threshold``: linear in log KL over log couplings.

    The smallest depth where it is there at once, the largest where it never is. A KL that is not finite is not there.
    """
    needed = np.full(len(kl), float(depths[-1]))
    for r, values in enumerate(kl):
        for k in np.flatnonzero(values <= threshold)[:1]:
            needed[r] = depths[k]
            if k and np.isfinite(values[k - 1]):
                # A KL of 0 or less, which Monte Carlo noise could give, has no logarithm.
                share = np.log(values[k - 1] / threshold) / np.log(
                    values[k - 1] / max(values[k], 1e-9)
                )
                needed[r] = depths[k - 1] * (depths[k] / depths[k - 1]) ** share
    return needed


def compare(params: Settings, metric: str, first: Array, second: Array) -> dict[str, Any]:
    return verdicts.compare(
        METRICS[metric], params.claims.margins[METRICS[metric].margin], first, second
    )


def failures(values: Array) -> int:
    return int((~np.isfinite(values)).sum())


# The document


def texts(params: Settings, tables: Tables, entries: list[Row]) -> dict[str, str]:
    """What is written, by the names of the files."""
    return {"claims.json": verdicts.report(entries), "claims.md": document(params, tables, entries)}


def document(params: Settings, tables: Tables, entries: list[Row]) -> str:
    seeds_of_data = params.data_seeds
    parts = (
        "# The claims: what was found",
        "Made by `make claims`; the settings are in `params.yaml`, the protocol is in `README.md`. "
        f"{len(seeds_of_data)} replicates, data seeds {seeds_of_data[0]} to {seeds_of_data[-1]}.",
        "![Every effect in units of its margin](forest.png)",
        "## Verdicts",
        verdicts.table(entries, CLAIMS, METRICS),
        "## Depth",
        "Means over replicates. *Approximation*: the KL that is left when every epoch brings new points (95% interval); *estimation*: the rest.",
        depth_table(params, tables),
        "![KL against the number of couplings](depth.png)",
        "## Models of equal size, at the pipeline's settings",
        "Mean \u00b1 standard deviation over replicates. The row *truth* is what a perfect model scores.",
        equal_table(params, tables),
        "## More data",
        f"KL in nats (95% interval), {params.curve.couplings} couplings. The floor is p / (2n): what a fit of eight full Gaussians "
        f"by maximum likelihood loses, with p = {mixture_parameters()} free numbers.",
        curve_table(params, tables),
        "![KL against the number of training points](curve.png)",
        "## Remedies against overfitting",
        f"KL in nats (95% interval) at {params.claims.couplings} couplings.",
        ablation_table(params, tables),
        "![KL of every remedy](ablation.png)",
    )
    return "\n\n".join(parts) + "\n"


def depth_table(params: Settings, tables: Tables) -> str:
    rows = []
    for model, couplings in product(params.flows, params.depth.couplings):
        table = tables["depth", model, str(couplings)]
        trained, control = (
            column(tables, "kl", group, model, couplings) for group in ("depth", "control")
        )
        cells = [label(model), str(couplings), f"{table['parameters'][0]:,.0f}"]
        cells += [
            interval_text(*mean_and_interval(kl)) for kl in (trained, control, trained - control)
        ]
        cells += [
            f"{table['epochs_to_converge'].mean():.0f}",
            *(f"{table[key].mean():.3f}" for key in ("precision", "recall", "c2st_auc")),
        ]
        rows.append([*cells, str(failures(trained - control))])
    head = [
        "flow",
        "couplings",
        "weights",
        "KL (nat)",
        "approximation",
        "estimation",
        "epochs to converge",
        "precision",
        "recall",
        "classifier AUC",
    ]
    return markdown.table([*head, "failed"], rows, "lr")


def equal_table(params: Settings, tables: Tables) -> str:
    rows = []
    for model in (*params.equal, "truth"):
        table = tables["equal", model]
        weights = f"{table['parameters'][0]:,.0f}" if "parameters" in table else "\u2013"
        kl = {"gan": "\u2013", "truth": "0"}.get(model) or spread_text(table["kl"])
        scores = [
            spread_text(table[key], digits=1 if key == "modes" else 3) for key in SAMPLE_METRICS
        ]
        rows.append([label(model), weights, kl, *scores, str(failures(table["kl"]))])
    return markdown.table(["model", "weights", "KL (nat)", *SAMPLE_METRICS, "failed"], rows, "lr")


def curve_table(params: Settings, tables: Tables) -> str:
    rows = []
    for n in params.curve.rows:
        cells = [
            interval_text(*kl_interval(tables, "curve", model, n)) for model in params.curve.models
        ]
        rows.append([f"{n:,}", *cells, f"{mixture_parameters() / (2 * n):.3f}"])
    return markdown.table(["rows", *map(label, params.curve.models), "floor"], rows, "lr")


def ablation_table(params: Settings, tables: Tables) -> str:
    rows = []
    for variant, remedy in params.ablation.variants.items():
        by_flow = [column(tables, "kl", "ablation", model, variant) for model in params.flows]
        chosen = ", ".join(f"{key} {value}" for key, value in remedy.changes().items())
        cells = [interval_text(*mean_and_interval(kl)) for kl in by_flow]
        rows.append([variant, chosen, *cells, str(sum(map(failures, by_flow)))])
    return markdown.table(["remedy", "settings", *map(label, params.flows), "failed"], rows, "lr")


def mixture_parameters() -> int:
    """Free numbers of the truth's form: weights that sum to 1, means, and symmetric covariances."""
    components, dim = ring.make().means.shape
    return components - 1 + components * dim + components * dim * (dim + 1) // 2


def interval_text(mean: float, low: float, high: float) -> str:
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def spread_text(values: pd.Series, digits: int = 3) -> str:
    return f"{values.mean():.{digits}f} \u00b1 {values.std():.{digits}f}"


# The figures


def draw(params: Settings, tables: Tables, entries: list[Row]) -> None:
    effects = []
    for entry in entries:
        metric = entry["metric"]
        others = (
            [k for k in params.depth.couplings if k != params.claims.couplings]
            if entry["claim"] in AT_ONE_DEPTH
            else []
        )
        there = [
            compare(
                params,
                metric,
                *(column(tables, metric, "depth", name, k) for name in entry["values"]),
            )
            for k in others
        ]
        elsewhere = [entry["sign"] * each["effect"] / each["margin"] for each in there]
        effects.append(verdicts.in_margins(entry, elsewhere))
    depths, sizes, variants = params.depth.couplings, params.curve.rows, params.ablation.variants
    lines = product(params.flows, ("depth", "control"))
    by_depth = {
        (model, group): np.array([kl_interval(tables, group, model, k) for k in depths])
        for model, group in lines
    }
    by_rows = {
        model: np.array([kl_interval(tables, "curve", model, n) for n in sizes])
        for model in params.curve.models
    }
    remedies = {
        variant: {model: column(tables, "kl", "ablation", model, variant) for model in params.flows}
        for variant in variants
    }
    means = {
        variant: {model: mean_and_interval(kl) for model, kl in by_model.items()}
        for variant, by_model in remedies.items()
    }
    with rc_context(STYLE):
        forest(effects, CLAIMS, settings.HERE / "forest.png")
        figures.depth(depths, by_depth, params.claims.threshold, settings.HERE / "depth.png")
        figures.curve(
            sizes,
            by_rows,
            mixture_parameters(),
            params.curve.couplings,
            settings.HERE / "curve.png",
        )
        figures.ablation(remedies, means, settings.HERE / "ablation.png")


if __name__ == "__main__":
    main()
