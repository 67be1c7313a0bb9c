"""What users should know about rows and answers: counted while rows pass, and worded at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flows.core.plurals import counted
from flows.tables.columns.notices import Notice
from flows.tables.columns.parsing import rows_left_out

LINES = 20  # notices on labels, at most


@dataclass
class Tally:
    """The count of one thing.

    Args:
        count: how often the thing occurred.
        of: the number of rows that it could occur in.
        least: the smallest number that came with the thing.
        values: the values that came with its first occurrence.
    """

    count: int = 0
    of: int = 0
    least: float = np.inf
    values: Sequence[Any] = field(default_factory=list)


Tallies = Mapping[tuple[str, ...], Tally]


class Collector:
    """Counts things by a code and a key, such as the name of a column.

    The counts do not depend on the division of rows into pieces.
    """

    def __init__(self) -> None:
        self._tallies: dict[str, dict[tuple[str, ...], Tally]] = {code: {} for code in WORDS}

    def add(
        self,
        code: str,
        *key: str,
        count: int = 1,
        of: int = 0,
        least: float = np.inf,
        values: Sequence[Any] = (),
    ) -> None:
        """Count a thing.

        Args:
            code: a key of ``WORDS``.
            key: which of the things with this code, such as a column.
            count: how often the thing occurred.
            of: the number of rows that it could occur in.
            least: a number, of which the smallest is kept.
            values: values, of which the first are kept.
        """
        tally = self._tallies[code].setdefault(key, Tally())
        if count and not tally.count:
            tally.values = values
        tally.count, tally.of = tally.count + count, tally.of + of
        tally.least = min(tally.least, least)

    def notices(self) -> list[Notice]:
        """Return the notices on all that was counted, in the order of ``WORDS``."""
        found = []
        for code, words in WORDS.items():
            occurred = {key: each for key, each in self._tallies[code].items() if each.count}
            found += words(occurred)
        return found


def _unmatched(tallies: Tallies) -> list[Notice]:
    notices = []
    for tally in tallies.values():
        lacking, others = tally.values
        problem = f"no column is called {', '.join(lacking)}, so its values are unknown"
        notices.append(Notice(f"{problem}; there are also the columns {', '.join(others)}"))
    return notices


def _labels(tallies: Tallies) -> list[Notice]:
    frequent = sorted(tallies.items(), key=lambda item: -item[1].count)[:LINES]
    notices = [
        Notice(
            f"holds the label {label} in {counted(each.count, 'row')}; the fitted "
            "table did not hold it, so the log-density is minus infinity there",
            name,
        )
        for (name, label), each in frequent
    ]
    if (more := len(tallies) - len(notices)) > 0:
        notices.append(Notice(f"the same holds for {counted(more, 'more label')}"))
    return notices


def _left_out(tallies: Tallies) -> list[Notice]:
    return rows_left_out(sum(each.count for each in tallies.values()))


def _carried(tallies: Tallies) -> list[Notice]:
    return [
        Notice(
            f"differs from {each.values[0]} in {each.count} row{'s' * (each.count > 1)}; "
            "log-densities ignore it",
            name,
        )
        for (name,), each in tallies.items()
    ]


def _far(tallies: Tallies) -> list[Notice]:
    notices = []
    for (name, noun), each in tallies.items():
        value, low, high = each.values
        more = f" and {each.count - 1} more" if each.count > 1 else ""
        problem = (
            f"is given as {value}{more}, far outside of its range, which is about {low} to {high}; "
            f"the {noun} extrapolate"
        )
        notices.append(Notice(problem, name))
    return notices


def _refused(tallies: Tallies) -> list[Notice]:
    notices = []
    for (consequence,), each in tallies.items():
        name, row, problem = each.values
        more = each.count - 1
        those = f"it and {more} more such value{'s' * (more > 1)} are" if more else "the value is"
        notices.append(Notice(f"{problem}; {those} {consequence}", name, row))
    return notices


def _broken(tallies: Tallies) -> list[Notice]:
    return [
        Notice(
            f"{each.count} row{'s' * (each.count > 1)} break{'s' * (each.count == 1)} the "
            f"constraint {text!r}; the log-density is minus infinity there"
        )
        for (text,), each in tallies.items()
    ]


def _rough(tallies: Tallies) -> list[Notice]:
    return [
        Notice(each.values[0](each.count, each.of, each.least))  # in the words of the question
        for each in tallies.values()
    ]


# From the tallies of a code to notices
WORDS: dict[str, Callable[[Tallies], list[Notice]]] = {
    "unmatched": _unmatched,
    "label": _labels,
    "left out": _left_out,
    "carried": _carried,
    "far": _far,
    "refused": _refused,
    "broken": _broken,
    "rough": _rough,
}
