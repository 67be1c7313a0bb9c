"""What a fit of a table would learn, carry along and exclude, without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import pandas as pd

from flows.tables.columns.learning import fit_schema
from flows.tables.columns.notices import Notice, Words, python_words, warn
from flows.tables.columns.options import InspectOptions, resolve, spelled_out
from flows.tables.columns.parsing import from_user
from flows.tables.columns.schema import Schema


@spelled_out
def inspect(frame: Any, **options: Unpack[InspectOptions]) -> pd.DataFrame:
    """Return what a fit would do with each column of a table, without training.

    The result has a row per column of the table, in order, with the columns

    - ``use``: ``"learned"``, ``"given"`` (learned from, if there is a target), ``"carried"``
      along, or ``"excluded"``;
    - ``kind``: the kind of a learned column, or the formula of a carried column;
    - ``notice``: what a fit would say about the column.

    Notices on the whole table, and on columns without a name, are warnings of the class
    ``flows.TableNotice``. Raises ``TableError`` and ``ValueError`` if ``fit`` would.

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
    schema, sample, notices = fit_schema(table, resolved)
    warn(notice for notice in notices if notice.column not in schema.names)
    return overview(schema, sample.target_count, notices)


def overview(
    schema: Schema, targets: int, notices: Sequence[Notice], words: Words = python_words
) -> pd.DataFrame:
    """Return the result of ``inspect`` for a schema.

    Args:
        schema: the schema of the table.
        targets: the number of its last fields that are learned given the others; 0 for none.
        notices: the notices of ``fit_schema``.
        words: the words of a front end for remedies.
    """
    given = len(schema.fields) - targets if targets else 0
    uses = {
        field.name: ("given" if d < given else "learned", field.word)
        for d, field in enumerate(schema.fields)
    }
    uses |= {each.name: (each.use, each.formula) for each in schema.unlearned}
    said = dict.fromkeys(schema.names, "")
    for notice in notices:
        if notice.column in said:
            text = notice.text(words).removeprefix(f"column {notice.column} ")
            said[notice.column] += ("; " if said[notice.column] else "") + text
    lines = [(*uses[name], said[name]) for name in schema.names]
    return pd.DataFrame(lines, list(schema.names), ["use", "kind", "notice"])
