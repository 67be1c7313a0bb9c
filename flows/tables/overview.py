"""What a fit of a table would learn, carry along and exclude, without training."""

from __future__ import annotations

from typing import Any, Unpack

import pandas as pd

from flows.tables.frames import Table, TableRows, from_user, take
from flows.tables.notices import Words, python_words, show
from flows.tables.options import FitOptions, InspectOptions, options_of, resolve, spelled_out


@spelled_out
def inspect(frame: Any, **options: Unpack[InspectOptions]) -> pd.DataFrame:
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
        **options: the options of a table, and its target (``InspectOptions``).

    Examples:
        >>> import pandas as pd, flows
        >>> frame = pd.DataFrame({"visits": [0, 1, 2, 1] * 5, "ward": "B"})
        >>> flows.inspect(frame)[["use", "kind"]]
                    use   kind
        visits  learned  count
        ward    carried    'B'
    """
    resolved = resolve(InspectOptions, options, "inspect")
    table = from_user(frame, resolved["columns"] or {}, resolved["na"])
    rows = learnable(table, resolved)
    show(notice for notice in rows.notices if notice.column not in rows.layout.names)
    return overview(rows)


def learnable(table: Table, options: InspectOptions | FitOptions) -> TableRows:
    """Return the rows of a table that a fit with these options learns."""
    own: dict[str, Any] = {name: options.get(name) for name in options_of(InspectOptions)}
    return take(table, own.pop("columns"), targets=own.pop("target"), **own)


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
