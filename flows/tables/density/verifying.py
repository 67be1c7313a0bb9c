"""Verify a fit: train again with the recorded arguments, and compare the bytes of the files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flows.core import checkpoint
from flows.core.errors import UserError
from flows.core.rows import digests, matched
from flows.recipe.record import Record
from flows.tables.columns import files
from flows.tables.columns.learning import fit_schema
from flows.tables.columns.parsing import Table, from_user
from flows.tables.density.fitting import fit_table, load
from flows.tables.density.frame_density import Density
from flows.tables.fitting.fit_request import FitRequest


def verify(model: Density | str | Path, table: Any) -> str | None:
    """Fit the table again with the recorded arguments; compare the files of both fits.

    The second fit takes about as long as the first one. The cuts of the record take the place of a
    limit of time. A stored check is not compared.

    Args:
        model: a fitted density, or its file.
        table: the table of the fit: a data frame, an array ``(n, D)``, or a file. Columns that the
            fit did not read are ignored.

    Returns ``None`` if the bytes are the same. Otherwise returns a line which says that the table
    has other rows than the fit, or its rows or columns in another order, or names the first part of
    the files that differs. Raises ``UserError`` for a density without the arguments of its fit,
    such as a file of a release before 0.4, and the errors of ``flows.fit``.

    Examples:
        >>> import numpy as np
        >>> import flows
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> quick = {"recipe": "quick"}
        >>> density = flows.fit(rows, flows.NSF(couplings=2, hidden=4), settings=quick)
        >>> flows.verify(density, rows) is None
        True
        >>> flows.verify(density, rows[1:])
        'the rows are not those of the fit'
    """
    density = model if isinstance(model, Density) else load(model)
    record = density.record if isinstance(density, Density) else None
    if not isinstance(density, Density) or record is None:
        raise UserError("only the fit of a table can be verified")
    schema, request = density.schema, FitRequest.recorded(record)
    names, kinds, na = schema.names, request.columns, request.na

    def read() -> Table:
        if isinstance(table, str | Path):
            return files.read(table, kinds, schema.written, only=names, na=na)
        return from_user(table, kinds, na, names)

    parsed = read()
    if (said := _other_table(parsed, schema.names, request, record)) is not None:
        return said  # before training, which takes long
    again = fit_table(lambda: parsed, request, on_notices=lambda notices: None)
    assert again.record is not None
    # The check is not a part of the fit, and the arguments are those of the record, perhaps with
    # options that this release no longer has
    own = replace(again.record, check=record.check, fit=record.fit)
    again = Density(again.population, again.schema, own)
    with tempfile.TemporaryDirectory() as folder:
        second, first = Path(folder, "second"), Path(folder, "first")
        again.save(second, record=record.row_scores is not None or not record.binned_scores)
        if isinstance(model, Density):
            density.save(first)
        else:
            first = Path(model)
        if first.read_bytes() == second.read_bytes():
            return None
        return first_difference(first, second)


def _other_table(
    table: Table, names: Sequence[str], request: FitRequest, record: Record
) -> str | None:
    """Return how a table differs from that of a fit; ``None`` if no difference is found.

    Args:
        table: the table.
        names: the columns of the table of the fit, in order.
        request: what the fit was asked for.
        record: the record of the fit. Without scores of rows, rows are not compared.
    """
    columns = [*map(str, table.frame)]
    for name in names:
        if name not in columns:
            return f"the table has no column {name}"
    if columns != [*names] and sorted(columns) == sorted(names):
        return "the table holds the columns of the fit in another order"
    if record.row_scores is None or record.row_scores.digest is None:
        return None
    _, sample, _ = fit_schema(table, request.of_table)
    own, known = digests(sample.values), record.row_scores.digest
    if matched(own, known) is None:
        return "the rows are not those of the fit"
    if (own != known).any():
        return "the table holds the rows of the fit in another order"
    return None


def first_difference(first: Path, second: Path) -> str:
    """Return a line on the first setting or tensor that differs between two files of densities."""
    one, other = _parts(first), _parts(second)
    for name in dict.fromkeys([*one, *other]):
        a, b = one.get(name), other.get(name)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            if a.shape != b.shape or a.tobytes() != b.tobytes():
                return f"{name} differs"
        elif type(a) is not type(b) or a != b:
            place, _, key = name.rpartition(".")
            if key == "dtype":  # which a CSV file does not hold
                column = one.get(f"{place}.name")
                return (
                    f"column {column} has another type: verify the fit of a file with the file, "
                    "and the fit of a data frame with the data frame"
                )
            return f"{name} is {a}, and {b} in the second fit"
    return "the same content in other bytes"


def _parts(path: Path) -> dict[str, Any]:
    """Return the values of a file by name: those of the description, and the arrays."""
    description, state, arrays = checkpoint.read(path)
    tensors = {name: tensor.numpy() for name, tensor in state.items()}
    return {**dict(_leaves("", description)), **tensors, **arrays}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the numbers and texts inside a JSON value with their paths."""
    if not isinstance(value, Mapping | list):
        yield name, value
        return
    for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _leaves(f"{name}.{key}" if name else str(key), each)
