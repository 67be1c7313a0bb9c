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
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from flows.evaluation.statistics import LEVEL, holm
from flows.plotting import LABELS
from stages.settings import UserError
from tools import command

SEEDS = ("data", "prepare.seed", "prepare.test_fraction", "train.seed", "evaluate.seed")  # where they agree, member k is the same start on both sides
PAGE = Path("compare.html")
SAME = "Every number is the same, member by member."
EXPLANATION = (
    "Mean \u00b1 standard deviation over members (of the truth: over its draws). A difference is tested against their scatter: by a paired "
    "t-test where both sides have the same data and member seeds, by Welch's otherwise, with p adjusted for all numbers of the page (Holm). "
    "Different: adjusted p below 0.05. Within noise: not. Same: equal in every member. Changed: there are no replicates to tell by."
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
    """One metric of one model on both sides: mean and standard deviation over members, and what the difference comes to."""

    model: str
    metric: str
    means: tuple[float, float]
    sds: tuple[float, float]
    difference: float
    half_width: float  # of the 95% interval of the difference; NaN without replicates
    p: float  # adjusted
    verdict: str


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
    print(f"{PAGE}: {summary(found)}")


# Reading


def read(revision: str) -> Side:
    """What ``revision`` has committed. Raises ``UserError`` where it is no revision, or has no results."""
    commit = _git("rev-parse", "--short", "--verify", "--quiet", f"{revision}^{{commit}}")
    if commit is None:
        branches = (_git("branch", "--format", "%(refname:short)") or b"").decode().split()
        raise UserError(f"{revision!r} is no branch, tag or commit of this repository; the branches are: {', '.join(branches)}")
    listed = (_git("ls-tree", "-r", "--name-only", revision, "metrics", "figures", "params.yaml") or b"").decode().split("\n")
    texts = {name: _git("show", f"{revision}:{name}") or b"" for name in listed if name}
    members = {Path(name).parent.name: _table(revision, name, text) for name, text in texts.items() if name.endswith("/members.csv")}
    if "params.yaml" not in texts or not members:
        raise UserError(f"{revision} has no results: it must hold params.yaml and metrics/*/members.csv (`dvc repro`, then commit)")
    return Side(
        name=revision,
        commit=commit.decode().strip(),
        params=flat(yaml.safe_load(texts["params.yaml"])),
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


def _git(*words: str) -> bytes | None:
    done = subprocess.run(["git", *words], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def flat(section: Any, prefix: str = "") -> dict[str, Any]:
    """``{"train.epochs": 1000}`` of ``{"train": {"epochs": 1000}}``."""
    if not isinstance(section, dict):
        return {prefix: section}
    return {name: value for key, part in section.items() for name, value in flat(part, f"{prefix}.{key}" if prefix else str(key)).items()}


# The statistics


def numbers(a: Side, b: Side) -> list[Number]:
    """Every metric of every model that both sides have, tested as one family."""
    paired = all(of_section(a.params, key) == of_section(b.params, key) for key in SEEDS)
    found: list[Number] = []
    for model in [name for name in LABELS if name in a.members] + sorted(set(a.members) - set(LABELS)):
        if model not in b.members:
            continue
        left, right = a.members[model], b.members[model]
        found += [
            number(model, metric, left[metric].to_numpy(float), right[metric].to_numpy(float), paired)
            for metric in left.columns[1:]
            if metric in right
        ]
    tested = [k for k, one in enumerate(found) if one.verdict == ""]
    for k, p in zip(tested, holm(np.array([found[k].p for k in tested])), strict=True):
        found[k] = replace(found[k], p=float(p), verdict="different" if p < LEVEL else "within noise")
    return found


def of_section(params: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name == key or name.startswith(f"{key}.")}


def number(model: str, metric: str, left: np.ndarray, right: np.ndarray, paired: bool) -> Number:
    """One comparison; its verdict is left empty where a p-value has still to be adjusted."""
    means, sds = (float(left.mean()), float(right.mean())), (spread(left), spread(right))
    one = Number(model, metric, means, sds, means[1] - means[0], float("nan"), float("nan"), "")
    if np.array_equal(left, right, equal_nan=True):
        return replace(one, verdict="same")
    if not (np.isfinite(left).all() and np.isfinite(right).all()) or min(len(left), len(right)) < 2:
        return replace(one, verdict="changed")
    paired = paired and len(left) == len(right)
    if (spread(right - left) == 0) if paired else (sds == (0, 0)):  # no scatter: no doubt
        return replace(one, half_width=0.0, p=0.0)
    result = stats.ttest_1samp(right - left, 0) if paired else stats.ttest_ind(right, left, equal_var=False)
    interval = result.confidence_interval(0.95)
    return replace(one, half_width=float(interval.high - interval.low) / 2, p=float(result.pvalue))


def spread(values: np.ndarray) -> float:
    """Standard deviation over members; exactly 0 where they differ by rounding alone, ``NaN`` where there is only one."""
    if len(values) < 2:
        return float("nan")
    return 0.0 if np.ptp(values) <= 1e-9 * np.abs(values).max() else float(np.std(values, ddof=1))


def summary(found: Sequence[Number]) -> str:
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in ("different", "within noise", "same", "changed")}
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


def value(mean: float, sd: float) -> str:
    if np.isnan(mean):
        return "\u2013"
    return f"{mean:.4g}" + ("" if np.isnan(sd) or sd == 0 else f" \u00b1 {sd:.2g}")


def cells(one: Number) -> list[str]:
    difference = "\u2013" if np.isnan(one.difference) else f"{one.difference:+.3g}"
    if not np.isnan(one.half_width) and one.half_width > 0:
        difference += f" \u00b1 {one.half_width:.2g}"
    p = "" if np.isnan(one.p) else f"{one.p:.2g}"
    return [one.metric, value(one.means[0], one.sds[0]), value(one.means[1], one.sds[1]), difference, p, one.verdict]


def heads(a: Side, b: Side) -> list[str]:
    return ["metric", a.name, b.name, "difference (95%)", "p (Holm)", "verdict"]


def shown(found: Sequence[Number]) -> list[Number]:
    """Without the rows that neither side has a number for, as a GAN's KL."""
    return [one for one in found if not (np.isnan(one.means[0]) and np.isnan(one.means[1]))]


def by_model(found: Sequence[Number]) -> dict[str, list[Number]]:
    return {model: [one for one in shown(found) if one.model == model] for model in dict.fromkeys(one.model for one in found)}


def markdown(a: Side, b: Side, found: Sequence[Number]) -> str:
    parts = [f"## {a.name} ({a.commit}) and {b.name} ({b.commit})", "", summary(shown(found)) + ".", ""]
    params = changed_params(a, b)
    if params:
        parts += [f"| setting | {a.name} | {b.name} |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in params), ""]
    else:
        parts += ["No setting differs.", ""]
    for model, its in by_model(found).items():
        parts += [f"### {LABELS.get(model, model)}", ""]
        if all(one.verdict == "same" for one in its):
            parts += [SAME, ""]
            continue
        parts += [f"| {' | '.join(heads(a, b))} |", "|---|---:|---:|---:|---:|---|"]
        parts += [f"| {' | '.join(cells(one))} |" for one in its]
        parts.append("")
    return "\n".join(parts)


STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884; }
th:first-child, td:first-child, td.verdict { text-align: left; }
tr.different td.verdict { font-weight: bold; color: #b34700; } tr.changed td.verdict { font-weight: bold; }
tr.same td { opacity: .6; }
@media (prefers-color-scheme: dark) { tr.different td.verdict { color: #ff9d5c; } }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .875rem; }
img { max-width: 100%; height: auto; background: #fff; }
@media (max-width: 700px) { .pair { grid-template-columns: 1fr; } body { padding: .6rem; } }
"""


def page(a: Side, b: Side, found: Sequence[Number]) -> str:
    """The whole page. It names no address: styles and pictures are in it."""
    title = f"{a.name} and {b.name}"
    parts = [f"<h1>{_text(title)}</h1>", f"<p>{_text(f'{a.name} is {a.commit}, {b.name} is {b.commit}. {summary(shown(found))}.')}</p>"]
    parts.append("<h2>Settings</h2>")
    params = changed_params(a, b)
    parts.append(_rows(["setting", a.name, b.name], [("", row) for row in params]) if params else "<p>No setting differs.</p>")
    parts.append("<h2>Metrics</h2>")
    parts.append(f"<p>{_text(EXPLANATION)}</p>")
    for model, its in by_model(found).items():
        same = all(one.verdict == "same" for one in its)
        rows = [(one.verdict.split()[0], cells(one)) for one in its]
        parts += [f"<h3>{_text(LABELS.get(model, model))}</h3>", f"<p>{SAME}</p>" if same else _rows(heads(a, b), rows)]
    only = sorted(set(a.members) ^ set(b.members))
    if only:
        parts.append(f"<p>{_text('On one side only: ' + ', '.join(only) + '.')}</p>")
    parts.append("<h2>Training</h2>")
    parts += [_image(histories(a, b, model), f"training of {model} on both sides") for model in a.histories if model in b.histories]
    parts.append("<h2>Figures</h2>")
    for name in sorted({*a.figures, *b.figures}):
        parts.append(f"<h3>{_text(name)}</h3>")
        if a.figures.get(name) == b.figures.get(name):
            parts.append(f"<p>The same on both sides.</p>{_image(a.figures[name], name, name)}")
            continue
        pair = [(side.name, _image(side.figures[name], f"{name} of {side.name}", name) if name in side.figures else "<p>none</p>") for side in (a, b)]
        parts.append(
            f'<div class="pair">{"".join(f"<figure>{picture}<figcaption>{_text(side)}</figcaption></figure>" for side, picture in pair)}</div>'
        )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{_text(title)}</title>'
    icon = '<link rel="icon" href="data:,">'  # or a browser asks for one
    return f'<!doctype html>\n<html lang="en"><head>{head}{icon}<style>{STYLE}</style></head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def histories(a: Side, b: Side, model: str) -> bytes:
    """Every curve of one model, both sides in one picture: mean over members, and one standard deviation as a band."""
    import matplotlib.pyplot as plt

    from flows import plotting

    curves = [column for column in a.histories[model].columns[1:] if not column.endswith("_sd") and column in b.histories[model]]
    with plt.rc_context(plotting.STYLE):
        figure, axes = plt.subplots(1, len(curves), figsize=(4.6 * len(curves), 3.2), squeeze=False)
        for axis, column in zip(axes[0], curves, strict=True):
            settled = []
            for side, color, line in ((a, "#0072B2", "-"), (b, "#D55E00", "--")):
                history = side.histories[model]
                mean, sd = history[column], history[f"{column}_sd"]
                axis.plot(history["epoch"], mean, line, color=color, label=side.name)
                axis.fill_between(history["epoch"], mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0)
                settled.append(mean[len(mean) // 10 :])
            low, high = np.nanquantile(np.concatenate(settled), [0, 0.98])
            if np.isfinite([low, high]).all() and high > low:
                axis.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
            axis.set(title=LABELS.get(model, model), xlabel="epoch", ylabel=f"{column} (nat)")
            axis.legend(fontsize=8, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
    return buffer.getvalue()


def _text(words: str) -> str:
    return html.escape(words)


def _rows(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in head)}</tr>"]
    for kind, row in rows:
        *first, last = row
        lines.append(f'<tr class="{kind}">{"".join(f"<td>{_text(cell)}</td>" for cell in first)}<td class="verdict">{_text(last)}</td></tr>')
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _image(content: bytes, alt: str, name: str = "picture.png") -> str:
    kind = "gif" if name.endswith(".gif") else "png"
    return f'<img alt="{_text(alt)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'


if __name__ == "__main__":
    command.run("compare", main)
