"""Convert data frames to numbers ``(n, D)`` and back.

Data frames of users and pieces of files go through the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.tables.carried import Carried
from flows.tables.columns import Column, default_names
from flows.tables.dates import to_times
from flows.tables.duplicates import merged_groups
from flows.tables.inspection import check_columns
from flows.tables.kinds import Choice, choose
from flows.tables.layout import Layout, type_of
from flows.tables.notices import DropIncompleteRows, Notice, TableError, collecting, leave_out
from flows.tables.options import Missing
from flows.tables.rounding import count_decimals
from flows.tables.values import (
    PLAIN,
    Format,
    label_text,
    missing_values,
    parse_values,
    to_codes,
    to_floats,
)
from flows.tables.weights import counts, weights_of

NAMELESS = r"(Unnamed: \d+)?"  # a column without a name; pandas calls it "Unnamed: 0"


class Table(NamedTuple):
    """A parsed table.

    Args:
        frame: the parsed values.
        source: the name of the file; empty for a data frame.
        types: the types of the columns of a data frame, as ``layout.type_of`` returns them.
    """

    frame: pd.DataFrame
    source: str = ""
    types: Mapping[str, Any] = {}


class TableRows(NamedTuple):
    """The rows that a density is to learn.

    Args:
        columns: the columns.
        values: ``(n, D)``, with codes for labels and ``NaN`` for missing values.
        copies: the index of the first copy of each row, ``(n,)``.
        notices: statements about the table.
        layout: all columns of the table, also those that are not learned.
        groups: the number of the group of each row, ``(n,)``: a row is in one group with its copies
            and with the rows of the same subject.
        target_count: the number of last columns that are learned given all others; 0 if the columns
            are learned together.
        is_weighted: whether the rows are repeated by their weights. Repeated rows are copies.
    """

    columns: list[Column]
    values: Array
    copies: Whole
    notices: list[Notice]
    layout: Layout
    groups: Whole
    target_count: int = 0
    is_weighted: bool = False


def as_frame(rows: Any, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Return ``rows`` as a data frame; the columns of an array are called ``names``.

    Without ``names``, they have ``default_names``. Raises ``UserError`` for an array
    that does not hold rows ``(n, D)``. The rows of an array are numbered from 1.
    """
    if isinstance(rows, pd.DataFrame):
        return rows
    values = np.asarray(rows)
    if values.ndim != 2 or (names and values.shape[1] != len(names)):
        wanted = f"rows of {len(names)} numbers" if names else "rows"
        raise UserError(f"expected an array of {wanted}; got one of shape {values.shape}")
    columns = names or default_names(values.shape[1])
    return pd.DataFrame(values, columns=columns, index=range(1, len(values) + 1))


def from_user(rows: Any, kinds: Mapping[str, str], na: Sequence[str] = ()) -> Table:
    """Parse a data frame, or an array ``(n, D)``, that a user wants to fit or to inspect.

    ``kinds`` are the kinds that the user names, by column, and ``na`` marks of missing values.
    """
    frame = as_frame(rows)
    names = list(map(str, frame.columns))
    table = parse(frame, {name: kinds.get(name, "") for name in names}, na=na)
    if frame is not rows:  # an array has one type for all columns
        return table
    types = {name: type_of(frame.iloc[:, d]) for d, name in enumerate(names)}
    return table._replace(types=types)


def parse(
    frame: pd.DataFrame,
    kinds: Mapping[str, str],
    source: str = "",
    written: Format = PLAIN,
    na: Sequence[str] = (),
) -> Table:
    """Return the columns that ``kinds`` names, in this order, with numbers in place of text.

    ``written`` is the format of text, and ``na`` are further marks of missing values.
    ``values.parse_values`` describes the parsed columns. Raises ``TableError`` for a column that is
    missing, or whose name occurs twice.
    """
    names = list(map(str, frame.columns))
    parsed = {
        name: parse_values(
            frame.iloc[:, position(names, name, source)],
            is_category=word == "category",
            written=written,
            na=na,
        )
        for name, word in kinds.items()
    }
    return Table(pd.DataFrame(parsed, index=frame.index), source)


