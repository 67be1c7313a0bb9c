"""Test the claims on the scores of the cells; write ``claims.json``, ``claims.md`` and figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.labels import label_and_color
from common.settings import read_yaml
from flows.core.arrays import Array
from studies import verdicts
from studies.claims import figures
from studies.claims.cells import CURVE_REFERENCES, MIXTURE_MODELS, auto_seeds, family_of
from studies.claims.plane import COMPARISONS, MODES, TRUTH
from studies.claims.refits import RANDOM
from studies.engine import Study
from studies.markdown import NONE, frame, number, spread, table, within
from studies.verdicts import Metric, mean_and_interval

CLAIMS = Path(__file__).with_name("claims.yaml")
Section = dict[str, Any]  # of claims.yaml
Entry = dict[str, Any]  # a line of claims.json, with its settings and intermediate results
TESTED = ("claim", "metric", "comparison", "effect", "ci95", "p_holm", "p_equivalence")
REPORTED = (*TESTED, "replicates", "failed", "verdict")
SAMPLE_METRICS = [*COMPARISONS, *MODES]
MATCHING_SCORES = ["kl", "memorised", "precision", "recall", "c2st_auc", "mode_tv"]
REFIT_SCORES = {  # title and format
    "sd": ("median `log_density_sd`", "{:.2f}"),
    "away": ("median distance to a refit", "{:.2f}"),
    "away_truth": ("to the truth", "{:.2f}"),
    "within": ("refit within 2 sd", "{:.0%}"),
    "within_truth": ("truth within 2 sd", "{:.0%}"),
    "factor": ("sds for 95% of refits", "{:.1f}"),
    "factor_truth": ("for 95% of truths", "{:.1f}"),
}
OPTIMISM = {
    "kl": "KL of the ensemble",
    "optimism": "optimism",
    "optimism_fold": "optimism against members without a fold",
}
OPERATIONS = {  # title and unit
    "flops_training": ("operations of the training (billion)", 1e9),
    "flops_sample": ("of a sample (million)", 1e6),
}
DEPTH_STYLES = {  # of the curves of a family: a note on its rows, and the style
    "depth": ("800 points", {"fmt": "o-"}),
    "control": ("new points every epoch", {"fmt": "D--", "markerfacecolor": "white"}),
}
TARGETS = {"ring": "ring", "grid": "grid of 25", "custom": "five unequal, correlated"}


def report(study: Study) -> None:
    """Write all files of the report."""
    claims = read_yaml(CLAIMS)
    found = {name: examine(study, section) for name, section in claims.items()}
    lines = [
        {"section": claims[name]["title"], **{key: entry[key] for key in REPORTED}}
        for name, entries in found.items()
        for entry in entries
    ]
    study.write("claims.json", json.dumps(lines, indent=2) + "\n")
    study.write("claims.md", document(study, claims, found))
    draw_figures(study, claims, found)


# The claims


def examine(study: Study, section: Section) -> list[Entry]:
    """Return all comparisons of a section, with their p-values adjusted together.

    ``sign`` is the sign of the claimed difference.
    """
    entries = []
    for ordinal, claim in enumerate(section["claims"], 1):
        for test in claim["tests"]:
            for metric, way in test["metrics"].items():
                pair = [values(study, test["group"], metric, name) for name in test["pair"]]
                entry = {"claim": ordinal, "metric": metric, "sign": 1 if way == "higher" else -1}
                comparison = " - ".join(test["pair"]) + place(test["group"])
                entry |= {"comparison": comparison, "replicates": len(pair[0])}
                entries.append({**test, **entry, **compare(study, section, metric, *pair)})
    verdicts.judge(entries)
    return entries


def place(group: str) -> str:
    """Return the target of a ``group``, in words; nothing where all have the same."""
    target = group.partition("/")[2]
    return f", {target.replace('_', ' ')}" if target else ""


def compare(study: Study, section: Section, metric: str, first: Array, second: Array) -> Entry:
    kind = Metric(**section["metrics"][metric])
    return verdicts.compare(kind, study.params["verdicts"]["margins"][kind.margin], first, second)


def values(study: Study, group: str, metric: str, name: str, depth: int | None = None) -> Array:
    """Return the metric of every replicate, ``(R,)``, in the unit of the section's metrics.

    ``depth`` is the number of couplings of the cells ``depth``, by default as in the verdicts.
    """
    if ":" in name:
        first, second = (values(study, group, metric, each) for each in name.split(":"))
        return first - second
    if name == "flows":
        each = [values(study, group, metric, flow) for flow in study.params["flows"]]
        return np.mean(each, axis=0)
    if metric == "couplings_needed":
        depths, limit = study.params["couplings"], study.params["verdicts"]["threshold"]
        kl = np.stack([study.table("depth", name, k)["kl"] for k in depths], axis=1)
        return couplings_needed(depths, kl, limit)
    found = study.table(*cell_of(study, group, name, depth))[metric].to_numpy()
    return found / 1e6 if metric in ("flops_per_epoch", "flops_sample") else found


def cell_of(study: Study, group: str, name: str, depth: int | None) -> tuple[object, ...]:
    """Return the parts of the name of a cell; the arguments are as in ``values``."""
    if group == "depth":
        return group, name, depth or study.params["verdicts"]["couplings"]
    if name in study.params["matching"]["references"] and group.startswith("matching/"):
        group = group.replace("matching", "matching_reference")
    return group, name


def couplings_needed(depths: Sequence[int], kl: Array, threshold: float) -> Array:
    """Return the depth at which each replicate's ``kl`` ``(R, K)`` first reaches the ``threshold``.

    The depth, ``(R,)``, is interpolated linearly in log KL over log couplings. It is the smallest
    depth if the KL is at the threshold there, and the largest if the KL never reaches it. A KL that
    is not finite is above the threshold.
    """
    needed = np.full(len(kl), float(depths[-1]))
    for r, own in enumerate(kl):
        for k in np.flatnonzero(own <= threshold)[:1]:
            needed[r] = depths[k]
            if k and np.isfinite(own[k - 1]):
                # A KL of 0 or less, which Monte Carlo noise could give, has no logarithm.
                fall = np.log(own[k - 1] / max(own[k], 1e-9))
                share = np.log(own[k - 1] / threshold) / fall
                needed[r] = depths[k - 1] * (depths[k] / depths[k - 1]) ** share
    return needed


# The document


def document(study: Study, claims: dict[str, Section], found: dict[str, list[Entry]]) -> str:
    protocol = study.params["protocol"]
    return study.template().format(
        **study.params,
        last=protocol["first"] + protocol["replicates"] - 1,
        plane=verdicts.table(found["plane"], claims["plane"]),
        depth=depth_table(study),
        equal_size=equal_table(study),
        parameters=mixture_parameters(),
        rows=curve_table(study),
        remedies=ablation_table(study),
        other=other_table(study),
        random_mixtures=mixtures_table(study),
        refit_table=refits_table(study),
        optimism=optimism_table(study),
        matching_verdicts=verdicts.table(found["matching"], claims["matching"]),
        matching_scores=matching_table(study),
        verdicts_on_images=verdicts.table(found["images"], claims["images"]),
        scores=images_table(study, claims["images"]["metrics"]),
    )


def depth_table(study: Study) -> str:
    rows = {}
    for model, couplings in product(study.params["flows"], study.params["couplings"]):
        table = study.table("depth", model, couplings)
        control = study.table("control", model, couplings)["kl"]
        estimation = table["kl"] - control
        mean = table.mean()
        rows[label(model), str(couplings)] = {
            "weights": f"{mean['parameters']:,.0f}",
            "KL (nat)": with_interval(table["kl"]),
            "approximation": with_interval(control),
            "estimation": with_interval(estimation),
            "epochs to converge": f"{mean['epochs_to_converge']:.0f}",
            "precision": number(mean["precision"]),
            "recall": number(mean["recall"]),
            "classifier AUC": number(mean["c2st_auc"]),
            "failed": failures(estimation),
        }
    return frame(pd.DataFrame(rows).T, "flow", "couplings")


def equal_table(study: Study) -> str:
    rows = {}
    for model in (*study.params["equal"], "truth"):
        table = study.table("truth") if model == "truth" else study.table("equal", model)
        rows[label(model)] = {
            "weights": f"{table['parameters'][0]:,.0f}" if "parameters" in table else NONE,
            "KL (nat)": {"gan": NONE, "truth": "0"}.get(model) or spread(table["kl"]),
            **{key: spread(table[key], 1 if key == "modes" else 3) for key in SAMPLE_METRICS},
            "failed": failures(table["kl"]),
        }
    return frame(pd.DataFrame(rows).T, "model")


def kl_by_rows(study: Study) -> dict[str, Array]:
    """Return the mean KL and its interval by number of rows, ``(K, 3)``, of each model."""
    groups = [*(("curve", flow) for flow in study.params["flows"])]
    groups += [("reference", name) for name in CURVE_REFERENCES]
    rows = study.params["curve"]["rows"]
    return {group[1]: intervals(study, [(*group, n) for n in rows]) for group in groups}


def intervals(study: Study, cells: Iterable[tuple[object, ...]]) -> Array:
    return np.array([mean_and_interval(study.table(*cell)["kl"]) for cell in cells])


def curve_table(study: Study) -> str:
    counts = study.params["curve"]["rows"]
    found = {label(name): [within(*each) for each in kl] for name, kl in kl_by_rows(study).items()}
    texts = pd.DataFrame(found, index=[f"{n:,}" for n in counts])
    texts["floor"] = [number(mixture_parameters() / (2 * n)) for n in counts]
    return frame(texts, "rows")


def remedies(study: Study) -> dict[str, pd.DataFrame]:
    """Return the KL by remedy, with one line per replicate and one column per flow."""
    found = {}
    for name, remedy in study.params["ablation"]["remedies"].items():
        family = family_of(remedy)
        kl = {flow: study.table(family, flow, name)["kl"] for flow in study.params["flows"]}
        found[name] = pd.DataFrame(kl)
    return found


def ablation_table(study: Study) -> str:
    rows = {}
    for name, kl in remedies(study).items():
        remedy = study.params["ablation"]["remedies"][name]
        chosen = ", ".join(f"{key} {value}" for key, value in remedy.items())
        rows[name, chosen] = {**kl.agg(with_interval).rename(label), "failed": failures(kl)}
    return frame(pd.DataFrame(rows).T, "remedy", "settings")


def other_table(study: Study) -> str:
    """Return the table of the pipeline's recipe and a kernel density on other data."""
    rows, other = [], study.params["other_data"]
    for (target, about), (name, flow) in product(other["targets"].items(), other["flows"].items()):
        settings = study.cells[f"other_data/{target}/{name}"]["settings"]
        seeds = sorted({min(about["seeds"]), max(about["seeds"])})
        data = f"{TARGETS[target]}, seed{'s' * (len(seeds) > 1)} {' to '.join(map(str, seeds))}"
        coupling = f"{settings['couplings']} {settings.get('transform', 'spline')}"
        means = study.table("other_data", target, name)[["kl", "kl_ensemble", "kl_kde"]].mean()
        rows.append([label(flow["model"]), coupling, data, *map(number, means)])
    head = ["flow", "couplings", "data", "KL (nat)", "KL of the ensemble", "kernel density"]
    return table(head, rows, "lllr")


