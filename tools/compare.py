"""Compare two branches: ``python -m tools.compare main deeper``, ``make compare A=main B=deeper``.

The command reads the committed settings, metrics and figures of both branches, and trains nothing.
It writes one HTML page without external resources from the template ``compare.html``, or prints the
numbers as Markdown (``--format md``). The page explains the verdicts.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from common import storage
from common.labels import label_and_color
from flows.core.errors import UserError
from flows.evaluation.statistics import LEVEL, holm
from stages.pipeline import schema
from tools import command, markdown
from tools.rank_tests import least_rank_sum_p, rank_sum_p, shift

COUNTED = ("parameters", "flops_per_epoch")  # known exactly, so they need no test
IN_NATS = ("test_nll", "test_excess_nll", "kl", "kl_reverse")
PAGE = Path("compare.html")
TEMPLATE = Path(__file__).with_suffix(".html")
VERDICTS = ("different", "within noise", "too few members", "same", "changed")
SHARED = ("data", "prepare", "evaluate")
CAVEAT = (
    "The settings of the data or of the evaluation differ. All members of a branch share the data "
    "and the draws, so a difference may be due to these. The row of the truth then differs, too."
)


@dataclass(frozen=True)
class Side:
    """The committed settings, metrics and figures of a revision."""

    name: str
    commit: str
    params: dict[str, Any]
    members: Mapping[str, pd.DataFrame]
    figures: Mapping[str, bytes]


@dataclass
class Number:
    """A metric of a model on both sides, with a value per member, and a test of the difference."""

    model: str
    metric: str
    left: np.ndarray
    right: np.ndarray
    difference: float = np.nan
    interval: tuple[float, float] = (np.nan, np.nan)  # 95% interval of the difference
    p: float = np.nan  # adjusted
    verdict: str = ""


Block = tuple[str, Any]  # "h2", "h3" or "p" with its text, or "table" with its rows, head first


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(usage="make compare A=main B=deeper [FORMAT=md]")
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--format", choices=("html", "md"), default="html")
    options = parser.parse_args(arguments)
    a, b = read(options.a), read(options.b)
    found = numbers(a, b)
    if options.format == "md":
        print(text(a, b, found))
    else:
        storage.write_bytes(PAGE, page(a, b, found).encode())
        print(f"{PAGE}: {summary(found)}")


def read(revision: str) -> Side:
    """Read the committed results of ``revision``.

    Raises ``UserError`` for an unknown revision, and for a revision without results.
    """
    try:
        commit = command.git("rev-parse", "--short", "--verify", f"{revision}^{{commit}}").strip()
    except UserError:
        branches = ", ".join(command.git("branch", "--format", "%(refname:short)").split())
        unknown = f"{revision!r} is not a branch, tag or commit of this repository"
        raise UserError(f"{unknown}; the branches are: {branches}") from None
    stored = command.content("git", "archive", "--format", "zip", "-0", revision)
    params, members, figures = {}, {}, {}
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        for name in archive.namelist():
            with storage.reading(Path(f"{revision}:{name}")):
                if name == "params.yaml":
                    content = YAML(typ="safe").load(archive.read(name))  # as the stages read it
                    params = pd.json_normalize(content).iloc[0].to_dict()
                elif name.startswith("metrics/") and name.endswith("/members.csv"):
                    members[Path(name).parent.name] = pd.read_csv(archive.open(name)).astype(float)
                elif name.startswith("figures/") and not name.endswith("/"):
                    figures[Path(name).name] = archive.read(name)
    if not params or not members:
        raise UserError(
            f"{revision} has no results: it must hold params.yaml and metrics/*/members.csv "
            "(`dvc repro`, then commit)"
        )
    return Side(revision, commit, params, members, figures)


# The numbers


def numbers(a: Side, b: Side) -> list[Number]:
    """Return all metrics of the models that both sides have, with p-values adjusted together.

    Metrics without a number on either side are left out.
    """
    found = [
        number(model, metric, left[metric].to_numpy(), right[metric].to_numpy())
        for model in ordered(a.members.keys() & b.members.keys())
        for left, right in [(a.members[model], b.members[model])]
        for metric in left.columns[1:].intersection(right.columns, sort=False)
        if left[metric].notna().any() or right[metric].notna().any()
    ]
    tested = [one for one in found if not one.verdict]
    for one, p in zip(tested, holm(np.array([one.p for one in tested])), strict=True):
        one.p = float(p)
        enough = least_rank_sum_p(len(one.left), len(one.right)) * len(tested) < LEVEL
        one.verdict = "different" if p < LEVEL else "within noise" if enough else "too few members"
    return found


def number(model: str, metric: str, left: np.ndarray, right: np.ndarray) -> Number:
    """Return one comparison; the verdict is empty if the p-value must be adjusted first."""
    one = Number(model, metric, left, right)
    if np.isfinite(left).all() and np.isfinite(right).all():
        one.difference, one.interval = shift(left, right)
    is_constant = len(np.unique(np.concatenate([left, right]))) == 1  # for any numbers of members
    if is_constant or np.array_equal(left, right, equal_nan=True):
        one.verdict = "same"
    elif metric in COUNTED:
        one.verdict = "different"
    elif min(len(left), len(right)) < 2:
        one.verdict = "changed"
    else:  # a rank test, because one flow without regularisation can score 1,000 times the others
        one.p = rank_sum_p(left, right)
    return one


# The report


def label(name: str) -> str:
    """Return the label of a model, or its name if this checkout does not have the model."""
    try:
        return label_and_color(name)[0]
    except LookupError:
        return name


def ordered(names: Set[str]) -> list[str]:
    """Return the names in the order of ``params.yaml``, then the others in alphabetical order."""
    known = [*schema.References.model_fields, *schema.load().models]
    return [name for name in known if name in names] + sorted(names - set(known))


def value(values: np.ndarray) -> str:
    """Return the mean and the standard deviation over members.

    The standard deviation is left out for a single member, and if members differ only by rounding.
    """
    lacking = int(np.isnan(values).sum())
    if lacking:
        return markdown.NONE if lacking == len(values) else f"none in {lacking} of {len(values)}"
    mean = float(values.mean())
    middle = str(int(mean)) if mean == round(mean) and abs(mean) < 1e6 else f"{mean:.4g}"
    if np.ptp(values) <= 1e-9 * np.abs(values).max():
        return middle
    return f"{middle} \u00b1 {np.std(values, ddof=1):.2g}"


def named(metric: str) -> str:
    """Return the name of a metric with its unit."""
    return f"{metric} (nat)" if metric in IN_NATS else metric


def cells(one: Number) -> list[str]:
    """Return the texts of a row of the report."""
    difference = "0" if one.verdict == "same" else f"{one.difference:+.3g}"
    if np.isnan(one.difference):
        difference = markdown.NONE
    elif one.verdict != "same" and one.metric not in COUNTED and not np.isnan(one.interval[0]):
        difference += " ({:+.3g} to {:+.3g})".format(*one.interval)
    p = "" if np.isnan(one.p) else f"{one.p:.2g}"
    both = value(one.left), value(one.right)
    return [named(one.metric), one.verdict, *both, markdown.minus(difference), p]


def summary(found: Sequence[Number]) -> str:
    """Return a line that counts the verdicts."""
    counts = Counter(one.verdict for one in found)
    parts = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
    return f"{len(found)} numbers: {', '.join(parts)}"


def report(a: Side, b: Side, found: Sequence[Number]) -> Iterator[Block]:
    """Yield the blocks of the report: the settings that differ, then the models.

    Models with equal numbers come first, then models that differ, then models of only one side.
    """
    yield "h2", f"{a.name} ({a.commit}) and {b.name} ({b.commit})"
    yield "p", f"{summary(found)}."
    sides = {
        key: [each.params.get(key, markdown.NONE) for each in (a, b)] for key in a.params | b.params
    }
    params = [[key, *map(str, pair)] for key, pair in sides.items() if pair[0] != pair[1]]
    if params:
        yield "table", [["setting", a.name, b.name], *params]
    else:
        yield "p", "No setting differs."
    if any(key.split(".")[0] in SHARED for key, *_ in params):
        yield "p", CAVEAT
    models = dict.fromkeys(one.model for one in found)
    differ = dict.fromkeys(one.model for one in found if one.verdict != "same")
    same = [label(model) for model in models if model not in differ]
    if same:
        yield "p", f"Models with the same numbers for each member: {', '.join(same)}."
    for model in differ:
        yield "h3", label(model)
        head = ["metric", "verdict", a.name, b.name, "difference (95%)", "p (Holm)"]
        yield "table", [head, *(cells(one) for one in found if one.model == model)]
    for side, other in ((a, b), (b, a)):
        for model in ordered(side.members.keys() - other.members.keys()):
            columns = side.members[model].iloc[:, 1:].dropna(axis=1, how="all")
            rows = [[named(metric), value(columns[metric].to_numpy())] for metric in columns]
            yield "h3", f"{label(model)}, only on {side.name}"
            yield "table", [["metric", side.name], *rows]


def text(a: Side, b: Side, found: Sequence[Number]) -> str:
    """Return the report in Markdown, without the pictures."""
    marks = {"h2": "## ", "h3": "### ", "p": ""}
    return "\n\n".join(
        markdown.table(block[0], block[1:], "llr") if kind == "table" else marks[kind] + block
        for kind, block in report(a, b, found)
    )


def page(a: Side, b: Side, found: Sequence[Number]) -> str:
    """Return the page, with styles and pictures embedded."""
    pictures = [figure(a, b, name) for name in sorted({*a.figures, *b.figures})]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        report="\n".join(tagged(*block) for block in report(a, b, found)),
        figures="\n".join(pictures),
    )


def tagged(kind: str, content: Any) -> str:
    """Return a block of the report in HTML."""
    if kind != "table":
        return f"<{kind}>{html.escape(content)}</{kind}>"
    rows = [f"<tr><td>{'</td><td>'.join(map(html.escape, row))}</td></tr>" for row in content]
    table = f'<div class="wide"><table>{"".join(rows)}</table></div>'
    return table.replace("<td>different</td>", "<td><b>different</b></td>")


def figure(a: Side, b: Side, name: str) -> str:
    """Return the figure ``name`` of both sides, only once if it is the same."""
    same = a.figures.get(name) == b.figures.get(name)
    shown = ""
    for side in (a,) if same else (a, b):
        suffix = ", the same on both sides" if same else f" of {side.name}"
        caption = html.escape(name + suffix)
        picture = "<p>none</p>"
        if name in side.figures:
            content = base64.b64encode(side.figures[name]).decode()
            source = f"data:image/{name.rpartition('.')[2]};base64,{content}"
            picture = f'<div class="wide"><img alt="{caption}" src="{source}"></div>'
        shown += f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"
    return f'<div class="{"" if same else "pair"}">{shown}</div>'


if __name__ == "__main__":
    command.run("compare", main)
