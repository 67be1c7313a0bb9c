"""The columns of a table: what kind of number each holds, what is wrong with them, and how rounded ones get a density. Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from flows.core.arrays import Array, Whole
from flows.core.errors import UserError

KINDS = ("real", "positive", "interval", "integer")
WORDS = "real, positive, interval:LOW:HIGH, integer or integer:STEP"  # as users write them
LEAST_ROWS = 13
DISTINCT = 0.9  # with a smaller share of distinct values, a column is rounded


@dataclass(frozen=True)
class Column:
    """One column: its name, its kind, the bounds of an ``interval``, and the step that its values are rounded to, where they are."""

    name: str
    kind: str = "real"
    low: float | None = None
    high: float | None = None
    step: float | None = None

    @classmethod
    def parse(cls, name: str, word: str) -> Column:
        """The column ``name`` of the kind that a user writes as ``word``. Raises ``ValueError``, with one line."""
        kind, *texts = word.split(":")
        try:
            numbers = [float(text) for text in texts]
        except ValueError:
            numbers = [math.nan]
        match kind, numbers:
            case (("real" | "positive"), []):
                return cls(name, kind)
            case "integer", []:
                return cls(name, kind, step=1.0)
            case "integer", [step] if 0 < step < math.inf:
                return cls(name, kind, step=step)
            case "interval", [low, high] if -math.inf < low < high < math.inf:
                return cls(name, kind, low=low, high=high)
        raise ValueError(f"column {name}: {word!r} is no kind; it must be {WORDS}, with finite numbers and LOW below HIGH")

    @property
    def bounds(self) -> tuple[float, float]:
        """What all values lie strictly between."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        return (0.0 if self.kind == "positive" else -math.inf), math.inf

    @property
    def word(self) -> str:
        """The kind as a user writes it: what ``parse`` reads."""
        if self.kind == "interval":
            return f"interval:{self.low:.15g}:{self.high:.15g}"
        return f"integer:{self.step:.15g}" if self.kind == "integer" and self.step != 1 else self.kind

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Column:
        return cls(**content)


def inspect(columns: Sequence[Column], values: Array, rows: Whole | None = None) -> tuple[list[Column], list[str]]:
    """The ``columns`` of ``values`` ``(n, D)``, where rounded ones got their ``step``, and a notice for each of these.

    A column that is not of the kind integer and has under 90% distinct values is rounded; its step is the commonest gap between distinct
    values. ``rows`` ``(n,)`` are the numbers of the rows in the user's file, where some were dropped.
    Raises ``UserError``, with one line, for a table that no density can be fitted to.
    """
    if len(values) < LEAST_ROWS:
        raise UserError(f"the table has {len(values)} rows; a fit needs at least {LEAST_ROWS}")
    numbers = np.arange(1, len(values) + 1) if rows is None else rows
    for column, x in zip(columns, values.T, strict=True):
        _check(column, x, numbers)
    _check_together([column.name for column in columns], values)
    found, notices = [], []
    for column, x in zip(columns, values.T, strict=True):
        distinct = np.unique(x)
        if column.kind != "integer" and len(distinct) < DISTINCT * len(x):
            column = replace(column, step=_step(distinct))
            notices.append(_notice(column, x, len(distinct)))
        found.append(column)
    return found, notices


def dequantise(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """The rows ``values`` ``(n, D)``, each rounded value spread over its step: ``x + step u``, ``u`` uniform on (-1/2, 1/2).

    Near a bound the step is narrowed, so that what is inside stays inside. The noise has a seed of its own, as the same rows are spread in
    the same way whatever learns from them: column d of row i gets the same ``u`` in every table of this shape.
    """
    spread = values.copy()
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, values.shape)
    for d, column in enumerate(columns):
        if column.step is not None:
            (low, high), x = column.bounds, values[:, d]
            spread[:, d] = x + noise[:, d] * np.minimum(column.step, 2 * np.minimum(x - low, high - x))
    return spread


def _check(column: Column, x: Array, rows: Whole) -> None:
    """Raises ``UserError`` for a value that ``column`` can't hold, and where its values don't vary."""
    low, high = column.bounds
    wrong = ~np.isfinite(x)
    said = "every value must be a finite number"
    if not wrong.any():
        wrong = (x <= low) | (x >= high)
        said = "positive allows numbers above 0 alone" if column.kind == "positive" else f"{column.word} allows numbers between its bounds alone"
    if not wrong.any() and column.kind == "integer" and column.step is not None:
        wrong = np.abs(x / column.step - np.round(x / column.step)) > 1e-6
        said = f"{column.word} allows {'whole numbers' if column.step == 1 else f'multiples of {column.step:g}'} alone"
    if wrong.any():
        first = int(np.argmax(wrong))
        raise UserError(f"column {column.name} holds {x[first]} in row {rows[first]}; {said}")
    if x.min() == x.max():
        raise UserError(f"column {column.name} holds {x[0]:g} in every row; leave it out: a constant has no density")
    with np.errstate(over="ignore", under="ignore"):
        if not 0 < x.std() < math.inf:
            raise UserError(f"column {column.name} has the standard deviation {x.std()}, so large or so small that it must be put into other units")


def _check_together(names: Sequence[str], values: Array) -> None:
    """Raises ``UserError`` for two equal columns, and for one that is a linear combination of others: their joint density doesn't exist.

    The diagonal of R in ``QR = `` the standardised columns holds what each has beyond those before it; 0 up to rounding for a combination.
    """
    scales = np.abs(values).max(axis=0) / values.std(axis=0)
    standardised = (values - values.mean(axis=0)) / values.std(axis=0)
    seen: dict[bytes, str] = {}
    for name, x in zip(names, values.T, strict=True):
        if (twin := seen.setdefault((x + 0.0).tobytes(), name)) != name:  # + 0.0: there are two zeros
            raise UserError(f"columns {twin} and {name} are equal; leave one of them out: together they have no density")
    if len(values) <= len(names):
        return
    residual = np.abs(np.diagonal(np.linalg.qr(standardised, mode="r"))) / math.sqrt(len(values))
    for d in np.flatnonzero(residual < 1e-10 + 4 * np.finfo(float).eps * scales.sum())[:1]:
        parts = np.linalg.lstsq(standardised[:, :d], standardised[:, d], rcond=None)[0]
        others = ", ".join(name for name, part in zip(names, parts, strict=False) if abs(part) > 1e-6)
        raise UserError(f"column {names[d]} is a linear combination of {others}; leave one of them out: together they have no density")


def _step(distinct: Array) -> float:
    """The commonest gap between sorted values; where no gap comes twice (a column with an atom, as many zeros), the median one."""
    gaps = np.diff(distinct)
    unit = 1e-12 * np.abs(distinct).max()  # gaps that differ by rounding are the same
    _, place, counts = np.unique(np.round(gaps / unit), return_inverse=True, return_counts=True)
    return float(np.median(gaps if counts.max() == 1 and len(gaps) > 1 else gaps[place == counts.argmax()]))


def _notice(column: Column, x: Array, distinct: int) -> str:
    step = column.step or 0.0
    said = f"column {column.name} holds {distinct} distinct values in {len(x)} rows, in steps of {step:g}: a density does not exist for it, "
    said += "so training spreads its rows over their steps"
    if column.kind == "real" and (np.abs(x / step - np.round(x / step)) < 1e-6).all():
        word = Column(column.name, "integer", step=float(f"{step:.6g}")).word
        said += f"; for {'whole numbers' if word == 'integer' else f'multiples of {step:g}'} in samples write --column {column.name}={word}"
    return said
