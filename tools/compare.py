"""Two branches side by side: ``python -m tools.compare main deeper``, or ``make compare A=main B=deeper``.

Reads what both have committed and runs nothing: settings, metrics, histories and figures. Writes one HTML page that needs nothing but
itself, or prints the numbers as Markdown (``--format md``). What a verdict means is said in ``EXPLANATION``.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from flows.core.errors import UserError
from flows.evaluation.statistics import LEVEL, holm
from flows.plotting import LABELS
from tools import command

COUNTED = ("parameters", "flops_per_epoch")  # known exactly, so that two of them differ or not
EXACT = 100  # so many members of both sides together have their p-value from all ways to share them out
UNITS = {"test_nll": "nat", "test_excess_nll": "nat", "kl": "nat", "kl_reverse": "nat"}
CURVES = {
    "train_nll": "training NLL (nat)",
    "test_nll": "test NLL (nat)",
    "generator_loss": "generator's loss (nat)",
    "discriminator_loss": "discriminator's loss (nat)",
}
PAGE = Path("compare.html")
FEW = "too few members"
VERDICTS = ("different", "within noise", FEW, "same", "changed")
EXPLANATION = (
    "Mean \u00b1 standard deviation over members (of the truth: over its draws). The difference is the median of all differences between a "
    "member of one side and one of the other. It is tested by ranks (Wilcoxon's rank-sum test, exact), so that one member that went "
    "astray can't hide what the others show, with p adjusted for all numbers of the page (Holm). Different: adjusted p below 0.05. "
    "Within noise: not, though it could be; too few members: it could not, whatever they score. Same: equal in every member. "
    "Changed: single fits, with no scatter to tell by."
)
SHARED = ("data", "prepare", "evaluate")
CAVEAT = (
    "The settings of data or evaluation differ. All members of a side share theirs, so that a difference may be one of data and draws and not of "
    "the models. Those of the truth are."
)


@dataclass(frozen=True)
class Side:
    """What a revision has committed."""

    name: str
    commit: str
    params: Mapping[str, Any]
    members: Mapping[str, pd.DataFrame]
    headlines: Mapping[str, Mapping[str, float | None]]
    histories: Mapping[str, pd.DataFrame]
    figures: Mapping[str, bytes]


@dataclass(frozen=True)
class Number:
    """One metric of one model on both sides, and what the difference comes to."""

    model: str
    metric: str
    means: tuple[float, float]  # NaN where a member has no number
    sds: tuple[float, float]
    members: tuple[int, int]
    lacking: tuple[int, int]  # members without a number
    difference: float = float("nan")
    interval: tuple[float, float] = (float("nan"), float("nan"))  # of the difference, 95%
    p: float = float("nan")  # adjusted
    verdict: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description="compare two branches")
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--format", choices=("html", "md"), default="html")
    arguments = parser.parse_args()
    command.git("rev-parse", "--git-dir")  # a clear error where there is no Git, or no repository
    a, b = read(arguments.a), read(arguments.b)
    found = numbers(a, b)
    if arguments.format == "md":
        print(markdown(a, b, found))
        return
    PAGE.write_text(page(a, b, found), encoding="utf-8")
    print(f"{PAGE}: {summary(shown(found))}")


# Reading


def read(revision: str) -> Side:
    """What ``revision`` has committed. Raises ``UserError`` where it is no revision, or has no results."""
    try:
        commit = command.git("rev-parse", "--short", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except UserError:
        branches = command.git("branch", "--format", "%(refname:short)").split()
        raise UserError(f"{revision!r} is no branch, tag or commit of this repository; the branches are: {', '.join(branches)}") from None
    listed = command.git("ls-tree", "-r", "-z", "--name-only", revision, "metrics", "figures", "params.yaml").split("\0")[:-1]
    texts = dict(zip(listed, _contents([f"{revision}:{name}" for name in listed]), strict=True))
    members = {Path(name).parent.name: _table(revision, name, text) for name, text in texts.items() if name.endswith("/members.csv")}
    if "params.yaml" not in texts or not members:
        raise UserError(f"{revision} has no results: it must hold params.yaml and metrics/*/members.csv (`dvc repro`, then commit)")
    return Side(
        name=revision,
        commit=commit,
        params=command.flat(yaml.safe_load(texts["params.yaml"]), lists=False),
        members=members,
        headlines={Path(name).stem: json.loads(text) for name, text in texts.items() if name.endswith(".json")},
        histories={Path(name).parent.name: _table(revision, name, text) for name, text in texts.items() if name.endswith("/history.csv")},
        figures={Path(name).name: text for name, text in texts.items() if name.startswith("figures/")},
    )


def _table(revision: str, name: str, text: bytes) -> pd.DataFrame:
    try:
        return pd.read_csv(io.BytesIO(text))
    except ValueError as error:
        raise UserError(f"{revision}:{name}: can't be read ({' '.join(str(error).split())})") from None


def _contents(names: Sequence[str]) -> list[bytes]:
    """What Git has under these names, all by one process: a line that ends in the size, the bytes, and a newline."""
    done = subprocess.run(["git", "cat-file", "--batch"], input="\n".join(names).encode(), capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"git cat-file: {' '.join(done.stderr.decode().split())}")
    said, found = done.stdout, []
    for _ in names:
        head, _, said = said.partition(b"\n")
        size = int(head.split()[-1])
        found.append(said[:size])
        said = said[size + 1 :]
    return found


# The statistics


def numbers(a: Side, b: Side) -> list[Number]:
    """Every metric of every model that both sides have, tested as one family."""
    found: list[Number] = []
    for model in [name for name in LABELS if name in a.members] + sorted(set(a.members) - set(LABELS)):
        if model not in b.members:
            continue
        left, right = a.members[model], b.members[model]
        found += [
            number(model, metric, left[metric].to_numpy(float), right[metric].to_numpy(float)) for metric in left.columns[1:] if metric in right
        ]
    tested = [k for k, one in enumerate(found) if one.verdict == ""]
    for k, p in zip(tested, holm(np.array([found[k].p for k in tested])), strict=True):
        told = least_p(*found[k].members) * len(tested) < LEVEL
        found[k] = replace(found[k], p=float(p), verdict="different" if p < LEVEL else "within noise" if told else FEW)
    return found


def number(model: str, metric: str, left: np.ndarray, right: np.ndarray) -> Number:
    """One comparison; its verdict is left empty where a p-value has still to be adjusted."""
    one = Number(
        model,
        metric,
        means=(float(left.mean()), float(right.mean())),
        sds=(spread(left), spread(right)),
        members=(len(left), len(right)),
        lacking=(int(np.isnan(left).sum()), int(np.isnan(right).sum())),
    )
    if np.isfinite(left).all() and np.isfinite(right).all():
        difference, interval = shift(left, right)
        one = replace(one, difference=difference, interval=interval)
    if np.array_equal(left, right, equal_nan=True):
        return replace(one, verdict="same")
    if metric in COUNTED:
        return replace(one, verdict="different")
    if min(len(left), len(right)) < 2:
        return replace(one, verdict="changed")
    return replace(one, p=rank_sum_p(left, right))


def rank_sum_p(left: np.ndarray, right: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's rank-sum test (1945): the share of all ways to share the values out that are as far from the middle.

    Ties have the mean of their ranks. What is no number counts as larger than all that are. With more than ``EXACT`` values it is the
    normal approximation. The members' means are no good for a test: a flow without regularisation can score a thousand times the others.
    """
    ranked = np.concatenate([left, right])
    ranks = stats.rankdata(np.where(np.isnan(ranked), np.inf, ranked))
    if len(ranked) > EXACT:
        return float(stats.mannwhitneyu(ranks[: len(left)], ranks[len(left) :], method="asymptotic").pvalue)
    doubled = np.rint(2 * ranks).astype(int)  # whole numbers
    ways = np.zeros((len(left) + 1, doubled.sum() + 1))  # how many choices of so many values have that sum of ranks
    ways[0, 0] = 1
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, :-rank]
    middle = len(left) * (len(ranked) + 1)
    distance = np.abs(np.arange(ways.shape[1]) - middle)
    return float(ways[-1, distance >= abs(doubled[: len(left)].sum() - middle)].sum() / ways[-1].sum())


