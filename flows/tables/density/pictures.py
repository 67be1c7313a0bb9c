"""The pictures of a density, for ``Density.plot`` and for ``flows plot``.

matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy

from flows.core.arrays import Array, Mask, subsample
from flows.core.associations import associations
from flows.core.errors import UserError
from flows.core.rows import by_value
from flows.networks import registry
from flows.tables.checking.calibration import reliability
from flows.tables.checking.rows import CheckedRows
from flows.tables.columns.drawing import drawn
from flows.tables.columns.notices import Notice
from flows.tables.columns.parsing import numbers_of, parse_fields, refused
from flows.tables.density.anomalies import least_likely
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.asking import Asking
from flows.tables.questions.curve import Curve
from flows.tables.questions.few_rows import LEVEL
from flows.tables.questions.predict import Predict
from flows.tables.questions.reading import UserRows
from flows.tables.questions.score import Score
from flows.tables.questions.surprise import Surprise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flows.plotting.scene import Scene

SAMPLES = 10_000  # least number of samples in a picture
ALONG = 80  # values of a column along which a target is drawn
PREDICTED = 500  # held-out rows in a picture, at most
FEW = 25  # the same numbers for several targets, whose predictions are drawn
BANDS = (0.05, 0.25, 0.5, 0.75, 0.95)
NEAREST = 0.1  # share of the rows that are near the medians


def plot(
    density: ArrayDensity,
    frame: pd.DataFrame,
    on_notices: Callable[[Sequence[Notice]], Any],
    *,
    row: Any = None,
    anomalies: int | None = None,
    along: str | None = None,
    source: str = "",
) -> Figure:
    """Return the picture of ``Density.plot``.

    ``on_notices`` takes notices on the rows of the frame, and ``source`` is the file that holds the
    frame, for messages.
    """
    chosen = {"row": row, "anomalies": anomalies, "along": along}
    named = [name for name, value in chosen.items() if value is not None]
    if len(named) > 1:
        raise TypeError(f"plot takes one of row, anomalies and along; got {' and '.join(named)}")
    if anomalies is not None:
        return _of_least_likely(density, frame, anomalies, on_notices)
    if row is not None:
        return _of_row(density, frame, row, source, on_notices)
    if along is not None and not density.targets:
        raise UserError(
            f"along = {along!r}: the density has no target; leave out along, or fit with a target"
        )
    if frame.empty:
        raise UserError("there is no row to draw")
    rows = _rows(density, frame, source)
    if not density.targets:
        return _of_samples(density, rows)
    d = strongest(density, rows)[0] if along is None else density.schema.find(along)
    if density.columns[d].name in density.targets:
        raise UserError(f"along = {along!r}: is a target; name another column")
    return of_target(density, rows, d)


def of_target(density: ArrayDensity, rows: Array, d: int, **how: float) -> Figure:
    """Draw the distributions of the targets along column d of the context, over rows ``(n, D)``.

    ``how`` has the ``width`` of the picture in inches; by default that of all pictures.
    """
    from flows.plotting.along import draw_along

    x, found = target_along(density, rows, d)
    targets = np.flatnonzero(~density.inputs)
    shown = rows[~np.isnan(rows[:, [d, *targets]]).any(axis=1)]
    is_near = near(density, shown, d)
    return draw_along(drawn(density.columns), shown, d, x, found, is_near, **how)


def _of_samples(density: ArrayDensity, rows: Array) -> Figure:
    """Draw samples over rows ``(n, D)``."""
    from flows.plotting import draw

    scene = scene_of(density, rows, np.concatenate([*density.draw(max(len(rows), SAMPLES))]))
    figure: Any = draw("pairs.png" if len(density.columns) > 1 else "margins.png", scene)
    return figure


def scene_of(density: ArrayDensity, rows: Array, samples: Array) -> Scene:
    """Return a scene of samples ``(N, D)`` over rows ``(n, D)``.

    Raises ``UserError`` if the density is a reference.
    """
    from flows.plotting.scene import Row, Scene

    name = density.population.description.get("model")
    if name not in registry.names():
        raise UserError("the density is a reference; only models can be drawn")
    found, color = {"samples": samples}, registry.find(name).color
    row = Row(name, "the fit", color, {}, pd.DataFrame(), found, is_model=True)
    return Scene(rows=[row], columns=drawn(density.columns), data=rows, test=rows)


def _of_row(
    density: ArrayDensity,
    frame: pd.DataFrame,
    label: Any,
    source: str,
    on_notices: Callable[[Sequence[Notice]], Any],
) -> Figure:
    """Draw the density of each column given the rest of the row with this label of the index."""
    from flows.plotting.single_rows import draw_conditionals

    k = _position(frame, label)
    rows, number = _rows(density, frame, source), np.array([k])
    own = UserRows([frame[k : k + 1]], source, row_numbers=number)
    answer = Asking(Surprise(), density, own, on_notices).answer()
    first = int(density.inputs.sum())
    row = Region(rows[k : k + 1], number)
    name = "density"
    curves = [Curve(each, LEVEL).answer(density, row) for each in density.names[first:]]
    return draw_conditionals(
        drawn(density.columns[first:]),
        rows[:, first:],
        k,
        str(label),
        answer["surprise"][0, first:],
        [
            (each["x"][0], np.stack([each[name], each.low[name], each.high[name]])[:, 0])
            for each in curves
        ],
    )


def _of_least_likely(
    density: ArrayDensity,
    frame: pd.DataFrame,
    count: int,
    on_notices: Callable[[Sequence[Notice]], Any],
) -> Figure:
    """Draw the surprise of each value of the least likely complete rows."""
    from flows.plotting.single_rows import draw_odd_cells

    if count < 1:
        raise UserError(f"anomalies = {count}: must be at least 1")
    numbered = UserRows([frame.set_axis(pd.RangeIndex(len(frame)))])
    asking = Asking(Score(missing="drop", tails=True), density, numbered, on_notices)
    found, surprise = least_likely(asking, count)
    shown = frame.iloc[found.index].set_axis(frame.columns.map(str), axis=1)
    return draw_odd_cells(density.names, shown, found["log_density"].to_numpy(), surprise)


def _rows(density: ArrayDensity, frame: pd.DataFrame, source: str) -> Array:
    """Return the rows of a frame ``(n, D)``, ``NaN`` for values that are missing or not allowed."""
    table = parse_fields(frame, density.columns, source, na=density.schema.na)
    rows = numbers_of(density.columns, table)
    return np.where(refused(density.columns, rows), np.nan, rows)


def _position(frame: pd.DataFrame, row: Any) -> int:
    """Return the position of the only row with the index label ``row``."""
    places = frame.index.get_indexer_for([row])
    if len(places) > 1:
        raise UserError(
            f"row = {row!r}: {len(places)} rows have this label; call frame.reset_index(drop=True)"
        )
    if not len(places) or places[0] < 0:
        labels = ", ".join(map(repr, frame.index[:3].tolist()))
        raise UserError(f"row = {row!r}: no row has this label; the labels are {labels}, ...")
    return int(places[0])


def strongest(density: ArrayDensity, rows: Array) -> list[int]:
    """Return the columns of the context, the one with the largest association with a target first.

    Args:
        density: the density of the targets.
        rows: rows of the table ``(n, D)``, ``NaN`` for values that are missing or not allowed.
    """
    return np.argsort([-each for each in _strengths(density, rows)], kind="stable").tolist()


def _strengths(density: ArrayDensity, rows: Array) -> list[float]:
    """Return the largest association of each column of the context with a target.

    It is -1 for a column without a value.
    """
    inputs, targets = np.flatnonzero(density.inputs), np.flatnonzero(~density.inputs)
    pairs = [*product(inputs.tolist(), targets.tolist())]
    sizes = [len(column.labels) for column in density.columns]
    found = np.abs(associations(rows, sizes, pairs)).reshape(len(inputs), -1).max(axis=1)
    return np.where(np.isnan(rows[:, inputs]).all(axis=0), -1.0, found).tolist()


def target_along(density: ArrayDensity, rows: Array, d: int) -> tuple[Array, list[Array]]:
    """Return the distributions of the targets along one column of the context.

    The other columns are at their medians or, for labels, at the most frequent label.

    Args:
        density: the density of the targets.
        rows: rows of the table ``(n, D)``, ``NaN`` for values that are missing or not allowed.
        d: the column.

    Returns the values of the column ``(G,)`` and, for each target, the quantiles ``BANDS``
    ``(G, 5)`` or the probabilities of its labels ``(G, K)``.
    """
    if np.isnan(rows[:, d]).all():
        raise UserError(f"column {density.columns[d].name} holds no value to draw a target along")
    known = rows[~np.isnan(rows[:, d]), d]
    if labels := density.columns[d].labels:
        along = np.arange(len(labels), dtype=np.float64)
    else:
        from flows.plotting import by_column
        from flows.plotting.scene import Scene

        scene = Scene(columns=drawn(density.columns), data=rows, test=rows)
        low, high = by_column.middle(known)
        count = ALONG if len(density.targets) == 1 else FEW
        along = (np.geomspace if by_column.is_wide(scene)[d] else np.linspace)(low, high, count)
        if density.columns[d].is_discrete:
            along = np.unique(density.columns[d].round(along))
    asked = np.tile(_typical(density, rows), (len(along), 1))
    asked[:, d] = along
    same_draws = np.zeros(len(asked), np.int64)  # so that curves of drawn targets are smooth
    return along, predicted(density, Region(asked, same_draws))


def predicted(density: ArrayDensity, rows: Region) -> list[Array]:
    """Return, for each target, the quantiles ``BANDS`` ``(n, 5)`` or the shares ``(n, K)``.

    The shares are the probabilities of its labels.
    """
    answer = Predict(density.targets, BANDS).answer(density, rows)
    found = []
    for name in density.targets:
        is_category = bool(density.columns[density.schema.find(name)].labels)
        found.append(answer[name] if is_category else answer[name][:, 2:])  # without mean and sd
    return found


def held_out(density: ArrayDensity, rows: CheckedRows) -> list[Figure]:
    """Draw the predictions of complete rows; those of training rows are out of fold.

    At most ``PREDICTED`` rows are predicted, or ``FEW`` rows for several targets. Of a target of
    numbers, the residuals are drawn; of a target of labels, the share of rows for each predicted
    probability.
    """
    from flows.plotting.held_out import draw_reliability, draw_residuals

    complete = np.flatnonzero(~np.isnan(rows.values).any(axis=1) & rows.is_held_out)
    if not len(complete):
        return []
    count = PREDICTED if len(density.targets) == 1 else FEW
    few, of = rows.take(subsample(complete, count)), "new" if rows.why else "held-out"
    targets = np.flatnonzero(~density.inputs).tolist()
    found = [np.empty((len(few.values), len(density.columns[d].labels) or 5)) for d in targets]
    for fold, own in by_value(few.fold):
        asked = Region(few.values[own], own).hiding(targets)
        for whole, part in zip(found, predicted(density.of_fold(fold), asked), strict=True):
            whole[own] = part
    pictures = []
    for d, values in zip(targets, found, strict=True):
        column, y = drawn(density.columns)[d], few.values[:, d]
        if column.labels:
            pictures.append(draw_reliability(column, reliability(y, values), len(y), of))
        else:
            pictures.append(draw_residuals(column, y, values, of))
    return pictures


def near(density: ArrayDensity, rows: Array, d: int) -> Mask:
    """Return which rows are near the medians of all columns of the context but d, ``(n,)``.

    They are the tenth of the rows with the smallest mean distance between the ranks of their values
    and of the medians; the weight of a column is its association with a target. A label that is not
    the most frequent one has the distance of the ends, and so has a missing value.
    """
    typical, total = _typical(density, rows), np.zeros(len(rows))
    for k, weight in enumerate(_strengths(density, rows)):
        if k == d or weight <= 0:
            continue
        known = ~np.isnan(rows[:, k])
        away = np.full(len(rows), 0.5)
        if density.columns[k].labels:
            away[rows[:, k] == typical[k]] = 0.0
        else:
            ranks = scipy.stats.rankdata([*rows[known, k], typical[k]])
            away[known] = np.abs(ranks[:-1] - ranks[-1]) / len(ranks)
        total += weight * away
    if not total.any():  # there is no other column
        return np.ones(len(rows), bool)
    return np.asarray(total <= np.quantile(total, NEAREST))


def _typical(density: ArrayDensity, rows: Array) -> Array:
    """Return the median or the most frequent label of each column, ``(D,)``; ``NaN`` for gaps."""
    found = np.full(rows.shape[1], np.nan)
    for d, column in enumerate(density.columns):
        known = rows[~np.isnan(rows[:, d]), d]
        if len(known):
            codes = known.astype(np.int64) if column.labels else None
            found[d] = np.median(known) if codes is None else np.bincount(codes).argmax()
    return found
