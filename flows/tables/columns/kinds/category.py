"""Labels: text, booleans, and numbers of two values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from numbers import Real
from textwrap import shorten
from typing import Any, ClassVar, Self

import numpy as np

from flows.core.arrays import Array, ArrayOrTensor, Mask
from flows.core.plurals import counted, listed
from flows.tables.columns.field import Choice, Field, Label
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, Replace, SetKind, TableError
from flows.tables.columns.order import DISTINCT, FEW_LABELS, MOST_LABELS
from flows.tables.columns.types import cast
from flows.tables.columns.values import label_text

POOLED = (
    f"hold more than {MOST_LABELS} different texts; the most frequent are labels of a category, "
    "and the others are pooled in one label"
)
NARROW, NARROWEST = 0.15, 0.45  # the deviation of narrow noise, and its largest distance


@dataclass(frozen=True)
class Category(Field):
    """Labels, whose numbers are codes.

    Args:
        ordered: whether the order of the labels has a meaning.
        pooled: the rare labels, each with the number of its rows. The last of the ``labels`` stands
            for all of them.
    """

    ordered: bool = False
    pooled: tuple[tuple[Label, int], ...] = ()

    kind: ClassVar[str] = "category"
    words: ClassVar[tuple[str, ...]] = ("category",)
    is_discrete: ClassVar[bool] = True

    @classmethod
    def choose(cls, known: pd.Series) -> Choice | None:
        """Take two different numbers, and labels: few, ordered, or with rare ones to pool."""
        name = str(known.name)
        if known.dtype.kind == "f":
            x = known.to_numpy(np.float64)
            low, high = x.min(), x.max()
            are_two = math.isfinite(low) and low < high < math.inf
            if not are_two or not ((x == low) | (x == high)).all():
                return None
            return cls(name).with_values(known).taken()
        counts = label_counts(known)
        if getattr(known.dtype, "ordered", False) or len(counts) <= FEW_LABELS:
            return cls(name).with_values(known).taken()
        if len(counts) >= DISTINCT * len(known):  # identifies rows
            return None
        if len(counts) <= MOST_LABELS:
            return cls(name).with_values(known).taken()
        return cls._with_pool(known, counts)

    @classmethod
    def _with_pool(cls, known: pd.Series, counts: pd.Series) -> Choice:
        """Return the choice with the most frequent texts as labels, and one label for all others.

        Args:
            known: the texts.
            counts: the number of rows of each.
        """
        name = str(known.name)
        ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        frequent = sorted(text for text, _ in ranked[: MOST_LABELS - 1])
        rare = sorted((str(text), int(count)) for text, count in ranked[MOST_LABELS - 1 :])
        pool = f"{len(rare)} others"
        while pool in frequent:
            pool += " "
        found = cls(name, labels=(*frequent, pool), pooled=tuple(rare))
        problem = (
            f"holds {len(counts)} different texts; the {len(frequent)} most frequent are labels of "
            f"a category, and the other {len(rare)} are pooled in one label, from which samples "
            "draw"
        )
        advice = (("learn them as labels", SetKind(name, cls.kind)),)
        return Choice(
            found, Notice(problem, name, advice=advice, is_decision=True, together=POOLED)
        )

    def about_values(self, x: Array) -> list[Notice]:
        """Return a notice on labels that differ in case or blanks alone."""
        counts = dict(self.pooled)
        codes, rows = np.unique(x, return_counts=True)
        counts |= {self.labels[int(code)]: int(n) for code, n in zip(codes, rows, strict=True)}
        if self.pool is not None:
            counts.pop(self.labels[self.pool], None)
        alike: dict[str, list[str]] = {}
        for label in sorted(label for label in counts if isinstance(label, str)):
            alike.setdefault(" ".join(label.split()).casefold(), []).append(label)
        found = list[Notice]()
        for labels in alike.values():
            if len(labels) > 1:
                most = max(labels, key=lambda label: counts[label])
                others = tuple(label for label in labels if label != most)
                problem = f"holds the labels {listed([*map(repr, labels)])}, which differ in case "
                advice = (("join them", Replace(self.name, others, most)),)
                problem += "or blanks alone"
                together = "hold labels that differ in case or blanks alone"
                found.append(Notice(problem, self.name, advice=advice, together=together))
        return found

    def taken(self) -> Choice:
        """Return the choice of this field, with a notice unless it has a single label."""
        if len(self.labels) == 1:  # another notice names the constant
            return Choice(self)
        problem = f"is taken as a category of {len(self.labels)} labels"
        return Choice(self, Notice(problem, self.name, together="are taken as categories"))

    def with_values(self, known: pd.Series) -> Self:
        """Return the field with the labels of known values, sorted unless they are ordered."""
        ordered = bool(getattr(known.dtype, "ordered", False))
        labels = known.cat.remove_unused_categories().cat.categories if ordered else known.unique()
        texts = list(dict.fromkeys(map(label_text, labels)))
        found: list[Any] = list(texts)
        if {*texts} <= {"True", "False"}:
            found = [text == "True" for text in texts]
        elif all(isinstance(each, Real) for each in labels):
            found = [_number(text) for text in texts]
        return replace(self, labels=tuple(found if ordered else sorted(found)), ordered=ordered)

    @property
    def reads_labels(self) -> bool:  # type: ignore[override]
        """Whether numbers in text are labels: if labels are numbers, 1.00 is the label 1."""
        return not self.labels or any(isinstance(each, str | bool) for each in self.labels)

    def numbers(self, values: pd.Series, *, is_fit: bool = False) -> Array:
        """Return parsed values as codes, ``(n,)``.

        The code of a value that is not a label is the code of the pool, or -1 without a pool.
        """
        places = {label_text(label): code for code, label in enumerate(self.labels)}
        which, distinct = pd.factorize(values.astype(object))
        other = -1 if self.pool is None else self.pool
        codes = [places.get(label_text(value), other) for value in distinct]
        return np.array([*codes, np.nan])[which]  # factorize returns -1 for missing values

    def holds(self, x: Array) -> Mask:
        return super().holds(x) & (x == np.round(x))

    def refusal(self, x: float) -> str:
        return f"which is not one of its labels ({self._listed})"

    @property
    def allowed(self) -> str:
        return f"one of the labels {self._listed}"

    @property
    def _listed(self) -> str:
        """The first labels, for messages."""
        return shorten(", ".join(map(str, self.labels)), 300, placeholder=" ...")

    def computed(self, x: Array) -> Array:
        return np.round(x)  # perhaps the code of no label

    def round(self, x: ArrayOrTensor) -> ArrayOrTensor:
        codes: Any = x.round() + 0.0
        return codes.clip(0, len(self.labels) - 1)

    def restored(
        self, x: Array, generator: np.random.Generator, rare: Set[Label] | None = None
    ) -> pd.Series:
        """Return codes as labels; the code of a pool becomes one of its rare labels, at random."""
        codes = x.astype(np.int64)
        if self.ordered:
            return cast(
                pd.Categorical.from_codes(codes, list(self.labels), ordered=True), self.dtype
            )
        found = np.array(self.labels)[codes]
        if self.pooled:
            pool = [each for each in self.pooled if rare is None or each[0] in rare]
            names, counts = zip(*pool, strict=True)
            pooled, ends = codes == self.pool, np.cumsum(counts) / sum(counts)
            # A number for each row, so that a label does not depend on the other rows
            places = np.searchsorted(ends, generator.random(len(codes)), side="right")
            found = found.astype(object)
            found[pooled] = np.array(names, dtype=object)[places.clip(0, len(names) - 1)][pooled]
        return cast(found, self.dtype)

    def text(self, x: float) -> str:
        return repr(self.labels[int(x)])

    def short_text(self, x: float) -> str:
        return str(self.labels[int(x)])

    @property
    def pool(self) -> int | None:
        return len(self.labels) - 1 if self.pooled else None

    def is_label(self, text: str) -> bool:
        return text in map(str, (*self.labels, *dict(self.pooled)))

    def rare_among(self, values: Sequence[Any]) -> frozenset[Label]:
        if not self.pooled:
            return frozenset()
        counts, (*frequent, pool) = dict(self.pooled), self.labels
        texts = {label_text(value) for value in values if not pd.isna(value)}
        for text in sorted(texts - counts.keys() - {*frequent, pool})[:1]:
            problem = f"holds {text!r}, which no row of the fitted table held"
            raise TableError([Notice(problem, self.name)])
        return frozenset(counts.keys() if pool in texts else texts & counts.keys())

    def rare_share(self, labels: Set[Label]) -> float:
        counts = dict(self.pooled)
        return sum(counts[label] for label in labels) / sum(counts.values())

    @property
    def bounds(self) -> tuple[float, float]:
        # The code k stands for the cell from k - 1/2 to k + 1/2
        return -0.5, len(self.labels) - 0.5

    @property
    def cell(self) -> float:
        return 1.0

    def spread(self, x: Array, u: Array, *, is_narrow: bool = False) -> Array:
        """Return codes with noise over their cells.

        Narrow noise is normal with the deviation ``NARROW`` and keeps a distance from the ends of
        the cells. A flow with a smooth density can then give a label a probability near 1; uniform
        noise would need a jump at the end of the cell.
        """
        if is_narrow:
            from scipy.special import ndtri  # here, because reading tables does not need it

            u = np.clip(NARROW * ndtri(u + 0.5), -NARROWEST, NARROWEST)
        return super().spread(x, u)

    def cells_of(self, x: Array) -> Array:
        return np.array([[code - 0.5, code + 0.5] for code in np.unique(x)])

    @property
    def details(self) -> str:
        labels = shorten(", ".join(map(str, self.labels)), 60, placeholder=" ...")
        return f" of {counted(len(self.labels), 'label')}: {labels}"


def label_counts(known: pd.Series) -> pd.Series:
    """Return the number of rows of each label, by its text, the most frequent first."""
    values = known.value_counts()  # of a category of pandas, labels without rows too
    values = values[values > 0]
    texts = [label_text(label) for label in values.index]
    return values.groupby(texts).sum().sort_values(ascending=False, kind="stable")


def _number(text: str) -> Label:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