def mixtures_table(study: Study) -> str:
    """Return the table of the KL over random mixtures: mean and worst member, worst ensemble."""
    tables = {label(name): study.table("mixtures", name) for name in MIXTURE_MODELS}
    auto = [study.table("mixtures_auto", seed) for seed in auto_seeds(study.params)]
    tables[f"{label('nsf')}, automatic recipe"] = pd.concat(auto)
    rows = []
    for title, own in tables.items():
        dims = " to ".join(f"{dim:.0f}" for dim in sorted({own["dim"].min(), own["dim"].max()}))
        ensembles = own.get("kl_ensemble", pd.Series([np.nan]))
        numbers = own["kl"].mean(), own["kl_worst"].max(), ensembles.max()
        rows.append([title, f"{len(own)} in {dims} dimensions", *(number(x, 2) for x in numbers)])
    head = ["", "mixtures", "mean KL (nat)", "KL of the worst member", "KL of the worst ensemble"]
    return table(head, rows, "lr")


def refits_table(study: Study) -> str:
    """Return the table that compares ``log_density_sd`` with the spread of refits and the error."""
    mean = pd.DataFrame({truth: own.mean() for truth, own in refits(study).items()}).T
    texts = {title: mean[key].map(form.format) for key, (title, form) in REFIT_SCORES.items()}
    return frame(pd.DataFrame(texts), "truth")