def least_p(left: int, right: int) -> float:
    """The p-value of so many members where all of one side are above all of the other."""
    return 2 / math.comb(left + right, left)


def shift(left: np.ndarray, right: np.ndarray) -> tuple[float, tuple[float, float]]:
    """The median of all differences between a value of ``right`` and one of ``left``, and its 95% interval: ``NaN`` for too few values.

    Source: Hodges and Lehmann 1963; the interval by the normal approximation, as in Hollander and Wolfe 1999, equation 4.41.
    """
    differences = np.sort((right[:, None] - left).ravel())
    count, total = len(differences), len(left) + len(right)
    outside = math.floor(count / 2 - stats.norm.ppf(0.975) * math.sqrt(count * (total + 1) / 12))
    interval = (float(differences[outside - 1]), float(differences[-outside])) if outside >= 1 else (float("nan"), float("nan"))
    return float(np.median(differences)), interval


def spread(values: np.ndarray) -> float:
    """Standard deviation over members; exactly 0 where they differ by rounding alone, ``NaN`` where there is only one."""
    if len(values) < 2:
        return float("nan")
    return 0.0 if np.ptp(values) <= 1e-9 * np.abs(values).max() else float(np.std(values, ddof=1))


def caveat(a: Side, b: Side) -> str:
    """What to keep in mind; empty where members are all the chance that there is."""
    return CAVEAT if any(key.split(".")[0] in SHARED for key, *_ in changed_params(a, b)) else ""