def position(names: Sequence[str], name: str, source: str = "") -> int:
    """Return the index of the column ``name`` in ``names``.

    Raises ``TableError`` unless exactly one column has this name.
    """
    count = list(names).count(name)
    if count > 1:
        raise TableError([Notice(f"{count} columns are called {name}; rename them")], source)
    if not count:
        there = f"there is no column {name}; the columns are: {', '.join(names)}"
        raise TableError([Notice(there)], source)
    return list(names).index(name)


def parsing_kinds(columns: Sequence[Column]) -> dict[str, str]:
    """Return the kinds to parse rows with that belong to ``columns``, by name.

    A category whose labels are numbers is parsed as numbers, so that 1.00 is the label 1.
    """
    return {column.name: "" if _has_numbers(column) else column.word for column in columns}


def _has_numbers(column: Column) -> bool:
    return bool(column.labels) and not any(isinstance(each, str | bool) for each in column.labels)


def take(
    table: Table,
    kinds: Mapping[str, str],
    missing: Missing = "stop",
    *,
    strict: bool = False,
    group: str | None = None,
    na: Sequence[str] = (),
    targets: Sequence[str] = (),
    weights: str | None = None,
) -> TableRows:
    """Return the rows of a table that a density is to learn.

    Args:
        table: a parsed table.
        kinds: the kinds that a user names, by column.
        missing: ``"stop"`` or ``"drop"`` as in ``apply_missing_policy``; or ``"learn"``, which
            keeps missing values as ``NaN`` and drops only rows without any value.
        strict: whether a column that would be carried, excluded or pooled is a fault.
        group: a column that names the subject of each row. It is not learned.
        na: the marks of missing values that the user named, for the layout.
        targets: the columns to learn given all others. They become the last columns, and rows
            without a value of a target are left out.
        weights: a column of weights (``weights.py``). It is not learned. Each row is repeated by
            its weight, and rows with the weight 0 are left out.

    Raises ``TableError``, with the faults of all columns, for a table that no density can be fitted
    to, and ``ValueError`` for another value of ``missing``, and for a word that is not a kind.
    """
    if missing not in get_args(Missing):
        raise ValueError(f"missing = {missing!r}: must be 'learn', 'drop' or 'stop'")
    frame, source, types = table
    for name in (*kinds, *targets, *filter(None, (group, weights))):
        position(list(frame), name, source)
    faults: list[Notice] = []
    try:
        frame, nameless = _without_nameless(frame, kinds, faults, strict=strict)
        weighted: list[Notice] = []
        if weights is not None:
            frame, weighted = _with_weight(frame, weights, [*targets, group])
        rows = _learnable_rows(
            frame, kinds, missing, faults, targets, strict=strict, group=group, weights=weights
        )
        if targets:
            rows = _with_targets(rows, targets)
    except TableError as error:
        raise TableError(error.faults, source) from None
    notices = [*nameless, *weighted, *rows.notices]
    if source and all(re.fullmatch(r"-?\d+", name) for name in frame):
        problem = f"the columns are called {', '.join(frame)}; if this is a row of the file"
        notices.insert(0, Notice(f"{problem}, write a line of names above it"))
    layout = replace(rows.layout, na=tuple(na))
    natural = {column.name: layout.natural_types(column) for column in rows.columns}
    kept = {
        name: kind
        for name, kind in types.items()
        if name in layout.names and kind not in natural.get(name, ())
    }
    layout = replace(layout, types=kept)
    return rows._replace(notices=notices, layout=layout)


def _without_nameless(
    frame: pd.DataFrame, kinds: Mapping[str, str], faults: list[Notice], *, strict: bool
) -> tuple[pd.DataFrame, list[Notice]]:
    """Return the columns to learn from, and notices on columns without a name that are left out.

    A column without a name is left out if it holds the numbers of the rows, or nothing. Otherwise
    ``strict`` adds a fault to ``faults``.
    """
    nameless = [name for name in frame if re.fullmatch(NAMELESS, name) and name not in kinds]
    notices, left_out = [], list[str]()
    for name in nameless:
        if frame[name].notna().any() and not _is_index(frame, name):
            problem = "has no name; give it one"
            if strict:
                faults.append(Notice(problem, repr(name), advice=(leave_out(name),)))
            continue
        left_out.append(name)
        problem = "is left out: it has no name, and holds the numbers of the rows or nothing"
        notices.append(Notice(problem, repr(name)))
    frame = frame.drop(columns=left_out)
    if frame.columns.empty:
        raise TableError([*faults, Notice("there is no column to learn")])
    return frame, notices


