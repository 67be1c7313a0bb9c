"""The pictures of a density, for ``Density.plot`` and for ``flows plot``.

matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.density.array_density import ArrayDensity
from flows.density.chunks import Chunks
from flows.density.target_density import TargetDensity, target_along
from flows.networks import registry
from flows.tables.drawing import drawn
from flows.tables.notices import Notice
from flows.tables.parsing import parse_fields
from flows.tables.rows import numbers_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 10_000  # least number of samples in a picture


def python_argument(name: str, value: Any) -> str:
    """Return an argument as a user of Python writes it."""
    return f"{name} = {value!r}"


def plot(
    density: ArrayDensity,
    frame: pd.DataFrame,
    *,
    row: Any = None,
    anomalies: int | None = None,
    along: str | None = None,
    source: str = "",
    model: str = "the density",
    argument: Callable[[str, Any], str] = python_argument,
) -> tuple[Figure, list[Notice]]:
    """Return the picture of ``Density.plot``, and notices on the rows of the frame.

    In messages, ``source`` is the file that holds the frame, ``model`` is the density, and
    ``argument`` returns an argument with its value.
    """
    chosen = {"row": row, "anomalies": anomalies, "along": along}
    named = [name for name, value in chosen.items() if value is not None]
    if len(named) > 1:
        raise TypeError(f"plot takes one of row, anomalies and along; got {' and '.join(named)}")
    if anomalies is not None:
        return _of_least_likely(density, frame, anomalies)
    if row is not None:
        return _of_row(density, frame, _position(frame, row), row, source)
    if along is not None and not isinstance(density, TargetDensity):
        raise UserError(
            f"{argument('along', along)}: the density has no target; leave out along, or fit with "
            "a target"
        )
    if frame.empty:
        raise UserError("the frame has no rows; a picture shows rows of the table")
    table = parse_fields(frame, density.columns, source, na=density.schema.na)
    rows = numbers_of(density.columns, table)
    if not isinstance(density, TargetDensity):
        return _of_samples(density, rows, model), []
    d = None if along is None else density.schema.find(along)
    if d is not None and density.columns[d].name in density.targets:
        raise UserError(f"{argument('along', along)}: is a target; name another column")
    from flows.plotting.along import draw_along

    return draw_along(drawn(density.columns), rows, *target_along(density, rows, d)), []


def _of_samples(density: ArrayDensity, rows: Array, model: str) -> Figure:
    """Draw samples over rows ``(n, D)``. Raises ``UserError`` if the ``model`` is a reference."""
    from flows.plotting import Row, Scene, draw

    name = density.population.description.get("model")
    if name not in registry.names():
        raise UserError(f"{model} is a reference; only models can be drawn")
    pieces = density.sample(max(len(rows), SAMPLES))
    samples = {"samples": np.concatenate([piece for piece, _ in pieces])}
    cls = registry.find(name)
    row = Row(name, cls.label, cls.color, {}, pd.DataFrame(), samples, is_model=True)
    scene = Scene(rows=[row], columns=drawn(density.columns), data=rows, test=rows)
    figure: Any = draw("pairs.png" if len(density.columns) > 1 else "margins.png", scene)
    return figure


def _of_row(
    density: ArrayDensity, frame: pd.DataFrame, k: int, label: Any, source: str
) -> tuple[Figure, list[Notice]]:
    """Draw the density of each column given the rest of row ``k``, and return notices on the row.

    ``label`` names the row in the picture, and ``source`` is the file that holds the frame.
    """
    from flows.plotting.single_rows import draw_conditionals

    rows, _ = Chunks(density, source).known(frame)
    chunks = Chunks(density, source)
    [surprise] = chunks.surprise(frame[k : k + 1], np.array([k]))
    first = len(density.columns) - len(density.targets) if density.targets else 0
    curves = [density.curve(rows[k], d, k) for d in range(first, len(density.columns))]
    columns, shown = drawn(density.columns[first:]), rows[:, first:]
    figure = draw_conditionals(columns, shown, k, str(label), surprise[first:], curves)
    return figure, chunks.notices()


def _of_least_likely(
    density: ArrayDensity, frame: pd.DataFrame, count: int
) -> tuple[Figure, list[Notice]]:
    """Draw the surprise of each value of the least likely complete rows, and return notices."""
    from flows.plotting.single_rows import draw_odd_cells

    if count < 1:
        raise UserError(f"anomalies = {count}: must be at least 1")
    chunks, places = Chunks(density), pd.RangeIndex(len(frame))
    kept, found = chunks.log_prob(frame.set_axis(places), missing="drop")
    log_density = pd.Series(found.log_ensemble, kept.index).nsmallest(count)
    if log_density.empty:
        raise UserError(
            "no row of the frame is complete, so no row can be ranked; density.log_prob also "
            "scores rows with missing values"
        )
    least = log_density.index.to_numpy()
    surprise = chunks.surprise(frame.iloc[least], least)
    shown = frame.iloc[least].set_axis(frame.columns.map(str), axis=1)
    figure = draw_odd_cells(density.names, shown, log_density.to_numpy(), surprise)
    return figure, chunks.notices()


def _position(frame: pd.DataFrame, row: Any) -> int:
    """Return the position of the only row with the index label ``row``."""
    places = frame.index.get_indexer_for([row])
    if len(places) > 1:
        raise UserError(
            f"row = {row!r}: {len(places)} rows have this label; call frame.reset_index(drop=True)"
        )
    if not len(places) or places[0] < 0:
        labels = ", ".join(map(repr, frame.index[:3].tolist()))
        raise UserError(
            f"row = {row!r}: is not in the index of the frame; its labels are {labels}, ..."
        )
    return int(places[0])
