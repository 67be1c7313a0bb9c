"""A report of a fit: what it is, what to mind, and pictures, in one HTML file.

The numbers and words are those of ``describe``, ``check`` and the notices of the fit, and the
pictures those of ``pictures``. ``report.html`` is the page.
"""

from __future__ import annotations

import json
import math
import platform
import re
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, replace
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from flows.core import atomic
from flows.core.arrays import subsample
from flows.core.associations import MOST_ROWS
from flows.core.plurals import counted
from flows.core.progress import progress, show_state
from flows.core.version import VERSION
from flows.plotting import Scene, by_column, draw
from flows.plotting.associations import draw_associations
from flows.plotting.check import draw_check
from flows.plotting.style import NARROW, SMALL, WIDTH
from flows.tables.checking.check import check
from flows.tables.checking.result import FAR, NAMES, Check
from flows.tables.checking.rows import CheckedRows
from flows.tables.columns.notices import Words, merged
from flows.tables.density import pictures
from flows.tables.density.description import FitSummary, describe
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.score import Score
from flows.tables.questions.surprise import Surprise

FIRST = 12  # lines of a list that are not folded
CARDS = 24  # columns that are drawn, at most
STRANGEST, SCORED = 10, 20_000  # rows that are shown, and rows that are scored, about
ODD, ODDITIES = 1.0, 4  # nat: the least surprise of an odd value; odd values of a row, at most
STRONGEST = 3  # columns along which a target is drawn, at most
PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-learn")
UNUSUAL = 0.05  # a p-value of the fit that is put first


