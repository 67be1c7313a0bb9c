"""What a density learns from a table: the schema of its columns, and the rows.

``learn`` chooses a field for each column, checks the values, sets columns without a density aside,
and says what it did.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from flows.core.arrays import Array, Mask, Whole
from flows.tables.checking import check
from flows.tables.choosing import choose
from flows.tables.duplicates import merged_groups
from flows.tables.field import Choice, Field, Unlearned
from flows.tables.kinds import Real
from flows.tables.kinds.unlearned import Carried, Group, Weights
from flows.tables.notices import Notice, TableError, collecting, leave_out
from flows.tables.options import FitOptions, InspectOptions, Missing, target_names
from flows.tables.parsing import (
    Table,
    missing_faults,
    missing_mask,
    position,
    rows_left_out,
)
from flows.tables.rounding import count_decimals
from flows.tables.values import label_text
from flows.tables.weights import counts, weights_of

NAMELESS = r"(Unnamed: \d+)?"  # a column without a name; pandas calls it "Unnamed: 0"


class Sample(NamedTuple):
    """The rows that a density is to learn.

    Args:
        values: the rows ``(n, D)``, with codes for labels and ``NaN`` for missing values.
        copies: the index of the first copy of each row, ``(n,)``.
        groups: the number of the group of each row, ``(n,)``: a row is in one group with its copies
            and with the rows of the same subject.
        target_count: the number of last columns that are learned given all others; 0 if the columns
            are learned together.
        is_weighted: whether the rows are repeated by their weights. Repeated rows are copies.
    """

    values: Array
    copies: Whole
    groups: Whole
    target_count: int = 0
    is_weighted: bool = False


def learn(
    table: Table, options: InspectOptions | FitOptions
) -> tuple[tuple[Field, ...], tuple[str, ...], tuple[Unlearned, ...], Sample, list[Notice]]:
    """Return the learned columns, the names of all, those not learned, the rows, and the notices.

    ``Schema.fit`` describes the arguments and the errors.
    """
    kinds, targets = options["columns"] or {}, target_names(options["target"])
    missing, strict = options["missing"], options["strict"]
    group, weights = options["group"], options["weights"]
    if missing not in get_args(Missing):
        raise ValueError(f"missing = {missing!r}: must be 'learn', 'drop' or 'stop'")
    frame, source, types = table
    for name in (*kinds, *targets, *filter(None, (group, weights))):
        position(list(frame), name, source)
    faults: list[Notice] = []
    try:
        frame, notices = _without_nameless(frame, kinds, faults, strict=strict)
        if weights is not None:
            frame, weighted = _with_weight(frame, weights, [*targets, group])
            notices += weighted
        purposes = (Group, group), (Weights, weights)
        roles = [cls(name) for cls, name in purposes if name is not None]
        fields, unlearned, sample, found = _learned(
            frame, kinds, missing, faults, targets, roles, strict=strict
        )
        if targets:
            fields, sample = _with_targets(fields, unlearned, sample, targets)
    except TableError as error:
        raise TableError(error.faults, source) from None
    notices += found
    if source and all(re.fullmatch(r"-?\d+", name) for name in frame):
        problem = f"the columns are called {', '.join(frame)}; if this is a row of the file"
        notices.insert(0, Notice(f"{problem}, write a line of names above it"))
    learned, others = (tuple(_typed(each, types) for each in own) for own in (fields, unlearned))
    return learned, tuple(frame), others, sample, notices


def _learned(
    frame: pd.DataFrame,
    kinds: Mapping[str, str],
    missing: str,
    faults: list[Notice],
    targets: Sequence[str],
    others: Sequence[Group | Weights],
    *,
    strict: bool,
) -> tuple[list[Field], list[Unlearned], Sample, list[Notice]]:
    """Return the columns that are learned and those that are not, the rows, and the notices.

    ``others`` are the columns of the group and the weights. Adds faults to ``faults``, and raises
    ``TableError`` with them.
    """
    values = Values(frame, [each.name for each in others])
    choices = _choices(values.to_choose(), kinds, faults)
    if strict:
        faults += [
            Notice("holds no value in any row", name, advice=(leave_out(name),))
            for name in values.empty
        ]
        choices = _without_refused(choices, faults)
    choices |= {
        name: Choice(choice.field.without_ends)
        for name, choice in choices.items()
        if targets and name not in (*targets, *kinds)
        if isinstance(choice.field, Field) and choice.field.without_ends != choice.field
    }  # a given column has no density that could end
    values.mask_text(choices)
    names = list(_fields(choices))
    if missing == "stop":
        faults += missing_faults(frame[names], values.is_missing[names])
    is_kept, notices = _select_rows(values.is_missing, names, targets, missing)
    if names and not is_kept.any():
        which = "target" if values.is_missing[[*targets]].any(axis=None) else "value"
        raise TableError([*faults, Notice(f"no row is left: every row lacks a {which}")])
    kept = values.known[is_kept]
    if (missing == "drop" or targets) and not is_kept.all():  # some labels may be gone
        again = _choices(kept[names], kinds, [])
        choices |= _without_refused(again, faults) if strict else again
    fields, numbers = _converted(kept, list(_fields(choices).values()), faults)
    checked = check(fields, numbers, kept.index.to_numpy(), faults, strict=strict, targets=targets)
    copies, groups, of_groups = checked.copies, checked.copies, list[Notice]()
    for each in others:
        if isinstance(each, Group):
            groups, of_groups = _grouped(copies, kept[each.name])
    notices = [
        *notices,
        *_missing_notice(fields, numbers),
        *(each.notice for each in choices.values() if each.notice),
        *(Notice("holds no value in any row, nor in samples", name) for name in values.empty),
        *of_groups,
        *checked.notices,
    ]
    unlearned = [
        *checked.carried,
        *(Carried(Real(name), None) for name in values.empty),
        *(each.field for each in choices.values() if isinstance(each.field, Unlearned)),
        *others,
    ]
    sample = Sample(np.ascontiguousarray(numbers[:, checked.places]), copies, groups)
    for each in others:
        if isinstance(each, Weights):
            sample = _repeated(sample, counts(weights_of(kept[each.name])))
    return checked.fields, unlearned, sample, notices


class Values:
    """The known and the missing values of a frame.

    Args:
        frame: the parsed columns.
        others: the names of the columns of the group and the weights.
    """

    def __init__(self, frame: pd.DataFrame, others: Sequence[str]) -> None:
        self.is_missing = missing_mask(frame)
        self.known = frame.mask(self.is_missing)
        self.others = others
        self.empty = [name for name in frame if self.is_missing[name].all() and name not in others]

    def to_choose(self) -> pd.DataFrame:
        """Return the columns whose kind is to be chosen."""
        return self.known[[name for name in self.known if name not in (*self.others, *self.empty)]]

    def mask_text(self, choices: Mapping[str, Choice]) -> None:
        """Let text count as missing in the columns whose choice says so."""
        for name in [name for name, choice in choices.items() if choice.is_text_missing]:
            is_text = self.known[name].map(lambda value: isinstance(value, str)).to_numpy(bool)
            self.known[name] = self.known[name].mask(is_text).astype(np.float64)
            self.is_missing[name] |= is_text


def _grouped(copies: Whole, values: pd.Series) -> tuple[Whole, list[Notice]]:
    """Return the groups of rows that are copies or have one subject, and what is said about them.

    ``values`` ``(n,)`` name the subjects.
    """
    subjects = _subjects(values)
    problem = (
        f"holds the subjects, {len(np.unique(subjects))} in {len(subjects)} rows; all rows of a "
        "subject are in one fold, and samples number their rows from 1 instead"
    )
    return merged_groups(copies, subjects), [Notice(problem, str(values.name))]


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


def _fields(choices: Mapping[str, Choice]) -> dict[str, Field]:
    """Return the fields among the choices: the columns that may have a density."""
    return {name: own.field for name, own in choices.items() if isinstance(own.field, Field)}


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
    kept: pd.DataFrame, chosen: Sequence[Field], faults: list[Notice]
) -> tuple[list[Field], Array]:
    """Return the chosen columns without faults, and their numbers ``(n, D)``.

    Raises ``TableError`` if there is no such column.
    """
    fields, numbers = list[Field](), list[Array]()
    for field in chosen:
        with collecting(faults):
            x = field.numbers(kept[field.name], is_fit=True)
            decimals = None if field.labels else count_decimals(x)
            numbers.append(x)
            fields.append(replace(field, decimals=decimals))
    if not fields:
        raise TableError(faults or [Notice("there is no column to learn")])
    return fields, np.stack(numbers, axis=1)


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


def _repeated(sample: Sample, count: Whole) -> Sample:
    """Return the ``sample`` with each row repeated ``count`` ``(n,)`` times."""
    if (count == 1).all():
        return sample
    place = np.repeat(np.arange(len(count)), count)
    values, copies, groups = sample.values[place], sample.copies[place], sample.groups[place]
    first = np.unique(copies, return_index=True, return_inverse=True)
    return Sample(values, first[1][first[2]], groups, is_weighted=True)


def _with_targets(
    fields: Sequence[Field], unlearned: Sequence[Unlearned], sample: Sample, targets: Sequence[str]
) -> tuple[list[Field], Sample]:
    """Return the fields and the rows with the columns ``targets`` at the end, in this order.

    Raises ``TableError`` for a target that is named twice or not learned, and if every column is a
    target.
    """
    names = [field.name for field in fields]
    for name in targets:
        if list(targets).count(name) > 1:
            raise TableError([Notice("is named as a target more than once", name)])
        if name not in names:
            why = next((each.why for each in unlearned if each.name == name), "is not learned")
            raise TableError([Notice(f"cannot be a target: the column {why}", name)])
    given = [d for d, name in enumerate(names) if name not in targets]
    if not given:
        raise TableError([Notice("every column is a target; a target needs a column beside it")])
    order = [*given, *map(names.index, targets)]
    values = np.ascontiguousarray(sample.values[:, order])
    moved = sample._replace(values=values, target_count=len(targets))
    return [fields[d] for d in order], moved


def _typed(column: Any, types: Mapping[str, Any]) -> Any:
    """Return a field, or a column that is not learned, with its type in a data frame."""
    if isinstance(column, Carried):
        return replace(column, field=_typed(column.field, types))
    dtype = types.get(column.name)
    natural = column.natural_types() if isinstance(column, Field) else ()
    return column if dtype in natural else replace(column, dtype=dtype)


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


def _missing_notice(columns: Sequence[Field], values: Array) -> list[Notice]:
    """Return a notice that counts the missing values of each column."""
    gaps = np.isnan(values).sum(axis=0)
    counts = [f"{gap} in {column.name}" for column, gap in zip(columns, gaps, strict=True) if gap]
    if not counts:
        return []
    total = f"{gaps.sum()} of {values.size} values are missing: {', '.join(counts)}"
    return [Notice(f"{total}; the fit uses the other values of these rows")]
