"""The text that ``flows info`` and ``repr`` show for a fitted density."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np

from flows.networks import registry
from flows.networks.densities import Densities
from flows.recipe.mass import share_possible
from flows.recipe.record import Record
from flows.tables.columns.field import Field
from flows.tables.columns.schema import Schema

# Of the settings of a member
ORDER = {k: n for n, k in enumerate(("preprocessing", "components", "noise", "lasso", "ridge"))}


def describe(population: Densities, schema: Schema, record: Record | None) -> str:
    """Return lines on the model, the columns, the training, the members and the score."""
    about = population.description
    settings = sorted(about.get("settings", {}).items())  # in the order of a file
    model = about.get("model", type(population).__name__)
    networks, mixtures = population.network_count, population.members - population.network_count
    words = [f"{key} {value}" for key, value in settings]
    if networks and mixtures:
        both = f"{_count(networks, 'network')} and {_count(mixtures, 'mixture')}"
        lines = [f"{both}; {model} with {', '.join(words)}" if words else both]
    else:
        noun = "network" if networks and model in registry.names() else "member"
        lines = [f"{model} of {', '.join([_count(population.members, noun), *words])}"]
    gaps = [0] * len(schema.fields) if record is None else record.gaps or [0] * len(schema.fields)
    with_gaps = zip(schema.fields, gaps, strict=True)
    in_table = sorted(with_gaps, key=lambda each: schema.names.index(each[0].name))
    lines += [_column(*each) for each in in_table]
    lines += [f"column {each.name}: {each.details}" for each in schema.unlearned]
    lines += [f"requires {' '.join(text.split())}" for text in schema.require]
    if record is None:
        return "\n".join(lines)
    recipe = f"trained with the {record.recipe} recipe on {record.rows} rows"
    recipe += " (repeated by their weights)" if "weights" in schema.reasons else ""
    lines.append(f"{recipe}, seed {about['seed']}" if "seed" in about else recipe)
    if record.members:
        weights = population.member_weights.tolist()
        pairs = zip(record.members, weights, strict=True)
        for settings, own in groupby(pairs, key=lambda pair: pair[0].settings):
            members, weights_of = zip(*own, strict=True)
            what = "with preprocessing" if "preprocessing" in settings else "with"
            line = f"{what} {words_of(settings)}: weight {sum(weights_of):.2f}"
            steps = [each.steps for each in members if each.steps is not None]
            if steps:
                line += f", steps {min(steps)} to {max(steps)}"
            kind = f"{settings['model']} network" if "model" in settings else "network"
            lines.append(f"{_count(len(members), kind if steps else 'mixture')} {line}")
    if record.log_mass:
        share = share_possible(population, np.array(record.log_mass))
        lines.append(f"{share:.1%} of draws meet the constraints; others are drawn again")
    if record.cuts:
        cuts = json.dumps(record.cuts)
        lines.append(f"cut by a limit of time; the setting cuts={cuts} gives the same fit")
    if record.held_out is not None:
        what = "out-of-fold log-density per row"
        if any(gaps) and "targets" not in about:
            what += " (of the values that are not missing)"
        score = f"{record.held_out:.2f} +- {record.held_out_se:.2f} nat"
        references = [f"{name} {value:.2f}" for name, value in record.references.items()]
        lines.append("; ".join([f"{what}: {score}", *references]))
    if record.check:
        lines += ["", record.check]
    return "\n".join(lines)


def words_of(settings: Mapping[str, Any]) -> str:
    """Return the settings of a member as words, in the order of ``ORDER``."""
    words = []
    names = settings.keys() - {"model"}
    for key in sorted(names, key=lambda key: (ORDER.get(key, len(ORDER)), key)):
        value = settings[key]
        if key == "components":
            words.append(_count(value, "component"))
        elif value is True:
            words.append(key)
        else:
            shown = value if isinstance(value, str) else f"{value:g}"
            name = key.replace("_", " ")
            words.append(shown if key == "preprocessing" else f"{name} {shown}")
    return ", ".join(words)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _column(field: Field, gaps: int) -> str:
    """Return a line on a column, in which ``gaps`` rows lack a value."""
    closed = f", closed at {field.closed}" if field.closed else ""
    line = f"column {field.name}: {field.word}{closed}{field.details}"
    if gaps:
        line += f", missing in {gaps} row{'s' * (gaps > 1)}"
    return line