def optimism_table(study: Study) -> str:
    """Return the table of the optimism of out-of-fold scores, in nats."""
    tables = refits(study)
    tables["all"] = pd.concat(tables.values())
    spreads = {truth: own[[*OPTIMISM]].agg(spread, digits=2) for truth, own in tables.items()}
    return frame(pd.DataFrame(spreads).T.rename(columns=OPTIMISM), "truth")


def refits(study: Study) -> dict[str, pd.DataFrame]:
    """Return the scores of all fits by truth, in words."""
    params = study.params["refits"]
    random = {
        f"random mixture, {columns} columns": study.table("refits", RANDOM, columns)
        for columns in params["random"]["columns"]
    }
    return random | {table: study.table("refits", table) for table in params["tables"]}


def matching_table(study: Study) -> str:
    """Return the table of flow matching, coupling flows and simple models on the three targets."""
    rows = {}
    names = [cell for cell in study.cells if cell.startswith("matching")]
    for target in study.params["matching"]["targets"]:
        for cell in (name for name in names if name.split("/")[1] == target):
            own = study.table(cell)
            texts = own.reindex(columns=MATCHING_SCORES).dropna(axis=1, how="all").agg(spread)
            for key, (title, unit) in OPERATIONS.items():
                if key in own:
                    texts[title] = f"{own[key].mean() / unit:.3g}"
            rows[target.replace("_", " "), cell.split("/")[2]] = texts
    columns = [*MATCHING_SCORES, *(title for title, _ in OPERATIONS.values())]
    texts = pd.DataFrame(rows).T[columns].fillna(NONE)
    return frame(texts, "target", "model", align="llr")


