"""Constraints between the columns of a table, as users write them, such as ``"start <= end"``.

Python's grammar reads a constraint. Its tree becomes functions of rows, whose types are checked;
any other node is refused. No text is executed.
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask
from flows.core.errors import one_line
from flows.tables.field import Field
from flows.tables.kinds.date import DAY, Date
from flows.tables.kinds.unlearned import Carried
from flows.tables.notices import Advice, Notice, SetKind, TableError
from flows.tables.rows import numbers_of_values
from flows.tables.schema import Schema
from flows.tables.types import are_seconds
from flows.tables.values import label_text

LONGEST = 1_000  # characters of a constraint
DEEPEST = 100  # levels of its tree, each of which nests a few of the 1,000 calls that Python allows
SHOWN = 80  # characters of a text in a message
TOLERANCE = 1e-9  # of rounding errors, relative to the largest term
UNDECIDED = 0.5  # between broken, 0, and holds, 1: min, max and 1 - x are then Kleene's logic

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


class Values(NamedTuple):
    """The values of a quantity in n rows.

    Args:
        x: the values ``(n,)``: numbers, days since 1970-01-01, or codes of labels.
        size: the size of the terms that they were computed from, ``(n,)``. Rounding errors are
            smaller than ``TOLERANCE`` times the size, so 0.1 + 0.2 - 0.3 equals 0. The size of a
            date is 1 day, because dates may be one second apart.
    """

    x: Array
    size: Array


ValuesOf = Callable[[Array], Values]  # of the rows (n, D)


class Quantity(NamedTuple):
    """A part of a constraint with a number, a date or a label in each row.

    Args:
        type: the type of its values.
        values: returns the values in rows ``(n, D)``.
        column: the column that converts a text beside a date or a label, if there is one.
        constant: the constant as the user writes it; ``None`` for values that depend on the row.
    """

    type: Type
    values: ValuesOf
    column: Field | None = None
    constant: float | str | None = None


# Returns 1 for each of the rows (n, D) where comparisons hold, 0 where they do not, or UNDECIDED
Relation = Callable[[Array], Array]


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
        >>> from flows.tables.schema import Schema
        >>> schema = Schema.of([flows.Field.parse(name, "real") for name in ("low", "high")])
        >>> constraint = Constraint.parse("0 <= low <= high", schema)
        >>> constraint.holds(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, np.nan], [-1.0, np.nan]]))
        array([ 1.,  0., nan,  0.])
    """

    text: str
    names: tuple[str, ...]
    places: tuple[int, ...] = field(repr=False)
    _relation: Relation = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, schema: Schema) -> Constraint:
        """Return the constraint that a user writes as ``text``.

        A constraint compares columns, numbers, labels and dates, with + - * /, ``and``, ``or`` and
        ``not``. Labels and dates are quoted as in Python. A name that is no identifier of Python is
        in backticks.

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

        The result is ``NaN`` where a gap, or an undefined number such as 0 / 0, leaves it
        undecided. Known values may decide a row with gaps. Numbers that differ by at most 1e-9 of
        the largest term are equal, and so are dates that differ by at most 1e-9 days.

        Args:
            rows: rows ``(n, D)`` of the learned columns in the user's units, rounded as they are
                written, with codes for labels and ``NaN`` for gaps.
        """
        with np.errstate(all="ignore"):  # a division by zero is infinite or undefined
            found = self._relation(rows)
        return np.where(found == UNDECIDED, np.nan, found)


