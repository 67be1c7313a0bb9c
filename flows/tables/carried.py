"""Columns without a density, which are computed from the learned columns: constants, copies, sums.

A density covers the columns that are learned. The columns here reappear in samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.core.arrays import Array, rounded
from flows.tables.columns import WHOLE, Column
from flows.tables.dates import from_times

DIGITS = 12  # of coefficients, if as many are enough


@dataclass(frozen=True)
class Carried:
    """A column that is computed from learned columns::

        x = offset + sum_k c_k x_k,    rounded to the step of the column

    Labels are numbers here: their codes. Without terms, the column is constant.

    Args:
        column: the column.
        offset: the offset; ``None`` for a column that holds no value.
        terms: the names of learned columns, each with its coefficient ``c_k``.
    """

    column: Column
    offset: float | None
    terms: tuple[tuple[str, float], ...] = ()

    @classmethod
    def fitted(cls, column: Column, x: Array, names: Sequence[str], others: Array) -> Carried:
        """Return the linear combination of columns that equals ``x`` ``(n,)``.

        Args:
            column: the column to compute.
            x: its values.
            names: the names of the columns to compute it from.
            others: their values ``(n, K)``.
        """
        system = np.column_stack([np.ones(len(x)), others])
        scale = np.abs(system).max(axis=0)
        solution = np.linalg.lstsq(system / scale, x, rcond=None)[0] / scale
        short = rounded(solution, DIGITS)
        error = [np.abs(system @ each - x).max() for each in (short, solution)]
        if error[0] <= max(error[1], 1e-9 * np.abs(x).max()):
            solution = short
        offset, *coefficients = solution.tolist()
        return cls(column, offset, tuple(zip(names, coefficients, strict=True)))

    def values(self, columns: Sequence[Column], rows: Array) -> Array:
        """Return the values ``(n,)`` of the column in ``rows`` ``(n, D)`` of the ``columns``.

        The result is ``NaN`` where a value that it needs is.
        """
        places = {column.name: d for d, column in enumerate(columns)}
        x = np.full(len(rows), np.nan if self.offset is None else self.offset)
        for name, coefficient in self.terms:
            x = x + coefficient * rows[:, places[name]]
        if self.column.kind in WHOLE and (cell := self.column.cell):
            x = np.round(x / cell) * cell
        if self.column.labels:
            x = x.clip(0, len(self.column.labels) - 1)
        return x

    def __str__(self) -> str:
        """The formula, such as ``"2 a - b + 3"``; that of a constant is its value."""
        if not self.terms:
            if self.offset is None:
                return "no value"
            if labels := self.column.labels:
                return repr(labels[int(self.offset)])
            if self.column.kind == "date":
                return str(from_times(np.array([self.offset]), self.column)[0])
            return f"{self.offset:.6g}"
        text = ""
        for name, number in (*self.terms, ("", self.offset or 0.0)):
            if name or abs(number) > 1e-9:
                sign = (" - " if text else "-") if number < 0 else (" + " if text else "")
                factor = "" if name and abs(number) == 1 else f"{abs(number):.6g}"
                text += sign + f"{factor} {name}".strip()
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that JSON can hold; ``from_dict`` reads it."""
        terms = [list(term) for term in self.terms]
        return {"column": self.column.to_dict(), "offset": self.offset, "terms": terms}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Carried:
        """Return the column that ``to_dict`` wrote as ``content``."""
        terms = tuple((str(name), float(number)) for name, number in content["terms"])
        return cls(Column.from_dict(content["column"]), content["offset"], terms)
