"""The columns of a table and their kinds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask

WHOLE = ("integer", "count", "category", "date")  # the kinds whose samples are rounded
HALF_LINE = ("positive", "count")  # the kinds with a lower bound and no upper bound
LARGEST_WHOLE = 2.0**53  # larger whole numbers are not all floating-point numbers
Label = str | int | float | bool


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
        labels: the labels of a category. Its numbers are codes: 0 stands for the first label.
        ordered: whether the order of the labels has a meaning.
        largest: the largest value of a positive column or a count in the fitted table, beyond which
            ``ToReal`` bends. ``None`` for a map that is a logarithm everywhere.
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
    labels: tuple[Label, ...] = ()
    ordered: bool = False
    largest: float | None = None
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
        try:
            match kind, [float(text) for text in texts]:
                case "real" | "positive", []:
                    return cls(name, kind)
                case "integer" | "count" | "category" | "date", []:
                    return cls(name, kind, step=1.0)
                case "integer" | "count", [step] if 0 < step < math.inf:
                    return cls(name, kind, step=step)
                case "interval", [low, high] if -math.inf < low < high < math.inf:
                    return cls(name, kind, low=low, high=high)
                case "integer", [low, high] if low < high and low % 1 == high % 1 == 0:
                    return cls(name, kind, low=low, high=high, step=1.0)
        except ValueError:
            pass
        raise ValueError(
            f"column {name}: {word!r} is not a kind; a kind is real, positive, interval:LOW:HIGH, "
            "integer, integer:STEP, integer:LOW:HIGH, count, count:STEP, category or date"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that JSON can hold; ``from_dict`` reads it."""
        content = {**asdict(self), "labels": list(self.labels)}
        content["pooled"] = [list(each) for each in self.pooled]
        if self.kind != "category":
            del content["labels"], content["ordered"]
        for name in ("largest", "pooled", "unit", "form"):
            if not content[name]:
                del content[name]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Column:
        """Return the column that ``to_dict`` wrote as ``content``.

        Args:
            content: the fields of the column, by name.
        """
        labels, pooled = content.get("labels", ()), content.get("pooled", ())
        return cls(**{**content, "labels": tuple(labels), "pooled": tuple(map(tuple, pooled))})

    @property
    def word(self) -> str:
        """The kind as a user writes it and ``parse`` reads it."""
        match self.kind:
            case "interval":
                return f"interval:{self.low:.15g}:{self.high:.15g}"
            case "integer" if self.low is not None:
                return f"integer:{self.low:.15g}:{self.high:.15g}"
            case "integer" | "count" if self.step != 1:
                return f"{self.kind}:{self.step:.15g}"
        return self.kind

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and the upper bound; all values lie strictly between them."""
        if self.low is not None and self.high is not None:
            half = 0.5 if self.kind == "integer" else 0.0  # a whole number stands for its cell
            return self.low - half, self.high + half
        if self.kind == "category":  # the code k stands for the cell from k - 1/2 to k + 1/2
            return -0.5, len(self.labels) - 0.5
        low = {"positive": 0.0, "count": -(self.step or 1.0) / 2}.get(self.kind, -math.inf)
        return low, math.inf

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        return self.kind in WHOLE and (self.step or 0) % 1 == 0

    @property
    def refusal(self) -> str:
        """Why the column does not hold a value, as a clause that follows the value."""
        if self.labels:
            return f"which is not one of its labels ({', '.join(map(str, self.labels))})"
        return f"which its kind, {self.word}, does not allow"

    def holds(self, x: Array) -> Mask:
        """Return a mask ``(n,)`` of the values ``x`` ``(n,)`` that the kind allows.

        Args:
            x: values of the column ``(n,)``.
        """
        low, high = self.bounds
        inside = (low < x) & (x < high)
        if self.kind not in WHOLE:
            return inside
        steps = x / (self.step or 1.0)
        with np.errstate(invalid="ignore"):  # infinities
            return inside & (np.abs(steps - np.round(steps)) < 1e-6)


def default_names(count: int) -> list[str]:
    """Return the names of columns that have none: x0, x1 and so on."""
    return [f"x{d}" for d in range(count)]