@dataclass(frozen=True)
class Constraints:
    """The constraints of a table, for rows in the user's units that are not rounded.

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

    def met(self, rows: Array, *, is_rounded: bool = False) -> Mask:
        """Return which complete rows meet all constraints, ``(n,)``.

        A row with an undefined number, such as 0 / 0, does not meet the constraint.

        Args:
            rows: the rows ``(n, D)``, with codes for labels.
            is_rounded: whether the rows are rounded already; otherwise they are rounded first.
        """
        found = np.ones(len(rows), dtype=np.bool_)
        rows = rows if is_rounded else self._written(rows)
        for each in self.each:
            found &= each.holds(rows) == 1
        return found

    def met_beside(self, known: Array) -> Callable[[Array], Mask]:
        """Return the function that tells which completions of a row meet all constraints.

        Drawn values are rounded, and known values are taken as they are written.

        Args:
            known: the row ``(D,)``, ``NaN`` for unknown values.
        """
        return lambda rows: self.met(
            np.where(np.isnan(known), self._written(rows), known), is_rounded=True
        )

    def broken(self, rows: Array) -> Mask:
        """Return which constraints the known values of rows break, ``(n, constraints)``.

        A complete row with an undefined number breaks the constraint.

        Args:
            rows: the rows ``(n, D)`` as they are written, with codes for labels and ``NaN`` for
                gaps.
        """
        found = []
        for each in self.each:
            holds = each.holds(rows)
            is_complete = ~np.isnan(rows[:, list(each.places)]).any(axis=1)
            found.append((holds == 0) | (np.isnan(holds) & is_complete))
        return np.stack(found, axis=1) if found else np.zeros((len(rows), 0), dtype=np.bool_)

    def _written(self, rows: Array) -> Array:
        """Return rows rounded as they are written."""
        written = rows.copy()
        for d in {d for each in self.each for d in each.places}:
            field = self.fields[d]
            written[:, d] = field.shown(np.asarray(field.round(rows[:, d])))
        return written


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
                return partial(_joined, word, [self.relation(each) for each in node.values])
            case ast.UnaryOp(op=ast.Not()):
                return partial(_joined, "not", [self.relation(node.operand)])
            case ast.Compare():
                if not all(type(op) in SIGNS for op in node.ops):
                    raise self.refused(node)
                sides = [node.left, *node.comparators]
                pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
                found = [self.comparison(SIGNS[type(op)], *pair) for op, *pair in pairs]
                return partial(_joined, "and", found)
        kind = self.quantity(node).type
        raise self.error(f"{_shown(self.segment(node))} is {kind}, not a comparison")

    def comparison(self, sign: str, *nodes: ast.expr) -> Relation:
        """Return the comparison of two nodes."""
        left, right = self.operands(sign, *nodes)
        if left.type is right.type is Type.LABEL and left.column and right.column:
            left = self.recoded(left, left.column, right.column)
        allowed = (*ORDERED, Type.LABEL) if sign in EQUALITIES else ORDERED
        if left.type is not right.type or left.type not in allowed:
            part = _shown(f" {sign} ".join(map(self.segment, nodes)))
            why = f"{part} compares {left.type} with {right.type}; {COMPARISONS}"
            raise self.error(why, _advice(left, right))
        return partial(_compared, sign, left.values, right.values)

    # Quantities

    def quantity(self, node: ast.expr) -> Quantity:
        """Return the number, the date, the label or the text of a node."""
        match node:
            case ast.Constant(value=str() as text):
                return Quantity(Type.TEXT, partial(_constant, np.nan, 0.0), None, text)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                if abs(number) <= sys.float_info.max:
                    return _number(float(number))
                raise self.error(f"{_shown(self.segment(node))} is too large a number")
            case ast.Name():
                return self.column(self.segment(node).strip("`"))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                return self.signed(node)
            case ast.BinOp() if type(node.op) in SIGNS:
                return self.arithmetic(SIGNS[type(node.op)], node.left, node.right)
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
        return Quantity(Type.NUMBER, partial(_computed, "-", _number(0.0).values, number.values))

    def arithmetic(self, sign: str, *nodes: ast.expr) -> Quantity:
        """Return two quantities with an operator between them."""
        left, right = self.operands(sign, *nodes)
        kind = RESULTS.get((sign, left.type, right.type))
        if kind is None:
            part = _shown(f" {sign} ".join(map(self.segment, nodes)))
            why = f"{part} combines {left.type} with {right.type}; {ARITHMETIC}"
            raise self.error(why, _advice(left, right))
        column = (left.column or right.column) if kind is Type.DATE else None
        return Quantity(kind, partial(_computed, sign, left.values, right.values), column)

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
        x = self.converted(other.column, part.constant)
        return Quantity(other.type, partial(_constant, x, 1.0))

    def recoded(self, part: Quantity, own: Field, other: Field) -> Quantity:
        """Return a column of labels with the codes of another, and -2 for a label it lacks."""
        for each in (own, other):
            if each.pool is not None:
                why = "has rare labels that share one code, so it is compared with no other column"
                raise self.error(f"column {each.name} {why}")
        codes = {label_text(label): code for code, label in enumerate(other.labels)}
        new = [codes.get(label_text(label), -2) for label in own.labels]
        return part._replace(values=partial(_recoded, new, part.values))

    # Columns and their values

    def column(self, name: str) -> Quantity:
        """Return a column that is learned, or computed from learned columns."""
        fields, carried = self.schema.fields, {each.name: each for each in self.schema.carried}
        source: int | Carried
        if name in carried:
            source, column = carried[name], carried[name].field
            if source.offset is None:
                raise self.error(f"column {name} holds no value")
        else:
            with self.faults():
                source = self.schema.find(name)
            column = fields[source]
        terms = [key for key, _ in source.terms] if isinstance(source, Carried) else [name]
        self.places |= {self.schema.find(each) for each in terms}
        types = {
            Type.LABEL: bool(column.labels),
            Type.DATE: isinstance(column, Date),
            Type.NUMBER: column.is_numeric,
        }
        kind = next((each for each, is_own in types.items() if is_own), None)
        if kind is None:
            raise self.error(f"column {name} holds no numbers, dates or labels")
        self.columns[name] = column
        return Quantity(kind, partial(_column, column, source, fields), column)

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
        return float(_in_days(column, x)[0])

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


# The functions of rows


def _constant(x: float, size: float, rows: Array) -> Values:
    """Return a constant for each of the rows."""
    return Values(np.full(len(rows), x), np.full(len(rows), size))


def _number(x: float) -> Quantity:
    """Return a number as a quantity."""
    return Quantity(Type.NUMBER, partial(_constant, x, abs(x)), None, x)


def _column(column: Field, source: int | Carried, fields: Sequence[Field], rows: Array) -> Values:
    """Return the values of a column, which ``source`` finds in the rows or computes from them."""
    if isinstance(source, Carried):
        x = column.shown(source.values(fields, rows))
    else:
        x = rows[:, source]
    return Values(_in_days(column, x), np.abs(x) if column.is_numeric else np.ones_like(x))


def _in_days(column: Field, x: Array) -> Array:
    """Return dates ``(n,)`` as days, and other values as they are."""
    return x / DAY if isinstance(column, Date) and column.unit != "days" else x


def _recoded(codes: Sequence[int], values: ValuesOf, rows: Array) -> Values:
    """Return the new codes of labels."""
    x, size = values(rows)
    new = np.array([*codes, -2.0])  # the last for the code -1 of an unknown label
    return Values(np.where(np.isnan(x), np.nan, new[np.nan_to_num(x).astype(np.int64)]), size)


def _computed(sign: str, left: ValuesOf, right: ValuesOf, rows: Array) -> Values:
    """Return two quantities with an operator between them."""
    (x, of_x), (y, of_y) = left(rows), right(rows)
    match sign:
        case "+":
            return Values(x + y, np.maximum(of_x, of_y))
        case "-":
            return Values(x - y, np.maximum(of_x, of_y))
        case "*":
            return Values(x * y, of_x * of_y)
    return Values(x / y, of_x / np.abs(y) * (of_y / np.abs(y)))


def _compared(sign: str, left: ValuesOf, right: ValuesOf, rows: Array) -> Array:
    """Return where the comparison of two quantities holds."""
    (x, of_x), (y, of_y) = left(rows), right(rows)
    margin = TOLERANCE * np.maximum(of_x, of_y)
    margin = np.where(np.isfinite(margin), margin, 0)  # infinity has no rounding error
    is_at_most, is_at_least = x <= y + margin, y <= x + margin
    found = {
        "<=": is_at_most,
        ">=": is_at_least,
        "<": ~is_at_least,
        ">": ~is_at_most,
        "==": is_at_most & is_at_least,
        "!=": ~(is_at_most & is_at_least),
    }
    return np.where(np.isnan(x) | np.isnan(y), UNDECIDED, found[sign])


def _joined(word: str, parts: Sequence[Relation], rows: Array) -> Array:
    """Return where relations hold that a word joins."""
    found = np.stack([part(rows) for part in parts])
    match word:
        case "and":
            return np.asarray(found.min(axis=0))
        case "or":
            return np.asarray(found.max(axis=0))
    return np.asarray(1 - found[0])


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
