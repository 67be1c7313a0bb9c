"""The text that ``flows info`` and ``repr`` show for a fitted density."""

from __future__ import annotations

import json
from dataclasses import asdict

import pandas as pd

from flows.networks import registry
from flows.networks.population import Population
from flows.tables.field import Field
from flows.tables.schema import Schema


def describe(population: Population, schema: Schema) -> str:
    """Return lines on the model, the columns, the training, the members and the score."""
    about, record = population.description, population.record
    settings = sorted(about.get("settings", {}).items())  # in the order of a file
    model = about.get("model", type(population).__name__)
    count = _count(population.network_count, "network" if model in registry.names() else "member")
    if mixtures := population.members - population.network_count:
        count += f" and {_count(mixtures, 'mixture')}"
    lines = [f"{model} of {', '.join([count, *(f'{key} {value}' for key, value in settings)])}"]
    gaps = [0] * len(schema.fields) if record is None else record.gaps or [0] * len(schema.fields)
    lines += [_column(*pair) for pair in zip(schema.fields, gaps, strict=True)]
    lines += [f"column {each.name}: {each.details}" for each in schema.unlearned]
    if record is None:
        return "\n".join(lines)
    recipe = f"trained with the {record.recipe} recipe on {record.rows} rows"
    recipe += " (repeated by their weights)" if schema.is_weighted else ""
    lines.append(f"{recipe}, seed {about.get('seed')}")
    if record.members:
        members = pd.DataFrame(map(asdict, record.members))
        members["weight"] = population.member_weights.numpy()
        for regularisation, own in members.groupby("regularisation", sort=False):
            weight = f"weight {own['weight'].sum():.2f}"
            is_mixture = own["steps"].isna().any()
            line = f"with preprocessing {regularisation}: {weight}"
            if not is_mixture:
                line += f", steps {own['steps'].min():.0f} to {own['steps'].max():.0f}"
            lines.append(f"{_count(len(own), 'mixture' if is_mixture else 'network')} {line}")
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
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _column(field: Field, gaps: int) -> str:
    """Return a line on a column, in which ``gaps`` rows lack a value."""
    line = f"column {field.name}: {field.word}{field.details}"
    if gaps:
        line += f", missing in {gaps} row{'s' * (gaps > 1)}"
    return line