def _learnable_rows(
    frame: pd.DataFrame,
    kinds: Mapping[str, str],
    missing: str,
    faults: list[Notice],
    targets: Sequence[str],
    *,
    strict: bool,
    group: str | None,
    weights: str | None,
) -> TableRows:
    """Return the rows as numbers. Add faults to ``faults``, and raise ``TableError`` with them."""
    is_missing = _missing_mask(frame)
    known = frame.mask(is_missing)
    empty = known.columns[is_missing.all()].drop(group or [], errors="ignore").tolist()
    names = [name for name in known if name not in (group, weights) and name not in empty]
    choices = _choices(known[names], kinds, faults)
    if strict:
        faults += [
            Notice("holds no value in any row", name, advice=(leave_out(name),)) for name in empty
        ]
        choices = _without_refused(choices, faults)
    for name in [name for name, choice in choices.items() if choice.is_text_missing]:
        is_text = known[name].map(lambda value: isinstance(value, str)).to_numpy(bool)
        known[name] = known[name].mask(is_text).astype(np.float64)
        is_missing[name] |= is_text
    learned = _learned(choices)
    if missing == "stop":
        faults += _missing_faults(frame[learned], is_missing[learned])

    is_kept, notices = _select_rows(is_missing, learned, targets, missing)
    if learned and not is_kept.any():
        which = "target" if is_missing[[*targets]].any(axis=None) else "value"
        raise TableError([*faults, Notice(f"no row is left: every row lacks a {which}")])
    kept = known[is_kept]
    if (missing == "drop" or targets) and len(kept) < len(known):  # some labels may be gone
        again = _choices(kept[learned], kinds, [])
        choices |= _without_refused(again, faults) if strict else again
        learned = _learned(choices)

    columns, rows = _converted(kept, [choices[name].column for name in learned], faults)
    inspection = check_columns(
        columns, rows, kept.index.to_numpy(), faults, strict=strict, targets=targets
    )

    notices += _missing_notice(columns, rows)
    notices += [each.notice for each in choices.values() if each.notice]
    notices += [Notice("holds no value in any row, nor in samples", name) for name in empty]
    excluded, groups = [name for name in choices if name not in learned], inspection.copies
    if group is not None:
        subjects = _subjects(kept[group])
        problem = (
            f"holds the subjects, {len(np.unique(subjects))} in {len(kept)} rows; all rows of a "
            "subject are in one fold, and samples number their rows from 1 instead"
        )
        notices.append(Notice(problem, group))
        excluded.append(group)
        groups = merged_groups(groups, subjects)
    layout = Layout(
        names=tuple(frame),
        carried=(*inspection.carried, *(Carried(Column(name), None) for name in empty)),
        excluded=tuple(excluded),
        weights=weights,
        decimals={
            column.name: decimals
            for column, x in zip(columns, rows.T, strict=True)
            if not column.labels and (decimals := count_decimals(x)) is not None
        },
    )
    values = np.ascontiguousarray(rows[:, inspection.places])
    notices += inspection.notices
    found = TableRows(inspection.columns, values, inspection.copies, notices, layout, groups)
    return found if weights is None else _repeated(found, counts(weights_of(kept[weights])))


def _choices(
    known: pd.DataFrame, kinds: Mapping[str, str], faults: list[Notice]
) -> dict[str, Choice]:
    """Return what becomes of each column; ``known`` has ``NaN`` for missing values."""
    choices = {}
    for name in known:
        with collecting(faults):
            choices[name] = choose(known[name], kinds.get(name))
    return choices


def _without_refused(choices: dict[str, Choice], faults: list[Notice]) -> dict[str, Choice]:
    """Return the choices that a strict fit accepts, and add the refusals to ``faults``."""
    faults += [each.refusal for each in choices.values() if each.refusal]
    return {name: each for name, each in choices.items() if not each.refusal}