def summary(found: Sequence[Number]) -> str:
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in VERDICTS}
    return f"{len(found)} numbers: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def changed_params(a: Side, b: Side) -> list[tuple[str, str, str]]:
    missing = object()
    rows = []
    for key in [*a.params, *(key for key in b.params if key not in a.params)]:
        left, right = a.params.get(key, missing), b.params.get(key, missing)
        if left != right:
            rows.append((key, "\u2013" if left is missing else str(left), "\u2013" if right is missing else str(right)))
    return rows


# Words


def value(mean: float, sd: float, members: int, lacking: int) -> str:
    if lacking:
        return "\u2013" if lacking == members else f"none in {lacking} of {members}"
    text = str(int(mean)) if mean == round(mean) and abs(mean) < 1e6 else f"{mean:.4g}"
    return text + ("" if np.isnan(sd) or sd == 0 else f" \u00b1 {sd:.2g}")


def cells(one: Number) -> list[str]:
    difference = "\u2013" if np.isnan(one.difference) else "0" if one.verdict == "same" else f"{one.difference:+.3g}"
    if one.verdict != "same" and one.metric not in COUNTED and not np.isnan(one.interval[0]):
        difference += f" ({one.interval[0]:+.3g} to {one.interval[1]:+.3g})"
    p = "" if np.isnan(one.p) else f"{one.p:.2g}"
    sides = [value(*each) for each in zip(one.means, one.sds, one.members, one.lacking, strict=True)]
    unit = f" ({UNITS[one.metric]})" if one.metric in UNITS else ""
    return [one.metric + unit, one.verdict, *sides, difference.replace("-", "\u2212"), p]


def heads(a: Side, b: Side) -> list[str]:
    return ["metric", "verdict", a.name, b.name, "difference (95%)", "p (Holm)"]


def shown(found: Sequence[Number]) -> list[Number]:
    """Without the rows that neither side has a number for, as a GAN's KL."""
    return [one for one in found if one.lacking != one.members]


def by_model(found: Sequence[Number]) -> dict[str, list[Number]]:
    """The numbers of every model that has one that is not the same."""
    models = dict.fromkeys(one.model for one in shown(found) if one.verdict != "same")
    return {model: [one for one in shown(found) if one.model == model] for model in models}


def same_models(found: Sequence[Number]) -> str:
    """A sentence on the models that ``by_model`` leaves out; empty where there are none."""
    different = by_model(found)
    names = [LABELS.get(model, model) for model in dict.fromkeys(one.model for one in shown(found)) if model not in different]
    return f"The same in every number, member by member: {', '.join(names)}." if names else ""


