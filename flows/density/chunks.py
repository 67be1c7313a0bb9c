"""Questions about rows in chunks: a data frame is one chunk, and a file has many.

``Density`` and the command line ask their questions here, so a data frame and a file get the same
results. Rows are numbered over all chunks, so results do not depend on the division into chunks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from flows.conditionals.region import ENOUGH, Region
from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.density.array_density import ArrayDensity, Estimate, Probability
from flows.density.columns_by_name import given_mask
from flows.tables.field import Field
from flows.tables.kinds.category import MOST_LABELS
from flows.tables.kinds.unlearned import Carried
from flows.tables.notices import Notice, TableError, collecting
from flows.tables.parsing import (
    Table,
    apply_missing_policy,
    complete_rows,
    parse,
    rows_left_out,
)
from flows.tables.rows import joined, numbers_of
from flows.tables.values import PLAIN, Format

ROUGH = 0.021  # standard error of a probability, relative, above which a notice says so
BLOCK = 500  # rows between two calls of ``on_rows``
# From rows (n, D) and their numbers (n,) to results; the last result is the effective draws
Question = Callable[[Array, Whole], tuple[Array, ...]]


class Chunks:
    """Questions to a density about chunks of rows.

    Columns are found by name, in any order; other columns are ignored. ``notices`` describes all
    chunks together.

    Args:
        density: the density.
        source: the file that holds the rows; empty for a data frame.
        written: the format of text in the rows.
        on_rows: called after each block with its number of rows.
    """

    def __init__(
        self,
        density: ArrayDensity,
        source: str = "",
        written: Format = PLAIN,
        on_rows: Callable[[int], Any] = lambda count: None,
    ) -> None:
        self.density, self.source, self.written, self.on_rows = density, source, written, on_rows
        self.columns = density.columns
        self.names = density.names
        self.schema = density.schema
        self._rows = 0
        self._left_out = 0
        self._unmatched: list[Notice] = []
        self._unknown_labels = Counter[tuple[str, str]]()
        self._far: dict[tuple[str, str], list[float]] = {}  # given values, by column and results
        self._different = Counter[Carried]()  # values that differ from those of samples
        self._disallowed: list[Notice] = []  # on the first value that its column does not allow
        self._disallowed_count, self._consequence = 0, ""
        self._effective: dict[str, list[Array]] = {}  # by the results, a plural noun

    def log_prob(
        self, chunk: pd.DataFrame, given: Sequence[str] = (), missing: str = "keep"
    ) -> tuple[pd.DataFrame, Estimate]:
        """Return the rows that ``apply_missing_policy`` keeps, and their log-densities.

        With ``given``, the log-densities are conditional on the values of these columns.
        """
        what, consequence = "log-densities", "given a log-density of minus infinity"
        is_learned = np.full(len(self.columns), True)
        if self.density.targets:
            consequence = "treated as unknown, or as impossible in a target"
            is_learned = np.isin(self.names, self.density.targets)
        is_given = given_mask(self.schema, given)
        parsed = self._parsed(chunk, self.columns)
        kept = apply_missing_policy(parsed, missing)
        rows, refused = self._rows_of(kept)
        self._count_unknown_labels(kept, rows, is_learned)
        has_labels = np.array([bool(column.labels) for column in self.columns])
        disallowed = refused & ~(has_labels & is_learned)
        self._note_disallowed(kept, rows, disallowed, consequence)
        self._left_out += len(chunk) - len(rows)
        if missing == "drop":  # a mask and not labels, because labels of the index may repeat
            chunk = chunk[complete_rows(parsed.frame)]
        self._compare_carried(chunk, rows)
        if is_given.any():
            self.note_far(np.where(is_given, rows, np.nan), what)
        found = self._ask(partial(self.density.log_prob, is_given=is_given), what, rows)
        return chunk, Estimate(*found)

    def complete(self, chunk: pd.DataFrame, seed: int) -> pd.DataFrame:
        """Return a draw of all columns of the table for each row, given the row's known values."""
        chunk = self._with_all_columns(chunk)
        rows, _ = self.known(chunk)

        def complete(rows: Array, numbers: Whole) -> tuple[Array, ...]:
            versions, effective = self.density.complete(rows, numbers, 1, seed)
            return versions[0], effective

        self.note_far(rows, "draws")
        start = self._rows
        found = self._ask(complete, "draws", rows)[0]
        frame = self.schema.frame(found, seed=seed, start=start)
        return self._with_rare_labels(frame.set_axis(chunk.index), chunk)

    def impute(self, chunk: pd.DataFrame, draws: int = 0, seed: int = 0) -> pd.DataFrame:
        """Return the rows with their missing values filled; other values do not change.

        With ``draws``, return this many versions of each row, one below the other, with drawn
        values in place of missing values.
        """
        what = "imputed values"
        rows, disallowed = self.known(chunk)

        def fill(rows: Array, numbers: Whole) -> tuple[Array, ...]:
            if not draws:
                return self.density.fill(rows, numbers)
            versions, effective = self.density.complete(rows, numbers, draws, seed)
            return versions.swapaxes(0, 1), effective

        self.note_far(rows, what)
        start = self._rows
        filled = self._ask(fill, what, rows)[0].reshape(-1, rows.shape[1])
        each = np.arange(len(chunk)).repeat(max(draws, 1))
        gaps = (np.isnan(rows) & ~disallowed)[each]
        values = self.schema.frame(filled, seed=seed, start=start)
        carried = self._carried_in(chunk)
        gaps = np.concatenate([gaps, carried.isna().to_numpy(bool)[each]], axis=1)
        values = values[[*self.names, *carried]]
        return _filled(chunk.iloc[each], gaps, values, self.written.decimal)

    def predict(
        self, chunk: pd.DataFrame, names: Sequence[str], levels: Sequence[float]
    ) -> pd.DataFrame:
        """Return the distributions of the columns ``names`` given the other values of each row.

        The results of several columns are side by side, with the column in front of their names.
        """
        what, places = "predictions", [self.schema.find(name) for name in names]
        rows, _ = self.known(self._with_all_columns(chunk, without=names))
        self.note_far(rows, what)

        def predict(rows: Array, numbers: Whole) -> tuple[Array, ...]:
            parts = [self.density.predict(Region(rows, numbers), d, levels) for d in places]
            found, effective = zip(*parts, strict=True)
            return *found, *effective, np.minimum.reduce(effective)

        *results, _ = self._ask(predict, what, rows)  # once, so that each row is counted once
        found, effective = results[: len(places)], results[len(places) :]
        parts = [
            self._predicted(d, levels, x, draws, chunk.index)
            for d, x, draws in zip(places, found, effective, strict=True)
        ]
        return _side_by_side(names, parts)

    def predict_given(
        self, given: Region, names: Sequence[str], levels: Sequence[float]
    ) -> pd.DataFrame:
        """Return the distributions of the columns ``names`` under conditions, in one row.

        Raises ``UserError`` if the conditions have a value of a predicted column or of a target.
        """
        for name in dict.fromkeys([*names, *self.density.targets]):
            if not np.isnan(given.rows[0, self.schema.find(name)]):
                raise UserError(f"given: {name} is predicted; leave it out, or give a range")
        what, parts = "predictions", list[pd.DataFrame]()
        self.note_far(given.rows, what)
        least = np.array([np.inf])
        for name in names:
            d = self.schema.find(name)
            found, effective = self.density.predict(given, d, levels)
            least = np.minimum(least, effective)
            parts.append(self._predicted(d, levels, found, effective, pd.RangeIndex(1)))
        self._effective.setdefault(what, []).append(least)
        return _side_by_side(names, parts)

    def _predicted(
        self, d: int, levels: Sequence[float], found: Array, effective: Array, index: pd.Index
    ) -> pd.DataFrame:
        """Return the results of ``ArrayDensity.predict`` for column ``d`` as a data frame."""
        *names, last = prediction_names([self.columns[d]], levels)
        predicted = pd.DataFrame(found, columns=names, index=index)
        if not self.columns[d].labels:
            own = {
                name: self.columns[d].points(x.to_numpy(), is_distance=name == "sd")
                for name, x in predicted.items()
            }
            predicted = pd.DataFrame(own).set_axis(index)
        draws = np.where(np.isfinite(effective), effective, np.nan)
        predicted.insert(len(names), last, draws, allow_duplicates=True)
        return predicted

    def surprise(self, chunk: pd.DataFrame, row_numbers: Whole | None = None) -> Array:
        """Return the surprise of each value, ``(n, D)``; infinite for disallowed values.

        ``row_numbers`` ``(n,)`` are the numbers of the rows, if the chunk holds only some rows.
        """
        rows, disallowed = self.known(chunk)
        found = self._ask(self.density.surprise, "surprises", rows, row_numbers)[0]
        return np.where(disallowed, np.inf, found)

    def known(self, chunk: pd.DataFrame) -> tuple[Array, Mask]:
        """Return the rows as numbers ``(n, D)``, and a mask ``(n, D)`` of disallowed values.

        Missing and disallowed values are ``NaN``.
        """
        table = self._table(chunk, self.columns)
        rows, disallowed = self._rows_of(table)
        self._note_disallowed(table, rows, disallowed, "treated as unknown")
        return np.where(disallowed, np.nan, rows), disallowed

    def note_far(self, rows: Array, what: str = "draws") -> None:
        """Count given values that are more than one range of their column outside of its range.

        Args:
            rows: rows ``(n, D)`` with ``NaN`` for unknown values. The known values of a row with an
                unknown value are given.
            what: plural noun for the results that depend on these values.
        """
        unknown: Mask = np.isnan(rows)
        gappy = unknown.any(axis=1, keepdims=True)
        if not (gappy & ~unknown).any():
            return
        low, high = self._ranges()
        far = gappy & ((rows < 2 * low - high) | (rows > 2 * high - low))
        for column, x, own in zip(self.columns, rows.T, far.T, strict=True):
            if own.any() and not column.labels:
                self._far.setdefault((column.name, what), []).extend(x[own].tolist())

    def about_far(self) -> list[Notice]:
        """Return a notice for each column with given values far outside of its range."""
        notices = []
        for (name, what), values in self._far.items():
            d = self.names.index(name)
            shown = [values[0], *(end[d] for end in self._ranges())]
            texts = [self.columns[d].text(float(each)) for each in shown]
            more = f" and {len(values) - 1} more" if len(values) > 1 else ""
            problem = (
                f"is given as {texts[0]}{more}, far outside of its range, which is about "
                f"{texts[1]} to {texts[2]}; the {what} extrapolate"
            )
            notices.append(Notice(problem, name))
        return notices

    def _ranges(self) -> tuple[Array, Array]:
        """Return the lower and the upper ends of the ranges of the columns, ``(D,)`` each."""
        distilled = self.density.unknowns.distilled
        return distilled.low, distilled.high

    def notices(self) -> list[Notice]:
        """Return the notices on all rows so far."""
        return [
            *self._unmatched,
            *_about_labels(self._unknown_labels),
            *rows_left_out(self._left_out),
            *_about_carried(self._different),
            *self.about_far(),
            *self._about_disallowed(),
            *(
                notice
                for what, effective in self._effective.items()
                for notice in _about_precision(np.concatenate(effective), what)
            ),
        ]

    def _ask(
        self, question: Question, what: str, rows: Array, row_numbers: Whole | None = None
    ) -> tuple[Array, ...]:
        """Ask a ``question`` about blocks of rows, and return the results for all rows.

        Notices call the results ``what``, a plural noun.
        """
        if row_numbers is None:
            row_numbers = self._rows + np.arange(len(rows))
        self._rows += len(rows)
        found = []
        for start in range(0, max(len(rows), 1), BLOCK):
            block = slice(start, start + BLOCK)
            found.append(question(rows[block], row_numbers[block]))
            self.on_rows(len(rows[block]))
        results = tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
        self._effective.setdefault(what, []).append(results[-1])
        return results

    def _rows_of(self, table: Table) -> tuple[Array, Mask]:
        """Return the rows of a parsed table as numbers ``(n, D)``, and which are refused."""
        rows, refused = self.schema.rows(table)
        return joined(self.columns, rows, refused), refused

    def _parsed(self, chunk: pd.DataFrame, columns: Sequence[Field]) -> Table:
        fields = {column.name: column for column in columns}
        return parse(chunk, fields, self.source, self.written, self.schema.na)

    def _table(self, chunk: pd.DataFrame, columns: Sequence[Field]) -> Table:
        """Return parsed columns of a chunk, with ``NaN`` for missing values."""
        return apply_missing_policy(self._parsed(chunk, columns), "keep")

    def _with_all_columns(self, chunk: pd.DataFrame, without: Sequence[str] = ()) -> pd.DataFrame:
        """Return the chunk with missing values in absent columns and in the columns ``without``.

        Raises ``TableError`` for a chunk that holds no column of the density.
        """
        there = [*map(str, chunk.columns)]
        if not {*self.names} & {*there}:
            names = ", ".join(self.names)
            problem = f"there is no column of the density; its columns are: {names}"
            raise TableError([Notice(problem)], self.source)
        chunk = chunk.loc[:, [str(name) not in without for name in chunk.columns]]
        lacking = [name for name in self.names if name not in map(str, chunk.columns)]
        if not self._rows:
            known = [name for name in lacking if name not in without]
            others = [name for name in there if name not in self.schema.names]
            self._unmatched = _about_unmatched(known, others)
        return chunk.assign(**dict.fromkeys(lacking, np.nan))

    def _carried_in(self, chunk: pd.DataFrame) -> pd.DataFrame:
        """Return the carried columns that a chunk holds, parsed; ``NaN`` is a missing value."""
        there = set(map(str, chunk))
        carried = [each.field for each in self.schema.carried]
        return self._table(chunk, [field for field in carried if field.name in there]).frame

    def _compare_carried(self, chunk: pd.DataFrame, rows: Array) -> None:
        """Count the values of carried columns that differ from what the ``rows`` give."""
        table = Table(self._carried_in(chunk), self.source)
        for each in self.schema.carried:
            if each.name in table.frame:
                with collecting([]):  # text counts as nothing
                    [x] = numbers_of([each.field], table).T
                    expected = each.values(self.columns, rows)
                    tolerance = each.field.cell / 2 + 1e-6 * np.abs(expected)
                    self._different[each] += int((np.abs(x - expected) > tolerance).sum())

    def _with_rare_labels(self, frame: pd.DataFrame, chunk: pd.DataFrame) -> pd.DataFrame:
        """Return a drawn frame in which known labels of a pool are those of the chunk."""
        for column in self.columns:
            if column.pool is not None:
                parsed = self._table(chunk, [column]).frame[column.name]
                own = parsed.notna().to_numpy(bool)
                frame[column.name] = frame[column.name].mask(own, parsed)
        return frame

    def _note_disallowed(
        self, table: Table, rows: Array, disallowed: Mask, consequence: str
    ) -> None:
        """Count the ``disallowed`` values ``(n, D)`` of a table, and keep a notice on the first.

        ``rows`` ``(n, D)`` are the values as numbers.
        """
        self._disallowed_count += int(disallowed.sum())
        if not self._disallowed and disallowed.any():
            k, d = np.argwhere(disallowed)[0]
            column, value = self.columns[d], table.frame.iat[k, d]
            problem = f"holds {value}, {column.refusal(rows[k, d])}"
            self._disallowed = [Notice(problem, column.name, table.frame.index[k])]
            self._consequence = consequence

    def _about_disallowed(self) -> list[Notice]:
        """Return a notice on the values that their columns do not allow."""
        more = self._disallowed_count - 1
        values = f"it and {more} more such value{'s' * (more > 1)} are" if more else "the value is"
        return [
            replace(first, problem=f"{first.problem}; {values} {self._consequence}")
            for first in self._disallowed
        ]

    def _count_unknown_labels(self, table: Table, rows: Array, is_learned: Mask) -> None:
        for column, codes, own in zip(self.columns, rows.T, is_learned, strict=True):
            if column.labels and own:
                labels = table.frame[column.name][codes < 0]
                self._unknown_labels.update((column.name, repr(label)) for label in labels)


