"""What a density learns from a table: the schema of its columns, and the rows.

``fit_schema`` chooses a field for each column, checks the values, sets columns without a density
aside, and says what was done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import numpy as np

from flows.core.arrays import Array, Whole
from flows.core.plurals import counted, listed
from flows.tables.columns.checking import check
from flows.tables.columns.choosing import choose
from flows.tables.columns.duplicates import merged_groups
from flows.tables.columns.field import Choice, Field
from flows.tables.columns.kinds import Real, Time
from flows.tables.columns.kinds.unlearned import (
    Carried,
    Excluded,
    Reason,
    Unlearned,
    ends_of,
)
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError, collecting
from flows.tables.columns.options import FitOptions, InspectOptions, Missing, target_names
from flows.tables.columns.parsing import (
    Table,
    missing_faults,
    missing_mask,
    position,
    rows_left_out,
)
from flows.tables.columns.rounding import count_decimals
from flows.tables.columns.schema import Schema
from flows.tables.columns.values import as_written, label_text
from flows.tables.columns.weights import counts, weights_of

BOUNDED = "could be computed beyond their values, so samples must meet constraints"
NAMELESS = r"(Unnamed: \d+)?"  # a column without a name; pandas calls it "Unnamed: 0"


class Sample(NamedTuple):
    """The rows that a density is to learn.

    Args:
        values: the n rows, ``(n, D)``, with codes for labels and ``NaN`` for gaps.
        copies: the index of the first copy of each row, ``(n,)``.
        groups: the number of the group of each row, ``(n,)``: a row is in one group with its copies
            and with the rows of the same subject.
        target_count: the number of last columns that are learned given all others; 0 if the columns
            are learned together.
        is_weighted: whether the rows are repeated by their weights. Repeated rows are copies.
        labels: the label of each row in the index of the table, ``(n,)``.
    """

    values: Array
    copies: Whole
    groups: Whole
    target_count: int = 0
    is_weighted: bool = False
    labels: Sequence[Any] = ()

    @property
    def has_copies(self) -> bool:
        """Whether a row is a copy of another one, in the table or by its weight."""
        return bool((self.copies != np.arange(len(self.copies))).any())

    def take(self, places: Whole) -> Sample:
        """Return some of the rows, of which copies stay copies and groups stay groups."""
        return self._replace(
            values=self.values[places],
            copies=self.copies[places],
            groups=self.groups[places],
            labels=[self.labels[k] for k in places.tolist()] if len(self.labels) else (),
        )


def fit_schema(
    table: Table, options: InspectOptions | FitOptions
) -> tuple[Schema, Sample, list[Notice]]:
    """Return the schema of a table, the rows that a density is to learn, and the notices.

    Args:
        table: a parsed table.
        options: the options, with a value for each (``options.resolve``).

    Raises ``TableError``, with the faults of all columns, for a table that no density can be fitted
    to, and ``ValueError`` for another value of ``missing``, and for a word that is not a kind.
    """
    if options["missing"] not in get_args(Missing):
        raise ValueError(f"missing = {options['missing']!r}: must be 'learn', 'drop' or 'stop'")
    try:
        return _Learner(table, options).fit()
    except TableError as error:
        raise TableError(error.faults, table.source) from None


class _Learner:
    """The steps from a parsed table to what a density learns.

    Args:
        table: the parsed table.
        options: the options of the fit.

    Attributes:
        faults: the faults of columns so far, which are raised together.
        notices: the notices so far.
        excluded: the columns of the group and the weights, which the user names.
        is_missing: which values are missing, a frame.
        known: the values, with ``NaN`` where they are missing.
        text_is_missing: the names of the columns of numbers in which text counts as missing.
        empty: the names of the columns without a known value.
    """

    def __init__(self, table: Table, options: InspectOptions | FitOptions) -> None:
        self.kinds, self.targets = options["columns"] or {}, target_names(options["target"])
        self.missing = options["missing"]
        named: dict[Reason, str | None] = {key: options[key] for key in ("group", "weights")}
        self.excluded = [Excluded(name, key) for key, name in named.items() if name is not None]
        self.faults, self.notices = list[Notice](), list[Notice]()
        self.source, self.types, self.written = table.source, table.types, table.written
        self.na, self.text_is_missing = tuple(options["na"]), set[str]()
        self.spellings = table.spellings
        for name in (*self.kinds, *self.targets, *(each.name for each in self.excluded)):
            position(list(table.frame), name, self.source)
        self._check_names(table)
        self.frame = self._without_weight_0(self._without_nameless(table.frame))
        self.is_missing = missing_mask(self.frame)
        self.known = self.frame.mask(self.is_missing)
        own = [each.name for each in self.excluded]
        self.empty = [n for n in self.frame if self.is_missing[n].all() and n not in own]

    def fit(self) -> tuple[Schema, Sample, list[Notice]]:
        """Return the result of ``fit_schema``."""
        choices = self._choices()
        kept, choices = self._selected(choices)
        fields, values, stored = self._converted(kept, choices)
        checked = check(
            fields,
            values,
            kept.index.to_numpy(),
            self.faults,
            targets=self.targets,
            stored=stored,
            named=self.kinds,
        )
        self._note_missing(fields, values)
        times = {field.name for field in checked.fields if isinstance(field, Time)}
        for name, choice in choices.items():
            are_numbers = choice.field is not None and choice.field.is_numeric
            is_replaced = name in times and are_numbers and not choice.is_text_missing
            if choice.notice and not is_replaced:
                self.notices.append(choice.notice)
        problem = " no value in any row, nor in samples"
        self.notices += [
            Notice(f"holds{problem}", name, is_decision=True, together=f"hold{problem}")
            for name in self.empty
        ]
        unlearned: list[Unlearned] = [
            *checked.carried,
            *(Carried(Real(name), None) for name in self.empty),
            *(Excluded(name, "identifier") for name, own in choices.items() if own.field is None),
            *self.excluded,
        ]
        order = self._order(checked.fields, unlearned)
        learned = [checked.fields[k] for k in order]
        sample = Sample(checked.values[:, order], checked.copies, checked.copies, len(self.targets))
        sample = self._arranged(sample._replace(labels=kept.index.tolist()), kept)
        self.notices += checked.notices
        number, names = r"[-+]?[\d.]+(e[-+]?\d+)?", [name.lower() for name in self.frame]
        # No name is a number with decimals or a date, and not all names are numbers
        is_row = any(re.fullmatch(r"[-+]?\d*\.\d+|\d{4}-\d\d-\d\d", name) for name in names)
        if self.source and (is_row or all(re.fullmatch(number, name) for name in names)):
            problem = (
                f"the columns are called {', '.join(self.frame)}; if this is a row of the file"
            )
            self.notices.insert(0, Notice(f"{problem}, write a line of names above it"))
        own, others = (tuple(_typed(each, self.types) for each in a) for a in (learned, unlearned))
        require = self._bounds(checked.carried, learned)
        schema = Schema(own, tuple(self.frame), others, self.na, require, self.written)
        return schema, sample, self.notices

    def _bounds(self, carried: Sequence[Carried], learned: Sequence[Field]) -> tuple[str, ...]:
        """Return constraints for bounds of carried columns that do not follow from other columns.

        A density with targets has none, because it computes columns from given columns alone.
        """
        found, ends = list[str](), ends_of(learned, carried)
        for each in carried:
            bounds = [] if self.targets else each.bounds(learned, ends)
            if bounds:
                problem = f"could be computed beyond its values ({each.field.allowed})"
                said = f"{problem}, so samples must meet {' and '.join(bounds)}"
                self.notices.append(Notice(said, each.name, together=BOUNDED))
                found += bounds
        return tuple(found)

    def _check_names(self, table: Table) -> None:
        """Raise ``TableError`` for a target, a group or weights in a column without a name."""
        roles = [*((name, "a target") for name in self.targets)]
        roles += [(each.name, f"the {each.reason}") for each in self.excluded]
        for name, role in roles:
            is_nameless = re.fullmatch(NAMELESS, name) or name in table.nameless
            if is_nameless and name not in self.kinds:
                problem = f"has no name, so it cannot be {role}; give it one"
                raise TableError([Notice(problem, repr(name))])

    def _without_nameless(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the columns with a name.

        A column without a name is left out if it holds the numbers of the rows, or nothing.
        """
        left_out = list[str]()
        for name in frame:
            if not re.fullmatch(NAMELESS, name) or name in self.kinds:
                continue
            if frame[name].notna().any() and not _is_index(frame, name):
                problem = "has no name; give it one"
                self.notices.append(Notice(problem, repr(name), is_decision=True))
                continue
            left_out.append(name)
            problem = "is left out: it has no name, and holds the numbers of the rows or nothing"
            self.notices.append(Notice(problem, repr(name)))
        frame = frame.drop(columns=left_out)
        if frame.columns.empty:
            raise TableError([Notice("there is no column to learn")])
        return frame

    def _without_weight_0(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows whose weight is not 0; all rows without weights."""
        for each in self.excluded:
            if each.reason != "weights":
                continue
            others = (own.name for own in self.excluded if own is not each)
            if each.name in (*self.targets, *others):
                problem = "cannot hold the weights and be a target or a group"
                raise TableError([Notice(problem, each.name)])
            weight = weights_of(frame[each.name])
            n, kept = len(weight), weight > 0
            problem = (
                f"holds the weights of {n} rows, {weight.sum():g} in total; it is not learned, "
                "and samples have the weight 1"
            )
            self.notices.append(Notice(problem, each.name))
            if (left_out := n - kept.sum()) > 0:
                rows = counted(left_out, "row with the weight 0 is", "rows with the weight 0 are")
                self.notices.append(Notice(f"{rows} left out"))
            frame = frame[kept]
        return frame

    def _choices(self) -> dict[str, Choice]:
        """Return what becomes of each column; text that counts as missing is masked."""
        others = [*(each.name for each in self.excluded), *self.empty]
        choices = self._chosen(self.known.drop(columns=others), self.faults)
        for name in [name for name, choice in choices.items() if choice.is_text_missing]:
            self.text_is_missing.add(name)
            is_text = self.known[name].map(lambda value: isinstance(value, str)).to_numpy(bool)
            self.known[name] = self.known[name].mask(is_text).astype(np.float64)
            self.is_missing[name] |= is_text
        return choices

    def _chosen(self, known: pd.DataFrame, faults: list[Notice]) -> dict[str, Choice]:
        """Return what becomes of the columns of a frame, and add faults to ``faults``."""
        choices = {}
        for name in known:
            with collecting(faults):
                choice = choose(known[name], self.kinds.get(name))
                is_given = self.targets and name not in (*self.targets, *self.kinds)
                # A given column has no density that could end, and no samples to warn of
                if is_given and choice.field is not None:
                    whole = choice.field.without_ends
                    if whole != choice.field or isinstance(whole, Real):
                        said = choice.notice if choice.is_text_missing else None
                        choice = choice._replace(field=whole, notice=said)
                choices[name] = choice
        return choices

    def _selected(self, choices: dict[str, Choice]) -> tuple[pd.DataFrame, dict[str, Choice]]:
        """Return the rows to learn from, and what becomes of the columns of these rows."""
        names = [name for name, own in choices.items() if own.field is not None]
        gaps, of_targets = self.is_missing[names], self.is_missing[[*self.targets]]
        if self.missing == "stop":
            self.faults += missing_faults(self.frame[names], gaps, self.text_is_missing)
        without = {"learn": gaps.all(axis=1), "drop": gaps.any(axis=1)}.get(self.missing, False)
        left_out = np.broadcast_to(without, len(gaps))
        lacks = of_targets.any(axis=1).to_numpy(bool) & ~left_out
        which = "without a" if self.missing == "learn" else "with a missing"
        self.notices += rows_left_out(left_out.sum(), which)
        self.notices += rows_left_out(lacks.sum(), "without a target")
        is_kept = ~(left_out | lacks)
        if names and not is_kept.any():
            which = "target" if of_targets.any(axis=None) else "value"
            raise TableError([*self.faults, Notice(f"no row is left: every row lacks a {which}")])
        kept = self.known[is_kept]
        if (self.missing == "drop" or self.targets) and not is_kept.all():  # labels may be gone
            again = self._chosen(kept[names], [])
            for name in again.keys() & self.text_is_missing:  # without the text, no notice names it
                again[name] = again[name]._replace(notice=choices[name].notice)
            choices |= again
        return kept, choices

    def _converted(
        self, kept: pd.DataFrame, choices: Mapping[str, Choice]
    ) -> tuple[list[Field], Array, Array | None]:
        """Return the chosen fields without faults, and their numbers ``(n, D)``.

        Also return the numbers as a program stored them, if they differ (``values.as_written``).
        """
        fields, numbers, stored = list[Field](), list[Array](), list[Array]()
        for field in (each.field for each in choices.values()):
            if field is None:
                continue
            with collecting(self.faults):
                stored.append(field.numbers(kept[field.name], is_fit=True))
                x = as_written(stored[-1]) if field.is_numeric else stored[-1]
                decimals = None if field.labels else count_decimals(x)
                numbers.append(x)
                is_mixed = field.name in self.text_is_missing
                spelling = self.spellings.get(field.name)
                own = replace(field, decimals=decimals, text_is_missing=is_mixed, spelling=spelling)
                fields.append(own)
        if not fields:
            raise TableError(self.faults or [Notice("there is no column to learn")])
        values, before = np.stack(numbers, axis=1), np.stack(stored, axis=1)
        same = np.array_equal(values, before, equal_nan=True)
        return fields, values, None if same else before

    def _note_missing(self, fields: Sequence[Field], values: Array) -> None:
        """Add a notice that counts the missing values of each column."""
        gaps = np.isnan(values).sum(axis=0)
        found = [f"{gap} in {each.name}" for each, gap in zip(fields, gaps, strict=True) if gap]
        if found:
            are = "is" if gaps.sum() == 1 else "are"
            total = f"{gaps.sum()} of {values.size} values {are} missing: {listed(found)}"
            self.notices.append(Notice(f"{total}; the fit uses the other values of these rows"))

    def _arranged(self, sample: Sample, kept: pd.DataFrame) -> Sample:
        """Return the sample with the groups of subjects, and with rows repeated by weights."""
        for each in self.excluded:
            if each.reason == "group":
                subjects = _subjects(kept[each.name])
                problem = (
                    f"holds the subjects, {len(np.unique(subjects))} in {len(kept)} rows; all rows "
                    "of a subject are in one fold, and samples number their rows from 1 instead"
                )
                self.notices.append(Notice(problem, each.name))
                sample = sample._replace(groups=merged_groups(sample.groups, subjects))
            elif each.reason == "weights":
                sample = _repeated(sample, counts(weights_of(kept[each.name])))
        return sample

    def _order(self, fields: Sequence[Field], unlearned: Sequence[Unlearned]) -> list[int]:
        """Return the places of the fields: labels, numbers, and the targets in their order.

        Raises ``TableError`` for a target that is named twice or not learned, and if every column
        is a target.
        """
        names = [field.name for field in fields]
        for name in self.targets:
            if self.targets.count(name) > 1:
                raise TableError([Notice("is named as a target more than once", name)])
            if name not in names:
                why = next((each.why for each in unlearned if each.name == name), "is not learned")
                raise TableError([Notice(f"cannot be a target: the column {why}", name)])
        given = [d for d, name in enumerate(names) if name not in self.targets]
        if names and not given:
            problem = "every column is a target; a target needs a column beside it"
            raise TableError([Notice(problem)])
        given.sort(key=lambda d: not fields[d].labels)
        return [*given, *map(names.index, self.targets)]


def _repeated(sample: Sample, count: Whole) -> Sample:
    """Return the ``sample`` with each row repeated ``count`` ``(n,)`` times."""
    if (count == 1).all():
        return sample
    place = np.repeat(np.arange(len(count)), count)
    first = np.unique(sample.copies[place], return_index=True, return_inverse=True)
    return sample._replace(
        values=sample.values[place],
        copies=first[1][first[2]],
        groups=sample.groups[place],
        labels=[sample.labels[k] for k in place.tolist()],
        is_weighted=True,
    )


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
