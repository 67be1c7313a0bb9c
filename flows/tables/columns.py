"""The columns of a table: their kinds, the checks on them, and dequantisation.

This module needs no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from shlex import quote
from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.tables.duplicates import first_copies
from flows.tables.rounding import DISTINCT, common_step

LEAST_ROWS = 10
LEAST_VALUES = 8  # of a column with gaps, so that every fold leaves some
WHOLE = ("integer", "count", "category")  # the kinds whose samples are rounded
ADVICE = {
    "positive": "; or leave it real",
    "count": "; or leave it real",
    "interval": "; widen the bounds",
}
Label = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """A column: its name, kind, bounds of an ``interval`` and step of rounded values.

    The numbers of a ``category`` are codes: 0 stands for the first of its ``labels``, 1 for the
    next. ``ordered`` says whether their order has a meaning.
    """

    name: str
    kind: str = "real"
    low: float | None = None
    high: float | None = None
    step: float | None = None
    labels: tuple[Label, ...] = ()
    ordered: bool = False

    @classmethod
    def parse(cls, name: str, word: str) -> Column:
        """Return the column ``name`` of the kind that a user writes as ``word``.

        Raises ``ValueError`` with a message of one line.
        """
        kind, *texts = word.split(":")
        try:
            match kind, [float(text) for text in texts]:
                case "real" | "positive", []:
                    return cls(name, kind)
                case "integer" | "count" | "category", []:
                    return cls(name, kind, step=1.0)
                case "integer", [step] if 0 < step < math.inf:
                    return cls(name, kind, step=step)
                case "interval", [low, high] if -math.inf < low < high < math.inf:
                    return cls(name, kind, low=low, high=high)
        except ValueError:
            pass
        raise ValueError(
            f"column {name}: {word!r} is no kind; it must be real, positive, interval:LOW:HIGH, "
            "integer, integer:STEP, count or category"
        )

    def to_dict(self) -> dict[str, Any]:
        content = {**asdict(self), "labels": list(self.labels)}
        if self.kind != "category":
            del content["labels"], content["ordered"]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Column:
        return cls(**{**content, "labels": tuple(content.get("labels", ()))})

    @property
    def word(self) -> str:
        """The kind as a user writes it and ``parse`` reads it."""
        match self.kind:
            case "interval":
                return f"interval:{self.low:.15g}:{self.high:.15g}"
            case "integer" if self.step != 1:
                return f"integer:{self.step:.15g}"
        return self.kind

    @property
    def bounds(self) -> tuple[float, float]:
        """The two numbers that all values lie strictly between."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        if self.kind == "category":  # the cells of the codes, which are one wide
            return -0.5, len(self.labels) - 0.5
        return {"positive": 0.0, "count": -0.5}.get(self.kind, -math.inf), math.inf

    def holds(self, x: Array) -> Mask:
        """Return whether each of ``x`` ``(n,)`` is a number that the kind allows."""
        low, high = self.bounds
        inside = (low < x) & (x < high)
        if self.kind not in WHOLE:
            return inside
        steps = x / (self.step or 1.0)
        with np.errstate(invalid="ignore"):  # infinities
            return inside & (np.abs(steps - np.round(steps)) < 1e-6)


def leave_out(name: str) -> str:
    """Return the advice to leave out a column, by the option of the command line."""
    return f"leave it out: --drop {quote(name)}"


def inspect(
    columns: Sequence[Column], values: Array, rows: Whole | None = None
) -> tuple[list[Column], list[str]]:
    """Return the columns of ``values`` ``(n, D)``, with the ``step`` of rounded ones, and notices.

    A column with under 90% distinct values is rounded; its step is the commonest gap between
    distinct values. There is a notice for each of these, and for names that are numbers. Gaps
    (``NaN``) are left out. ``rows`` ``(n,)`` are the numbers of the rows in the user's file, where
    some were dropped. Raises ``UserError``, with one line, for a table that no density can be
    fitted to.
    """
    if len(values) < LEAST_ROWS:
        raise UserError(f"the table has {len(values)} rows; a fit needs at least {LEAST_ROWS}")
    inspected, notices = list(columns), []
    if all(re.fullmatch(r"-?\d+", column.name) for column in columns):
        names = ", ".join(column.name for column in columns)
        notices.append(
            f"the columns are called {names}: if that is a row of a file without names, "
            "write a line of names above it"
        )
    rows = np.arange(1, len(values) + 1) if rows is None else rows
    known = ~np.isnan(values)
    for column, x, own in zip(columns, values.T, known.T, strict=True):
        _check(column, x[own], rows[own])
    first = first_copies(values)
    count = len(np.unique(first))
    if count < len(values):
        copies = len(values) - count
        notices.append(
            f"{copies} of {len(values)} rows {'is a copy' if copies == 1 else 'are copies'} of "
            "others: a row and its copies are in one fold, so that no member judges what it learned"
        )
    if count < LEAST_ROWS:
        raise UserError(f"the table has {count} different rows; a fit needs at least {LEAST_ROWS}")
    for d, (column, own) in enumerate(zip(columns, known.T, strict=True)):
        x, different = values[own, d], len(np.unique(first[own]))
        distinct = np.unique(x)
        if column.kind not in WHOLE and len(distinct) < DISTINCT * different:
            inspected[d] = replace(column, step=common_step(distinct))
            notices.append(_notice(inspected[d], x, len(distinct)))
    complete = values[known.all(axis=1)]
    if len(complete) >= LEAST_ROWS and (np.ptp(complete, axis=0) > 0).all():
        _check_together([column.name for column in columns], complete)
    return inspected, notices


