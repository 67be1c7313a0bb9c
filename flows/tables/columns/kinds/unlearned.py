"""Columns that are not learned, and what samples hold there.

A density covers the learned columns. The others are excluded, for a reason, or carried, with a
formula. They come back in samples, at their place and with their type.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from flows.core.arrays import Array, rounded
from flows.tables.columns.field import Choice, Field, Sampled
from flows.tables.columns.formulas import Ends, Term
from flows.tables.columns.kinds.category import label_counts
from flows.tables.columns.kinds.whole import are_whole, are_years, increase_by_little
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, SetKind
from flows.tables.columns.order import DISTINCT
from flows.tables.columns.sources import Source
from flows.tables.columns.types import are_times, cast
from flows.tables.columns.values import label_text

Reason = Literal["identifier", "group", "weights"]  # the ``role`` in a file
DIGITS = 12  # of coefficients, if as many are enough
IDENTIFIERS = "identify the rows, so they are excluded; samples number their rows instead"
ROUNDING = 1e-9  # of the ends of a column and of whole coefficients, relative to their size


@dataclass(frozen=True)
class Excluded:
    """A column without a density and without a formula.

    Samples number their rows there; in a column of weights, samples have the weight 1.

    Args:
        name: the name.
        reason: what the column holds: identifiers of the rows, the group of each row, which is its
            subject, or the weights of the rows.
        dtype: the type of the column in a data frame, as for a ``Field``.
    """

    name: str
    reason: Reason
    dtype: Any = None

    use: ClassVar[str] = "excluded"  # of ``flows.inspect``
    formula: ClassVar[str] = ""

    @classmethod
    def choose(cls, known: pd.Series) -> Choice | None:
        """Take numbers and texts that identify the rows.

        Whole numbers that increase from row to row, by less than 2 on average, identify the rows,
        unless they are years. Texts do if 90% of them are distinct.
        """
        name = str(known.name)
        if known.dtype.kind == "f":
            x = known.to_numpy(np.float64)
            if not increase_by_little(x) or not are_whole(x) or are_years(x):
                return None
            problem = f"numbers the rows ({x[0]:.0f}, {x[1]:.0f}, ...)"
            advice = ("learn the numbers", SetKind(name, "integer"))
        else:
            counts = label_counts(known)
            if len(counts) < DISTINCT * len(known):
                return None
            problem = f"holds {len(counts)} different texts in {len(known)} rows"
            advice = ("learn labels", SetKind(name, "category"))
        consequence = "so it is excluded as an identifier; samples number their rows from 1 instead"
        problem = f"{problem}, {consequence}"
        notice = Notice(problem, name, None, (advice,), is_decision=True, together=IDENTIFIERS)
        return Choice(None, notice)

    @property
    def why(self) -> str:
        """Why questions about the column have no answer, as a clause that follows the column."""
        are_weights = self.reason == "weights"
        return "holds the weights of the rows" if are_weights else "is excluded from the density"

    @property
    def details(self) -> str:
        """What a description of the density says of the column."""
        if self.reason == "weights":
            return "the weights of the rows, 1 in samples"
        return "excluded, samples number their rows"

    def restored(self, sampled: Sampled, generator: np.random.Generator) -> pd.Series:
        """Return what samples hold: weights of 1, or the numbers of the samples."""
        if self.reason == "weights":
            return cast(np.ones(len(sampled.rows), np.int64), self.dtype)
        if isinstance(self.dtype, Mapping):  # its labels are no numbers of rows
            return cast(sampled.row_numbers, "str").astype("category")
        return cast(sampled.row_numbers, None if are_times(self.dtype) else self.dtype)

    def to_json(self) -> dict[str, Any]:
        """Return the column as a dict that JSON can hold; ``unlearned_of`` reads it."""
        return {"role": self.reason, "name": self.name, "dtype": self.dtype}


@dataclass(frozen=True)
class Carried:
    """A column that is computed from other columns::

        x = offset + sum_k c_k t_k,    rounded as the column is written

    A term ``t_k`` is a column, or a function of one or two columns (``formulas.py``). The columns
    are learned, or computed themselves. A label counts as its code. Without terms, the column is
    constant, and without an offset it holds no value.

    Values are not moved to the bounds of the column, because the equation would break. If the
    bounds do not follow from those of the other columns, ``require`` has them as constraints
    (``bounds``).

    Args:
        field: the column.
        offset: the offset; ``None`` for a column that holds no value.
        terms: the terms, each with its coefficient ``c_k``.
    """

    field: Field
    offset: float | None
    terms: tuple[tuple[Term, float], ...] = ()

    use: ClassVar[str] = "carried"

    @property
    def name(self) -> str:
        """The name of the column."""
        return self.field.name

    @property
    def needs(self) -> set[str]:
        """The names of the columns that the formula needs."""
        return {name for term, _ in self.terms for name in term.names}

    @property
    def is_copy(self) -> bool:
        """Whether the column equals another one."""
        [(term, c)] = self.terms if len(self.terms) == 1 else [(None, 0.0)]
        return term is not None and not term.word and c == 1 and not self.offset

    @classmethod
    def from_values(cls, field: Field, x: Array, names: Sequence[str], others: Array) -> Carried:
        """Return the linear combination of columns that equals ``x`` ``(n,)``.

        Args:
            field: the column to compute.
            x: its values.
            names: the names of the columns to compute it from.
            others: their values ``(n, K)``.
        """
        system = np.column_stack([np.ones(len(x)), others])
        scale = np.abs(system).max(axis=0)
        solution = np.linalg.lstsq(system / scale, x, rcond=None)[0] / scale
        short, whole = rounded(solution, DIGITS), np.round(solution)
        is_whole = np.abs(solution - whole) < ROUNDING * np.maximum(1, np.abs(whole))
        short = np.where(is_whole & (whole != 0), whole, short)
        short[np.abs(short) * scale < 1e-12 * np.abs(x).max()] = 0.0  # as the offset of equal dates
        error = [np.abs(system @ each - x).max() for each in (short, solution)]
        if error[0] <= max(error[1], 1e-9 * np.abs(x).max()):
            solution = short
        offset, *coefficients = solution.tolist()
        terms = (Term((name,)) for name in names)
        return cls(field, offset, tuple(zip(terms, coefficients, strict=True)))

    def values(self, columns: Mapping[str, Array]) -> Array:
        """Return the values of the column, ``(n,)``.

        The values are rounded as they are written, and may lie beyond the bounds of the column. A
        value is ``NaN`` where a value that it needs is, and where a function has no value.

        Args:
            columns: the values of at least one column, ``(n,)``, by their name; among them those
                that the formula needs.
        """
        n = len(next(iter(columns.values())))
        if self.offset is None:
            return np.full(n, np.nan)
        x = np.full(n, self.offset)
        for term, c in self.terms:
            x += c * term.values(columns) if c else 0.0
        return self.field.computed(x)

    def source(self, fields: Sequence[Field]) -> Source | None:
        """Return the column as a linear form of learned ``fields``, if it is one.

        Args:
            fields: the learned columns.
        """
        places = {each.name: d for d, each in enumerate(fields)}
        if self.offset is None or not self.needs <= places.keys():
            return None
        if any(term.word for term, _ in self.terms):
            return None
        slopes = {places[term.names[0]]: c for term, c in self.terms if c}
        return Source(self.field, slopes, self.offset, is_carried=True)

    def within(self, x: Array) -> float:
        """Return the share of computed values ``x`` ``(n,)`` within the ends of the column."""
        low, high = self.field.ends
        known = x[~np.isnan(x)]
        return float(((low <= known) & (known <= high)).mean()) if len(known) else 1.0

    def ends(self, ends: Mapping[str, Ends]) -> Ends:
        """Return the smallest and the largest value that the formula can have.

        Args:
            ends: the ends of the other columns, by their name.
        """
        low = high = self.offset or 0.0
        for term, c in self.terms:
            if c:
                least, most = sorted(c * end for end in term.ends(ends))
                low, high = low + least, high + most
        return low, high

    def free_ends(self, ends: Mapping[str, Ends]) -> list[tuple[str, float]]:
        """Return the ends of the column that do not follow from those of the others.

        An end is a pair of ``">="`` or ``"<="`` and the number.

        Args:
            ends: the ends of the other columns, by their name.
        """
        if self.offset is None:
            return []
        (low, high), (first, last) = self.ends(ends), self.field.ends
        found = list[tuple[str, float]]()
        if low < first - ROUNDING * abs(first):
            found.append((">=", first))
        if high > last + ROUNDING * abs(last):
            found.append(("<=", last))
        return found

    def bounds(self, fields: Sequence[Field], ends: Mapping[str, Ends]) -> list[str]:
        """Return the ``free_ends``, or the labels, as constraints that a user can write.

        The ends of a linear form of learned columns are constraints on the column, and the ends of
        a function of a learned column are constraints on that column. The result is empty for other
        formulas, and for a name with a backtick, which cannot be written.

        Args:
            fields: the learned columns.
            ends: the ends of the other columns, by their name.
        """
        found = self.free_ends(ends)
        if not found or "`" in self.name:
            return []
        if self.source(fields) is None:
            return self._thresholds(fields, found)
        name = _quoted(self.name)
        if labels := self.field.labels:
            return [" or ".join(f"{name} == {label_text(label)!r}" for label in labels)]
        are_numbers = self.field.is_numeric
        texts = [f"{end:.15g}" if are_numbers else repr(self.field.text(end)) for _, end in found]
        return [f"{name} {sign} {text}" for (sign, _), text in zip(found, texts, strict=True)]

    def _thresholds(self, fields: Sequence[Field], ends: Sequence[tuple[str, float]]) -> list[str]:
        """Return constraints on the column of a function that keep its values within ``ends``."""
        own = {each.name: each for each in fields}
        if len(self.terms) != 1 or self.needs - own.keys() or "`" in "".join(self.needs):
            return []
        [(term, c)] = self.terms
        column, inverse = own[term.names[0]], term.operation.inverse
        if inverse is None or c <= 0:
            return []
        name, found = _quoted(column.name), list[str]()
        for sign, end in ends:
            outwards = 1 if sign == "<=" else -1
            y = (end + outwards * self.field.spacing / 2 - (self.offset or 0.0)) / c
            if term.word == "square" and y < 0:
                continue
            try:
                x = float(inverse(y))
            except OverflowError:  # beyond all numbers
                continue
            if step := column.spacing:  # the farthest value of the column
                x = outwards * math.floor(outwards * x / step + ROUNDING) * step
            (least, most), step = column.ends, 0.0 if column.is_discrete else column.spacing
            if (sign == ">=" and x <= least + step) or (sign == "<=" and x >= most - step):
                continue  # no value of the column lies beyond
            if term.word != "square" or column.ends[0] >= 0:
                found.append(f"{name} {sign} {x:.15g}")
            elif sign == "<=":
                found.append(f"{-x:.15g} <= {name} <= {x:.15g}")
            else:
                found.append(f"{name} <= {-x:.15g} or {name} >= {x:.15g}")
        return found

    def restored(self, sampled: Sampled, generator: np.random.Generator) -> pd.Series:
        """Return the computed values of samples."""
        x = sampled.columns[self.name]
        if self.field.labels:  # a code without a label has no text
            x = np.asarray(self.field.round(x))
        return self.field.spelled(x, generator)

    @property
    def why(self) -> str:
        """Why questions about the column have no answer, as a clause that follows the column."""
        return f"is not learned: it equals {self.formula}"

    @property
    def details(self) -> str:
        """What a description of the density says of the column."""
        return f"carried along, {self.formula}"

    @property
    def formula(self) -> str:
        """The formula, such as ``"2 a - b + 3"``; that of a constant is its value."""
        if not self.terms:
            return "no value" if self.offset is None else self.field.text(self.offset)
        text = ""
        for name, number in (*((term.text, c) for term, c in self.terms), ("", self.offset or 0.0)):
            if name or abs(number) > 1e-9:
                sign = (" - " if text else "-") if number < 0 else (" + " if text else "")
                factor = "" if name and abs(number) == 1 else f"{abs(number):.6g}"
                text += sign + f"{factor} {name}".strip()
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the column as a dict that JSON can hold; ``unlearned_of`` reads it."""
        terms = [[term.to_json(), c] for term, c in self.terms]
        content = {"field": self.field.to_json(), "offset": self.offset, "terms": terms}
        return {"role": self.use, **content}