def _learned(choices: Mapping[str, Choice]) -> list[str]:
    return [name for name, choice in choices.items() if choice.column is not None]


def _select_rows(
    is_missing: pd.DataFrame, learned: Sequence[str], targets: Sequence[str], missing: str
) -> tuple[Mask, list[Notice]]:
    """Return a mask ``(n,)`` of the rows to learn from, and notices on the other rows."""
    gaps = is_missing[[*learned]]
    without = {"learn": gaps.all(axis=1), "drop": gaps.any(axis=1)}.get(missing, False)
    left_out = np.broadcast_to(without, len(gaps))
    lacks = is_missing[[*targets]].any(axis=1).to_numpy(bool) & ~left_out
    which = "without a" if missing == "learn" else "with a missing"
    notices = rows_left_out(left_out.sum(), which) + rows_left_out(lacks.sum(), "without a target")
    return ~(left_out | lacks), notices


def _converted(
    kept: pd.DataFrame, chosen: Sequence[Column | None], faults: list[Notice]
) -> tuple[list[Column], Array]:
    """Return the chosen columns without faults, and their numbers ``(n, D)``.

    Raises ``TableError`` if there is no such column.
    """
    columns, numbers = list[Column](), list[Array]()
    for column in filter(None, chosen):
        with collecting(faults):
            numbers.append(_column_numbers(kept[column.name], column, is_fit=True))
            columns.append(column)
    if not columns:
        raise TableError(faults or [Notice("there is no column to learn")])
    return columns, np.stack(numbers, axis=1)


def _with_weight(
    frame: pd.DataFrame, weights: str, others: Sequence[str | None]
) -> tuple[pd.DataFrame, list[Notice]]:
    """Return the rows whose weight is not 0, and notices on the weights.

    ``others`` are the columns with another purpose, the targets and the group.
    """
    if weights in others:
        raise TableError([Notice("cannot hold the weights and be a target or a group", weights)])
    weight = weights_of(frame[weights])
    n, kept = len(weight), weight > 0
    total = f"holds the weights of {n} rows, {weight.sum():g} in total"
    notices = [Notice(f"{total}; it is not learned, and samples have the weight 1", weights)]
    if (left_out := n - kept.sum()) > 0:
        are = "row with the weight 0 is" if left_out == 1 else "rows with the weight 0 are"
        notices.append(Notice(f"{left_out} {are} left out"))
    return frame[kept], notices


def _repeated(rows: TableRows, count: Whole) -> TableRows:
    """Return ``rows`` with each row repeated ``count`` ``(n,)`` times."""
    if (count == 1).all():
        return rows
    place = np.repeat(np.arange(len(count)), count)
    values, copies, groups = rows.values[place], rows.copies[place], rows.groups[place]
    first = np.unique(copies, return_index=True, return_inverse=True)
    return rows._replace(values=values, copies=first[1][first[2]], groups=groups, is_weighted=True)


def _with_targets(rows: TableRows, targets: Sequence[str]) -> TableRows:
    """Return the rows with the columns ``targets`` at the end, in this order.

    Raises ``TableError`` for a target that is named twice or not learned, and if every column is a
    target.
    """
    names = [column.name for column in rows.columns]
    for name in targets:
        if list(targets).count(name) > 1:
            raise TableError([Notice("is named as a target more than once", name)])
        if name not in names:
            why = rows.layout.without_density(name) or "is not learned"
            raise TableError([Notice(f"cannot be a target: the column {why}", name)])
    given = [d for d, name in enumerate(names) if name not in targets]
    if not given:
        raise TableError([Notice("every column is a target; a target needs a column beside it")])
    order = [*given, *map(names.index, targets)]
    values = np.ascontiguousarray(rows.values[:, order])
    columns = [rows.columns[d] for d in order]
    return rows._replace(columns=columns, values=values, target_count=len(targets))


def _subjects(values: pd.Series) -> Whole:
    """Return the number of the subject of each row, ``(n,)``; a missing value is its own."""
    codes = pd.factorize(values.map(label_text, na_action="ignore"))[0]
    alone = codes < 0
    codes[alone] = codes.max(initial=0) + 1 + np.arange(alone.sum())
    return codes


