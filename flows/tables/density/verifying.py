"""Verify a fit: train again with the recorded arguments, and compare the bytes of the files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flows.core import checkpoint
from flows.core.errors import UserError
from flows.core.rows import digests, matched
from flows.tables.columns import files
from flows.tables.columns.learning import fit_schema
from flows.tables.columns.parsing import Table, from_user
from flows.tables.density.fitting import fit_table, load
from flows.tables.density.frame_density import Density
from flows.tables.fitting.fit_request import arguments_of

# Parts that name a cause come before the parts that follow from the cause
FIRST = ("table.", "training.rows", "to_real.", "preprocessing.")


def verify(model: Density | str | Path, table: Any) -> str | None:
    """Fit the table again with the recorded arguments; compare the files of both fits.

    The second fit takes about as long as the first one. The cuts of the record take the place of a
    limit of time. A stored check is not compared.

    Args:
        model: a fitted density, or its file.
        table: the table of the fit: a data frame, an array ``(n, D)``, or a file. Columns that the
            fit did not read are ignored.

    Returns ``None`` if the bytes are the same, and otherwise a line on the first part that differs.
    Raises ``UserError`` for a density without the arguments of its fit, such as a file of a release
    before 0.4, and the errors of ``flows.fit``.

    Examples:
        >>> import numpy as np
        >>> import flows
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> quick = {"recipe": "quick"}
        >>> density = flows.fit(rows, flows.NSF(couplings=2, hidden=4), settings=quick)
        >>> flows.verify(density, rows) is None
        True
        >>> flows.verify(density, rows[1:])
        'table: its rows are not those of the fit'
    """
    density = model if isinstance(model, Density) else load(model)
    record = density.record if isinstance(density, Density) else None
    if not isinstance(density, Density) or record is None:
        raise UserError("only the fit of a table can be verified")
    schema, (architecture, options) = density.schema, arguments_of(record)
    names, kinds, na = schema.names, options["columns"] or {}, options["na"]

    def read() -> Table:
        if isinstance(table, str | Path):
            return files.read(table, kinds, schema.written, only=names, na=na)
        return from_user(table, kinds, na, names)

    scores, parsed = record.row_scores, read()
    if scores is not None and scores.digest is not None:  # before training, which takes long
        _, sample, _ = fit_schema(parsed, options)
        if matched(digests(sample.values), scores.digest) is None:
            return "table: its rows are not those of the fit"
    again = fit_table(lambda: parsed, architecture, options, on_notices=lambda notices: None)
    assert again.record is not None
    again._array.record = replace(again.record, check=record.check)  # is not a part of the fit
    with tempfile.TemporaryDirectory() as folder:
        second, first = Path(folder, "second"), Path(folder, "first")
        again.save(second, record=record.row_scores is not None or not record.binned_scores)
        if isinstance(model, Density):
            density.save(first)
        else:
            first = Path(model)
        if first.read_bytes() == second.read_bytes():
            return None
        return difference(first, second)


def difference(first: Path, second: Path) -> str:
    """Return a line on the first part that differs between two files of densities."""
    one, other = _parts(first), _parts(second)
    names = [*dict.fromkeys([*one, *other])]
    names.sort(key=lambda name: [each not in name for each in FIRST])
    for name in names:
        if name not in one or name not in other:
            return f"{name}: only in the {'first' if name in one else 'second'} fit"
        a, b = one[name], other[name]
        if not isinstance(a, np.ndarray):
            if a != b:
                return f"{name}: {a}, and {b} in the second fit"
        elif a.shape != b.shape:
            return f"{name}: values of shape {a.shape}, and {b.shape} in the second fit"
        elif a.tobytes() != b.tobytes():
            other_value = (a != b) & ((a == a) | (b == b))  # NaN counts as one value
            gaps = np.abs(a[other_value].astype(np.float64) - b[other_value])
            largest = gaps.max(initial=0.0)
            return f"{name}: {gaps.size} of {a.size} values differ, by up to {largest:.3g}"
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
