"""The text that ``flows info`` and ``repr`` show for a fitted density."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from textwrap import shorten

import pandas as pd

from flows.networks import registry
from flows.networks.population import Population
from flows.tables.columns import WHOLE, Column
from flows.tables.layout import Layout


def describe(network: Population, columns: Sequence[Column], layout: Layout) -> str:
    """Return lines on the model, the columns, the training, the members and the score."""
    about, record = network.description, network.record
    settings = sorted(about.get("settings", {}).items())  # in the order of a file
    model = about.get("model", type(network).__name__)
    count = _count(network.networks, "network" if model in registry.names() else "member")
    if mixtures := network.members - network.networks:
        count += f" and {_count(mixtures, 'mixture')}"
    lines = [f"{model} of {', '.join([count, *(f'{key} {value}' for key, value in settings)])}"]
    gaps = [0] * len(columns) if record is None else record.gaps or [0] * len(columns)
    lines += [_column(*pair) for pair in zip(columns, gaps, strict=True)]
    lines += [f"column {each.column.name}: carried along, {each}" for each in layout.carried]
    lines += [f"column {name}: excluded, samples number their rows" for name in layout.excluded]
    if layout.weights is not None:
        lines.append(f"column {layout.weights}: the weights of the rows, 1 in samples")
    if record is None:
        return "\n".join(lines)
    recipe = f"trained with the {record.recipe} recipe on {record.rows} rows"
    recipe += " (repeated by their weights)" if layout.weights is not None else ""
    lines.append(f"{recipe}, seed {about.get('seed')}")
    if record.members:
        members = pd.DataFrame(map(asdict, record.members))
        members["weight"] = network.member_weights.numpy()
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


def _column(column: Column, gaps: int) -> str:
    """Return a line on a column, in which ``gaps`` rows lack a value."""
    line = f"column {column.name}: {column.word}"
    if column.labels:
        labels = shorten(", ".join(map(str, column.labels)), 60, placeholder=" ...")
        line += f" of {len(column.labels)} labels: {labels}"
    if column.multiple:
        line += f", samples are multiples of {column.multiple:g}"
    if column.step and column.kind not in WHOLE:
        line += f", rounded to steps of {column.step:g}"
    if gaps:
        line += f", missing in {gaps} row{'s' * (gaps > 1)}"
    return line