def _is_index(frame: pd.DataFrame, name: str) -> bool:
    """Return whether a column without a name holds the numbers of the rows."""
    column = frame[name]
    is_whole = column.dtype.kind == "f" and bool((column % 1 == 0).all())
    return name == frame.columns[0] and is_whole and column.is_unique


def apply_missing_policy(table: Table, missing: str = "stop") -> Table:
    """Return a table after the policy ``missing`` is applied to its missing values.

    ``"stop"`` raises ``TableError`` for a missing value, ``"drop"`` drops rows with a missing
    value, and ``"keep"`` keeps all rows, with ``NaN`` for missing values.
    """
    frame, source, _ = table
    is_missing = _missing_mask(frame)
    if missing == "keep":
        return Table(frame.mask(is_missing), source)
    if missing == "stop" and (faults := _missing_faults(frame, is_missing)):
        raise TableError(faults, source)
    return Table(frame[complete_rows(frame)], source)


def complete_rows(frame: pd.DataFrame) -> Mask:
    """Return which rows of a parsed frame have no missing value, ``(n,)``."""
    return ~_missing_mask(frame).to_numpy(bool).any(axis=1)


def _missing_mask(frame: pd.DataFrame) -> pd.DataFrame:
    """Return which values are missing, including marks such as ``"?"``."""
    return pd.DataFrame({name: missing_values(frame[name]) for name in frame}, index=frame.index)


def _missing_faults(frame: pd.DataFrame, is_missing: pd.DataFrame) -> list[Notice]:
    """Return a fault for each column with a missing value."""
    faults = []
    for name in frame.columns[is_missing.any()]:
        row = is_missing.index[is_missing[name]][0]
        value = frame.loc[is_missing[name], name].iloc[0]
        problem = "holds no value"
        if isinstance(value, str):
            problem = f"holds {value!r}, which counts as a missing value"
        advice = (("leave out rows with a missing value", DropIncompleteRows()),)
        faults.append(Notice(problem, name, row, advice))
    return faults


def _missing_notice(columns: Sequence[Column], values: Array) -> list[Notice]:
    """Return a notice that counts the missing values of each column."""
    gaps = np.isnan(values).sum(axis=0)
    counts = [f"{gap} in {column.name}" for column, gap in zip(columns, gaps, strict=True) if gap]
    if not counts:
        return []
    total = f"{gaps.sum()} of {values.size} values are missing: {', '.join(counts)}"
    return [Notice(f"{total}; the fit uses the other values of these rows")]


def rows_left_out(rows: int, which: str = "with a missing") -> list[Notice]:
    """Return a notice on ``rows`` rows that were left out; no notice for 0 rows."""
    if not rows:
        return []
    are = "row {} value is" if rows == 1 else "rows {} value are"
    return [Notice(f"{rows} {are.format(which)} left out")]


def numbers_of(
    frame: pd.DataFrame, columns: Sequence[Column], na: Sequence[str] = (), source: str = ""
) -> Array:
    """Return the ``columns`` of a data frame as numbers ``(n, D)``, as ``to_numbers``.

    ``na`` are further marks of missing values, and ``source`` is the file that holds the frame.
    """
    table = parse(frame, parsing_kinds(columns), source, na=na)
    return to_numbers(apply_missing_policy(table, "keep"), columns)


def to_numbers(table: Table, columns: Sequence[Column]) -> Array:
    """Return the ``columns`` of a table as numbers ``(n, D)``, ``NaN`` for missing values.

    Categories become codes: the indices of their labels, and -1 for a value that is not a label.
    Raises ``TableError``, with the faults of all columns, for values that are not numbers.
    """
    found, faults = list[Array](), list[Notice]()
    for column in columns:
        with collecting(faults):
            found.append(_column_numbers(table.frame[column.name], column, is_fit=False))
    if faults:
        raise TableError(faults, table.source)
    return np.stack(found, axis=1)


def _column_numbers(values: pd.Series, column: Column, *, is_fit: bool) -> Array:
    if column.labels:
        return to_codes(values, column)
    if column.kind == "date":
        return to_times(values, column)
    return to_floats(values, column, is_fit=is_fit)
