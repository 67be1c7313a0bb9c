"""The text of a constraint, such as ``"start <= end"``, as a relation between columns.

Python's grammar reads the text. Its tree becomes a relation (``relations.py``), whose types are
checked; any other node is refused. No text is executed.
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from flows.core.errors import one_line
from flows.tables.columns.field import Field
from flows.tables.columns.kinds.date import Date
from flows.tables.columns.kinds.time import Time
from flows.tables.columns.kinds.unlearned import Carried
from flows.tables.columns.notices import Advice, Notice, SetKind, TableError
from flows.tables.columns.parsing import numbers_of_values
from flows.tables.columns.relations import (
    Joined,
    LabelComparison,
    Linear,
    Relation,
)
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
    "numbers take + - * / and numbers, dates take + and - and numbers of days, clock times take + "
    "and - and numbers of minutes, and the difference of two dates or of two clock times is such a "
    "number"
)
COMPARISONS = (
    "numbers are compared with numbers, dates with dates and quoted dates, clock times with clock "
    "times and HHMM, and labels, by == and != only, with labels"
)


class Type(StrEnum):
    """The type of a quantity, in the words of messages."""

    NUMBER = "a number"
    DATE = "a date"
    TIME = "a clock time"
    LABEL = "a label"
    TEXT = "a quoted text"


POINTS = (Type.DATE, Type.TIME)  # in time, whose differences are numbers
ORDERED = (Type.NUMBER, *POINTS)
RESULTS = {  # by the operator and the types of its operands
    **{(sign, Type.NUMBER, Type.NUMBER): Type.NUMBER for sign in "+-*/"},
    **{("+", point, Type.NUMBER): point for point in POINTS},
    **{("+", Type.NUMBER, point): point for point in POINTS},
    **{("-", point, Type.NUMBER): point for point in POINTS},
    **{("-", point, point): Type.NUMBER for point in POINTS},
}


class Quantity(NamedTuple):
    """A part of a constraint with a number, a date, a clock time or a label in each row::

        x = offset + sum_k c_k v_k,    v_k are columns, or the code of a single column of labels

    Args:
        type: the type of its values.
        terms: the columns with their coefficients, by name.
        offset: the offset; the code of a label, and the days since 1970-01-01 of a date.
        size: the size of the constants in it, for rounding errors (``Linear``).
        column: the column that converts a constant beside a date, a clock time or a label, if there
            is one.
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
        column = (self.column or other.column) if kind in POINTS else None
        return Quantity(kind, terms, offset, size, column)


class ConstraintText:
    """The text of a constraint, which ``read`` converts to a relation.

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
        """Return a constant beside a date, a clock time or a label as one of these.

        Dates are quoted. A number beside a clock time is HHMM if compared, and else minutes.
        """
        is_point = other.type in POINTS and part.type is Type.TEXT
        is_time = other.type is Type.TIME and sign not in "+-*/"
        is_label = other.type is Type.LABEL and sign in EQUALITIES
        if part.constant is None or other.column is None or not (is_point or is_time or is_label):
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
            linear = found.source(fields)
            if linear is None:
                why = f"equals {found.formula}, which is no linear formula of learned columns"
                raise self.error(f"column {name} {why}; compare these columns instead")
            source = linear
        else:
            source = Source(found, {fields.index(found): 1.0})
        column = source.column
        self.places |= source.slopes.keys()
        types = {
            Type.LABEL: bool(column.labels),
            Type.DATE: isinstance(column, Date),
            Type.TIME: isinstance(column, Time),
            Type.NUMBER: column.is_numeric,
        }
        kind = next((each for each, is_own in types.items() if is_own), None)
        if kind is None:
            raise self.error(f"column {name} holds no numbers, dates, clock times or labels")
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
