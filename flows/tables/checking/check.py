"""The check of a density against rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from flows.core.arrays import plain
from flows.core.errors import UserError
from flows.core.progress import progress, show_state
from flows.tables.checking.calibration import cover, rank
from flows.tables.checking.comparison import compare, compare_carried
from flows.tables.checking.refits import (
    Refit,
    Statistics,
    largest_deviations,
    p_value,
    refits_of,
)
from flows.tables.checking.result import FRAMES, Check
from flows.tables.checking.rows import CheckedRows
from flows.tables.checking.traces import trace
from flows.tables.fitting.fit_request import check_minutes
from flows.tables.posterior.array_density import ArrayDensity

DRAWN = 10_000  # drawn rows that a check keeps for pictures, about
LARGEST = 10  # memorisation scores that are listed
PARTS = ("statistic", "deviation", "difference")  # the statistics of a fit
# The statistic of each p-value
P_VALUES = {
    "p_fit": "largest",
    "p_density": "statistic",
    "p_columns": "deviation",
    "p_samples": "difference",
}
GRID = np.linspace(0, 1, 101)  # ranks at which the band of the refits is stored


def check(
    density: ArrayDensity,
    rows: CheckedRows,
    refits: int = 0,
    minutes: float | None = None,
    seed: int = 0,
    *,
    store: bool = False,
) -> Check:
    """Return the check of a density against rows of its table.

    Args:
        density: the density.
        rows: the rows, which ``read_rows`` returns.
        refits: the number of refits.
        minutes: the limit of time for refits.
        seed: the seed of all random numbers.
        store: whether to keep the text of the check in the record of the density.

    Raises ``UserError`` for wrong numbers, for refits without the training table, and for a density
    without a record that is to store the check.
    """
    if refits < 0:
        raise UserError(f"refits = {refits}: must be 0 or more")
    try:
        check_minutes(minutes)
    except ValueError as error:
        raise UserError(f"minutes = {minutes!r}: {error}") from None
    if minutes is not None and not refits:
        raise UserError(f"minutes = {minutes}: limits the time of refits, and refits = 0")
    if store and density.record is None:
        raise UserError("the density has no record, so it stores no check")
    if refits and rows.sample is None:
        raise UserError(f"refits = {refits}: need the training table, but {rows.why}")
    with progress("check", None, "part") as bar:
        show_state(bar, "comparing samples and rows")
        beside = compare(density, rows, seed)
        bar.update()
        show_state(bar, "ranking values and rows")
        ranks = rank(density, rows, seed, bar.update)
        show_state(bar, "looking for traces of rows")
        traces = _traces(density, rows) if rows.sample is not None else {}
    found: dict[str, Any] = {
        "rows": len(rows.values),
        "why": rows.why,
        "known": rows.known,
        "samples": beside.samples,
        "pairs": beside.pairs,
        "by_label": beside.by_label,
        "drawn": np.concatenate(beside.drawn[: -(-DRAWN // beside.drawn.shape[1])]),
        "carried": compare_carried(density, seed),
        "cover": cover(ranks, rows, density.names),
        "ranks": ranks.rows,
        "is_grouped": "group" in density.schema.reasons,
        "is_weighted": rows.sample is not None and rows.sample.is_weighted,
    }
    found |= traces
    if refits:
        again = refits_of(density, rows, refits, minutes, seed)
        own = Statistics.of(ranks, beside[:2])
        found |= {"asked": refits, **_refits(density, own, again)}
    result = Check(**found)
    if store and density.record is not None:
        density.record = replace(density.record, check=str(result))
    return result


def _traces(density: ArrayDensity, rows: CheckedRows) -> dict[str, Any]:
    """Return the AUC, and the rows with the largest memorisation scores, each row once."""
    traces = trace(density, rows)
    lines = []
    for kind, scores in traces.scores.items():
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
        order = order[np.isfinite(scores[order])]
        _, first = np.unique(rows.copies[order], return_index=True)
        order = order[np.sort(first)][:LARGEST]
        lines += [(kind, plain(rows.labels[k]), scores[k]) for k in order]
    listed = pd.DataFrame(lines, columns=[*FRAMES["traces"]])
    return {"traces": listed, "auc": traces.auc, "auc_error": traces.error}


def _refits(density: ArrayDensity, own: Statistics, refits: Sequence[Refit]) -> dict[str, Any]:
    """Return the p-values, the frame of the refits and the band of their ranks."""
    columns = np.array([each.statistics.columns for each in refits])
    deviation, deviations, d = largest_deviations(own.columns, columns)
    parts = [own.rows, deviation, own.samples]
    of_refits = np.column_stack(
        [
            [each.statistics.rows for each in refits],
            deviations,
            [each.statistics.samples for each in refits],
        ]
    )
    largest, others, _ = largest_deviations(np.array(parts), of_refits)
    found: dict[str, Any] = dict(zip(PARTS, parts, strict=True))
    found["largest"] = largest
    frame = pd.DataFrame(
        {
            **dict(zip(PARTS, of_refits.T, strict=True)),
            "largest": others,
            "auc": [each.auc for each in refits],
            "distance": [each.distance for each in refits],
            "reference": [each.reference for each in refits],
        }
    )
    for name, statistic in P_VALUES.items():
        found[name] = p_value(found[statistic], frame[statistic].to_numpy())
    found["refits"] = frame
    if d >= 0:
        found["column"] = density.names[d]
    known = [np.sort(each.ranks[~np.isnan(each.ranks)]) for each in refits]
    if all(map(len, known)):
        shares = [np.searchsorted(u, GRID, side="right") / len(u) for u in known]
        found["band"] = np.quantile(shares, [0.05, 0.95], axis=0).round(4).tolist()
    return found
