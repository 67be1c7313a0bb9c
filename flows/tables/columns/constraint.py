"""Constraints between the columns of a table, as users write them, such as ``"start <= end"``.

Python's grammar reads a constraint. Its tree becomes a relation (``relations.py``), whose types are
checked; any other node is refused. No text is executed.
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask
from flows.core.errors import one_line
from flows.core.intervals import intersection
from flows.tables.columns.field import Field
from flows.tables.columns.kinds.date import Date
from flows.tables.columns.kinds.unlearned import Carried
from flows.tables.columns.notices import Advice, Notice, SetKind, TableError
from flows.tables.columns.relations import (
    BROKEN,
    HOLDS,
    UNDECIDED,
    Joined,
    LabelComparison,
    Linear,
    Relation,
)
from flows.tables.columns.rows import numbers_of_values
from flows.tables.columns.schema import Schema
from flows.tables.columns.sources import MOST_STEPS, Source
from flows.tables.columns.types import are_seconds
from flows.tables.columns.values import label_text

LONGEST = 1_000  # characters of a constraint
DEEPEST = 100  # levels of its tree, each of which nests a few of the 1,000 calls that Python allows
SHOWN = 80  # characters of a text in a message
CANCELLED = 1e-12  # the rounding error of two coefficients that cancel, relative to each of them

# A quoted text, in which a backtick is text, or a name in backticks
QUOTED = re.compile(r"""('''|\"""|'|")(?:\\.|(?!\1)[^\\])*\1|`(?P<name>[^`]*)`""", re.DOTALL)

NODES = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
SYMBOLS = ("+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=")
SIGNS: dict[type[ast.AST], str] = dict(zip(NODES, SYMBOLS, strict=True))
EQUALITIES = ("==", "!=")

ALLOWED = (
    "a constraint has columns, numbers, quoted labels and dates, + - * /, comparisons (< <= > >= "
    "== !=), and, or, not"
)
RATIO = (
    "a constraint is linear in its columns: write 'a / b <= 0.5' as 'a <= 0.5 * b' if b is always "
    "above 0, and else as 'b > 0 and a <= 0.5 * b or b < 0 and a >= 0.5 * b'"
)
PRODUCT = (
    "a constraint is linear in its columns, so a column is multiplied by numbers only, and a "
    "product of columns cannot be written"
)
ARITHMETIC = (
    "numbers take + - * / and numbers, dates take + and - and numbers of days, and the difference "
    "of two dates is a number of days"
)
COMPARISONS = (
    "numbers are compared with numbers, dates with dates and quoted dates, and labels, by == and "
    "!= only, with labels"
)


class Type(StrEnum):
    """The type of a quantity, in the words of messages."""

    NUMBER = "a number"
    DATE = "a date"
    LABEL = "a label"
    TEXT = "a quoted text"


ORDERED = (Type.NUMBER, Type.DATE)
RESULTS = {  # by the operator and the types of its operands
    **{(sign, Type.NUMBER, Type.NUMBER): Type.NUMBER for sign in "+-*/"},
    ("+", Type.DATE, Type.NUMBER): Type.DATE,
    ("+", Type.NUMBER, Type.DATE): Type.DATE,
    ("-", Type.DATE, Type.NUMBER): Type.DATE,
    ("-", Type.DATE, Type.DATE): Type.NUMBER,
}


class Quantity(NamedTuple):
    """A part of a constraint with a number, a date or a label in each row::

        x = offset + sum_k c_k v_k,    v_k are columns, or the code of a single column of labels

    Args:
        type: the type of its values.
        terms: the columns with their coefficients, by name.
        offset: the offset; the code of a label, and the days since 1970-01-01 of a date.
        size: the size of the constants in it, for rounding errors (``Linear``).
        column: the column that converts a text beside a date or a label, if there is one.
        constant: the constant as the user writes it; ``None`` for anything else.
    """

    type: Type
    terms: dict[str, tuple[Source, float]]
    offset: float = 0.0
    size: float = 0.0
    column: Field | None = None
    constant: float | str | None = None

    def times(self, factor: float) -> Quantity:
        """Return this number times a constant."""
        terms = {name: (source, factor * c) for name, (source, c) in self.terms.items()}
        return Quantity(Type.NUMBER, terms, factor * self.offset, abs(factor) * self.size)

    def plus(self, other: Quantity, sign: float, kind: Type) -> Quantity:
        """Return this quantity plus or, with a ``sign`` of -1, minus another, as a type."""
        terms = dict(self.terms)
        for name, (source, c) in other.terms.items():
            before = terms.pop(name, (source, 0.0))[1]
            both = before + sign * c
            if abs(both) > CANCELLED * abs(before):  # else a rounding error
                terms[name] = source, both
        offset, size = self.offset + sign * other.offset, max(self.size, other.size)
        column = (self.column or other.column) if kind is Type.DATE else None
        return Quantity(kind, terms, offset, size, column)


@dataclass(frozen=True)
class Constraint:
    """A constraint that each row of a table meets. ``parse`` returns one.

    Args:
        text: the constraint as a user writes it.
        names: the columns that it names, in order.
        places: the indices of the learned columns that it depends on.

    Examples:
        >>> import flows
        >>> import numpy as np
        >>> from flows.tables.columns.schema import Schema
        >>> schema = Schema.of([flows.Field.parse(name, "real") for name in ("low", "high")])
        >>> constraint = Constraint.parse("0 <= low <= high", schema)
        >>> constraint.holds(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, np.nan], [-1.0, np.nan]]))
        array([ 1.,  0., nan,  0.])
    """

    text: str
    names: tuple[str, ...]
    places: tuple[int, ...] = field(repr=False)
    relation: Relation = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, schema: Schema) -> Constraint:
        """Return the constraint that a user writes as ``text``.

        A constraint compares columns, numbers, labels and dates, with + - * /, ``and``, ``or`` and
        ``not``. Comparisons are linear in the columns. Labels and dates are quoted as in Python. A
        name that is no identifier of Python is in backticks.

        The difference of two dates is a number of days, and a date plus or minus a number of days
        is a date. A duration is a number of seconds. Labels are compared by ``==`` and ``!=``.

        Args:
            text: the constraint.
            schema: the columns of the table.

        Raises ``TableError``, with one line, for a text that is no such constraint, for a column
        that is neither learned nor computed from learned columns, and for a label or a date that
        its column does not hold.
        """
        reader = _Reader(text, schema)
        relation = reader.read()
        return cls(text, tuple(reader.columns), tuple(sorted(reader.places)), relation)

    def holds(self, rows: Array) -> Array:
        """Return 1 for each row where the constraint holds, 0 where it is broken, ``(n,)``.

        The result is ``NaN`` where a gap leaves it undecided. Known values, and the bounds of the
        columns with gaps, may decide a row with gaps. Numbers that differ by at most 1e-9 of the
        largest term are equal, and so are dates that differ by at most 1e-9 days.

        Args:
            rows: rows ``(n, D)`` of the learned columns in the user's units, as they are written,
                with codes for labels and ``NaN`` for gaps.
        """
        found = self.relation.holds(rows)
        return np.where(found == UNDECIDED, np.nan, found)


@dataclass(frozen=True)
class Constraints:
    """The constraints of a table, for rows in the user's units.

    Constraints act on values as they are written. Known values of a user are written already, and
    drawn values are rounded first.

    Args:
        fields: the D learned columns.
        each: the constraints.
    """

    fields: Sequence[Field]
    each: tuple[Constraint, ...] = ()

    @classmethod
    def of(cls, schema: Schema) -> Constraints:
        """Return the constraints of a schema. Raises ``TableError`` as ``Constraint.parse``.

        Args:
            schema: the schema.
        """
        return cls(schema.fields, tuple(Constraint.parse(text, schema) for text in schema.require))

    def __bool__(self) -> bool:
        """Return whether there is a constraint."""
        return bool(self.each)

    @cached_property
    def places(self) -> frozenset[int]:
        """The indices of the learned columns that constraints depend on."""
        return frozenset(d for each in self.each for d in each.places)

    def met(self, rows: Array, known: Array | None = None) -> Mask:
        """Return which complete rows meet all constraints, ``(n,)``.

        Args:
            rows: the rows ``(n, D)``, with codes for labels.
            known: the values that are written already, ``(D,)`` or ``(n, D)``, ``NaN`` for others;
                ``None`` if all values are drawn.
        """
        return self._holds(self.written(rows, known)) == HOLDS

    def broken(self, rows: Array) -> Mask:
        """Return which constraints the known values of rows break, ``(n, constraints)``.

        Args:
            rows: the rows ``(n, D)`` as they are written, with codes for labels and ``NaN`` for
                gaps.
        """
        found = [each.relation.holds(rows) == BROKEN for each in self.each]
        return np.stack(found, axis=1) if found else np.zeros((len(rows), 0), dtype=np.bool_)

    def written(self, rows: Array, known: Array | None = None) -> Array:
        """Return rows ``(n, D)`` in which drawn values of constrained columns are rounded.

        Args:
            rows: the rows.
            known: the values that are written already, as for ``met``.
        """
        found = rows.copy()
        for d in self.places:
            found[:, d] = self.fields[d].written(rows[:, d])
        return found if known is None else np.where(np.isnan(known), found, known)

    def order(self, unknown: Sequence[int], known: Iterable[int]) -> list[int]:
        """Return the constrained columns among unknown ones, in the order in which to draw them.

        The next column is the one in the most comparisons whose other columns are known or drawn,
        so that few draws are impossible.

        Args:
            unknown: the indices of the unknown columns.
            known: the indices of the known columns.
        """
        groups = [group for each in self.each for group in each.relation.groups]
        there, rest = {*known}, [d for d in unknown if d in self.places]
        found = list[int]()
        while rest:
            counts = [sum(d in group and group <= there | {d} for group in groups) for d in rest]
            found.append(rest.pop(int(np.argmax(counts))))
            there.add(found[-1])
        return found

    def allowed(self, rows: Array, d: int, within: Array | None = None) -> Array:
        """Return the intervals of the values of a column that constraints allow, ``(n, I, 2)``.

        A constraint changes only at certain values of the column, which have closed forms
        (``Relation.turns``), so the intervals between these values are allowed or not as a whole. A
        rounded value stands for its cell, so the intervals of a rounded column end at the edges of
        cells. Constraints that other unknown values leave undecided allow all values. The
        intervals of a row are sorted and do not overlap; empty ones, whose ends are infinite, fill
        up rows with fewer intervals.

        Args:
            rows: rows ``(n, D)`` as they are written, ``NaN`` for other unknown values; the values
                of column ``d`` do not matter.
            d: the index of the column.
            within: further intervals in which the values lie, ``(J, 2)``.
        """
        if within is not None:
            return intersection(self.allowed(rows, d), within[None])
        column, n = self.fields[d], len(rows)
        low, high = column.bounds
        ends = np.full((n, 2), [low, high])
        if d not in self.places:
            return ends[:, None]
        with np.errstate(all="ignore"):  # overflows, and terms that are infinite
            turns = self._turns(rows, d)
            turns = np.where(np.isnan(turns), low, turns).clip(low, high)
            ends = np.sort(np.concatenate([ends, turns], axis=1), axis=1)
            least, most = ends[:, :-1], ends[:, 1:]
            inside = _between(least, most, column.spacing)
            # Two turns that differ by a rounding error have nothing between them
            thin = np.maximum(column.spacing / 4, 4 * np.spacing(np.abs(inside)))
            is_thin = ~(most - least > thin)
        is_allowed, changed = np.zeros(inside.shape, bool), rows.copy()
        for k, x in enumerate(inside.T):
            changed[:, d] = column.written(x)
            own = self._holds(changed) != BROKEN
            is_allowed[:, k] = np.where(is_thin[:, k] & (k > 0), is_allowed[:, k - 1], own)
        return _merged(least, most, is_allowed)

    def _turns(self, rows: Array, d: int) -> Array:
        """Return the values of column ``d`` at which a constraint may change, ``(n, K)``."""
        column = self.fields[d]
        if column.labels:
            return np.tile(np.arange(1, len(column.labels)) - 0.5, (len(rows), 1))
        found = [turn for each in self.each for turn in each.relation.turns(rows, d)]
        turns = np.stack(found, axis=1) if found else np.empty((len(rows), 0))
        if not column.spacing:
            return turns
        center = column.written(turns.ravel()).reshape(turns.shape)
        return np.concatenate([center - column.spacing / 2, center + column.spacing / 2], axis=1)

    def _holds(self, rows: Array) -> Array:
        """Return how far rows ``(n, D)`` as they are written meet all constraints, ``(n,)``."""
        found = [each.relation.holds(rows) for each in self.each]
        return np.asarray(np.min([np.full(len(rows), HOLDS), *found], axis=0))


def _between(low: Array, high: Array, spacing: float) -> Array:
    """Return a value inside of each interval from ``low`` to ``high`` ``(n, K)``, if it has one.

    Args:
        low: the lower ends, perhaps infinite.
        high: the upper ends.
        spacing: the distance between neighbouring values; 0 for all numbers.
    """
    away = [np.maximum(np.maximum(np.abs(end), 1.0), spacing) for end in (low, high)]
    inside = np.where(np.isinf(low), high - away[1], np.where(np.isinf(high), low + away[0], 0.0))
    both = np.isfinite(low) & np.isfinite(high)
    inside = np.where(both, low / 2 + high / 2, inside)
    return np.where(np.isfinite(inside), inside, 0.0)


def _merged(low: Array, high: Array, is_allowed: Mask) -> Array:
    """Return the intervals ``(n, I, 2)`` that adjacent allowed intervals form together.

    Args:
        low: the lower ends ``(n, K)``, sorted; the upper ends are the lower ends after them.
        high: the upper ends ``(n, K)``.
        is_allowed: which intervals are allowed, ``(n, K)``.
    """
    none = np.zeros((len(low), 1), bool)
    before = np.concatenate([none, is_allowed[:, :-1]], axis=1)
    after = np.concatenate([is_allowed[:, 1:], none], axis=1)
    row, first = np.nonzero(is_allowed & ~before)
    _, last = np.nonzero(is_allowed & ~after)
    count = np.bincount(row, minlength=len(low))
    found = np.full((len(low), max(1, count.max(initial=0)), 2), np.inf)
    place = np.arange(len(row)) - (count.cumsum() - count)[row]
    found[row, place] = np.stack([low[row, first], high[row, last]], axis=1)
    found[found[..., 0] >= found[..., 1]] = np.inf
    return found


class _Reader:
    """Converts a text to a relation.

    Args:
        text: the text.
        schema: the columns of the table.
    """

    def __init__(self, text: str, schema: Schema) -> None:
        self.text, self.schema, self.source = text, schema, ""
        self.columns: dict[str, Field] = {}  # that the constraint names
        self.places: set[int] = set()  # of the learned columns that the values depend on
        self.quoted: list[str] = []  # the names in backticks
        self.mark = "_"  # begins the identifiers in their place, and occurs nowhere else

    def read(self) -> Relation:
        """Return the relation of the text."""
        if len(self.text) > LONGEST:
            raise self.error(f"has {len(self.text)} characters; at most {LONGEST} are allowed")
        tree = self.tree()
        if _is_deep(tree):
            raise self.error(f"is nested too deeply; at most {DEEPEST} levels are allowed")
        found = self.relation(tree)
        if not self.columns:
            raise self.error("names no column")
        durations = [name for name, each in self.columns.items() if are_seconds(each.dtype)]
        if durations and any(isinstance(each, Date) for each in self.columns.values()):
            why = f"names dates, which count days, and column {durations[0]}, which counts seconds"
            raise self.error(f"{why}; compare them in different constraints")
        return found

    def tree(self) -> ast.expr:
        """Return the tree of the text, with an identifier for each name in backticks."""
        while self.mark in self.text:
            self.mark += "_"
        self.source = QUOTED.sub(self.identifier, self.text).strip()
        try:
            with warnings.catch_warnings():  # about backslashes in labels
                warnings.simplefilter("ignore")
                return ast.parse(self.source, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self.error(f"is not understood; {ALLOWED}") from None

    def identifier(self, match: re.Match[str]) -> str:
        """Return a quoted text as it is, and an identifier for a name in backticks."""
        if match["name"] is None:
            return match[0]
        self.quoted.append(match[0])
        return f" {self.mark}{len(self.quoted) - 1} "  # spaces, because 1`a` is no number

    def segment(self, node: ast.AST) -> str:
        """Return the text of a node as the user writes it."""
        text = ast.get_source_segment(self.source, node) or ""
        return re.sub(rf" ?{self.mark}(\d+) ?", lambda match: self.quoted[int(match[1])], text)

    # Relations

    def relation(self, node: ast.expr) -> Relation:
        """Return the relation of a node."""
        match node:
            case ast.BoolOp():
                word = "and" if isinstance(node.op, ast.And) else "or"
                return Joined(word, [self.relation(each) for each in node.values])
            case ast.UnaryOp(op=ast.Not()):
                return Joined("not", [self.relation(node.operand)])
            case ast.Compare():
                if not all(type(op) in SIGNS for op in node.ops):
                    raise self.refused(node)
                sides = [node.left, *node.comparators]
                pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
                found = [self.comparison(SIGNS[type(op)], *pair) for op, *pair in pairs]
                return found[0] if len(found) == 1 else Joined("and", found)
        kind = self.quantity(node).type
        raise self.error(f"{_shown(self.segment(node))} is {kind}, not a comparison")

    def comparison(self, sign: str, *nodes: ast.expr) -> Relation:
        """Return the comparison of two nodes."""
        left, right = self.operands(sign, *nodes)
        allowed = (*ORDERED, Type.LABEL) if sign in EQUALITIES else ORDERED
        part = _shown(f" {sign} ".join(map(self.segment, nodes)))
        if left.type is not right.type or left.type not in allowed:
            why = f"{part} compares {left.type} with {right.type}; {COMPARISONS}"
            raise self.error(why, _advice(left, right))
        if left.type is Type.LABEL:
            return self.same(left, right, sign == "==")
        if sign in (">", ">="):
            left, right, sign = right, left, sign.replace(">", "<")
        form = left.plus(right, -1.0, Type.NUMBER)
        found = Linear(sign, [*form.terms.values()], form.offset, form.size)
        if found.most_steps > MOST_STEPS / 2:
            name = next(source.column.name for source, _ in found.terms if source.spacing)
            why = f"compares column {name}, which is computed and rounded, with columns that it is"
            raise self.error(f"{part} {why} computed from; write its formula in place of its name")
        return found

    def same(self, left: Quantity, right: Quantity, is_equal: bool) -> Relation:
        """Return the test whether two labels, of which one is a column, are equal."""
        if not left.terms:
            left, right = right, left
        [(own, _)] = left.terms.values()
        if not right.terms:
            return LabelComparison(own, right.offset, (), is_equal)
        [(other, _)] = right.terms.values()
        for each in (own.column, other.column):
            if each.pool is not None:
                why = "has rare labels that share one code, so it is compared with no other column"
                raise self.error(f"column {each.name} {why}")
        places = {label_text(label): code for code, label in enumerate(other.column.labels)}
        codes = [float(places.get(label_text(label), -2)) for label in own.column.labels]
        return LabelComparison(own, other, codes, is_equal)

    # Quantities

    def quantity(self, node: ast.expr) -> Quantity:
        """Return the number, the date, the label or the text of a node."""
        match node:
            case ast.Constant(value=str() as text):
                return Quantity(Type.TEXT, {}, constant=text)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                if abs(number) <= sys.float_info.max:
                    return _number(float(number))
                raise self.error(f"{_shown(self.segment(node))} is too large a number")
            case ast.Name():
                return self.column(self.segment(node).strip("`"))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                return self.signed(node)
            case ast.BinOp() if type(node.op) in SIGNS:
                return self.arithmetic(SIGNS[type(node.op)], node)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                self.relation(node)  # raises the error for an operator that is refused
                why = "is a comparison, where a number, a date or a label is needed"
                raise self.error(f"{_shown(self.segment(node))} {why}")
        raise self.refused(node)

    def signed(self, node: ast.UnaryOp) -> Quantity:
        """Return a number with a sign before it."""
        number = self.quantity(node.operand)
        if number.type is not Type.NUMBER:
            why = f"{_shown(self.segment(node))} has a sign before {number.type}; {ARITHMETIC}"
            raise self.error(why, _advice(number))
        if isinstance(node.op, ast.UAdd):
            return number
        if number.constant is not None:  # perhaps a label
            return _number(-float(number.constant))
        return number.times(-1.0)

    def arithmetic(self, sign: str, node: ast.BinOp) -> Quantity:
        """Return two quantities with an operator between them."""
        left, right = self.operands(sign, node.left, node.right)
        part = _shown(self.segment(node))
        if (kind := RESULTS.get((sign, left.type, right.type))) is None:
            why = f"{part} combines {left.type} with {right.type}; {ARITHMETIC}"
            raise self.error(why, _advice(left, right))
        if sign == "*" and left.terms and right.terms:
            raise self.error(f"{part} multiplies two columns; {PRODUCT}")
        if sign == "/" and right.terms:
            raise self.error(f"{part} divides by a column; {RATIO}")
        if sign == "/" and not right.offset:
            raise self.error(f"{part} divides by 0")
        if sign in "+-":
            found = left.plus(right, -1.0 if sign == "-" else 1.0, kind)
        elif sign == "/":
            found = left.times(1 / right.offset)
        else:
            number, factor = (left, right.offset) if left.terms else (right, left.offset)
            found = number.times(factor)
        if not np.isfinite([found.offset, *(c for _, c in found.terms.values())]).all():
            raise self.error(f"{part} has too large a number")
        return found

    def operands(self, sign: str, *nodes: ast.expr) -> tuple[Quantity, Quantity]:
        """Return two quantities, of which one may convert the other."""
        left, right = map(self.quantity, nodes)
        return self.beside(right, sign, left), self.beside(left, sign, right)

    def beside(self, other: Quantity, sign: str, part: Quantity) -> Quantity:
        """Return a text beside a date as a date, and a constant beside a label as its code."""
        is_date = other.type is Type.DATE and part.type is Type.TEXT
        is_label = other.type is Type.LABEL and sign in EQUALITIES
        if part.constant is None or other.column is None or not (is_date or is_label):
            return part
        return Quantity(other.type, {}, self.converted(other.column, part.constant), 1.0)

    # Columns and their values

    def column(self, name: str) -> Quantity:
        """Return a column that is learned, or computed from learned columns."""
        fields, carried = self.schema.fields, {each.name: each for each in self.schema.carried}
        found: Field | Carried
        if name in carried:
            found = carried[name]
            if found.offset is None:
                raise self.error(f"column {name} holds no value")
        else:
            with self.faults():
                found = fields[self.schema.find(name)]
        if isinstance(found, Carried):
            source = found.source(fields)
        else:
            source = Source(found, {fields.index(found): 1.0})
        column = source.column
        self.places |= source.slopes.keys()
        types = {
            Type.LABEL: bool(column.labels),
            Type.DATE: isinstance(column, Date),
            Type.NUMBER: column.is_numeric,
        }
        kind = next((each for each, is_own in types.items() if is_own), None)
        if kind is None:
            raise self.error(f"column {name} holds no numbers, dates or labels")
        self.columns[name] = column
        size = 1.0 if kind is Type.DATE else 0.0
        return Quantity(kind, {name: (source, 1.0)}, size=size, column=column)

    def converted(self, column: Field, value: float | str) -> float:
        """Return a label as its code, and a text that is a date as days."""
        with self.faults(), warnings.catch_warnings():  # about texts that are no dates
            warnings.simplefilter("ignore")
            x = numbers_of_values(column, [value], self.schema.na)
            is_rare = bool(column.rare_among([value]))
        why = ""
        if np.isnan(x).any():
            why = "which counts as a missing value"
        elif is_rare:
            why = "one of its rare labels, which share one code, so no row can be checked"
        elif column.labels and not column.holds(x).all():
            why = column.refusal(float(x[0]))
        if why:
            what = f"column {column.name} is compared with {label_text(value)!r}"
            raise self.error(f"{what}, {why}")
        return float(x[0]) * Source(column, {}).scale

    # Errors

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Name the constraint in a ``TableError`` of the block."""
        try:
            yield
        except TableError as error:
            own = [replace(fault, row=None, advice=()) for fault in error.faults]
            raise self.error(str(TableError(own))) from None

    def refused(self, node: ast.AST) -> TableError:
        """Return the error for a node that a constraint does not have."""
        return self.error(f"{_shown(self.segment(node))} is not allowed; {ALLOWED}")

    def error(self, problem: str, advice: Advice = ()) -> TableError:
        """Return an error of one line, which quotes the constraint."""
        notice = Notice(one_line(ValueError(problem)), advice=advice)  # a name may have two lines
        return TableError([notice], f"constraint {_shown(self.text)}")


def _number(x: float) -> Quantity:
    """Return a number as a quantity."""
    return Quantity(Type.NUMBER, {}, x, abs(x), constant=x)


# Texts


def _is_deep(tree: ast.AST) -> bool:
    """Return whether a tree has too many levels for functions that call themselves."""
    level = [tree]
    for _ in range(DEEPEST):
        level = [child for each in level for child in ast.iter_child_nodes(each)]
    return bool(level)


def _shown(text: str) -> str:
    """Return a text in quotes, without its end if it is long."""
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ...")


def _advice(*quantities: Quantity) -> Advice:
    """Return advice for a column of two numbers, which are labels by default."""
    for column in (each.column for each in quantities if each.type is Type.LABEL):
        if column and not any(isinstance(label, str | bool) for label in column.labels):
            are_whole = all(isinstance(label, int) for label in column.labels)
            kind = SetKind(column.name, "integer" if are_whole else "real")
            return ((f"learn column {column.name} as numbers", kind),)
    return ()
