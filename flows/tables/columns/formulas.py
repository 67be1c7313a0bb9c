"""The terms of formulas that compute a column from others, such as ``age^2`` and ``weight / n``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from flows.core.arrays import Array

Ends = tuple[float, float]  # the smallest and the largest value of a column, perhaps infinite


class Operation(NamedTuple):
    """A function of one or two columns.

    Args:
        text: the function of the columns ``{0}`` and ``{1}``, for messages.
        values: returns the values of the function.
        inverse: the inverse, of a value at least 0 for a square or a root; ``None`` for a function
            of two columns, and for the column itself.
    """

    text: str
    values: Callable[..., Array]
    inverse: Callable[[float], float] | None = None


COLUMN = Operation("{0}", lambda a: a)
OPERATIONS = {
    "square": Operation("{0}^2", np.square, math.sqrt),
    "sqrt": Operation("sqrt({0})", np.sqrt, np.square),
    "log": Operation("log({0})", np.log, math.exp),
    "log10": Operation("log10({0})", np.log10, lambda y: 10.0**y),
    "log2": Operation("log2({0})", np.log2, lambda y: 2.0**y),
    "product": Operation("{0} * {1}", np.multiply),
    "ratio": Operation("{0} / {1}", np.divide),
}


@dataclass(frozen=True)
class Term:
    """A column, or a function of one or two columns.

    Args:
        names: the names of the columns.
        word: the function, a key of ``OPERATIONS``; empty for the column itself.
    """

    names: tuple[str, ...]
    word: str = ""

    @property
    def operation(self) -> Operation:
        """The function."""
        return OPERATIONS[self.word] if self.word else COLUMN

    @property
    def text(self) -> str:
        """The term as text."""
        return self.operation.text.format(*self.names)

    def values(self, columns: Mapping[str, Array]) -> Array:
        """Return the values of the term, ``(n,)``.

        A value is ``NaN`` where the function has none: a logarithm of 0, and a ratio to 0.

        Args:
            columns: the values of columns ``(n,)``, by their name.
        """
        with np.errstate(all="ignore"):
            found = self.operation.values(*(columns[name] for name in self.names))
        return np.where(np.isfinite(found), found, np.nan) if self.word else found

    def ends(self, ends: Mapping[str, Ends]) -> Ends:
        """Return the smallest and the largest value of the term.

        Args:
            ends: the ends of columns, by their name.
        """
        own = [ends[name] for name in self.names]
        low, high = own[-1]  # of the divisor, or of the only column
        if self.word == "ratio" and low < 0 <= high:  # near a divisor of 0, any number
            return -math.inf, math.inf
        # Now each function is monotone in each column, but for a square
        corners = [*itertools.product(*own)]
        if self.word == "square" and low < 0 < high:
            corners.append((0.0,))
        with np.errstate(all="ignore"):
            found = self.operation.values(*np.array(corners).T)
        # 0 times infinity is the limit of zeros; logarithms and roots have no number below 0
        empty = -math.inf if self.word.startswith("log") else 0.0
        found = np.where(np.isnan(found), empty, found)
        return float(found.min()), float(found.max())

    def to_json(self) -> Any:
        """Return the term as JSON can hold it; ``from_json`` reads it."""
        return [self.word, *self.names] if self.word else self.names[0]

    @classmethod
    def from_json(cls, content: Any) -> Term:
        """Return the term that ``to_json`` wrote.

        Args:
            content: the name of a column, or a list of a function and names.
        """
        if isinstance(content, str):
            return cls((content,))
        word, *names = content
        return cls(tuple(names), word)