@dataclass(frozen=True)
class Report:
    """A report of a fit as a page of HTML, which a notebook shows.

    Args:
        html: the page, which loads nothing.
    """

    html: str

    def save(self, path: str | Path) -> None:
        """Write the page to a file, whole or not at all. Raises ``OSError``."""
        with atomic.replacing(Path(path)) as unfinished:
            unfinished.write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, so that its style does not change a notebook."""
        style = "width: 100%; height: 80vh; border: 1px solid #888"
        return f'<iframe srcdoc="{escape(self.html)}" style="{style}"></iframe>'


class Picture(NamedTuple):
    """A picture in the page: its bytes as a URL, and its text for readers who do not see it."""

    url: str
    text: str
    width: float  # inches


class Card(NamedTuple):
    """A column of the page.

    Attributes:
        name: the name.
        kind: its kind, or why it is not learned.
        missing: the number of rows that lack a value.
        numbers: the statistics, each with that of samples and that of rows.
        shares: the shares of values, as text.
        picture: rows and samples; ``None`` if the column is folded, or not learned.
    """

    name: str
    kind: str
    missing: int
    numbers: list[tuple[str, str, str]]
    shares: list[str]
    picture: Picture | None


class OddRow(NamedTuple):
    """A row with a small density, or several that break the same constraints.

    Attributes:
        names: how the user names the rows.
        log_density: the log-density in nats.
        tail: the probability of a smaller density; ``NaN`` if it is unknown.
        values: the odd values, each with the column and the surprise in nats.
        broken: the constraints that the rows break.
    """

    names: list[str]
    log_density: float
    tail: float
    values: list[tuple[str, str, float]]
    broken: list[str]


def report(
    density: ArrayDensity,
    rows: CheckedRows,
    words: Words,
    *,
    title: str,
    repeat: str,
    refits: int = 0,
    minutes: float | None = None,
    seed: int = 0,
) -> Report:
    """Return the report of a fit.

    Args:
        density: the density.
        rows: the rows of a table, which ``read_rows`` returns.
        words: the words of a front end for remedies.
        title: the name of the density.
        repeat: the command that verifies the fit.
        refits: the number of refits of the check.
        minutes: the limit of time for the refits.
        seed: the seed of all random numbers.

    Raises the errors of ``check``, and ``UserError`` if the density is a reference.
    """
    checked = check(density, rows, refits, minutes, seed)
    summary = describe(density.population, density.schema, density.record)
    with progress("report", None, "part") as bar:
        show_state(bar, "drawing")
        few = rows.values[subsample(np.arange(len(rows.values)), MOST_ROWS)]
        scene = pictures.scene_of(density, few, np.asarray(checked.drawn))
        content = {
            "title": title,
            "lead": _lead(density, summary),
            "minds": _to_mind(summary, checked, rows, words),
            "targets": _targets(density, rows),
            "cards": _cards(density, rows, checked, summary, scene),
            "pairs": _pairs(density, checked, scene),
            "check": checked,
            "calibration": _check_pictures(checked),
        }
        bar.update()
        show_state(bar, "scoring rows")
        every = max(1, round(len(rows.values) / SCORED))
        content |= {"strangest": _strangest(density, rows, every), "every": every}
        bar.update()
    record = density.record
    options = json.dumps(record.fit) if record is not None and record.fit else ""
    content |= {"repeat": repeat if options else "", "options": options, "summary": summary}
    content |= {"versions": _versions(), "first": FIRST}
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
    )
    environment.filters["capital"] = _capital
    environment.globals |= {"counted": counted, "infinity": math.inf}
    return Report(environment.get_template("report.html").render(content))


def _lead(density: ArrayDensity, summary: FitSummary) -> str:
    """Return the sentence that says what was fitted to what, and how good the fit is."""
    record, targets = density.record, density.targets
    what = counted(len(density.names) - len(targets), "column")
    if targets:
        what = f"{' and '.join(targets)} given {what}"
    rows = "" if record is None else f" of {record.rows:,} rows"
    members = re.split("[;,]", summary.model)[0]
    text = f"{members}, fitted to {what}{rows}"
    return f"{text}: {summary.gain}." if summary.gain else f"{text}."


def _to_mind(summary: FitSummary, checked: Check, rows: CheckedRows, words: Words) -> list[str]:
    """Return what a reader should mind, the worst first."""
    found = checked.about() if checked.why else []
    if summary.is_worse:
        found.append(summary.gain)
    if checked.p_fit <= UNUSUAL:
        found.append(checked.tests().lines[0])
    found += [*checked.alone(), *_differences(checked)]
    return found + [notice.text(words) for notice in merged(rows.notices)]


def _differences(checked: Check) -> list[str]:
    """Return the large differences between samples and rows, the largest first.

    The statistics of a column are one line, which gives the two largest. A column that is in most
    of three or more associations is named before these: such a column may have been permuted.
    """
    findings, found, said = checked.findings, list[str](), set[tuple[str, ...]]()
    often = Counter(name for each in findings if each.of == "pair" for name in each.columns)
    pairs, is_first_pair = sum(each.of == "pair" for each in findings), True
    for each in findings:
        if each.of == "column":
            if each.columns not in said:
                said.add(each.columns)
                own = [other.text for other in findings if other[2:] == each[2:]]
                more = f"and {counted(len(own) - 2, 'more statistic')} of this column"
                found.append("; ".join([*own[:2], *([more] if own[2:] else [])]))
            continue
        if each.of == "pair" and is_first_pair:
            is_first_pair, (name, count) = False, often.most_common(1)[0]
            if pairs > 2 and count > pairs / 2:
                found.append(f"`{name}` is in {count} of {pairs} associations that differ:")
        found.append(each.text)
    return found or [f"no difference between samples and rows is above {FAR:g} standard errors"]


def _cards(
    density: ArrayDensity, rows: CheckedRows, checked: Check, summary: FitSummary, scene: Scene
) -> list[Card]:
    """Return the columns; those that are drawn come first.

    They are the columns with the largest differences, in the order of the table.
    """
    shown = by_column.as_shown(scene)
    numbers, shares = checked.statistics()
    differences = checked.samples.assign(size=checked.samples["difference"].abs())
    largest = differences.groupby("column")["size"].max()
    names = [name for name in summary.columns["name"] if name in density.names]
    order = sorted(names, key=lambda name: -float(largest.get(name, 0.0)))
    is_drawn = {*order[:CARDS]}
    cards = []
    for line in summary.columns.itertuples():
        own, picture, missing = [], None, 0
        if line.name in density.names:
            missing = int(np.isnan(rows.values[:, density.schema.find(line.name)]).sum())
        if line.name in numbers.index:
            texts = numbers.loc[line.name].items()
            own = [(NAMES.get(k, str(k)), *text.split("|", 1)) for k, text in texts if text]
        if line.name in is_drawn:
            d = density.schema.find(line.name)
            inputs = density.inputs[d]
            figure = by_column.single(replace(shown, rows=[]) if inputs else shown, d)
            over = "Histogram of rows" if inputs else "Histograms of rows, filled, and of samples"
            picture = _picture(figure, f"{over}: {line.name}", SMALL)
        kind, share = str(line.kind), shares.get(line.name, [])
        cards.append(Card(line.name, kind, missing, own, share, picture))
    return sorted(cards, key=lambda card: card.picture is None)


def _pairs(density: ArrayDensity, checked: Check, scene: Scene) -> dict[str, list[Picture]]:
    """Return the pictures of pairs of columns: associations, and samples over rows."""
    found: dict[str, list[Picture]] = {"associations": [], "plot": []}
    if len(checked.pairs):
        for of in ("rows", "samples"):
            text = f"Associations of pairs of columns in {of}, as a matrix; the list has numbers"
            figure = draw_associations(checked.pairs, of)
            found["associations"].append(_picture(figure, text, NARROW))
    if not density.targets and len(density.columns) > 1:
        text = "Pairs of columns: samples over rows below the diagonal, counts of samples above"
        found["plot"].append(_picture(draw("pairs.png", scene), text, WIDTH))
    return found


def _targets(density: ArrayDensity, rows: CheckedRows) -> dict[str, list[Picture]]:
    """Return the pictures of targets: along the strongest columns, and of held-out rows."""
    found: dict[str, list[Picture]] = {"along": [], "held_out": []}
    if not density.targets:
        return found
    names = " and ".join(density.targets)
    count = STRONGEST if len(density.targets) == 1 else 1  # several targets are drawn
    for d in pictures.strongest(density, rows.values)[:count]:
        if not np.isnan(rows.values[:, d]).all():
            figure = pictures.of_target(density, rows.values, d, width=NARROW)
            text = f"Predictions of {names} along {density.names[d]}, over the rows"
            found["along"].append(_picture(figure, text, NARROW))
    for figure in pictures.held_out(density, rows):
        text = f"Predictions of {names} for held-out rows beside the values of the rows"
        found["held_out"].append(_picture(figure, text, NARROW))
    return found


def _check_pictures(checked: Check) -> dict[str, Picture]:
    """Return the pictures of the check."""
    texts = {
        "ranks": "Ranks of rows among draws, minus those of a right density; the line of the rows "
        "stays near 0 if the density is right",
        "cover": "Share of rows in regions of 50% and 90%, with intervals, for each column",
        "traces": "The rows with the largest memorisation scores",
    }
    there = ["ranks", "cover"] if np.isfinite(checked.ranks).any() else ["cover"]
    if len(checked.traces) and (checked.traces["members"] == "networks").any():
        there.append("traces")
    return {
        name: _picture(draw_check(checked, [name], NARROW), texts[name], NARROW) for name in there
    }


def _strangest(density: ArrayDensity, rows: CheckedRows, every: int) -> list[OddRow]:
    """Return the complete rows with the smallest densities among each ``every``-th row."""
    places = np.flatnonzero(~np.isnan(rows.values).any(axis=1))[::every]
    places = np.intersect1d(places, rows.copies)  # a row and its copies count once
    if not len(places):
        return []
    scored = Score(tails=True).answer(density, Region(rows.values[places], places))
    least = np.argsort(scored["log_density"], kind="stable")[:STRANGEST]
    few = rows.values[places[least]]
    surprise = Surprise().answer(density, Region(few, places[least]))["surprise"]
    broken, found = density.constraints.broken(few), list[OddRow]()
    for k, place in enumerate(least.tolist()):
        name = str(rows.labels[places[place]])
        lost = [density.constraints.each[c].text for c in np.flatnonzero(broken[k]).tolist()]
        if lost and found and found[-1].broken == lost:
            found[-1].names.append(name)
            continue
        order = np.argsort(-np.nan_to_num(surprise[k]), kind="stable")[:ODDITIES].tolist()
        values = [
            (density.names[d], density.columns[d].short_text(few[k, d]), float(surprise[k, d]))
            for d in order
            if surprise[k, d] > ODD and not lost
        ]
        tail = float(scored["tail_probability"][place])
        found.append(OddRow([name], float(scored["log_density"][place]), tail, values, lost))
    return found


def _picture(figure: Any, text: str, width: float) -> Picture:
    """Return a figure as a picture of the page."""
    url = "data:image/png;base64," + b64encode(figure._repr_png_()).decode()
    return Picture(url, text, width)


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"flows {VERSION}, Python {platform.python_version()}, {packages}"


def _capital(text: str) -> str:
    """Return a text with a capital; a name in backticks at its beginning stays as it is."""
    return text[:1].upper() + text[1:]
