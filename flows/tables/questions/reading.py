"""Rows of users as regions; a collector counts what happens to the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError, collecting
from flows.tables.columns.parsing import (
    Table,
    apply_missing_policy,
    complete_rows,
    parse,
    parse_fields,
)
from flows.tables.columns.rows import numbers_of, refused
from flows.tables.columns.values import Format, label_text
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.collector import Collector
from flows.tables.questions.question import Asked, Question


def _quoted(label: Any) -> str:
    """Return text in quotes, and a number as a user writes it."""
    return repr(label) if isinstance(label, str) else label_text(label)


class Reader:
    """Converts the rows of one source for a question.

    Args:
        density: the density.
        question: the question that is asked about the rows.
        collector: counts what happens to the values.
        source: the file that holds the rows; empty for a data frame.
        written: the format of text in the rows.
    """

    def __init__(
        self,
        density: ArrayDensity,
        question: Question,
        collector: Collector,
        source: str,
        written: Format,
    ) -> None:
        self.density, self.question, self.collector = density, question, collector
        self.source, self.written, self.schema = source, written, density.schema
        self.columns = density.columns

    def read(self, frame: pd.DataFrame, row_numbers: Whole) -> Asked:
        """Return rows as numbers.

        Args:
            frame: rows of the table. Columns are found by name, in any order; other columns are
                ignored.
            row_numbers: the numbers of the rows, ``(n,)``.

        Raises ``TableError`` for a frame without a column that the question needs, and for values
        that are not numbers.
        """
        fields = {field.name: field for field in self.columns}
        shown = self._with_unknown_columns(frame)
        table = parse(shown, fields, self.source, self.written, self.schema.na)
        kept = apply_missing_policy(table, self.question.missing)
        if self.question.missing == "drop":
            # A mask and not labels, because labels of the index may repeat
            is_kept = complete_rows(table.frame)
            frame, row_numbers = frame[is_kept], row_numbers[is_kept]
            self.collector.add("left out", count=int((~is_kept).sum()))
        values = numbers_of(self.columns, kept)
        is_refused = refused(self.columns, values)
        self._note_refused(kept.frame, values, is_refused)
        region = Region(np.where(is_refused, np.nan, values), row_numbers, refused=is_refused)
        asked = Asked(frame, region, kept.frame, self._carried_in(frame))
        if self.question.scores:
            self._compare_carried(asked.carried, values)
        self._note_broken(region.rows, frame.index)
        self.note_far(region.rows)
        return asked

    def of_conditions(self, region: Region) -> Asked:
        """Return the rows of a region of conditions.

        Args:
            region: the conditions.
        """
        self._note_broken(region.rows[:1], None)
        nothing = pd.DataFrame(index=pd.RangeIndex(len(region)))
        return Asked(nothing, region, nothing, nothing)

    def _with_unknown_columns(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a frame with missing values in hidden columns and, if they may lack, in others.

        Raises ``TableError`` for a frame that holds no column of the density.
        """
        if self.question.needs_all and not self.question.hidden(self.density):
            return frame
        names, hidden = self.density.names, [*self.question.hidden(self.density)]
        there = [*map(str, frame.columns)]
        if not {*names} & {*there}:
            problem = f"there is no column of the density; its columns are: {', '.join(names)}"
            raise TableError([Notice(problem)], self.source)
        unknown = {*hidden, *self.density.targets}
        lacking = [name for name in names if name not in there and name not in unknown]
        others = [name for name in there if name not in self.schema.names]
        # As after a typing error
        are_unmatched = bool(lacking and others) and not self.question.needs_all
        self.collector.add("unmatched", count=int(are_unmatched), values=[lacking, others])
        shown = frame.loc[:, [name not in hidden for name in there]]
        absent = hidden if self.question.needs_all else {*names}.difference(there) | {*hidden}
        return shown.assign(**dict.fromkeys(absent, np.nan))

    def _carried_in(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the carried columns that a frame holds, parsed; ``NaN`` is a missing value."""
        there = {*map(str, frame.columns)}
        carried = [each.field for each in self.schema.carried if each.name in there]
        return parse_fields(frame, carried, self.source, self.written, self.schema.na).frame

    def _compare_carried(self, carried: pd.DataFrame, rows: Array) -> None:
        """Count the values of carried columns that differ from what the ``rows`` give."""
        for each in self.schema.carried:
            if each.name not in carried:
                continue
            with collecting([]):  # text counts as nothing
                [x] = numbers_of([each.field], Table(carried, self.source)).T
                expected = each.values(self.columns, rows)
                tolerance = each.field.spacing / 2 + 1e-6 * np.abs(expected)
                different = int((np.abs(x - expected) > tolerance).sum())
                self.collector.add("carried", each.name, count=different, values=[each.formula])

    def _note_refused(self, frame: pd.DataFrame, values: Array, refused: Mask) -> None:
        """Count the ``refused`` values ``(n, D)`` of parsed rows.

        A question that scores rows counts the labels that have the log-density minus infinity.

        Args:
            frame: the parsed rows.
            values: the rows as numbers, ``(n, D)``.
            refused: which of the values are refused, ``(n, D)``.
        """
        consequence, inputs = "treated as unknown", self.density.inputs
        if self.question.scores:
            consequence = "given a log-density of minus infinity"
            if inputs.any():
                consequence = "treated as unknown, or as impossible in a target"
        for d in np.flatnonzero(refused.any(axis=0)):
            column, wrong = self.columns[d], refused[:, d]
            texts = frame.iloc[:, d]
            if self.question.scores and column.labels and not inputs[d]:
                for label, count in texts[wrong].map(_quoted).value_counts(sort=False).items():
                    self.collector.add("label", column.name, str(label), count=int(count))
                refused = refused & (np.arange(len(self.columns)) != d)
        if refused.any():
            k, d = np.argwhere(refused)[0]
            column = self.columns[d]
            problem = f"holds {frame.iat[k, d]}, {column.refusal(values[k, d])}"
            what = [column.name, frame.index[k], problem]
            self.collector.add("refused", consequence, count=int(refused.sum()), values=what)

    def _note_broken(self, rows: Array, index: pd.Index | None) -> None:
        """Count rows whose known values break a constraint.

        Raises ``TableError`` if the answer is conditional on these values.

        Args:
            rows: the rows ``(n, D)``, ``NaN`` for unknown values.
            index: the labels of the rows; ``None`` for conditions.
        """
        constraints = self.density.constraints
        for each, broken in zip(constraints.each, constraints.broken(rows).T, strict=True):
            if not broken.any():
                continue
            scores = self.question.scores
            if not scores and self.question.given_rows(self.density, rows) is not None:
                row = None if index is None else index[int(broken.argmax())]
                source = self.source if index is not None else "given"
                raise TableError(
                    [Notice(f"breaks the constraint {each.text!r}", None, row)], source
                )
            self.collector.add("broken", each.text, count=int(broken.sum()))

    def note_far(self, rows: Array) -> None:
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
        low, high = self.density.distilled.low, self.density.distilled.high
        far = gappy & self.density.distilled.is_far(given)
        for d, column in enumerate(self.columns):
            x = given[far[:, d], d]
            if len(x) and not column.labels:
                texts = [column.text(float(each)) for each in (x[0], low[d], high[d])]
                key = column.name, self.question.noun
                self.collector.add("far", *key, count=len(x), values=texts)
