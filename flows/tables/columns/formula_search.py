"""The search for columns that are functions of one or two other columns.

A column y is computed from columns a and b if it equals one of::

    10^k a^2,    10^k sqrt(a),    log a,    10^k a b,    10^k a / b

in all rows in which it and they are known, with one whole number k for all rows. The factor is
positive, and changes units, such as percent. Logarithms are natural, or have the base 10 or 2.
Values are equal within the rounding of y: half a unit of the last decimal or of the last
significant digit with which the file holds y, or else the rounding error of floating-point numbers.

Formulas are first tried on a few rows. In logarithms, those with a free power of ten are sums, up
to a whole number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.tables.columns.field import Field
from flows.tables.columns.formulas import Term
from flows.tables.columns.rounding import count_digits, last_digit
from flows.tables.columns.values import SOME, are_same_in_single

# A formula has to give this many different numbers, besides 0; fewer may agree by chance
LEAST_DIFFERENT = 10
EXAMPLES = 24  # rows on which formulas are tried first
STEPS = (1, 4, EXAMPLES)  # the first of these rows rule out most formulas, at little cost
MOST_COLUMNS = 200  # for functions of two columns, whose number grows with the third power
ABOUT = 1e-12  # the rounding of logarithms
CLEAR = 0.2  # an example is rounded by less than this power of ten
# The functions with a power of ten, as powers of two columns or of one column taken twice
POWERS = {"square": (1.0, 1.0), "sqrt": (0.25, 0.25), "product": (1.0, 1.0), "ratio": (1.0, -1.0)}
BASES = {"log": math.e, "log10": 10.0, "log2": 2.0}
# The relative rounding of floating-point numbers in files, after one step in the same precision
SINGLE, DOUBLE = 2.0**-23, 2e-14


class Found(NamedTuple):
    """A formula that holds.

    Args:
        place: the index of the column that the formula gives.
        term: the function of other columns.
        factor: its factor, a power of ten.
        rounding: the median rounding of the column, relative to its values.
    """

    place: int
    term: Term
    factor: float
    rounding: float


def search(fields: Sequence[Field], values: Array) -> list[Found]:
    """Return the formulas that hold.

    Args:
        fields: columns of numbers.
        values: their values ``(n, D)``, ``NaN`` for gaps.
    """
    found = list[Found]()
    with np.errstate(all="ignore"):
        columns = [_Column(field, x) for field, x in zip(fields, values.T, strict=True)]
        logs = np.log10(np.abs(values))
        for y, column in enumerate(columns):
            if column.is_varied(column.known):
                found += _Trial(columns, logs, y).formulas()
    return found


class _Column:
    """A column of numbers.

    Args:
        field: the column.
        x: its values ``(n,)``, ``NaN`` for gaps.
    """

    def __init__(self, field: Field, x: Array) -> None:
        self.name, self.x, self.known = field.name, x, ~np.isnan(x)
        known = x[self.known]
        self.rounding = (SINGLE if _are_single(known) else DOUBLE) * np.abs(x)
        if field.decimals is not None:
            self.rounding = np.fmax(self.rounding, 0.5 * 10.0**-field.decimals)
        if field.decimals != 0 and (digits := count_digits(known)):
            self.rounding = np.fmax(self.rounding, 0.5 * last_digit(x, digits))

    @property
    def relative(self) -> Array:
        """The rounding relative to the values, ``(n,)``."""
        return self.rounding / np.abs(self.x)

    def is_varied(self, rows: Mask) -> bool:
        """Return whether the column has enough different values in some ``rows`` ``(n,)``."""
        x = self.x[rows]
        return len(np.unique(x[x != 0])) >= LEAST_DIFFERENT

    def equals(self, y: Array, rows: Mask) -> bool:
        """Return whether the column has the values ``y`` ``(n,)`` in some ``rows``, if rounded."""
        size = np.maximum(1.0, np.maximum(np.abs(self.x), np.abs(y)))
        near = np.abs(y - self.x) <= self.rounding + DOUBLE * size
        return bool(near[rows].all())

    def is_multiple(self, other: _Column, rows: Mask) -> bool:
        """Return whether the column is another column times a number, in some ``rows`` ``(n,)``."""
        largest = int(np.argmax(np.where(rows, np.abs(other.x), -1.0)))
        return self.equals(other.x * self.x[largest] / other.x[largest], rows)


def _are_single(x: Array) -> bool:
    """Return whether numbers ``x`` ``(n,)`` are of single precision, as stored or as text."""
    if are_same_in_single(x, x).all():
        return True
    some = x[:SOME]
    return bool((some == [float(str(each)) for each in some.astype(np.float32)]).all())


class _Trial:
    """The search for the formulas of one column.

    Args:
        columns: the D columns.
        logs: the logarithms of their sizes to the base 10, ``(n, D)``.
        y: the index of the column.

    Attributes:
        rows: the examples, ``(m,)``: rows with few gaps in which the column is finely rounded.
        width: the rounding of the logarithm of the column in them, ``(m,)``.
    """

    def __init__(self, columns: Sequence[_Column], logs: Array, y: int) -> None:
        self.columns, self.y, own = columns, y, columns[y]
        width = -np.log10(1 - np.minimum(own.relative, 1)) + DOUBLE
        rows = np.random.default_rng(0).permutation(np.flatnonzero(width < CLEAR))
        gaps = np.isnan(logs[rows]).sum(axis=1)
        self.rows: Whole = rows[np.argsort(gaps, kind="stable")][:EXAMPLES]
        self.width, self.logs = width[self.rows], logs[self.rows]

    def formulas(self) -> Iterator[Found]:
        """Yield the formulas that hold in all rows."""
        others = np.delete(np.arange(len(self.columns)), self.y)
        for word, base in BASES.items():
            yield from self._logarithms(word, self.logs[:, others] / np.log10(base), others)
        for word in ("square", "sqrt"):
            yield from self._products(word, others, others)
        if len(others) >= MOST_COLUMNS:
            return
        first, second = np.triu_indices(len(others), 1)
        yield from self._products("product", others[first], others[second])
        first, second = np.nonzero(~np.eye(len(others), dtype=np.bool_))
        yield from self._products("ratio", others[first], others[second])

    def _logarithms(self, word: str, x: Array, places: Whole) -> Iterator[Found]:
        """Yield the logarithms that hold, of the columns at ``places``.

        Args:
            word: the function.
            x: its values in the examples, ``(m, P)``.
            places: the indices of the columns, ``(P,)``.
        """
        own = self.columns[self.y]
        y, rounding = own.x[self.rows], 2 * own.rounding[self.rows] + ABOUT
        is_near = np.isnan(x) | (np.abs(x - y[:, None]) <= rounding[:, None])
        for place in places[is_near.all(axis=0)]:
            yield from self._confirmed(word, [int(place)], 1.0)

    def _products(self, word: str, a: Whole, b: Whole) -> Iterator[Found]:
        """Yield the products that hold, or ratios, of pairs of columns, or squares, or roots.

        Args:
            word: the function.
            a: the index of the first column of each pair, ``(P,)``.
            b: the index of the second column, ``(P,)``; of a function of one column the same.
        """
        first, second = POWERS[word]
        power = np.zeros(len(a))
        for step in STEPS:
            logs = self.logs[:step]
            found = logs[:, self.y, None] - first * logs[:, a] - second * logs[:, b]
            nearest, is_unknown = np.round(found), np.isnan(found)
            is_near = is_unknown | (np.abs(found - nearest) <= self.width[:step, None])
            power = np.fmax.reduce(nearest, axis=0)
            is_one = is_unknown.all(axis=0) | (power == np.fmin.reduce(nearest, axis=0))
            holds = is_near.all(axis=0) & is_one
            a, b, power = a[holds], b[holds], power[holds]
        for pair in zip(a.tolist(), b.tolist(), power.tolist(), strict=True):
            places = [*dict.fromkeys(pair[:2])]
            if np.isfinite(pair[2]):  # else no example has all values
                yield from self._confirmed(word, places, 10.0 ** pair[2])

    def _confirmed(self, word: str, places: Sequence[int], factor: float) -> Iterator[Found]:
        """Yield a formula if it holds in all rows, and enough different rows support it.

        Args:
            word: the function.
            places: the indices of its columns.
            factor: its factor.
        """
        own, others = self.columns[self.y], [self.columns[place] for place in places]
        term = Term(tuple(column.name for column in others), word)
        y = factor * term.values({column.name: column.x for column in others})
        rows = np.logical_and.reduce([own.known, *(column.known for column in others)])
        if not own.is_varied(rows) or not own.equals(y, rows):
            return
        if any(own.is_multiple(column, rows) for column in others):  # the other column is constant
            return
        rows &= own.x != 0
        yield Found(self.y, term, factor, float(np.median(own.relative[rows])))
