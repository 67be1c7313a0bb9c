"""What a fitted density is: the text of ``flows info`` and ``repr``, and a table for notebooks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from flows.core import markup
from flows.core.plurals import counted
from flows.networks import registry
from flows.networks.densities import Densities
from flows.recipe.mass import share_possible
from flows.recipe.record import MemberRecord, Record
from flows.tables.columns.schema import Schema

# Of the settings of a member
ORDER = {k: n for n, k in enumerate(("preprocessing", "components", "noise", "lasso", "ridge"))}


@dataclass(frozen=True)
class FitSummary:
    """What a fitted density is, in words.

    ``str`` gives the text that ``flows info`` prints.

    Args:
        model: the members and the settings of their model.
        columns: the columns, learned ones first: the ``name``, the ``kind`` or why the column is
            not learned, and the number of rows that lack a value, ``missing``.
        training: how the density was trained.
        score: the out-of-fold log-density per row beside that of references; empty without one.
        gain: the same score beside that of one Gaussian or, for a target, of the last reference.
        is_worse: whether that reference has a better score.
        check: the text of a stored check.
    """

    model: str
    columns: pd.DataFrame
    training: Sequence[str] = ()
    score: str = ""
    gain: str = ""
    is_worse: bool = False
    check: str = ""

    def __str__(self) -> str:
        lines = [self.model]
        for line in self.columns.itertuples():
            missing = f", missing in {counted(line.missing, 'row')}" if line.missing else ""
            lines.append(f"column {line.name}: {line.kind}{missing}")
        lines += [*self.training, *([self.score] if self.score else [])]
        return "\n".join([*lines, "", self.check] if self.check else lines)

    def to_html(self) -> str:
        """Return the table of the columns and the score, for notebooks."""
        shown = self.columns.set_index("name").rename_axis(None)
        said = [each for each in (self.gain, self.score) if each]
        return markup.lines(self.model, said) + shown.to_html()


def describe(population: Densities, schema: Schema, record: Record | None) -> FitSummary:
    """Return what a density is: the model, the columns, the training and the score."""
    about = population.description
    columns = _columns(schema, () if record is None else record.gaps)
    lines = [f"requires {' '.join(text.split())}" for text in schema.require]
    if record is None:
        return FitSummary(_model(population), columns, lines)
    recipe = f"trained with the {record.recipe} recipe on {record.rows} rows"
    recipe += " (repeated by their weights)" if "weights" in schema.reasons else ""
    lines.append(f"{recipe}, seed {about['seed']}" if "seed" in about else recipe)
    if record.members:
        lines += _members(record.members, population.member_weights.tolist())
    if record.log_mass:
        share = share_possible(population, np.array(record.log_mass))
        lines.append(f"{share:.1%} of draws meet the constraints; others are drawn again")
    if record.cuts:
        cuts = json.dumps(record.cuts)
        lines.append(f"cut by a limit of time; the setting cuts={cuts} gives the same fit")
    score, gain, is_worse = "", "", False
    if record.held_out is not None:
        score = "out-of-fold log-density per row"
        if any(record.gaps) and "targets" not in about:
            score += " (of the values that are not missing)"
        score += f": {record.held_out:.2f} +- {record.held_out_se:.2f} nat"
        score = "; ".join([score, *(f"{name} {x:.2f}" for name, x in record.references.items())])
        gain, is_worse = _gain(record.held_out, record.references)
    return FitSummary(_model(population), columns, lines, score, gain, is_worse, record.check)


def _model(population: Densities) -> str:
    """Return the numbers of members and the settings of their model."""
    about = population.description
    settings = sorted(about.get("settings", {}).items())  # in the order of a file
    model = about.get("model", type(population).__name__)
    networks, mixtures = population.network_count, population.members - population.network_count
    words = [f"{key} {value}" for key, value in settings]
    if networks and mixtures:
        both = f"{counted(networks, 'network')} and {counted(mixtures, 'mixture')}"
        return f"{both}; {model} with {', '.join(words)}" if words else both
    noun = "network" if networks and model in registry.names() else "member"
    return f"{model} of {', '.join([counted(population.members, noun), *words])}"


def _columns(schema: Schema, gaps: Sequence[int]) -> pd.DataFrame:
    """Return the frame of the columns; ``gaps`` is empty if no value is missing."""
    with_gaps = zip(schema.fields, gaps or [0] * len(schema.fields), strict=True)
    lines = []
    for field, missing in sorted(with_gaps, key=lambda each: schema.names.index(each[0].name)):
        closed = f", closed at {field.closed}" if field.closed else ""
        lines.append((field.name, f"{field.word}{closed}{field.details}", missing))
    lines += [(each.name, each.details, 0) for each in schema.unlearned]
    return pd.DataFrame(lines, columns=["name", "kind", "missing"])


def _members(members: Sequence[MemberRecord], weights: Sequence[float]) -> list[str]:
    """Return a line on the members of each setting, with their weights."""
    lines, pairs = [], zip(members, weights, strict=True)
    for settings, own in groupby(pairs, key=lambda pair: pair[0].settings):
        group, weights_of = zip(*own, strict=True)
        what = "with preprocessing" if "preprocessing" in settings else "with"
        line = f"{what} {words_of(settings)}: weight {sum(weights_of):.2f}"
        steps = [each.steps for each in group if each.steps is not None]
        if steps:
            line += f", steps {min(steps)} to {max(steps)}"
        kind = f"{settings['model']} network" if "model" in settings else "network"
        lines.append(f"{counted(len(group), kind if steps else 'mixture')} {line}")
    return lines


def _gain(held_out: float, references: Mapping[str, float]) -> tuple[str, bool]:
    """Return how much better a score is than that of the best reference, and whether it is worse.

    exp of a mean difference of log-densities is the geometric mean of the ratios of the densities.
    """
    if not references:
        return "", False
    name, reference = max(references.items(), key=lambda each: each[1])
    nat = round(held_out - reference, 2)
    power, how = abs(nat) / np.log(10), "as likely as"
    if nat:
        factor = f"10^{power:.0f}"
        if power < 4:
            factor = f"{10**power:.3g}" if power < 2 else f"{10**power:,.0f}"
        how = f"{factor} times {'more' if nat > 0 else 'less'} likely than"
    return (
        f"a held-out row is {how} under {name} ({nat:+.2f} nat per row, geometric mean)",
        nat < 0,
    )


def words_of(settings: Mapping[str, Any]) -> str:
    """Return the settings of a member as words, in the order of ``ORDER``."""
    words = []
    names = settings.keys() - {"model"}
    for key in sorted(names, key=lambda key: (ORDER.get(key, len(ORDER)), key)):
        value = settings[key]
        if key == "components":
            words.append(counted(value, "component"))
        elif value is True:
            words.append(key)
        else:
            shown = value if isinstance(value, str) else f"{value:g}"
            name = key.replace("_", " ")
            words.append(shown if key == "preprocessing" else f"{name} {shown}")
    return ", ".join(words)