def markdown(a: Side, b: Side, found: Sequence[Number]) -> str:
    parts = [f"## {a.name} ({a.commit}) and {b.name} ({b.commit})", "", summary(shown(found)) + ".", ""]
    params = changed_params(a, b)
    if params:
        parts += [f"| setting | {a.name} | {b.name} |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in params), ""]
    else:
        parts += ["No setting differs.", ""]
    if caveat(a, b):
        parts += [caveat(a, b), ""]
    if same_models(found):
        parts += [same_models(found), ""]
    for model, its in by_model(found).items():
        parts += [f"### {LABELS.get(model, model)}", "", f"| {' | '.join(heads(a, b))} |", "|---|---|---:|---:|---:|---:|"]
        parts += [f"| {' | '.join(cells(one))} |" for one in its]
        parts.append("")
    return "\n".join(parts)


STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { max-width: 50rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2), .settings th, .settings td { text-align: left; }
tr.different td:nth-child(2) { font-weight: bold; color: #b34700; } tr.changed td:nth-child(2) { font-weight: bold; }
tr.same td { opacity: .6; }
@media (prefers-color-scheme: dark) { tr.different td:nth-child(2) { color: #ff9d5c; } }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; } figcaption { font-weight: bold; font-size: .875rem; }
img { max-width: 100%; height: auto; background: #fff; }
@media (max-width: 700px) { .pair { grid-template-columns: minmax(0, 1fr); } body { padding: .6rem; } .large { max-width: none; width: 50rem; } }
"""


def page(a: Side, b: Side, found: Sequence[Number]) -> str:
    """The whole page. It names no address: styles and pictures are in it."""
    title = f"{a.name} and {b.name}"
    parts = [f"<h1>{_text(title)}</h1>", f"<p>{_text(f'{a.name} is {a.commit}, {b.name} is {b.commit}. {summary(shown(found))}.')}</p>"]
    parts.append("<h2>Settings</h2>")
    params = changed_params(a, b)
    rows = [("", row) for row in params]
    parts.append(f'<div class="settings">{_rows(["setting", a.name, b.name], rows)}</div>' if params else "<p>No setting differs.</p>")
    parts.append("<h2>Metrics</h2>")
    parts.append(f"<p>{_text(EXPLANATION)}</p>")
    if caveat(a, b):
        parts.append(f"<p><strong>{_text(caveat(a, b))}</strong></p>")
    if same_models(found):
        parts.append(f"<p>{_text(same_models(found))}</p>")
    for model, its in by_model(found).items():
        parts += [f"<h3>{_text(LABELS.get(model, model))}</h3>", _rows(heads(a, b), [(one.verdict.split()[0], cells(one)) for one in its])]
    only = sorted(set(a.members) ^ set(b.members))
    if only:
        parts.append(f"<p>{_text('On one side only: ' + ', '.join(only) + '.')}</p>")
    both = [model for model in dict.fromkeys([*LABELS, *a.histories]) if model in a.histories and model in b.histories]
    parts.append("<h2>Training</h2>")
    parts.append(f"<p>{_text(f'Mean and standard deviation over members: {a.name} dashed and grey, {b.name} in the colour of the model.')}</p>")
    parts += [f'<div class="pair">{"".join(_image(*curve) for curve in histories(a, b, model))}</div>' for model in both]
    parts.append("<h2>Figures</h2>")
    for name in sorted({*a.figures, *b.figures}):
        parts.append(f"<h3>{_text(name)}</h3>")
        if a.figures.get(name) == b.figures.get(name):
            parts.append(f"<p>The same on both sides.</p>{_figure(a, name)}")
        else:
            sides = (f"<figure><figcaption>{_text(side.name)}</figcaption>{_figure(side, name)}</figure>" for side in (a, b))
            parts.append(f'<div class="pair">{"".join(sides)}</div>')
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{_text(title)}</title>'
    icon = '<link rel="icon" href="data:,">'  # or a browser asks for one
    return f'<!doctype html>\n<html lang="en"><head>{head}{icon}<style>{STYLE}</style></head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def histories(a: Side, b: Side, model: str) -> list[tuple[bytes, str]]:
    """A picture for every curve of one model, with both sides in it: mean over members, and one standard deviation as a band; and its words."""
    import matplotlib.pyplot as plt

    from flows import plotting

    columns = [column for column in a.histories[model].columns[1:] if not column.endswith("_sd") and column in b.histories[model]]
    lines = ((a, plotting.DATA_COLOR, "--"), (b, plotting.COLORS.get(model, plotting.SPARE_COLORS[0]), "-"))
    pictures = []
    for column in columns:
        # The margins are fixed, as a layout that is worked out takes twice the time.
        with plt.rc_context({**plotting.STYLE, "figure.constrained_layout.use": False}):
            figure, axis = plt.subplots(figsize=(5.0, 3.2))
            figure.subplots_adjust(left=0.15, right=0.97, bottom=0.16, top=0.9)
            settled = []
            for side, color, line in lines:
                history = side.histories[model]
                mean, sd = history[column], history[f"{column}_sd"]
                axis.plot(history["epoch"], mean, line, color=color, label=side.name)
                axis.fill_between(history["epoch"], mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0)
                settled.append(mean[len(mean) // 10 :])
            low, high = np.nanquantile(np.concatenate(settled), [0, 0.98])
            if np.isfinite([low, high]).all() and high > low:
                axis.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
            title = LABELS.get(model, model)
            axis.set(title=title, xlabel="epoch", ylabel=CURVES.get(column, column))
            axis.legend(fontsize=9, frameon=False)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png")
            plt.close(figure)
        pictures.append((buffer.getvalue(), f"{CURVES.get(column, column)} of {title} on both sides"))
    return pictures


def _text(words: str) -> str:
    return html.escape(words)


def _rows(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in head)}</tr>"]
    lines += [f'<tr class="{kind}">{"".join(f"<td>{_text(cell)}</td>" for cell in row)}</tr>' for kind, row in rows]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _figure(side: Side, name: str) -> str:
    """A committed figure; on a narrow screen it is wider than that and can be moved, or its letters could not be read."""
    return f'<div class="wide">{_image(side.figures[name], f"{name} of {side.name}", name, "large")}</div>' if name in side.figures else "<p>none</p>"


def _image(content: bytes, alt: str, name: str = "picture.png", kind: str = "") -> str:
    form = "gif" if name.endswith(".gif") else "png"
    return f'<img class="{kind}" alt="{_text(alt)}" src="data:image/{form};base64,{base64.b64encode(content).decode()}">'


if __name__ == "__main__":
    command.run("compare", main)
