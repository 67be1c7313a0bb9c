"""Rows of users as regions, and notices on what was found in the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.core.plurals import counted
from flows.tables.columns.kinds.unlearned import computed
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError, collecting
from flows.tables.columns.parsing import (
    Table,
    apply_missing_policy,
    complete_rows,
    numbers_of,
    parse,
    parse_fields,
    refused,
    rows_left_out,
)
from flows.tables.columns.values import PLAIN, Format, label_text
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.question import Asked, Question

PIECE = 50_000  # rows that are converted at a time: limits the memory
LINES = 20  # notices on labels, at most


@dataclass(frozen=True)
class UserRows:
    """Rows of a user.

    Args:
        pieces: data frames with the columns of the table, in any order and among others.
        source: the file that holds the rows; empty for a data frame.
        written: the format of text in the rows.
        row_numbers: the numbers of the rows ``(n,)``, if there is one piece; by default from 0.
    """

    pieces: Iterable[pd.DataFrame]
    source: str = ""
    written: Format = PLAIN
    row_numbers: Whole | None = None

    def numbered(self) -> Iterator[tuple[pd.DataFrame, Whole]]:
        """Yield the rows with their numbers, in new pieces of ``PIECE`` rows, at least one.

        The last piece may have fewer rows.
        """
        if self.row_numbers is not None:
            [piece] = self.pieces
            yield piece, self.row_numbers
            return
        start, rest = 0, None
        for piece in self.pieces:
            rest = piece if rest is None else pd.concat([rest, piece])
            while len(rest) >= PIECE:
                yield rest[:PIECE], np.arange(start, start + PIECE)
                start, rest = start + PIECE, rest[PIECE:]
        if rest is not None and (len(rest) or not start):
            yield rest, np.arange(start, start + len(rest))


class Tally:
    """Counts of one sort of things by a key.

    Args:
        words: returns the notice on a thing, from its count and the values of its first occurrence.
    """

    def __init__(self, words: Callable[..., Notice]) -> None:
        self._words, self._found = words, dict[Any, tuple[int, tuple[Any, ...]]]()

    def add(self, key: Any, count: int, *values: Any) -> None:
        """Count a thing.

        Args:
            key: which thing, such as the index of a column.
            count: how often the thing occurred.
            values: what the notice names.
        """
        before, first = self._found.get(key, (0, values))
        self._found[key] = before + count, first

    def notices(self) -> list[Notice]:
        """Return a notice on each thing, in the order of the keys."""
        return [self._words(count, *values) for _, (count, values) in sorted(self._found.items())]


class Reader:
    """Converts rows for a question, and counts what users should know about their values.

    The counts do not depend on the division of the rows into pieces.

    Args:
        question: the question that is asked about the rows.
        density: the density.
    """

    def __init__(self, question: Question, density: ArrayDensity) -> None:
        self.question, self.density = question, density
        self.columns, self.schema = density.columns, density.schema
        self._unmatched = list[Notice]()  # on names that no column has; at most one notice
        self._carried, self._far = Tally(_carried), Tally(_far)
        self._refused, self._broken = Tally(_refused), Tally(broken_by)
        self._labels = Counter[tuple[str, str]]()  # the name of a column, and an unknown label
        self._left_out = 0  # rows

    def notices(self) -> list[Notice]:
        """Return what users should know about the rows that were read."""
        return [
            *self._unmatched,
            *_labels(self._labels),
            *rows_left_out(self._left_out),
            *self._carried.notices(),
            *self._far.notices(),
            *self._refused.notices(),
            *self._broken.notices(),
        ]

    def read(self, rows: UserRows) -> Iterator[Asked]:
        """Yield the rows of a user as numbers, piece by piece.

        Columns are found by name, in any order; other columns are ignored.

        Args:
            rows: the rows.

        Raises ``TableError`` for rows without a column that the question needs, and for values that
        are not numbers.
        """
        fields = {field.name: field for field in self.columns}
        source, written, na = rows.source, rows.written, self.schema.na
        for frame, row_numbers in rows.numbered():
            shown = self._with_unknown_columns(frame, source)
            table = parse(shown, fields, source, written, na)
            kept = apply_missing_policy(table, self.question.missing)
            if self.question.missing == "drop":
                # A mask and not labels, because labels of the index may repeat
                is_kept = complete_rows(table.frame)
                frame, row_numbers = frame[is_kept], row_numbers[is_kept]
                self._left_out += int((~is_kept).sum())
            values = numbers_of(self.columns, kept)
            is_refused = refused(self.columns, values)
            self._note_refused(kept.frame, values, is_refused)
            there = {*map(str, frame.columns)}
            computed = [each.field for each in self.schema.carried if each.name in there]
            carried = frame[[]]
            if computed:
                carried = parse_fields(frame, computed, source, written, na).frame
                self._note_carried(carried, values)
            region = Region(np.where(is_refused, np.nan, values), row_numbers, refused=is_refused)
            self._note_broken(region.rows, source, frame.index)
            self._note_far(region.rows)
            yield Asked(frame, region, kept.frame, carried)

    def note_conditions(self, region: Region) -> None:
        """Count what users should know about conditions, which are the same in all rows."""
        self._note_broken(region.rows[:1], "given", [None])
        self._note_far(region.rows[:1])

    def _with_unknown_columns(self, frame: pd.DataFrame, source: str) -> pd.DataFrame:
        """Return a frame with missing values in hidden columns and, if they may lack, in others.

        Raises ``TableError`` for a frame that holds no column of the density.
        """
        if self.question.needs_all and not self.question.hidden(self.density):
            return frame
        names, hidden = self.density.names, [*self.question.hidden(self.density)]
        there = [*map(str, frame.columns)]
        if not {*names} & {*there}:
            problem = f"there is no column of the density; its columns are: {', '.join(names)}"
            raise TableError([Notice(problem)], source)
        unknown = {*hidden, *self.density.targets}
        lacking = [name for name in names if name not in there and name not in unknown]
        others = [name for name in there if name not in self.schema.names]
        if lacking and others and not self.question.needs_all:  # as after a typing error
            problem = f"no column is called {', '.join(lacking)}, so its values are unknown"
            said = f"{problem}; there are also the columns {', '.join(others)}"
            self._unmatched = [Notice(said)]
        shown = frame.loc[:, [name not in hidden for name in there]]
        absent = hidden if self.question.needs_all else {*names}.difference(there) | {*hidden}
        return shown.assign(**dict.fromkeys(absent, np.nan))

    def _note_carried(self, carried: pd.DataFrame, rows: Array) -> None:
        """Count the values of carried columns that differ from what the ``rows`` give."""
        if not self.question.scores:
            return
        columns = computed(self.columns, self.schema.carried, rows)
        for k, each in enumerate(self.schema.carried):
            if each.name not in carried:
                continue
            with collecting([]):  # text counts as nothing
                [x] = numbers_of([each.field], Table(carried)).T
                expected = columns[each.name]
                tolerance = each.field.spacing / 2 + 1e-6 * np.abs(expected)
                if different := int((np.abs(x - expected) > tolerance).sum()):
                    self._carried.add(k, different, each.name, each.formula)

    def _note_refused(self, frame: pd.DataFrame, values: Array, refused: Mask) -> None:
        """Count the ``refused`` values ``(n, D)`` of parsed rows.

        A question that scores rows counts the labels that have the log-density minus infinity.

        Args:
            frame: the parsed rows.
            values: the rows as numbers, ``(n, D)``.
            refused: which of the values are refused, ``(n, D)``.
        """
        scores, inputs, refused = self.question.scores, self.density.inputs, refused.copy()
        for d in np.flatnonzero(refused.any(axis=0)):
            if scores and self.columns[d].labels and not inputs[d]:
                labels = frame.iloc[:, d][refused[:, d]]
                self._labels.update((self.columns[d].name, _quoted(label)) for label in labels)
                refused[:, d] = False
        if not refused.any():
            return
        consequence = "treated as unknown"
        if scores:
            consequence = "given a log-density of minus infinity"
            if inputs.any():
                consequence = "treated as unknown, or as impossible in a target"
        k, d = np.argwhere(refused)[0]
        problem = f"holds {frame.iat[k, d]}, {self.columns[d].refusal(values[k, d])}"
        what = self.columns[d].name, frame.index[k], problem, consequence
        self._refused.add(0, int(refused.sum()), *what)

    def _note_broken(self, rows: Array, source: str, index: Sequence[Any]) -> None:
        """Count rows whose known values break a constraint.

        Raises ``TableError`` if the answer is conditional on these values.

        Args:
            rows: the rows ``(n, D)``, ``NaN`` for unknown values.
            source: the file that holds the rows, or ``"given"``.
            index: the labels of the rows, ``None`` for conditions.
        """
        constraints = self.density.constraints
        for k, broken in enumerate(constraints.broken(rows).T):
            if not broken.any():
                continue
            text, scores = constraints.each[k].text, self.question.scores
            if not scores and self.question.given_rows(self.density, rows) is not None:
                fault = f"breaks the constraint {text!r}"
                raise TableError([Notice(fault, None, index[int(broken.argmax())])], source)
            self._broken.add(k, int(broken.sum()), text)

    def _note_far(self, rows: Array) -> None:
        """Count given values that are more than one range of their column outside of its range.

        Args:
            rows: the rows ``(n, D)``, ``NaN`` for unknown values.
        """
        given = self.question.given_rows(self.density, rows)
        if given is None:
            return
        unknown: Mask = np.isnan(given)
        gappy = unknown.any(axis=1, keepdims=True)
        if not (gappy & ~unknown).any():
            return
        distilled = self.density.distilled
        far = gappy & distilled.is_far(given)
        for d in np.flatnonzero(far.any(axis=0)).tolist():
            column, x = self.columns[d], given[far[:, d], d]
            if not column.labels:
                ends = x[0], distilled.low[d], distilled.high[d]
                texts = [column.text(float(each)) for each in ends]
                self._far.add(d, len(x), column.name, self.question.noun, *texts)


# The words of the counts


def _labels(counts: Counter[tuple[str, str]]) -> list[Notice]:
    """Return notices on unknown labels, of which the most frequent ones are named."""
    notices = [
        Notice(
            f"holds the label {label} in {counted(count, 'row')}; the fitted table did not hold "
            "it, so the log-density is minus infinity there",
            name,
        )
        for (name, label), count in counts.most_common(LINES)
    ]
    if (more := len(counts) - len(notices)) > 0:
        notices.append(Notice(f"the same holds for {counted(more, 'more label')}"))
    return notices


def _quoted(label: Any) -> str:
    """Return text in quotes, and a number as a user writes it."""
    return repr(label) if isinstance(label, str) else label_text(label)


def _carried(count: int, name: str, formula: str) -> Notice:
    rows = counted(count, "row")
    return Notice(f"differs from {formula} in {rows}; log-densities ignore it", name)


def _far(count: int, name: str, noun: str, value: str, low: str, high: str) -> Notice:
    more = f" and {count - 1} more" if count > 1 else ""
    problem = f"is given as {value}{more}, far outside of its range, which is about {low} to {high}"
    return Notice(f"{problem}; the {noun} extrapolate", name)


def _refused(count: int, name: str, row: Any, problem: str, consequence: str) -> Notice:
    are = f"it and {counted(count - 1, 'more such value')} are" if count > 1 else "the value is"
    return Notice(f"{problem}; {are} {consequence}", name, row)


def broken_by(count: int, text: str) -> Notice:
    """Return a notice on ``count`` rows that break the constraint ``text``."""
    rows, verb = counted(count, "row"), "break" if count > 1 else "breaks"
    problem = f"{rows} {verb} the constraint {text!r}; the log-density is minus infinity there"
    return Notice(problem)