def about_probability(found: Probability) -> list[Notice]:
    """Return a notice if the standard error is above 2% of a probability."""
    if found.error <= ROUGH * found.probability:
        return []
    return [
        Notice(
            f"the probability is rough: after {found.draws:,} draws its standard error is "
            f"{found.error:.2g}, above 2%"
        )
    ]


def prediction_names(columns: Sequence[Field], levels: Sequence[float]) -> list[Any]:
    """Return the names of the columns of a prediction of ``columns``.

    Labels of a single column keep their types.
    """
    summary = ["mean", "sd", *(f"q{level:g}" for level in levels)]
    names = {column.name: [*(column.labels or summary), "effective_draws"] for column in columns}
    if len(columns) == 1:
        return names[columns[0].name]
    return [f"{column}_{each}" for column, own in names.items() for each in own]


def _side_by_side(names: Sequence[str], parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the results of several columns in one frame, with the column in front of each name."""
    if len(parts) == 1:
        return parts[0]
    named = zip(names, parts, strict=True)
    return pd.concat([part.add_prefix(f"{name}_") for name, part in named], axis=1)


def _filled(frame: pd.DataFrame, gaps: Mask, values: pd.DataFrame, decimal: str) -> pd.DataFrame:
    """Return a data frame with ``values`` in place of its ``gaps``; columns of text stay text.

    ``gaps`` ``(n, K)`` and ``values`` have the same columns: the learned columns, then the carried
    columns of the frame. ``decimal`` is the decimal mark of numbers in text.
    """
    found, names = frame.copy(), list(map(str, frame))
    for (name, column), gap in zip(values.items(), gaps.T, strict=True):
        if gap.any():
            place, new = names.index(str(name)), column[gap]
            own = found.iloc[:, place].copy()
            if isinstance(own.dtype, pd.CategoricalDtype):
                own = own.cat.add_categories([*{*new.dropna()} - {*own.cat.categories}])
            elif own.dtype.kind in "iu" and new.dtype.kind == "f":  # types of pandas or Arrow
                own = own.astype(np.float64)
            elif own.dtype.kind == new.dtype.kind == "f":  # perhaps of lower precision
                new = new.astype(own.dtype)
            elif own.dtype != object and pd.api.types.is_string_dtype(own.dtype):
                is_real, new = new.dtype.kind == "f", new.astype(str)
                new = new.str.replace(".", decimal, regex=False) if is_real else new
            own[gap] = new.to_numpy()
            found.isetitem(place, own)
    return found


def _about_unmatched(lacking: Sequence[str], others: Sequence[str]) -> list[Notice]:
    """Return a notice if columns are missing and others are unknown, as after a typing error."""
    if not (lacking and others):
        return []
    problem = f"no column is called {', '.join(lacking)}, so its values are unknown"
    return [Notice(f"{problem}; there are also the columns {', '.join(others)}")]


def _about_carried(different: Counter[Carried]) -> list[Notice]:
    """Return a notice for each carried column with values that are ``different`` from its formula.

    Args:
        different: the number of rows with other values, by column.
    """
    return [
        Notice(
            f"differs from {each.formula} in {rows} row{'s' * (rows > 1)}; log-densities ignore it",
            each.name,
        )
        for each, rows in different.items()
        if rows
    ]


def _about_labels(unknown: Counter[tuple[str, str]]) -> list[Notice]:
    """Return notices on the most frequent ``unknown`` labels: pairs of column and label."""
    notices = [
        Notice(
            f"holds the label {label} in {rows} row{'s' * (rows > 1)}; the fitted table did not "
            "hold it, so the log-density is minus infinity there",
            name,
        )
        for (name, label), rows in unknown.most_common(MOST_LABELS)
    ]
    if len(unknown) > len(notices):
        notices.append(Notice(f"the same holds for {len(unknown) - len(notices)} more labels"))
    return notices


def _about_precision(effective: Array, what: str) -> list[Notice]:
    """Return a notice on the rows with few effective draws; ``effective`` is ``(n,)``."""
    few = effective[effective < ENOUGH]
    if not len(few):
        return []
    return [
        Notice(
            f"the {what} of {len(few)} of {len(effective)} rows are rough: fewer than {ENOUGH} "
            f"draws are effective (at worst {few.min():.0f})"
        )
    ]