def in_order(carried: Iterable[Carried]) -> list[Carried]:
    """Return computed columns in an order in which each one comes after those that it needs."""
    rest, found = [*carried], list[Carried]()
    while rest:
        waiting = {each.name for each in rest}
        ready = [each for each in rest if not each.needs & waiting]
        assert ready, f"formulas need each other: {sorted(waiting)}"
        found += ready
        rest = [each for each in rest if each not in ready]
    return found


def computed(fields: Sequence[Field], carried: Iterable[Carried], rows: Array) -> dict[str, Array]:
    """Return the values ``(n,)`` of learned and of computed columns, by their name.

    Args:
        fields: the D learned columns.
        carried: the computed columns.
        rows: the values of the learned columns, ``(n, D)``.
    """
    found = {field.name: x for field, x in zip(fields, rows.T, strict=True)}
    for each in in_order(carried):
        found[each.name] = each.values(found)
    return found


def ends_of(fields: Sequence[Field], carried: Iterable[Carried]) -> dict[str, Ends]:
    """Return the ends of learned and of computed columns, by their name.

    Args:
        fields: the learned columns.
        carried: the computed columns, whose ends are those of their formulas.
    """
    found = {field.name: field.ends for field in fields}
    for each in in_order(carried):
        found[each.name] = each.ends(found)
    return found


def _quoted(name: str) -> str:
    """Return the name of a column as a constraint has it."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"`{name}`"


Unlearned = Excluded | Carried


def unlearned_of(content: Mapping[str, Any]) -> Unlearned:
    """Return the column that ``to_json`` wrote as ``content``."""
    if content["role"] == Carried.use:
        terms = tuple((Term.from_json(term), float(number)) for term, number in content["terms"])
        return Carried(Field.from_json(content["field"]), content["offset"], terms)
    return Excluded(content["name"], content["role"], content["dtype"])
