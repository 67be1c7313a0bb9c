"""How a column of text writes numbers: a currency or percent sign, decimals, leading zeros."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flows.core.arrays import Array
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError
from flows.tables.columns.values import (
    CURRENCY,
    MARKS,
    MISSING,
    UNKNOWN,
    Format,
    as_numbers,
)

PADDED = re.compile(r"0\d+([.,]\d+)*")  # a code, unless all digits are 0
MINUS = "[-+\u2212]"
# A number with one sign, before or after it: -$5, $-5, $ 5, 5%, 5 %
SIGNED = re.compile(
    rf"({MINUS}?)({CURRENCY} ?)({MINUS}?)([\d.,' ]*\d)|({MINUS}?)([\d.,' ]*\d)( ?{CURRENCY})",
    re.ASCII,
)


class _Parts(NamedTuple):
    """The parts of a number with a sign: what stands before and after it, and the number."""

    before: str
    after: str
    number: str

    @property
    def sign(self) -> tuple[str, str]:
        return self.before.strip(), self.after.strip()


class Spelling(NamedTuple):
    """The sign around the numbers of a column, such as ``$12.50`` or ``7 %``.

    Args:
        before: the text before a number, after its minus.
        after: the text after a number.
        decimals: the decimals of all numbers; ``None`` if they differ.
        decimal: the decimal mark.
        thousands: the mark between thousands, or an empty text.
    """

    before: str = ""
    after: str = ""
    decimals: int | None = None
    decimal: str = "."
    thousands: str = ""

    def read(self, column: pd.Series) -> Array:
        """Return the numbers of values with this sign, and ``NaN`` for others, ``(n,)``."""
        codes, values = pd.factorize(column.astype(object))
        parts = [_parts(value) for value in values]
        own = [each.number if each and each.sign == self.sign else None for each in parts]
        written = Format(decimal=self.decimal, thousands=self.thousands or None)
        numbers = as_numbers(pd.Series(own, dtype=object), written)
        return np.array([*numbers, np.nan])[codes]

    @property
    def sign(self) -> tuple[str, str]:
        """The sign before and after a number, without blanks."""
        return self.before.strip(), self.after.strip()

    def write(self, x: pd.Series, more: int | None = None) -> pd.Series:
        """Return numbers as text, and missing values as they are.

        Args:
            x: the numbers.
            more: how many decimals to add, for numbers that are not values of the column; ``None``
                for such values.
        """
        return pd.Series([self._text(float(each), more) for each in x], x.index, dtype=object)

    def _text(self, x: float, more: int | None) -> Any:
        if np.isnan(x):
            return np.nan
        decimals = self.decimals if more is None else more + (self.decimals or 0)
        size = np.format_float_positional(abs(x), trim="-")
        whole, _, rest = (size if decimals is None else f"{abs(x):.{decimals}f}").partition(".")
        if self.thousands:
            whole = f"{int(whole):,}".replace(",", self.thousands)
        minus = "-" if x < 0 and re.search("[1-9]", whole + rest) else ""
        return f"{minus}{self.before}{whole}{self.decimal if rest else ''}{rest}{self.after}"


def _parts(value: Any) -> _Parts | None:
    """Return the parts of a text that is a number with one sign; ``None`` for other values."""
    found = SIGNED.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    minus, before, second, number, other, size, after = (each or "" for each in found.groups())
    minus = (minus or second or other).replace("\u2212", "-")
    return _Parts(before, after, minus + (number or size))


def find_spelling(column: pd.Series, written: Format) -> Spelling | None:
    """Return the spelling of a column in which each value is a number with the same sign.

    The result is ``None`` for any other column, and for numbers that the format does not allow.

    Args:
        column: the values.
        written: the format of numbers without their sign.
    """
    if column.dtype.kind in "biufmM" or isinstance(column.dtype, pd.CategoricalDtype):
        return None
    parts, known = list[_Parts](), column.dropna()
    if not len(known) or not isinstance(known.iloc[0], str):
        return None
    for value in dict.fromkeys(map(str, known)):
        text = value.strip()
        if text.lower() in MISSING or text in (UNKNOWN, *MARKS):
            continue
        if (own := _parts(value)) is None or (parts and own.sign != parts[0].sign):
            return None
        parts.append(own)
    numbers = [each.number for each in parts]
    if not parts or np.isnan(as_numbers(pd.Series(numbers, dtype=object), written)).any():
        return None
    decimals = {len(number.partition(written.decimal)[2]) for number in numbers}
    mark = written.thousands or ""
    return Spelling(
        parts[0].before,
        parts[0].after,
        decimals.pop() if len(decimals) == 1 else None,
        written.decimal,
        mark if mark and any(mark in number for number in numbers) else "",
    )


def joined(name: str, spellings: Sequence[Spelling | None]) -> Spelling | None:
    """Return the spelling of a column from those of pieces of a file.

    Raises ``TableError`` if the numbers of the pieces have different signs.

    Args:
        name: the name of the column.
        spellings: the spellings of the pieces that hold a value.
    """
    first, *others = spellings or [None]
    for other in others:
        if (other and other.sign) != (first and first.sign):
            sign = "".join((first or other or Spelling()).sign)
            problem = f"holds numbers with {sign}, and others with another sign or none"
            raise TableError([Notice(problem, name)])
        if first is not None and other is not None:
            same = first.decimals == other.decimals
            first = first._replace(
                decimals=first.decimals if same else None,
                thousands=first.thousands or other.thousands,
            )
    return first


def has_leading_zeros(column: pd.Series) -> bool:
    """Return whether a value of a column is text such as 007 or 01.1, which is no number."""
    if column.dtype.kind in "biufmM" or isinstance(column.dtype, pd.CategoricalDtype):
        return False
    try:
        values = pd.unique(column)
    except TypeError:  # lists, for example
        return False
    texts = (value.strip() for value in values if isinstance(value, str))
    return any(PADDED.fullmatch(text) and text.strip("0.,") for text in texts)
