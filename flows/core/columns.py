"""The columns of a table.

What kind of number each holds, what is wrong with them, and how rounded ones get a density. Light:
no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.core.arrays import Array, Whole
from flows.core.errors import UserError

LEAST_ROWS = 13
DISTINCT = 0.9  # with a smaller share of distinct values, a column is rounded


@dataclass(frozen=True)
class Column:
    """One column: its name, its kind, and the bounds of an ``interval``.

    And the step that its values are rounded to, where they are.
    """

    name: str
    kind: str = "real"
    low: float | None = None
    high: float | None = None
    step: float | None = None

    @classmethod
    def parse(cls, name: str, word: str) -> Column:
        """The column ``name`` of the kind that a user writes as ``word``.

        Raises ``ValueError``, with one line.
        """
        kind, *texts = word.split(":")
        try:
            match kind, [float(text) for text in texts]:
                case "real" | "positive", []:
                    return cls(name, kind)
                case "integer", []:
                    return cls(name, kind, step=1.0)
                case "integer", [step] if 0 < step < math.inf:
                    return cls(name, kind, step=step)
                case "interval", [low, high] if -math.inf < low < high < math.inf:
                    return cls(name, kind, low=low, high=high)
        except ValueError:
            pass
        raise ValueError(
            f"column {name}: {word!r} is no kind; it must be real, positive, interval:LOW:HIGH, "
            "integer or integer:STEP"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Column:
        return cls(**content)

    @property
    def word(self) -> str:
        """The kind as a user writes it: what ``parse`` reads."""
        numbers = (
            [self.low, self.high]
            if self.kind == "interval"
            else [self.step]
            if self.kind == "integer" and self.step != 1
            else []
        )
        return ":".join([self.kind, *(f"{number:.15g}" for number in numbers)])

    @property
    def bounds(self) -> tuple[float, float]:
        """What all values lie strictly between."""
        return (
            0.0 if self.kind == "positive" else -math.inf
        ) if self.low is None else self.low, math.inf if self.high is None else self.high

    def holds(self, x: Array) -> NDArray[np.bool_]:
        """Whether each of ``x`` ``(n,)`` is a number that the kind allows."""
        (low, high), step = self.bounds, self.step or 1.0
        with np.errstate(invalid="ignore"):
            return (
                (low < x)
                & (x < high)
                & ((self.kind != "integer") | (np.abs(x / step - np.round(x / step)) < 1e-6))
            )


def inspect(
    columns: Sequence[Column], values: Array, rows: Whole | None = None
) -> tuple[list[Column], list[str]]:
    """The ``columns`` of ``values`` ``(n, D)``, where rounded ones got their ``step``.

    And a notice for each of these, and for numbers as names.

    A column with under 90% distinct values is rounded; its step is the commonest gap between
    distinct values. ``rows`` ``(n,)`` are the numbers of the rows in the user's file, where some
    were dropped. Raises ``UserError``, with one line, for a table that no density can be fitted to.
    """
    if len(values) < LEAST_ROWS:
        raise UserError(f"the table has {len(values)} rows; a fit needs at least {LEAST_ROWS}")
    found, notices = list(columns), []
    if all(re.fullmatch(r"-?\d+", column.name) for column in columns):
        names = ", ".join(column.name for column in columns)
        notices.append(
            f"the columns are called {names}: if that is a row of a file without names, "
            "write a line of names above it"
        )
    for d, (column, x) in enumerate(zip(columns, values.T, strict=True)):
        for row in np.flatnonzero(~column.holds(x))[:1]:
            low, high = column.bounds
            must = (
                f"a multiple of {column.step:g}"
                if column.kind == "integer"
                else f"a finite number strictly between {low:g} and {high:g}"
            )
            advice = {"positive": "; or leave it real", "interval": "; widen the bounds"}.get(
                column.kind, ""
            )
            at = row + 1 if rows is None else rows[row]
            raise UserError(
                f"column {column.name}, row {at} holds {x[row]}; {column.word} must be "
                f"{must}{advice}"
            )
        if x.min() == x.max():
            raise UserError(f"column {column.name} holds {x[0]:g} in every row; leave it out")
        with np.errstate(over="ignore", under="ignore"):
            if not 0 < x.std() < math.inf:
                raise UserError(
                    f"column {column.name} is too large or too small to be squared; change its unit"
                )
        distinct = np.unique(x)
        if column.kind != "integer" and len(distinct) < DISTINCT * len(x):
            found[d] = replace(column, step=_step(distinct))
            whole = replace(column, kind="integer", step=float(f"{found[d].step:.6g}"))
            said = (
                f"column {column.name} holds {len(distinct)} distinct values in {len(x)} rows, "
                f"in steps of {whole.step:g}: "
            )
            said += "a density does not exist for it, so training spreads its rows over their steps"
            if column.kind == "real" and whole.holds(x).all():
                said += f"; for samples in whole steps write --column {column.name}={whole.word}"
            else:
                said += f"; leave it {column.word}: its samples lie between the steps too"
            notices.append(said)
    _check_together([column.name for column in columns], values)
    return found, notices


def dequantise(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """The rows ``values`` ``(n, D)``, each rounded value spread over its step.

    ``x + step u``, ``u`` uniform on (-1/2, 1/2).

    Near a bound the step is narrowed, so that what is inside stays inside. The numbers ``u`` depend
    on the seed and the shape alone: the same table is spread in the same way, whatever learns from
    it.
    """
    u = np.random.default_rng(seed).uniform(-0.5, 0.5, values.shape)
    low, high = np.array([column.bounds for column in columns]).T
    steps = np.array([column.step or 0.0 for column in columns])
    return values + u * np.minimum(steps, 2 * np.minimum(values - low, high - values))


def _step(distinct: Array) -> float:
    """The commonest gap between sorted values.

    Where no gap comes twice (of a column with many zeros, say) the median one.
    """
    gaps, rounding = np.diff(distinct), 32 * np.finfo(float).eps * np.abs(distinct).max()
    _, place, counts = np.unique(np.round(gaps / rounding), return_inverse=True, return_counts=True)
    return float(np.median(gaps[place == counts.argmax()] if counts.max() > 1 else gaps))


def _check_together(names: Sequence[str], values: Array) -> None:
    """Raises ``UserError`` for columns that are equal, or a linear combination of others.

    Their joint density doesn't exist.

    In ``QR = `` the standardised columns, the diagonal of R is what each column has beyond those
    before it: 0, up to rounding, for a combination.
    """
    deviation = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / deviation
    rounding = 1e-10 + 4 * np.finfo(float).eps * (np.abs(values).max(axis=0) / deviation).sum()
    beyond = np.abs(np.diagonal(np.linalg.qr(standard, mode="r"))) / math.sqrt(len(values))
    for d, x in enumerate(values.T):
        others, is_what = (
            [name for name, other in zip(names[:d], values.T, strict=False) if (other == x).all()],
            "equals",
        )
        if not others and len(values) > len(names) and beyond[d] < rounding:
            share = np.linalg.lstsq(standard[:, :d], standard[:, d], rcond=None)[0]
            others, is_what = (
                [name for name, part in zip(names[:d], share, strict=True) if abs(part) > 1e-6],
                "is a linear combination of",
            )
        if others:
            raise UserError(
                f"column {names[d]} {is_what} {', '.join(others)}; leave one of them out: "
                "together they have no density"
            )
