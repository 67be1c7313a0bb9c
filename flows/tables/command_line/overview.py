"""The verb ``inspect``: what a fit of a table would learn. Torch is not imported here."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from flows.tables.columns.learning import fit_schema
from flows.tables.columns.options import InspectOptions
from flows.tables.columns.overview import overview
from flows.tables.command_line.command import Command
from flows.tables.command_line.wording import shell_words


def inspect(command: Command, only: Sequence[str], drop: Sequence[str], **given: Any) -> None:
    """Print what a fit would do with each column of a table; notices go to standard error."""
    options = command.options(InspectOptions, given)
    schema, sample, notices = fit_schema(command.read(options, only, drop), options)
    for notice in notices:
        print(notice.text(shell_words), file=sys.stderr)
    found = overview(schema, sample.target_count, notices, shell_words)
    width = max(map(len, found.index))
    for name, line in found.iterrows():
        print(f"{line['use']:<8}  {name:<{width}}  {line['kind']}".rstrip())
    counts = Counter(found["use"])
    print(
        ", ".join(f"{count} {use}" for use, count in counts.items()) + f" of {len(found)} columns"
    )
