"""The columns of a table and their kinds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask

WHOLE = ("integer", "count", "category", "date")  # the kinds whose samples are rounded
WORDS = (  # the words of a user for a kind
    "real, positive, interval:LOW:HIGH, integer, integer:STEP, integer:LOW:HIGH, integer:LOW:, "
    "integer::HIGH, count, count:STEP, category or date"
)
LARGEST_WHOLE = 2.0**53  # larger whole numbers are not all floating-point numbers
Label = str | int | float | bool


class Peak(NamedTuple):
    """A value that many rows hold, far from all others, such as 0 among amounts of money.

    Args:
        value: the value.
        gap: the distance from the cell of the value to the nearest other values.
        spread: half the range of most other values.
    """

    value: float
    gap: float
    spread: float


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: the name.
        kind: ``"real"``, ``"positive"``, ``"interval"``, ``"integer"``, ``"count"``,
            ``"category"`` or ``"date"``.
        low: the lower bound of an interval, or the smallest value of a bounded integer.
        high: the upper bound of an interval, or the largest value of a bounded integer.
        step: the step of rounded values; ``None`` if the values are not rounded. The step of a date
            is in its ``unit``.
        multiple: the multiple of the step that divides all values of the fitted table, such as
            1,000 for incomes. Samples are multiples of it; other values may be any multiple of the
            step. ``None`` means the step.
        labels: the labels of a category. Its numbers are codes: 0 stands for the first label.
        ordered: whether the order of the labels has a meaning.
        farthest: the value of the fitted table that is farthest from the only bound of a column.
            ``ToReal`` bends beyond it. ``None`` for a map that is a logarithm everywhere.
        peak: a value that many rows hold, far from all others.
        pooled: the rare labels of a category, each with the number of its rows. The last of the
            ``labels`` stands for all of them.
        unit: ``"days"`` or ``"seconds"``: a date is the time since 1970-01-01 in this unit.
        form: the format of dates in text, as of ``strftime``; ``None`` for dates of pandas.

    Examples:
        >>> import flows
        >>> import numpy as np
        >>> visits = flows.Column.parse("visits", "count")
        >>> visits.bounds
        (-0.5, inf)
        >>> visits.holds(np.array([2.0, 2.5, -1.0]))
        array([ True, False, False])
    """

    name: str
    kind: str = "real"
    low: float | None = None
    high: float | None = None
    step: float | None = None
    multiple: float | None = None
    labels: tuple[Label, ...] = ()
    ordered: bool = False
    farthest: float | None = None
    peak: Peak | None = None
    pooled: tuple[tuple[Label, int], ...] = ()
    unit: str | None = None
    form: str | None = None

    @classmethod
    def parse(cls, name: str, word: str) -> Column:
        """Return the column ``name`` of the kind that a user writes as ``word``.

        Args:
            name: the name of the column.
            word: the kind, with the numbers that it needs, such as ``"interval:0:1"``.

        Raises ``ValueError``, which names the column, for a word that is not a kind.
        """
        kind, *texts = word.split(":")
        # One end of a bounded integer may be open
        open_end = math.inf if kind == "integer" and len(texts) == 2 else math.nan
        try:
            match kind, [float(text or open_end) for text in texts]:
                case "real" | "positive", []:
                    return cls(name, kind)
                case "integer" | "count" | "category" | "date", []:
                    return cls(name, kind, step=1.0)
                case "integer" | "count", [step] if 0 < step < math.inf:
                    return cls(name, kind, step=step)
                case "interval", [low, high] if -math.inf < low < high < math.inf:
                    return cls(name, kind, low=low, high=high)
                case "integer", [low, high] if low % 1 == high % 1 == 0 and low < high:
                    return cls(name, kind, low=low, high=high, step=1.0)
                case "integer", [low, math.inf] if low % 1 == 0:
                    return cls(name, kind, low=low, step=1.0)
                case "integer", [math.inf, high] if high % 1 == 0:
                    return cls(name, kind, high=high, step=1.0)
        except ValueError:
            pass
        raise ValueError(
            f"column {name}: {word!r} is not a kind; a kind is real, positive, interval:LOW:HIGH, "
            "integer, integer:STEP, integer:LOW:HIGH, integer:LOW:, integer::HIGH, count, "
            "count:STEP, category or date"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that JSON can hold; ``from_dict`` reads it."""
        content = {**asdict(self), "labels": list(self.labels)}
        content["pooled"] = [list(each) for each in self.pooled]
        if self.kind != "category":
            del content["labels"], content["ordered"]
        for name in ("multiple", "farthest", "peak", "pooled", "unit", "form"):
            if content[name] in (None, []):
                del content[name]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Column:
        """Return the column that ``to_dict`` wrote as ``content``.

        Args:
            content: the fields of the column, by name.
        """
        fields = dict(content)
        if "largest" in fields:  # the name until 0.3
            fields["farthest"] = fields.pop("largest")
        fields["labels"] = tuple(fields.get("labels", ()))
        fields["pooled"] = tuple(map(tuple, fields.get("pooled", ())))
        if "peak" in fields:
            fields["peak"] = Peak(*fields["peak"])
        return cls(**fields)

    @property
    def word(self) -> str:
        """The kind as a user writes it and ``parse`` reads it."""
        if self.kind == "interval" or (self.kind == "integer" and self.has_end):
            low, high = ("" if end is None else f"{end:.15g}" for end in (self.low, self.high))
            return f"{self.kind}:{low}:{high}"
        if self.kind in ("integer", "count") and self.step != 1:
            return f"{self.kind}:{self.step:.15g}"
        return self.kind

    @property
    def has_end(self) -> bool:
        """Whether the column has a smallest or a largest value of its own."""
        return self.low is not None or self.high is not None

    @property
    def cell(self) -> float:
        """The width of the cell that a rounded value stands for; 0 if values are not rounded."""
        return self.multiple or self.step or 0.0

    def rare_share(self, labels: Set[Label]) -> float:
        """Return the share of some rare ``labels`` among the rows of the pool."""
        counts = dict(self.pooled)
        return sum(counts[label] for label in labels) / sum(counts.values())

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and the upper bound; all values lie strictly between them."""
        if self.kind == "category":  # the code k stands for the cell from k - 1/2 to k + 1/2
            return -0.5, len(self.labels) - 0.5
        low, high = self.ends
        half = (self.cell or 1.0) / 2 if self.kind in WHOLE else 0.0  # a value stands for its cell
        return low - half, high + half

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value of a whole column, or the bounds of another."""
        low = {"positive": 0.0, "count": 0.0}.get(self.kind, -math.inf)
        return low if self.low is None else self.low, math.inf if self.high is None else self.high

    @property
    def without_ends(self) -> Column:
        """The column of whole numbers without the smallest and the largest value of its own."""
        kind = "count" if self.low is not None and self.low >= 0 else "integer"
        return replace(self, kind=kind, low=None, high=None)

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        return self.kind in WHOLE and (self.step or 0) % 1 == 0

    def refusal(self, x: float) -> str:
        """Return why the column does not hold ``x``, as a clause that follows the user's value.

        Args:
            x: the value as a number.
        """
        if self.labels:
            return f"which is not one of its labels ({', '.join(map(str, self.labels))})"
        clause = f"which its kind, {self.word}, does not allow"
        if self.kind == "integer" and self.has_end:
            wider = self.without_ends
            if wider.holds(np.array([x]))[0]:
                clause += f"; the kind {wider.word} allows it"
        return clause

    def holds(self, x: Array) -> Mask:
        """Return a mask ``(n,)`` of the values ``x`` ``(n,)`` that the kind allows.

        Args:
            x: values of the column ``(n,)``.
        """
        low, high = self.bounds
        inside = (low < x) & (x < high)
        if self.kind not in WHOLE:
            return inside
        (low, high), steps = self.ends, self.count_steps(x)
        return inside & (low <= x) & (x <= high) & (steps == np.round(steps))

    def count_steps(self, x: Array, step: float | None = None) -> Array:
        """Return the values ``x`` of any shape in steps, whole for a multiple of the step.

        Args:
            x: values of the column.
            step: the step, by default that of the column.
        """
        steps = x / (step or self.step or 1.0)
        whole = np.round(steps)
        with np.errstate(invalid="ignore"):  # infinities
            # 0.3 / 0.1 is 2.9999999999999996
            near = np.abs(steps - whole) < 1e-6 + 1e-15 * np.abs(steps)
        return np.where(near, whole, steps)


def default_names(count: int) -> list[str]:
    """Return the names of columns that have none: x0, x1 and so on."""
    return [f"x{d}" for d in range(count)]
