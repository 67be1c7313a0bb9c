"""The columns of a table and their kinds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask

WHOLE = ("integer", "count", "category")  # the kinds whose samples are rounded
Label = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: the name.
        kind: ``"real"``, ``"positive"``, ``"interval"``, ``"integer"``, ``"count"`` or
            ``"category"``.
        low: the lower bound of an interval.
        high: the upper bound of an interval.
        step: the step of rounded values; ``None`` if the values are not rounded.
        labels: the labels of a category. Its numbers are codes: 0 stands for the first label.
        ordered: whether the order of the labels has a meaning.

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
                case "integer" | "count" | "category", []:
                    return cls(name, kind, step=1.0)
                case "integer", [step] if 0 < step < math.inf:
                    return cls(name, kind, step=step)
                case "interval", [low, high] if -math.inf < low < high < math.inf:
                    return cls(name, kind, low=low, high=high)
        except ValueError:
            pass
        raise ValueError(
            f"column {name}: {word!r} is not a kind; a kind is real, positive, interval:LOW:HIGH, "
            "integer, integer:STEP, count or category"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that JSON can hold; ``from_dict`` reads it."""
        content = {**asdict(self), "labels": list(self.labels)}
        if self.kind != "category":
            del content["labels"], content["ordered"]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Column:
        """Return the column that ``to_dict`` wrote as ``content``.

        Args:
            content: the fields of the column, by name.
        """
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
        """The lower and the upper bound; all values lie strictly between them."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        if self.kind == "category":  # the code k stands for the cell from k - 1/2 to k + 1/2
            return -0.5, len(self.labels) - 0.5
        return {"positive": 0.0, "count": -0.5}.get(self.kind, -math.inf), math.inf

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        return self.kind in WHOLE and (self.step or 0) % 1 == 0

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