def images_table(study: Study, metrics: Iterable[str]) -> str:
    keys = [*metrics, "density", "class_tv", "nearest", "close"]
    variants = study.params["images"]["variants"]
    found = {name: study.table("images", name).agg(spread) for name in variants}
    return frame(pd.DataFrame(found).T[keys].fillna(""))


def mixture_parameters() -> int:
    """Return the number of free parameters of a mixture of the truth's form.

    The parameters are weights that sum to 1, means, and symmetric covariances.
    """
    components, dim = TRUTH.means.shape
    return components - 1 + components * dim + components * dim * (dim + 1) // 2


def label(name: str) -> str:
    return label_and_color(name)[0]


def with_interval(each: pd.Series) -> str:
    """Return the mean and its 95% interval."""
    return within(*mean_and_interval(each))


def failures(kl: pd.Series | pd.DataFrame) -> str:
    """Return the number of values that are not finite."""
    return str((~np.isfinite(kl)).to_numpy().sum())


# The figures


def draw_figures(study: Study, claims: dict[str, Section], found: dict[str, list[Entry]]) -> None:
    params, folder = study.params, study.folder
    for name, section in claims.items():
        there = [elsewhere(study, section, entry) for entry in found[name]]
        effects = [
            {**verdicts.in_margins(entry, others), "label": measured(section, entry)}
            for entry, others in zip(found[name], there, strict=True)
        ]
        texts = [claim["says"] for claim in section["claims"]]
        figures.forest(effects, texts, folder / section["figure"])
    depths, curves = params["couplings"], []
    for flow, (group, (note, style)) in product(params["flows"], DEPTH_STYLES.items()):
        name, color = label_and_color(flow)
        kl = intervals(study, [(group, flow, k) for k in depths])
        curves.append((kl, {"label": f"{name}, {note}", "color": color, **style}))
    path, threshold = folder / "depth.png", params["verdicts"]["threshold"]
    figures.kl_curves(depths, "couplings", curves, path, threshold=threshold)
    curves, note = [], f"{params['curve']['flows']['couplings']} couplings at every n"
    for model, kl in kl_by_rows(study).items():
        name, color = label_and_color(model)
        text = {"gmm": "mixture of 8 (EM)", "kde": name}.get(model, f"{name}, {note}")
        curves.append((kl, {"label": text, "color": color, "fmt": "o-"}))
    path, rows, parameters = folder / "curve.png", params["curve"]["rows"], mixture_parameters()
    figures.kl_curves(rows, "training points n", curves, path, parameters=parameters)
    figures.ablation(remedies(study), folder / "ablation.png")


def measured(section: Section, entry: Entry) -> str:
    """Return the metric and the pair of an entry in the words of the figure."""

    def name(key: str) -> str:
        if key in section["names"]:
            return str(section["names"][key])
        try:
            return label(key)
        except LookupError:
            return key.replace("_", " ")

    first, second = map(name, entry["pair"])
    return f"{name(entry['metric'])}: {first} \u2212 {second}{place(entry.get('group', ''))}"


def elsewhere(study: Study, section: Section, entry: Entry) -> list[float]:
    """Return the effects at the other depths, in margins, of a claim about one depth."""
    if entry["group"] != "depth" or entry["metric"] == "couplings_needed":
        return []
    effects, metric = [], entry["metric"]
    for depth in study.params["couplings"]:
        if depth != study.params["verdicts"]["couplings"]:
            pair = [values(study, "depth", metric, name, depth) for name in entry["pair"]]
            there = compare(study, section, metric, *pair)
            effects.append(entry["sign"] * there["effect"] / there["margin"])
    return effects