def _check(column: Column, x: Array, rows: Whole) -> None:
    """Raise ``UserError`` for a column ``(n,)`` that no density can be fitted to."""
    for at in np.flatnonzero(~column.holds(x))[:1]:
        low, high = column.bounds
        must = f"a finite number strictly between {low:g} and {high:g}"
        if column.kind == "integer":
            must = f"a multiple of {column.step:g}"
        elif column.kind == "count":
            must = "a whole number of at least 0"
        raise UserError(
            f"column {column.name}, row {rows[at]} holds {x[at]}; {column.word} must be "
            f"{must}{ADVICE.get(column.kind, '')}"
        )
    if len(x) < LEAST_VALUES:
        raise UserError(
            f"column {column.name} holds a value in {len(x)} rows; a fit needs at least "
            f"{LEAST_VALUES}, so {leave_out(column.name)}"
        )
    if x.min() == x.max():
        value = repr(column.labels[0]) if column.labels else f"{x[0]:g}"
        raise UserError(
            f"column {column.name} holds {value} in every row; {leave_out(column.name)}"
        )
    with np.errstate(over="ignore", under="ignore"):
        if not 0 < x.std() < math.inf:
            raise UserError(
                f"column {column.name} is too large or too small to be squared; change its unit"
            )


def _notice(column: Column, x: Array, distinct: int) -> str:
    """Return the notice for a rounded column ``(n,)`` with ``distinct`` distinct values."""
    whole = replace(column, kind="integer", step=float(f"{column.step:.6g}"))
    if whole.step == 1 and x.min() == 0:  # samples of a whole number may be below 0
        whole = replace(whole, kind="count")
    if column.kind == "real" and whole.holds(x).all():
        advice = f"for samples in whole steps write --column {column.name}={whole.word}"
    else:
        advice = f"leave it {column.word}: its samples lie between the steps too"
    return (
        f"column {column.name} holds {distinct} distinct values in {len(x)} rows, "
        f"in steps of {whole.step:g}: a density does not exist for it, "
        f"so training spreads its rows over their steps; {advice}"
    )


def dequantise(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """Return ``values`` ``(n, D)`` with each rounded value spread over its step::

        x + step u,  u uniform on (-1/2, 1/2)

    Near a bound the step is narrowed, so that values stay inside the bounds. The numbers ``u``
    depend only on ``seed`` and the shape, so a table is spread in the same way for every model.
    Copies of a row are spread alike, so that they are copies still.
    """
    steps = np.array([column.step or 0.0 for column in columns])
    if not steps.any():  # nothing to spread, so that copies need not be sought
        return values
    u = np.random.default_rng(seed).uniform(-0.5, 0.5, values.shape)[first_copies(values)]
    low, high = np.array([column.bounds for column in columns]).T
    return values + u * np.minimum(steps, 2 * np.minimum(values - low, high - values))


def _check_together(names: Sequence[str], values: Array) -> None:
    """Raise ``UserError`` for a column that equals another or is a linear combination of others.

    Such columns have no joint density. In a QR decomposition of the standardised columns, the
    diagonal of R is what each column has beyond those before it: 0, up to rounding, for a
    combination.
    """
    deviation = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / deviation
    rounding = 1e-10 + 4 * np.finfo(float).eps * (np.abs(values).max(axis=0) / deviation).sum()
    beyond = np.abs(np.diagonal(np.linalg.qr(standard, mode="r"))) / math.sqrt(len(values))
    for d in range(len(names)):
        involved = (values[:, :d] == values[:, d : d + 1]).all(axis=0)
        is_what = "equals"
        if not involved.any() and len(values) > len(names) and beyond[d] < rounding:
            share = np.linalg.lstsq(standard[:, :d], standard[:, d], rcond=None)[0]
            involved = np.abs(share) > 1e-6
            is_what = "is a linear combination of"
        if involved.any():
            others = ", ".join(names[k] for k in np.flatnonzero(involved).tolist())
            raise UserError(
                f"column {names[d]} {is_what} {others}; leave one of them out, as by "
                f"--drop {quote(names[d])}: together they have no density"
            )
