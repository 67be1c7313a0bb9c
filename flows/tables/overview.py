"""What a fit of a table would learn, carry along and exclude, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flows.tables.frames import Missing, TableOptions, TableRows, from_user, take
from flows.tables.notices import Words, python_words, show


def inspect(
    frame: Any,
    *,
    columns: Mapping[str, str] | None = None,
    missing: Missing = "learn",
    na: Sequence[Any] = (),
    group: str | None = None,
    weights: str | None = None,
    strict: bool = False,
    target: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return what a fit would do with each column of a table, without training.

    The result has a row per column of the table, in order, with the columns

    - ``use``: ``"learned"``, ``"given"`` (learned from, if there is a target), ``"carried"``
      along, or ``"excluded"``;
    - ``kind``: the kind of a learned column, or the formula of a carried column;
    - ``notice``: what a fit would say about the column.

    Notices on the whole table, and on columns without a name, are printed on standard error. Raises
    ``TableError`` and ``ValueError`` if ``fit`` would.

    Args:
        frame: a data frame, or an array ``(n, D)``.
        columns: kinds of columns, as in ``fit``.
        missing: the policy for rows with missing values, as in ``fit``.
        na: further marks of missing values, as in ``fit``.
        group: the column that names the subject of each row, as in ``fit``.
        weights: the column of the weights of the rows, as in ``fit``.
        strict: whether to refuse columns without a density, as in ``fit``.
        target: the column or columns to learn given all others, as in ``fit``.

    Examples:
        >>> import pandas as pd, flows
        >>> frame = pd.DataFrame({"visits": [0, 1, 2, 1] * 5, "ward": "B"})
        >>> flows.inspect(frame)[["use", "kind"]]
                    use   kind
        visits  learned  count
        ward    carried    'B'
    """
    options = TableOptions.of(
        columns, target, na, missing=missing, group=group, weights=weights, strict=strict
    )
    rows = take(from_user(frame, options.kinds, options.na), **options._asdict())
    show(notice for notice in rows.notices if notice.column not in rows.layout.names)
    return overview(rows)


def overview(rows: TableRows, words: Words = python_words) -> pd.DataFrame:
    """Return the result of ``inspect`` for rows, with remedies in the ``words`` of a front end."""
    given = len(rows.columns) - rows.target_count if rows.target_count else 0
    uses = {
        column.name: ("given" if d < given else "learned", column.word)
        for d, column in enumerate(rows.columns)
    }
    uses |= {each.column.name: ("carried", str(each)) for each in rows.layout.carried}
    excluded = [*rows.layout.excluded, *filter(None, [rows.layout.weights])]
    uses |= dict.fromkeys(excluded, ("excluded", ""))
    said = dict.fromkeys(rows.layout.names, "")
    for notice in rows.notices:
        if notice.column in said:
            text = notice.text(words).removeprefix(f"column {notice.column} ")
            said[notice.column] += ("; " if said[notice.column] else "") + text
    lines = [(*uses[name], said[name]) for name in rows.layout.names]
    return pd.DataFrame(lines, list(rows.layout.names), ["use", "kind", "notice"])
