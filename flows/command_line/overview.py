"""The verb ``inspect``: what a fit of a table would learn. Torch is not imported here."""

from __future__ import annotations

import argparse
from collections import Counter

from flows.command_line.options import read_table, table_options
from flows.command_line.wording import shell_words
from flows.tables.learning import learn
from flows.tables.notices import show
from flows.tables.overview import overview


def inspect(arguments: argparse.Namespace) -> None:
    """Print what a fit would do with each column of a table; notices go to standard error."""
    options = table_options(arguments)
    schema, sample, notices = learn(read_table(arguments, options), **options._asdict())
    show(notices, shell_words)
    found = overview(schema, sample.target_count, notices, shell_words)
    width = max(map(len, found.index))
    for name, line in found.iterrows():
        print(f"{line['use']:<8}  {name:<{width}}  {line['kind']}".rstrip())
    counts = Counter(found["use"])
    print(
        ", ".join(f"{count} {use}" for use, count in counts.items()) + f" of {len(found)} columns"
    )
