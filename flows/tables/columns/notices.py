"""Notices and faults of a table, as values that each front end turns into text for its users.

A notice names the column and the row, says what is wrong or what was done, and may name remedies.
A remedy is a value. The front end says how to apply the remedy: Python users pass an argument,
shell users an option, and users of the pipeline edit a key.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.core.errors import UserError
from flows.core.plurals import counted, listed

PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True)
class SetKind:
    """Give ``column`` the kind that a user writes as ``kind``."""

    column: str
    kind: str


@dataclass(frozen=True)
class DropColumn:
    """Leave out ``column``."""

    column: str


@dataclass(frozen=True)
class DropIncompleteRows:
    """Leave out the rows that lack a value."""


@dataclass(frozen=True)
class ReadAsMissing:
    """Read the text or the number ``mark`` as a missing value."""

    mark: str


@dataclass(frozen=True)
class SetFormat:
    """Read a CSV file with these ``options`` of ``values.Format``: names and values.

    ``column`` is a column whose numbers have a sign, which pandas does not read; empty for others.
    """

    options: tuple[tuple[str, str], ...]
    column: str = ""

    @classmethod
    def of(cls, column: str = "", **options: str) -> SetFormat:
        """Return the remedy with keyword arguments as options."""
        return cls(tuple(options.items()), column)


@dataclass(frozen=True)
class Replace:
    """Replace the labels ``old`` of ``column`` by the label ``new``."""

    column: str
    old: tuple[str, ...]
    new: str


@dataclass(frozen=True)
class Inspect:
    """Print what a fit does with each column, and why."""


@dataclass(frozen=True)
class CheckFit:
    """Print the check of a fit against its training table."""


Remedy = (
    SetKind
    | DropColumn
    | DropIncompleteRows
    | ReadAsMissing
    | SetFormat
    | Replace
    | Inspect
    | CheckFit
)
# Aims of a user, such as "learn labels", each with the remedy that reaches it
Advice = tuple[tuple[str, Remedy], ...]
Words = Callable[[Remedy], str]  # returns an imperative clause, such as "pass --drop age"


def python_words(remedy: Remedy) -> str:
    """Tell a user of the Python interface how to apply a remedy."""
    match remedy:
        case SetKind(column, kind):
            return f"pass columns={{{column!r}: {kind!r}}}"
        case DropColumn(column):
            return f"call frame.drop(columns={column!r})"
        case DropIncompleteRows():
            return "pass missing='drop'"
        case ReadAsMissing(mark):
            return f"pass na=[{mark!r}]"
        case SetFormat(options, column) if column:
            own, plain = dict(options), {"thousands": "", "decimal": "."}
            steps = [f".str.replace({own[key]!r}, {plain[key]!r})" for key in plain if key in own]
            return f"call frame[{column!r}]{''.join(steps)}"
        case SetFormat(options):
            arguments = ", ".join(f"{name}={value!r}" for name, value in options)
            return f"call pandas.read_csv(path, {arguments})"
        case Replace(column, old, new):
            return f"call frame.replace({{{column!r}: {dict.fromkeys(old, new)}}})"
        case Inspect():
            return "call flows.inspect(frame)"
        case CheckFit():
            return "call density.check(frame)"


@dataclass(frozen=True)
class Notice:
    """A statement about a table.

    Args:
        problem: a clause that follows the column and the row, such as ``"holds 'x', which is not a
            number"``; a whole sentence if there is no column.
        column: the name of the column.
        row: the row's number in its file, or its label in the index of a data frame.
        advice: aims, such as ``"learn labels"``, and the remedies that reach them.
        is_decision: whether a fit decided that it does not learn a column as the table has it: the
            column has no name, or is excluded, carried or pooled, or its numbers have text among
            them. The pipeline leaves such decisions to its user.
        together: the problem of several columns with an equal notice, as a clause that follows
            their number, such as ``"are taken as categories"``; empty if the notice stands alone.
    """

    problem: str
    column: str | None = None
    row: Any = None
    advice: Advice = ()
    is_decision: bool = False
    together: str = ""

    def text(self, words: Words) -> str:
        """Return one line, with the remedies in the ``words`` of a front end."""
        places = {"column": self.column, "row": self.row}
        place = ", ".join(f"{what} {name}" for what, name in places.items() if name is not None)
        advice = (f"to {aim}, {words(remedy)}" for aim, remedy in self.advice)
        return "; ".join([f"{place} {self.problem}".strip(), *advice])


def merged(notices: Iterable[Notice]) -> list[Notice]:
    """Return notices in which those of several columns with an equal clause ``together`` are one.

    The one notice stands at the place of the first. ``flows inspect`` has the notice of each.
    """
    notices = [*notices]
    columns: dict[str, dict[str, None]] = {}  # the columns of each clause, in order
    for each in notices:
        if each.together and each.column is not None:
            columns.setdefault(each.together, {})[each.column] = None
    found = dict[str | int, Notice]()
    for k, each in enumerate(notices):
        names = [*columns.get(each.together, ())]
        if len(names) < 2:
            found[k] = each
            continue
        problem = f"{counted(len(names), 'column')} {each.together}: {listed(names)}"
        found.setdefault(each.together, Notice(problem, advice=(("see each", Inspect()),)))
    return [*found.values()]


def leave_out(column: str) -> tuple[str, Remedy]:
    """Return the advice to leave out a column."""
    return "leave the column out", DropColumn(column)


class TableError(UserError):
    """All faults that were found in a table.

    The text of the error has a line for each fault, in the words of the Python interface.

    Args:
        faults: the faults.
        source: the file that holds the table; empty for a data frame.
    """

    def __init__(self, faults: Sequence[Notice], source: str = "") -> None:
        self.faults, self.source = tuple(faults), source
        super().__init__(self.text(python_words))

    def text(self, words: Words) -> str:
        """Return a line for each fault, with the remedies in the ``words`` of a front end."""
        prefix = f"{self.source}: " if self.source else ""
        return "\n".join(f"{prefix}{fault.text(words)}" for fault in self.faults)


@contextmanager
def collecting(faults: list[Notice]) -> Iterator[None]:
    """Add the faults of a ``TableError`` in the block to ``faults`` instead of raising it."""
    try:
        yield
    except TableError as error:
        faults += error.faults


class TableNotice(UserWarning):
    """A notice on a table, or on answers about its rows, for filters of ``warnings``."""


def warn(notices: Iterable[Notice]) -> None:
    """Warn of notices, ``merged``, as ``TableNotice`` at the line that called the library."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
        frame, level = frame.f_back, level + 1
    for notice in merged(notices):
        warnings.warn(notice.text(python_words), TableNotice, stacklevel=level)
