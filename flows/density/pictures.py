"""The pictures of a density, for ``Density.plot`` and for ``flows plot``.

matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.density.array_density import ArrayDensity
from flows.density.chunks import Chunks, find_column, layout_of
from flows.density.target_density import TargetDensity, target_along
from flows.networks import registry
from flows.tables.frames import apply_missing_policy, parse, parsing_kinds, to_numbers
from flows.tables.notices import Notice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 10_000  # least number of samples in a picture


def plot(
    density: ArrayDensity, frame: pd.DataFrame, row: Any, anomalies: int | None, along: str | None
) -> tuple[Figure, list[Notice]]:
    """Return the picture of ``Density.plot``, and notices on the rows of the frame."""
    chosen = {"row": row, "anomalies": anomalies, "along": along}
    named = [name for name, value in chosen.items() if value is not None]
    if len(named) > 1:
        raise TypeError(f"plot takes one of row, anomalies and along; got {' and '.join(named)}")
    if anomalies is not None:
        return of_least_likely(density, frame, anomalies)
    if row is not None:
        return of_row(density, frame, _position(frame, row), row)
    if along is not None and not isinstance(density, TargetDensity):
        raise UserError(
            f"along = {along!r}: the density has no target; leave out along, or fit with a target"
        )
    if frame.empty:
        raise UserError("the frame has no rows; a picture shows rows of the table")
    table = parse(frame, parsing_kinds(density.columns), na=layout_of(density).na)
    rows = to_numbers(apply_missing_policy(table, "keep"), density.columns)
    if isinstance(density, TargetDensity):
        return of_target(density, rows, along, f"along = {along!r}"), []
    return of_samples(density, rows, "the density"), []


def of_samples(density: ArrayDensity, rows: Array, source: str) -> Figure:
    """Draw samples over rows ``(n, D)``. Raises ``UserError`` if ``source`` is a reference."""
    from flows.plotting import Row, Scene, draw

    name = density.network.description.get("model")
    if name not in registry.names():
        raise UserError(f"{source} is a reference; only models can be drawn")
    drawn = density.sample(max(len(rows), SAMPLES))
    samples = {"samples": np.concatenate([piece for piece, _ in drawn])}
    cls = registry.find(name)
    row = Row(name, cls.label, cls.color, {}, pd.DataFrame(), samples, is_model=True)
    scene = Scene([row], {}, density.columns, rows, None, None, 0, rows)
    figure: Any = draw("pairs.png" if len(density.columns) > 1 else "margins.png", scene)
    return figure


def of_target(density: TargetDensity, rows: Array, along: str | None, argument: str) -> Figure:
    """Draw the targets along a column, by default along the most correlated one.

    ``argument`` names the column in messages. Raises ``UserError`` for a column that is a target.
    """
    from flows.plotting.along import draw_along

    d = None if along is None else find_column(density, along)
    if d is not None and density.columns[d].name in density.targets:
        raise UserError(f"{argument}: is a target; name another column")
    return draw_along(density.columns, rows, *target_along(density, rows, d))


def of_row(
    density: ArrayDensity, frame: pd.DataFrame, k: int, label: Any, source: str = ""
) -> tuple[Figure, list[Notice]]:
    """Draw the density of each column given the rest of row ``k``, and return notices on the row.

    ``label`` names the row in the picture, and ``source`` is the file that holds the frame.
    """
    from flows.plotting.single_rows import draw_conditionals

    rows = Chunks(density, source).numbers(frame)
    chunks = Chunks(density, source)
    [surprise] = chunks.surprise(frame[k : k + 1], np.array([k]))
    first = len(density.columns) - len(density.targets) if density.targets else 0
    curves = [density.curve(rows[k], d, k) for d in range(first, len(density.columns))]
    columns, shown = density.columns[first:], rows[:, first:]
    figure = draw_conditionals(columns, shown, k, str(label), surprise[first:], curves)
    return figure, chunks.notices()


def of_least_likely(
    density: ArrayDensity, frame: pd.DataFrame, count: int
) -> tuple[Figure, list[Notice]]:
    """Draw the surprise of each value of the least likely complete rows, and return notices."""
    from flows.plotting.single_rows import draw_odd_cells

    if count < 1:
        raise UserError(f"anomalies = {count}: must be at least 1")
    chunks, places = Chunks(density), pd.RangeIndex(len(frame))
    kept, found = chunks.log_prob(frame.set_axis(places), missing="drop")
    log_density = pd.Series(density.ensemble(found.log_q), kept.index).nsmallest(count)
    if log_density.empty:
        raise UserError(
            "no row of the frame is complete, so no row can be ranked; density.log_prob also "
            "scores rows with missing values"
        )
    least = log_density.index.to_numpy()
    surprise = chunks.surprise(frame.iloc[least], least)
    shown = frame.iloc[least].set_axis(frame.columns.map(str), axis=1)
    names = [column.name for column in density.columns]
    figure = draw_odd_cells(names, shown, log_density.to_numpy(), surprise)
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
